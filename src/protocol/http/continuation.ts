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
 * digest of all bytes of a file and the stretch of it; so nodes with identical copies of a file agree. 64 bits: nodes
 * trust each other, and this only tells versions apart.
 */
export function bodyValidator(body: Buffer | { digest: string; start: number; end: number }): bigint {
  const hash = createHash('sha256');
  if (Buffer.isBuffer(body)) hash.update('bytes\n').update(body);
  else hash.update(`stretch\n${body.digest}\n${body.start}-${body.end}`);
  return hash.digest().readBigUInt64BE(0);
}

/** A file whose bytes are known by their digest, or may come to be. */
export interface Digested {
  /** Null while it is not there. */
  readonly digest: string | null;
  /** The file's digest is being computed. */
  readonly digestPending: boolean;
}

/** Bytes [start, end) of a file, as a body. Its validator is computed when it is asked for, once. */
export class Stretch {
  readonly file: Digested;
  readonly start: number;
  /** Not included. */
  readonly end: number;
  #validator: bigint | null = null;

  constructor(file: Digested, start: number, end: number) {
    this.file = file;
    this.start = start;
    this.end = end;
  }

  /** Null while nothing stands for the file's bytes. */
  get validator(): bigint | null {
    const { file, start, end } = this;
    if (this.#validator === null && file.digest !== null)
      this.#validator = bodyValidator({ digest: file.digest, start, end });
    return this.#validator;
  }
}
