/**
 * How a response of known length lies in records: its head in records of its own, then its body, in records of the
 * largest size. So what a client has of the records says which of the response it has, and who goes on in the middle
 * seals the same bytes again.
 *
 *   response  | head |---------------- body ----------------|
 *   records   | 0    | 1         | 2         | 3         | 4 |
 */
import { MAX_CONTENT_BYTES } from './records.ts';
import type { Suite } from './suites.ts';

/** The records of a whole response, or of the rest of one, which has no head. */
export interface Layout {
  readonly headBytes: number;
  /** Head included. */
  readonly lengthBytes: number;
}

/** How much of a response, or of what was left of one, its records have brought to the socket. */
export interface SentRecords {
  /** Number of the first of them. */
  readonly number: number;
  /** Bytes of them that the socket has taken, or that the client had before. */
  readonly wire: number;
  /** Bytes of the response, as far as it was left then. */
  readonly lengthBytes: number;
}

/** A place in a response's records. */
export interface RecordPlace {
  /** Records before it. */
  readonly records: number;
  /** Bytes of the response in those. */
  readonly offset: number;
  /** Bytes of the next record before it, of its header and ciphertext. */
  readonly cut: number;
}

/** Content of the record that begins at byte `offset` of the response; 0 at its end. */
export function contentBytesAt({ headBytes, lengthBytes }: Layout, offset: number): number {
  return Math.min(MAX_CONTENT_BYTES, (offset < headBytes ? headBytes : lengthBytes) - offset);
}

function recordsOf(bytes: number): number {
  return Math.ceil(bytes / MAX_CONTENT_BYTES);
}

export function recordCount({ headBytes, lengthBytes }: Layout): number {
  return recordsOf(headBytes) + recordsOf(lengthBytes - headBytes);
}

/** Records before the one that begins at byte `offset` of the response. */
export function recordCountBefore({ headBytes }: Layout, offset: number): number {
  return recordCount({ headBytes: Math.min(headBytes, offset), lengthBytes: offset });
}

/** What of a suite says how much larger than the response its records are. */
type Overhead = Pick<Suite, 'overheadBytes'>;

/** Bytes of all records. */
export function wireBytes(layout: Layout, { overheadBytes }: Overhead): number {
  return layout.lengthBytes + recordCount(layout) * overheadBytes;
}

/** Where the record begins that begins at byte `offset` of the response: bytes of records before it. */
export function wireAt({ headBytes, lengthBytes }: Layout, offset: number, suite: Overhead): number {
  const before = { headBytes: Math.min(headBytes, offset), lengthBytes: Math.min(lengthBytes, offset) };
  return wireBytes(before, suite);
}

/** The place behind `wire` bytes of the response's records, at most all of them. */
export function placeAt(layout: Layout, wire: number, suite: Overhead): RecordPlace {
  const { headBytes, lengthBytes } = layout;
  const { overheadBytes } = suite;
  const headWire = wireAt(layout, headBytes, suite);
  const isInHead = wire < headWire;
  const [fromWire, from, to] = isInHead ? [0, 0, headBytes] : [headWire, headBytes, lengthBytes];
  const whole = Math.floor((wire - fromWire) / (MAX_CONTENT_BYTES + overheadBytes));
  const offset = Math.min(to, from + whole * MAX_CONTENT_BYTES);
  const cut = wire - wireAt(layout, offset, suite);
  const records = recordCountBefore(layout, offset);
  const content = contentBytesAt(layout, offset);
  // The last record of head or body is a shorter one.
  if (cut > 0 && cut === content + overheadBytes)
    return { records: records + 1, offset: offset + content, cut: 0 };
  return { records, offset, cut };
}
