/**
 * An upstream's response on its way into an exchange: its head is written anew for the client, its body is read as far
 * as its end can be found. Interim responses (1xx, RFC 9110 15.2) go to the client before it.
 *
 *   [1xx ...] head --whole--> body --its last byte, or the upstream's end--> done
 */
import { type BodyReader, encodeChunk, LAST_CHUNK } from '../protocol/http/body.ts';
import type { ErrorStatus } from '../protocol/http/error-response.ts';
import { DEFAULT_HEAD_LIMITS } from '../protocol/http/fields.ts';
import { type ForwardedHead, forwardInterimHead, forwardResponseHead } from '../protocol/http/forward.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { parseResponseHead, type ResponseHead, responseBody } from '../protocol/http/response.ts';
import type { AnswerOptions, Exchange } from './exchange.ts';

/** Heads up to this size; what a response carries beyond is the upstream's fault. */
const LIMITS = { ...DEFAULT_HEAD_LIMITS, headBytes: 65_536 };

/** Who has a look at a response as it goes by, and may keep it. */
export interface Tap {
  /** The head has come. False: this response is not the client's answer, which comes from elsewhere. */
  head(head: ResponseHead): boolean;
  /** A piece of its body, whatever its framing. The bytes stay as they are. */
  piece(bytes: Buffer): void;
  /** The body has come whole. */
  whole(hasTrailers: boolean): void;
  /** No more of it comes. True: there is another answer. `status`, `elsewhere`: what the client is told otherwise. */
  failed(status: ErrorStatus, elsewhere: boolean): boolean;
  /** The client is gone. */
  cancelled(): void;
  /** Whether the response is being kept. */
  readonly isKeeping: boolean;
  /** Whether others wait for the response: then a slow client does not slow its reading down. */
  readonly isAwaited: boolean;
}

/** What has come of it: `more` is to come; `done`: the connection's next byte is the next response's; or it is wrong. */
export type Progress =
  | 'more'
  | { readonly done: true; readonly keepAlive: boolean }
  | { readonly fault: string };

export class UpstreamResponse {
  readonly #exchange: Exchange;
  readonly #request: RequestHead;
  readonly #answer: AnswerOptions;
  readonly #tap: Tap | undefined;
  /** Whether the response is the client's answer. */
  #isPassed = true;
  #head: ResponseHead | null = null;
  #forward: ForwardedHead | null = null;
  /** The head for the client, which goes with what has come of the body; empty: it has gone. */
  #headText = '';
  #reader: BodyReader | null = null;
  /** What was given where it was received; null: nothing that could not stay there. */
  #lent: { bytes: Buffer } | null = null;
  /** Bytes of a head that is not whole yet. */
  #held: Buffer | null = null;
  #hasInformed = false;

  constructor(exchange: Exchange, request: RequestHead, answer: AnswerOptions, tap: Tap | undefined) {
    this.#exchange = exchange;
    this.#request = request;
    this.#answer = answer;
    this.#tap = tap;
  }

  /** A byte of it has come. */
  get hasBegun(): boolean {
    return this.#held !== null || this.#hasInformed || this.#head !== null;
  }

  /** Whether the head has come. */
  get isAnswering(): boolean {
    return this.#head !== null;
  }

  /** Whether the client's answer is made of this response, or will be. */
  get isPassed(): boolean {
    return this.#isPassed;
  }

  /**
   * Takes bytes [from, to) of `buffer`, which are given away as they are, and until `keep` stay there.
   * `endsConnection`: of the request there is so much to come that the connection to the client is to end with this
   * response.
   */
  push(buffer: Buffer, from: number, to: number, endsConnection: boolean, wallMs: number): Progress {
    let bytes = buffer;
    let at = from;
    let end = to;
    if (this.#held !== null) {
      bytes = Buffer.concat([this.#held, buffer.subarray(from, to)]);
      at = 0;
      end = bytes.length;
      this.#held = null;
    }
    while (this.#reader === null) {
      const head = parseResponseHead(bytes, at, end, LIMITS, this.#request.method);
      if (head === null) {
        this.#held = Buffer.from(bytes.subarray(at, end));
        return 'more';
      }
      if (!('framing' in head)) return { fault: head.reason };
      at += head.headLength;
      if (head.interim) this.#inform(head);
      else this.#begin(head, endsConnection, wallMs);
    }
    return this.#pass(bytes, at, end);
  }

  /** HTTP/1.0 knows none (RFC 9110 15.2). */
  #inform(head: ResponseHead): void {
    this.#hasInformed = true;
    if (this.#request.minor === 1) this.#exchange.inform(forwardInterimHead(head));
  }

  #begin(head: ResponseHead, endsConnection: boolean, wallMs: number): void {
    const { close, extraFields } = this.#answer;
    const exchange = this.#exchange;
    const plan = { clientMinor: this.#request.minor, close: close || endsConnection, extraFields };
    this.#head = head;
    this.#reader = responseBody(head);
    this.#isPassed = this.#tap?.head(head) !== false;
    if (!this.#isPassed) return;
    this.#forward = forwardResponseHead(head, plan, wallMs);
    exchange.status = head.status;
    exchange.close = this.#forward.close;
    this.#headText = this.#forward.text;
  }

  #pass(bytes: Buffer, at: number, end: number): Progress {
    const reader = this.#reader!;
    const used = reader.push(bytes, at, end);
    if (reader.fault !== null) return { fault: reader.fault };
    if (this.#isPassed) this.#give(bytes, at, at + used);
    if (!reader.done) return 'more';
    this.#finish();
    // Bytes beyond the response would be taken for the next one.
    return { done: true, keepAlive: this.#head!.keepAlive && at + used === end };
  }

  #give(bytes: Buffer, from: number, to: number): void {
    const { ranges } = this.#reader!;
    const { body } = this.#forward!;
    const isRaw = body === 'raw';
    this.#lend(bytes, from, isRaw ? to : from);
    if (isRaw) this.#exchange.bodyBytes += to - from;
    if (isRaw && !this.#tap?.isKeeping) return;
    for (let i = 0; i < ranges.length; i += 2) {
      if (ranges[i] === ranges[i + 1]) continue;
      const piece = Buffer.from(bytes.subarray(ranges[i], ranges[i + 1]));
      if (this.#tap?.isKeeping) this.#tap.piece(piece);
      if (isRaw) continue;
      this.#exchange.pump.add({ bytes: body === 'enchunk' ? encodeChunk(piece) : piece });
      this.#exchange.bodyBytes += piece.length;
    }
  }

  /** Gives what goes on as it came, and in front of it the head that has not gone: one send, or frame. */
  #lend(bytes: Buffer, from: number, to: number): void {
    const { pump } = this.#exchange;
    const head = this.#headText;
    this.#headText = '';
    const start = from - head.length;
    if (start >= 0) {
      if (head !== '') bytes.write(head, start, 'latin1');
      this.#lent = { bytes: bytes.subarray(start, to) };
    } else {
      pump.add({ bytes: Buffer.from(head, 'latin1') });
      this.#lent = { bytes: bytes.subarray(from, to) };
    }
    pump.add(this.#lent);
  }

  /** What was given, and not taken, is copied. */
  keep(): void {
    if (this.#lent !== null && this.#exchange.pump.queuedBytes > 0)
      this.#lent.bytes = Buffer.from(this.#lent.bytes);
    this.#lent = null;
  }

  /** The upstream has closed. False: the response is not whole. */
  ended(): boolean {
    if (this.#reader?.finish() !== true) return false;
    this.#finish();
    return true;
  }

  #finish(): void {
    if (!this.#isPassed) return;
    this.#tap?.whole(this.#reader!.hasTrailers);
    const { pump } = this.#exchange;
    if (this.#forward!.body === 'enchunk') pump.add({ bytes: LAST_CHUNK });
    pump.finish();
    this.#exchange.lengthBytes = pump.sentBytes + pump.queuedBytes;
  }
}
