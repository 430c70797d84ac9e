/** Fields of a frame on the wire: big-endian, checked in both directions. */
import { MAX_CONGESTION_WINDOW, MAX_SRTT_US } from '../../kernel/tcp/state.ts';
import { FrameError } from './errors.ts';

const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Throws unless `holds`; used on what is decoded and on what is about to be encoded. */
export function must(holds: boolean, what: string): void {
  if (!holds) throw new FrameError('OUT_OF_RANGE', what);
}

/** What is known of a path; a kernel is given it. */
export function checkPath({ congestionWindow, srttUs }: { congestionWindow: number; srttUs: number }): void {
  must(congestionWindow <= MAX_CONGESTION_WINDOW, 'congestion window');
  must(srttUs <= MAX_SRTT_US, 'RTT');
}

export function putU8(into: Buffer, at: number, value: number): number {
  if ((value & 0xff) !== value) throw new FrameError('OUT_OF_RANGE', `${value} is no u8`);
  into[at] = value;
  return at + 1;
}

export function putU16(into: Buffer, at: number, value: number): number {
  if ((value & 0xffff) !== value) throw new FrameError('OUT_OF_RANGE', `${value} is no u16`);
  into[at] = value >>> 8;
  into[at + 1] = value & 0xff;
  return at + 2;
}

export function putU32(into: Buffer, at: number, value: number): number {
  if (value >>> 0 !== value) throw new FrameError('OUT_OF_RANGE', `${value} is no u32`);
  into[at] = value >>> 24;
  into[at + 1] = (value >>> 16) & 0xff;
  into[at + 2] = (value >>> 8) & 0xff;
  into[at + 3] = value & 0xff;
  return at + 4;
}

/** A count of bytes, as u64; JavaScript counts exactly to 2^53 - 1. */
export function putU64(into: Buffer, at: number, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new FrameError('OUT_OF_RANGE', `${value} is no byte count`);
  putU32(into, at, Math.floor(value / 2 ** 32));
  return putU32(into, at + 4, value >>> 0);
}

/** Bytes of a length that the layout fixes. */
export function putBytes(into: Buffer, at: number, bytes: Buffer, length: number): number {
  if (bytes.length !== length)
    throw new FrameError('OUT_OF_RANGE', `${bytes.length} bytes where ${length} belong`);
  into.set(bytes, at);
  return at + length;
}

export function getU64(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32BE(at);
  must(high < 2 ** 21, 'byte count above 2^53');
  return high * 2 ** 32 + bytes.readUInt32BE(at + 4);
}

/** A flags byte: bits outside `mask` are reserved. */
export function getFlags(bytes: Buffer, at: number, mask: number): number {
  const flags = bytes[at];
  if ((flags & ~mask) !== 0) throw new FrameError('RESERVED', `flags 0x${flags.toString(16)}`);
  return flags;
}

/** A text's length in bytes; it must be one that the receiver gets back as it is. */
export function textLength(text: string, limit: number): number {
  const bytes = Buffer.byteLength(text);
  must(bytes >= 1 && bytes <= limit, 'text length');
  must(!/\p{Cs}/u.test(text), 'lone surrogates, which UTF-8 cannot carry');
  return bytes;
}

export function putText(into: Buffer, at: number, text: string): number {
  return at + into.write(text, at, 'utf8');
}

/** A text of 1 to `limit` bytes of UTF-8 that fills `bytes` from `start` to `end`. */
export function getText(bytes: Buffer, start: number, end: number, limit: number): string {
  must(end - start >= 1 && end - start <= limit, 'text length');
  try {
    return STRICT_UTF8.decode(bytes.subarray(start, end));
  } catch {
    throw new FrameError('OUT_OF_RANGE', 'no UTF-8');
  }
}

/** Throws unless exactly `length` bytes lie between `at` and `end`. */
export function requireLength(at: number, end: number, length: number): void {
  if (end - at !== length)
    throw new FrameError('LENGTH', `${end - at} bytes after the header, ${length} belong`);
}

/** Throws unless at least `length` bytes lie between `at` and `end`. */
export function requireAtLeast(at: number, end: number, length: number): void {
  if (end - at < length)
    throw new FrameError('LENGTH', `${end - at} bytes after the header, at least ${length} belong`);
}
