/**
 * How a response of known length lies in records: its head in records of its own, then its body, in records of the
 * largest size. So what a client has of the records says which of the response it has, and who goes on in the middle
 * seals the same bytes again.
 *
 *   response  | head |---------------- body ----------------|
 *   records   | 0    | 1         | 2         | 3         | 4 |
 */
import { MAX_CONTENT_BYTES, RECORD_OVERHEAD_BYTES } from './records.ts';

/** Of a whole response, or of what is left of one: then without a head. */
export interface Layout {
  readonly headBytes: number;
  /** Head included. */
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

/** Bytes of all records. */
export function wireBytes(layout: Layout): number {
  return layout.lengthBytes + recordCount(layout) * RECORD_OVERHEAD_BYTES;
}

/** Where the record begins that begins at byte `offset` of the response: bytes of records before it. */
export function wireAt({ headBytes, lengthBytes }: Layout, offset: number): number {
  return wireBytes({ headBytes: Math.min(headBytes, offset), lengthBytes: Math.min(lengthBytes, offset) });
}

/** The place behind `wire` bytes of the response's records, at most all of them. */
export function placeAt(layout: Layout, wire: number): RecordPlace {
  const { headBytes, lengthBytes } = layout;
  const headWire = wireAt(layout, headBytes);
  const isInHead = wire < headWire;
  const [fromWire, from, to] = isInHead ? [0, 0, headBytes] : [headWire, headBytes, lengthBytes];
  const whole = Math.floor((wire - fromWire) / (MAX_CONTENT_BYTES + RECORD_OVERHEAD_BYTES));
  const offset = Math.min(to, from + whole * MAX_CONTENT_BYTES);
  const cut = wire - wireAt(layout, offset);
  const records = recordCount({ headBytes: Math.min(headBytes, offset), lengthBytes: offset });
  const content = contentBytesAt(layout, offset);
  // The last record of head or body is a shorter one.
  if (cut > 0 && cut === content + RECORD_OVERHEAD_BYTES)
    return { records: records + 1, offset: offset + content, cut: 0 };
  return { records, offset, cut };
}
