/**
 * What a response is, so that another node can tell that it would send the same bytes, and go on with them.
 *
 *   first node:    | head, headBytes | body ...................................... |
 *   client holds:  |-------------------- offset ------>|
 *   another node:  | its own head, left out | body, left out | what it sends ......|
 *
 * Heads differ between nodes (Date, X-Served-By, Server-Timing), bodies need not: an identity is about the body. So a
 * response goes on elsewhere only when its whole head is out; before that it can only be served anew, from its first
 * byte, and only when none of it is out.
 */
import { createHash } from 'node:crypto';

/** A response as its first node sends it. */
export interface Identity {
  /** Bytes of its head. */
  readonly headBytes: number;
  /** Bytes of the whole response, head included; at most 2^53 - 1. */
  readonly lengthBytes: number;
  /** 64 bits that stand for the body; see `bodyValidator`. */
  readonly validator: bigint;
}

/** A response of which the first `offset` bytes, head included, are out. headBytes <= offset <= lengthBytes. */
export interface Continuation extends Identity {
  readonly offset: number;
}

/** Whether two responses have the same body, byte for byte. */
export function sameBody(one: Identity, other: Identity): boolean {
  return (
    one.validator === other.validator &&
    one.lengthBytes - one.headBytes === other.lengthBytes - other.headBytes
  );
}

/**
 * The first 8 bytes of SHA-256 over what determines a body: its bytes, when it is one of our own short texts, or the
 * representation's strong ETag (RFC 9110 8.8.3) and the stretch of it. The ETag is of size, time and coding, so nodes
 * with identical copies of a file agree. 64 bits: nodes trust each other, and this only tells versions apart.
 */
export function bodyValidator(body: Buffer | { etag: string; start: number; end: number }): bigint {
  const hash = createHash('sha256');
  if (Buffer.isBuffer(body)) hash.update('bytes\n').update(body);
  else hash.update(`stretch\n${body.etag}\n${body.start}-${body.end}`);
  return hash.digest().readBigUInt64BE(0);
}

/** Bytes [start, end) of a representation, as a body. Its validator is computed when it is asked for, once. */
export class Stretch {
  readonly etag: string;
  readonly start: number;
  /** Not included. */
  readonly end: number;
  #validator: bigint | null = null;

  constructor(etag: string, start: number, end: number) {
    this.etag = etag;
    this.start = start;
    this.end = end;
  }

  get validator(): bigint {
    this.#validator ??= bodyValidator(this);
    return this.#validator;
  }
}
