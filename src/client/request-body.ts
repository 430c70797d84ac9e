/**
 * The body of a request, as it comes from the client. It is collected until it is whole, so that it can travel with
 * SETUP; one that is too large for that follows in pieces, the first of them what was collected.
 *
 *   collecting --whole--> collected              the request is answered with the body there
 *     `--COLLECTED_BODY_BYTES--> following --the last byte--> done       it is answered while the body comes
 */
import { type BodyFault, BodyReader } from '../protocol/http/body.ts';
import type { RequestHead } from '../protocol/http/request.ts';

/** Bodies up to this size are collected and travel with SETUP; larger ones follow in pieces. */
export const COLLECTED_BODY_BYTES = 64 * 1024;

const NOTHING = Buffer.alloc(0);

/** What takes a body that follows. */
export interface BodyTaker {
  body(bytes: Buffer, last: boolean): void;
}

export class RequestBody {
  readonly head: RequestHead;
  readonly headBytes: Buffer;
  readonly #reader: BodyReader;
  readonly #pieces: Buffer[] = [];
  #collectedBytes = 0;

  /** `maxBytes`: what a body may have. The head's bytes are copied. */
  constructor(head: RequestHead, headBytes: Buffer, maxBytes: number) {
    this.head = head;
    this.headBytes = Buffer.from(headBytes);
    this.#reader = head.chunked
      ? BodyReader.chunked(maxBytes)
      : BodyReader.ofLength(head.contentLength, maxBytes);
  }

  /** Why it is refused; null while it is not. */
  get fault(): BodyFault | null {
    return this.#reader.fault;
  }

  /** Whether the body's last byte has come. */
  get done(): boolean {
    return this.#reader.done;
  }

  /** Whether the body is too large to be collected, and follows in pieces. */
  get follows(): boolean {
    return this.#collectedBytes > COLLECTED_BODY_BYTES;
  }

  /** Collects from bytes [at, end). Returns how many belong to the body. */
  collect(bytes: Buffer, at: number, end: number): number {
    const used = this.#reader.push(bytes, at, end);
    const { ranges } = this.#reader;
    for (let i = 0; i < ranges.length; i += 2) {
      this.#pieces.push(Buffer.from(bytes.subarray(ranges[i], ranges[i + 1])));
      this.#collectedBytes += ranges[i + 1] - ranges[i];
    }
    return used;
  }

  /** What was collected, once. */
  take(): Buffer {
    return Buffer.concat(this.#pieces.splice(0));
  }

  /** Finds more of a body that follows in bytes [at, end). Returns how many belong to it; `passOn` is to be called. */
  follow(bytes: Buffer, at: number, end: number): number {
    return this.#reader.push(bytes, at, end);
  }

  /** Gives what `follow` has just found in `bytes` away. */
  passOn(bytes: Buffer, taker: BodyTaker): void {
    const ranges = [...this.#reader.ranges];
    for (let i = 0; i < ranges.length; i += 2) {
      taker.body(bytes.subarray(ranges[i], ranges[i + 1]), this.done && i + 2 === ranges.length);
    }
    if (this.done && ranges.length === 0) taker.body(NOTHING, true);
  }
}
