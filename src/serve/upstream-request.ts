/**
 * A request to an upstream. A kept connection may turn out to be closed; then it is sent once more, on a new one, if
 * that can do no harm (RFC 9110 9.2.2): its method says so, or not a byte of it has arrived. What fails after that is
 * answered here, with 502 or 504, or elsewhere.
 *
 *   carried --its response's last byte--> over
 *     |--failed before the response began--> carried again, or answered with an error
 *     `--failed in the response--> the exchange has failed
 */
import type { Deadlines, Places } from '../kernel/loop/deadlines.ts';
import { encodeChunk, LAST_CHUNK } from '../protocol/http/body.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import type { RequestFraming } from '../protocol/http/forward.ts';
import { expectsContent, isIdempotent } from '../protocol/http/methods.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { Pump, type PumpState } from './byte-sink.ts';
import type { AnswerOptions, Exchange, Feed } from './exchange.ts';
import type { Carried, Failure, UpstreamConnection } from './upstream-connection.ts';
import { type Tap, UpstreamResponse } from './upstream-response.ts';

/** Response bytes that may wait in the pump before the upstream is read no further. */
const RESPONSE_QUEUE_BYTES = 256 * 1024;
/** Request body bytes that may wait for the upstream. */
const BODY_QUEUE_BYTES = 256 * 1024;
/**
 * What may be left of a request's body when its response begins: it is read and dropped. With more, or when nobody
 * knows how much, the connection ends with the response, and the response says so (RFC 9112 9.6).
 */
export const MAX_UNREAD_BODY_BYTES = 256 * 1024;

const NOTHING = Buffer.alloc(0);

/** What is waited for, each with its time-out. */
export interface Waits {
  readonly connect: Deadlines<UpstreamRequest>;
  /** Deadlines for the response's head, counted from the last byte of the request that is there. */
  readonly answer: Deadlines<UpstreamRequest>;
  /** Between two pieces of the response. */
  readonly more: Deadlines<UpstreamRequest>;
}

/** A request for an upstream, and how its answer is to look. */
export interface UpstreamAsked {
  readonly head: RequestHead;
  /** The request came over TLS. */
  readonly isSecure: boolean;
  /**
   * The head as the upstream gets it; it and `body` are asked for once, as they may be a frame's. `conditions`: field
   * lines instead of the client's own.
   */
  readonly forward: (framing: RequestFraming, conditions?: string) => Buffer;
  /** What is there of the body. */
  readonly body: Buffer;
  /** The rest comes through `Feed.body`. */
  readonly bodyFollows: boolean;
  readonly answer: AnswerOptions;
  readonly tap?: Tap;
}

/** `kept`: one that may be closed already. `proven`: one that hardly can be. `fresh`: a new one. */
export type Use = 'kept' | 'proven' | 'fresh';

/** What is asked of the upstream. */
export interface RequestHost {
  /** A connection that will do for a request. */
  connection(use: Use): UpstreamConnection;
  /** The response is whole, and the connection may be used again. */
  keep(connection: UpstreamConnection): void;
  readonly waits: Waits;
  /** The upstream has begun to answer. */
  answered(): void;
  /** The upstream has not answered, or not to the end. */
  failed(reason: string): void;
  /** The request is sent again, on a new connection. */
  repeated(): void;
  readonly nowMs: number;
  readonly wallMs: number;
}

/** How much of a body there may be to come, of which `receivedBytes` are here. */
export function bodyBytesToCome(head: RequestHead, receivedBytes: number): number {
  return head.contentLength < 0 ? Number.POSITIVE_INFINITY : head.contentLength - receivedBytes;
}

export class UpstreamRequest implements Feed, Carried {
  readonly places: Places = [];
  readonly #host: RequestHost;
  readonly #asked: UpstreamAsked;
  readonly #exchange: Exchange;
  readonly #isChunked: boolean;
  /** What is sent at first, and again when it is repeated. */
  readonly #headBytes: Buffer;
  readonly #body: Buffer;
  outgoing: Pump;
  #connection: UpstreamConnection;
  #response: UpstreamResponse;
  #receivedBodyBytes = 0;
  #bodyIsWhole: boolean;
  /** The upstream takes no more of the request. */
  #isRefused = false;
  /** The upstream has all that there is of the request; the rest is the client's to send. */
  #clientOwes = false;
  /** No more of the body was wanted, when that was last looked at. */
  #isFull = false;
  #isRepeated = false;
  #isOver = false;
  /** What runs for it; null: it waits for nothing of the upstream's. */
  #deadline: Deadlines<UpstreamRequest> | null = null;
  paused = false;

  constructor(host: RequestHost, asked: UpstreamAsked, exchange: Exchange) {
    const { head, body, bodyFollows, answer, tap } = asked;
    this.#host = host;
    this.#asked = asked;
    this.#exchange = exchange;
    this.#isChunked = bodyFollows && head.contentLength < 0;
    this.#bodyIsWhole = !bodyFollows;
    this.#receivedBodyBytes = body.length;
    this.#headBytes = asked.forward(this.#framing());
    this.#body = body.length === 0 ? NOTHING : Buffer.from(body);
    this.outgoing = this.#begin();
    this.#response = new UpstreamResponse(exchange, head, answer, tap);
    exchange.feed = this;
    // A body that follows is here once, and what must not be repeated can hardly ever be.
    const use = isIdempotent(head.method) ? 'kept' : 'proven';
    this.#connection = host.connection(bodyFollows ? 'fresh' : use);
    this.#carry();
  }

  #framing(): RequestFraming {
    const { head, body, bodyFollows } = this.#asked;
    if (this.#isChunked) return 'chunked';
    const hasBody = body.length > 0 || head.contentLength >= 0 || head.chunked || expectsContent(head.method);
    if (!hasBody) return 'none';
    return bodyFollows ? head.contentLength : body.length;
  }

  #begin(): Pump {
    const outgoing = new Pump([{ bytes: this.#headBytes }, { bytes: this.#body }], false);
    if (!this.#asked.bodyFollows) outgoing.finish();
    return outgoing;
  }

  #carry(): void {
    if (!this.#connection.isConnected) this.#wait(this.#host.waits.connect);
    this.#connection.carry(this);
  }

  wrote(state: PumpState): void {
    const wasFull = this.#isFull;
    if (state === 'broken') this.#isRefused = true;
    this.#isFull = !this.wantsBody;
    this.#clientOwes = state === 'waiting' && !this.#bodyIsWhole;
    this.#watch();
    if (wasFull && !this.#isFull) this.#exchange.onProgress();
  }

  #watch(): void {
    if (this.#isOver) return;
    const { answer, more } = this.#host.waits;
    if (this.paused || this.#clientOwes) this.#wait(null);
    else this.#wait(this.#response.isAnswering ? more : answer);
  }

  /** What it waits for from now on. */
  #wait(deadline: Deadlines<UpstreamRequest> | null): void {
    if (this.#deadline !== deadline) this.#deadline?.clear(this);
    this.#deadline = deadline;
    deadline?.set(this, this.#host.nowMs);
  }

  body(bytes: Buffer, last: boolean): void {
    this.#receivedBodyBytes += bytes.length;
    this.#bodyIsWhole = last;
    if (this.#isRefused) return;
    if (this.#isChunked && bytes.length > 0) this.outgoing.add({ bytes: encodeChunk(bytes) });
    if (last) {
      if (this.#isChunked) this.outgoing.add({ bytes: LAST_CHUNK });
      this.outgoing.finish();
    }
    this.#connection.write(this.#isChunked ? null : bytes);
    this.#isFull = !this.wantsBody;
  }

  /** What the upstream refuses is read and dropped: the client may read its answer only after it has sent all. */
  get wantsBody(): boolean {
    return this.#isRefused || this.outgoing.queuedBytes < BODY_QUEUE_BYTES;
  }

  received(bytes: Buffer, from: number, to: number): void {
    const wasAnswering = this.#response.isAnswering;
    const progress = this.#response.push(bytes, from, to, this.#endsConnection, this.#host.wallMs);
    if (!wasAnswering && this.#response.isAnswering) this.#host.answered();
    if (progress === 'more') {
      const isFull = this.#exchange.pump.queuedBytes > RESPONSE_QUEUE_BYTES;
      this.paused = isFull && this.#asked.tap?.isAwaited !== true;
      return this.#watch();
    }
    if ('fault' in progress) {
      this.#connection.free(false);
      return this.#failed(progress.fault, 502, false);
    }
    const keep = progress.keepAlive && this.outgoing.finished;
    this.#over();
    this.#connection.free(keep);
    if (keep) this.#host.keep(this.#connection);
  }

  get #endsConnection(): boolean {
    if (this.#bodyIsWhole) return false;
    return bodyBytesToCome(this.#asked.head, this.#receivedBodyBytes) > MAX_UNREAD_BODY_BYTES;
  }

  settled(): void {
    this.#exchange.onProgress();
    this.#response.keep();
  }

  ended(): boolean {
    if (!this.#response.ended()) return false;
    this.#over();
    this.#connection.free(false);
    return true;
  }

  resume(): void {
    if (!this.paused || this.#exchange.pump.queuedBytes > RESPONSE_QUEUE_BYTES / 2) return;
    this.paused = false;
    this.#watch();
    this.#connection.read();
  }

  cancel(): void {
    if (this.#isOver) return;
    this.#over();
    this.#connection.free(false);
    this.#asked.tap?.cancelled();
  }

  /** What it waits for has not come in time. */
  timedOut(): void {
    this.#connection.timedOut();
  }

  failed({ reason, unsent, isLate }: Failure): void {
    const { head, bodyFollows } = this.#asked;
    const isRepeatable = !this.#response.hasBegun && !bodyFollows && (unsent || isIdempotent(head.method));
    if (isRepeatable && this.#connection.wasUsed && !this.#isRepeated && !isLate) return this.#repeat();
    this.#failed(reason, isLate ? 504 : 502, isRepeatable && (unsent || !isLate));
  }

  /** A kept connection that the upstream had closed says nothing about the request. */
  #repeat(): void {
    this.#isRepeated = true;
    this.#isRefused = false;
    this.#host.repeated();
    this.outgoing = this.#begin();
    this.#connection = this.#host.connection('fresh');
    this.#carry();
  }

  /** `elsewhere`: another node may be asked instead. */
  #failed(reason: string, status: ErrorStatus, elsewhere: boolean): void {
    const exchange = this.#exchange;
    const { head, answer, tap } = this.#asked;
    this.#over();
    this.#host.failed(reason);
    if (!this.#response.isPassed) return;
    const isAnswered = tap?.failed(status, elsewhere) === true;
    if (!isAnswered && this.#response.isAnswering) exchange.failed = true;
    if (!isAnswered && !this.#response.isAnswering) {
      const { method, minor } = head;
      const close = answer.close || this.#endsConnection;
      const context = { method, minor, close, extraFields: answer.extraFields };
      exchange.answer(errorResponse(status, this.#host.wallMs, context));
      exchange.elsewhere = elsewhere;
    }
    exchange.onProgress();
  }

  #over(): void {
    this.#isOver = true;
    // An answer from elsewhere may have a feed of its own.
    if (this.#exchange.feed === this) this.#exchange.feed = null;
    this.#wait(null);
  }
}
