/**
 * A request being served by this node, whoever is its anchor: content from a root directory, complete at once, or an
 * upstream's response, as it comes. The owner moves the pump's bytes into its sink; the exchange only fills it.
 */
import assert from 'node:assert';
import { type Continuation, type Identity, Stretch, sameBody } from '../protocol/http/continuation.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import { identify, noop, type Response } from '../protocol/http/reply.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { Layout } from '../protocol/tls/record-layout.ts';
import { Pump } from './byte-sink.ts';

/** How the answer is to look, as the anchor knows it. */
export interface AnswerOptions {
  /** The connection ends after it. */
  readonly close: boolean;
  /** Field lines to add, each with CRLF. */
  readonly extraFields: string;
  readonly nowMs: number;
}

/** What feeds an exchange's pump after the start: an upstream. */
export interface Feed {
  /** More of the request body (copied when it is kept). */
  body(bytes: Buffer, last: boolean): void;
  /** False: hold the body back until `onProgress`. */
  readonly wantsBody: boolean;
  /** The pump has room again. */
  resume(): void;
  cancel(): void;
}

/**
 * `hit`, `stale`: a stored response, fresh or not; `revalidated`: one that the upstream has just vouched for; `collapsed`:
 * the response to another client's request; `miss`: the upstream's, asked so that it may be stored; `pass`: the upstream's.
 */
export type CacheResult = 'hit' | 'stale' | 'revalidated' | 'collapsed' | 'miss' | 'pass';

export class Exchange {
  readonly pump = new Pump([], false);
  status = 0;
  /** Bytes that the pump is to send: the whole response, head included, or what is left of it; -1 while unknown. */
  lengthBytes = -1;
  /** How many of them are of the body. */
  bodyBytes = 0;
  close = false;
  /** The response broke after its head: the connection cannot go on. */
  failed = false;
  /** What is in the pump is an upstream's failure, and another node may be asked instead; while nothing was pumped. */
  elsewhere = false;
  feed: Feed | null = null;
  /** What a cache had to do with the response; null where there is none. */
  cache: CacheResult | null = null;
  /** Called when there is more to pump, or it has failed, or the body is wanted again. */
  onProgress: () => void = noop;
  #response: Response | null = null;
  #continues: Continuation | null = null;
  /** What comes first is an upstream's, and no other node's. */
  #isInformed = false;

  /** A response that is complete. */
  static of(response: Response): Exchange {
    const exchange = new Exchange();
    exchange.answer(response);
    return exchange;
  }

  static error(status: ErrorStatus, head: RequestHead | null, options: AnswerOptions): Exchange {
    const context = head === null ? {} : { method: head.method, minor: head.minor };
    return Exchange.of(
      errorResponse(status, options.nowMs, {
        ...context,
        close: options.close,
        extraFields: options.extraFields,
      }),
    );
  }

  /** A 1xx response, ahead of the answer. To whoever moves the bytes it is the answer's beginning. */
  inform(bytes: Buffer): void {
    this.#isInformed = true;
    this.pump.add({ bytes });
  }

  /** Takes a complete response as the answer. */
  answer(response: Response): void {
    this.pump.take(response.parts, response.lengthBytes);
    this.status = response.status;
    this.lengthBytes = this.pump.sentBytes + this.pump.queuedBytes;
    this.bodyBytes = response.bodyBytes;
    this.close = response.close;
    this.#response = response;
  }

  /**
   * What the response is as the client knows it; null when no other node could go on with it, or it is not known yet.
   * Costs a hash at most, so it is to be asked only where a continuation may be wanted.
   */
  identity(): Identity | null {
    if (this.#continues !== null) return this.#continues;
    return this.#response === null || this.#isInformed ? null : identify(this.#response);
  }

  /**
   * Leaves what follows the first `offset` bytes of a response that another node has begun. False: its body is
   * another one here. Only while nothing was pumped.
   */
  goOnFrom(continuation: Continuation): boolean {
    assert(this.pump.sentBytes === 0 && this.#continues === null, 'nothing was pumped');
    const own = this.identity();
    if (own === null || !sameBody(own, continuation)) return false;
    const { offset, headBytes, lengthBytes } = continuation;
    assert(headBytes <= offset && offset <= lengthBytes, 'the head is out, and not more than all');
    this.pump.skip(own.headBytes + (offset - headBytes));
    this.lengthBytes = lengthBytes - offset;
    this.bodyBytes = this.lengthBytes;
    this.#continues = continuation;
    return true;
  }

  /** What its body is is not known yet, and may be soon. */
  get isIdentityPending(): boolean {
    const body = this.#response?.body;
    return body instanceof Stretch && body.validator === null && body.file.digestPending;
  }

  /** Everything of the response is known to be in the pump or already out. */
  get complete(): boolean {
    return this.lengthBytes >= 0;
  }

  /** What there is of head and body, where it is all known; null: a TLS connection's records end where they may. */
  get layout(): Layout | null {
    const { lengthBytes, bodyBytes } = this;
    return this.complete ? { headBytes: lengthBytes - bodyBytes, lengthBytes } : null;
  }

  /** Gives back what the response holds; idempotent. To be called when it is out, or given up. */
  end(): void {
    this.feed?.cancel();
    this.feed = null;
    this.onProgress = noop;
    this.#response?.release();
    this.#response = null;
  }
}
