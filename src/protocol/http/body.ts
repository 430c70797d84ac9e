/**
 * Message bodies (RFC 9112 sections 6 and 7): finds where a body ends, and which bytes are payload, in slices cut
 * anywhere. It copies nothing and keeps nothing but a state, so it serves both to take a chunked request body apart
 * and to find the end of an upstream's response that is forwarded as it is.
 */
import { CR, KIND, LF, SPACE, TAB, TOKEN, VALUE } from './fields.ts';

const COLON = 58;
const SEMICOLON = 59;
/** Hexadecimal digits of a chunk size, leading zeros included. 12 digits stay below 2^53. */
const MAX_SIZE_DIGITS = 12;
/** Chunk extensions of one body, all chunks together, with the white space before them. */
export const MAX_EXTENSION_BYTES = 4096;
/** Trailer section of one body. */
export const MAX_TRAILER_BYTES = 8192;

/** A trailer section without fields counts as its CR. */
const EMPTY_TRAILER_BYTES = 1;

export type BodyFault =
  | 'BAD_CHUNK_SIZE'
  | 'BAD_CHUNK_EXTENSION'
  | 'BAD_CHUNK_END'
  | 'BAD_TRAILER'
  | 'EXTENSIONS_TOO_LARGE'
  | 'TRAILERS_TOO_LARGE'
  | 'BODY_TOO_LARGE'
  | 'TRUNCATED';

type State =
  | 'length'
  | 'until-close'
  | 'size'
  | 'before-extension'
  | 'extension'
  | 'size-lf'
  | 'data'
  | 'data-cr'
  | 'data-lf'
  | 'trailer-start'
  | 'trailer-name'
  | 'trailer-value'
  | 'trailer-lf'
  | 'end-lf'
  | 'done'
  | 'failed';

export class BodyReader {
  /** Payload of the last push: pairs of start and end in the pushed buffer. Overwritten by the next push. */
  readonly ranges: number[] = [];
  /** Payload bytes so far. */
  payloadBytes = 0;
  /** Why the body is refused, null while it is not. */
  fault: BodyFault | null = null;
  #state: State;
  /** Bytes still to come of the body (length) or of the chunk (data). */
  #remaining: number;
  #digits = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;
  readonly #maxPayloadBytes: number;

  private constructor(state: State, remaining: number, maxPayloadBytes: number) {
    this.#state = state;
    this.#remaining = remaining;
    this.#maxPayloadBytes = maxPayloadBytes;
    if (remaining > maxPayloadBytes) this.#fail('BODY_TOO_LARGE');
  }

  /** A body of exactly `lengthBytes`. */
  static ofLength(lengthBytes: number, maxPayloadBytes: number = Number.POSITIVE_INFINITY): BodyReader {
    return new BodyReader(lengthBytes === 0 ? 'done' : 'length', lengthBytes, maxPayloadBytes);
  }

  static chunked(maxPayloadBytes: number = Number.POSITIVE_INFINITY): BodyReader {
    return new BodyReader('size', 0, maxPayloadBytes);
  }

  /** A body that ends with the connection: `finish` says when. */
  static untilClose(maxPayloadBytes: number = Number.POSITIVE_INFINITY): BodyReader {
    return new BodyReader('until-close', 0, maxPayloadBytes);
  }

  /** The whole body has been seen. */
  get done(): boolean {
    return this.#state === 'done';
  }

  /** Whether there were trailer fields behind the last chunk. */
  get hasTrailers(): boolean {
    return this.#trailerBytes > EMPTY_TRAILER_BYTES;
  }

  /** The sender closed: true when the body is complete by that, else the fault is TRUNCATED. */
  finish(): boolean {
    if (this.#state === 'until-close') this.#state = 'done';
    if (this.#state !== 'done' && this.#state !== 'failed') this.#fail('TRUNCATED');
    return this.done;
  }

  /**
   * Reads bytes `start` to `end` of `buf`. Returns how many belong to the body (fewer than given only when it is done:
   * the rest is the next message); `ranges` then holds their payload. Once `fault` is set nothing is consumed.
   */
  push(buf: Buffer, start: number, end: number): number {
    this.ranges.length = 0;
    let at = start;
    while (at < end && this.#state !== 'done' && this.#state !== 'failed') {
      if (this.#state === 'data' || this.#state === 'length') at = this.#takeCounted(at, end);
      else if (this.#state === 'until-close') at = this.#take(at, end);
      else this.#state = this.#step(buf[at++]);
    }
    return this.#state === 'failed' ? 0 : at - start;
  }

  #takeCounted(at: number, end: number): number {
    const to = Math.min(end, at + this.#remaining);
    this.#remaining -= to - at;
    if (this.#remaining === 0) this.#state = this.#state === 'data' ? 'data-cr' : 'done';
    return this.#take(at, to);
  }

  #take(at: number, to: number): number {
    this.ranges.push(at, to);
    this.payloadBytes += to - at;
    if (this.payloadBytes > this.#maxPayloadBytes) this.#fail('BODY_TOO_LARGE');
    return to;
  }

  /** The state after one byte of framing. */
  #step(byte: number): State {
    switch (this.#state) {
      case 'size':
        return this.#sizeByte(byte);
      case 'before-extension':
        if (byte === SEMICOLON) return 'extension';
        return isBlank(byte) ? this.#extensionByte('before-extension') : this.#fail('BAD_CHUNK_SIZE');
      case 'extension':
        if (byte === CR) return 'size-lf';
        return (KIND[byte] & VALUE) === 0
          ? this.#fail('BAD_CHUNK_EXTENSION')
          : this.#extensionByte('extension');
      case 'size-lf':
        if (byte !== LF) return this.#fail('BAD_CHUNK_SIZE');
        this.#digits = 0;
        return this.#remaining === 0 ? 'trailer-start' : 'data';
      case 'data-cr':
        return byte === CR ? 'data-lf' : this.#fail('BAD_CHUNK_END');
      case 'data-lf':
        return byte === LF ? 'size' : this.#fail('BAD_CHUNK_END');
      case 'end-lf':
        return byte === LF ? 'done' : this.#fail('BAD_TRAILER');
      default:
        return this.#trailerByte(byte);
    }
  }

  /**
   * 1*HEXDIG, then CR or an extension and nothing else: no sign, no prefix (RFC 9112 7.1). White space only before an
   * extension (7.1.1).
   */
  #sizeByte(byte: number): State {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      if (++this.#digits > MAX_SIZE_DIGITS) return this.#fail('BAD_CHUNK_SIZE');
      this.#remaining = this.#remaining * 16 + digit;
      const tooLarge = this.payloadBytes + this.#remaining > this.#maxPayloadBytes;
      return tooLarge ? this.#fail('BODY_TOO_LARGE') : 'size';
    }
    if (this.#digits === 0) return this.#fail('BAD_CHUNK_SIZE');
    if (byte === CR) return 'size-lf';
    if (isBlank(byte)) return this.#extensionByte('before-extension');
    return byte === SEMICOLON ? 'extension' : this.#fail('BAD_CHUNK_SIZE');
  }

  #extensionByte(next: State): State {
    return ++this.#extensionBytes > MAX_EXTENSION_BYTES ? this.#fail('EXTENSIONS_TOO_LARGE') : next;
  }

  /** Trailer fields are checked for form and dropped (RFC 9110 6.5.1 lets a recipient do so). */
  #trailerByte(byte: number): State {
    if (++this.#trailerBytes > MAX_TRAILER_BYTES) return this.#fail('TRAILERS_TOO_LARGE');
    switch (this.#state) {
      case 'trailer-start':
        if (byte === CR) return 'end-lf';
        return (KIND[byte] & TOKEN) !== 0 ? 'trailer-name' : this.#fail('BAD_TRAILER');
      case 'trailer-name':
        if (byte === COLON) return 'trailer-value';
        return (KIND[byte] & TOKEN) !== 0 ? 'trailer-name' : this.#fail('BAD_TRAILER');
      case 'trailer-value':
        if (byte === CR) return 'trailer-lf';
        return (KIND[byte] & VALUE) !== 0 ? 'trailer-value' : this.#fail('BAD_TRAILER');
      default:
        return byte === LF ? 'trailer-start' : this.#fail('BAD_TRAILER');
    }
  }

  #fail(fault: BodyFault): State {
    this.#state = 'failed';
    this.fault = fault;
    this.ranges.length = 0;
    return this.#state;
  }
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 0x20;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

/** The end of a chunked body without trailers. */
export const LAST_CHUNK = Buffer.from('0\r\n\r\n', 'latin1');

/** `bytes` as one chunk. Not for an empty slice: an empty chunk would end the body (RFC 9112 7.1). */
export function encodeChunk(bytes: Buffer): Buffer {
  if (bytes.length === 0) throw new RangeError('an empty chunk would end the body: use LAST_CHUNK');
  const size = bytes.length.toString(16);
  const chunk = Buffer.allocUnsafe(size.length + bytes.length + 4);
  let at = chunk.write(size, 0, 'latin1');
  chunk[at++] = CR;
  chunk[at++] = LF;
  at += bytes.copy(chunk, at);
  chunk[at++] = CR;
  chunk[at] = LF;
  return chunk;
}
