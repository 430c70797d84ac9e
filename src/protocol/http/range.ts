/** Range requests (RFC 9110 section 14), bytes only. */

/** A part of a representation: bytes `start` to `end`, `end` not included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** A request with more ranges than this gets the whole representation (RFC 9110 17.15). */
export const MAX_RANGES = 32;
const MAX_RANGE_FIELD_BYTES = 1024;
const MAX_DIGITS = 15;

const RANGE_SPEC = /^(\d*)-(\d*)$/;

/**
 * The ranges that a Range field asks of `size` bytes. Null: no such field as far as we are concerned (another unit,
 * malformed, too many), the whole representation is the answer. An empty list: none can be satisfied, 416. Ranges
 * that overlap or touch are merged, so that no request makes a response larger than the representation (but for the
 * framing of at most MAX_RANGES parts).
 */
export function parseRanges(field: string, size: number): ByteRange[] | null {
  if (field.length > MAX_RANGE_FIELD_BYTES || !/^bytes=/i.test(field)) return null;
  const specs = field.substring(6).split(',');
  if (specs.length > MAX_RANGES) return null;
  const ranges: ByteRange[] = [];
  let asked = 0;
  for (const spec of specs) {
    const text = spec.replace(/^[ \t]+|[ \t]+$/g, '');
    if (text === '') continue;
    const match = RANGE_SPEC.exec(text);
    if (match === null || match[1].length > MAX_DIGITS || match[2].length > MAX_DIGITS) return null;
    const [, first, last] = match;
    asked++;
    if (first === '') {
      if (last === '') return null;
      // Satisfiable also on nothing (14.1.2), but then there is no Content-Range that could say so.
      if (Number(last) > 0 && size === 0) return null;
      if (Number(last) > 0) ranges.push({ start: Math.max(0, size - Number(last)), end: size });
      continue;
    }
    if (last !== '' && Number(last) < Number(first)) return null;
    if (Number(first) >= size) continue;
    ranges.push({ start: Number(first), end: last === '' ? size : Math.min(size, Number(last) + 1) });
  }
  return asked === 0 ? null : mergeRanges(ranges);
}

/**
 * Merges ranges that overlap or touch. What is merged already touches nothing else, so one pass is enough. Each merged range stands where its first member stood.
 */
function mergeRanges(ranges: readonly ByteRange[]): ByteRange[] {
  const merged: ByteRange[] = [];
  for (let range of ranges) {
    let place = merged.length;
    for (let i = merged.length - 1; i >= 0; i--) {
      const other = merged[i];
      if (range.start > other.end || other.start > range.end) continue;
      range = { start: Math.min(range.start, other.start), end: Math.max(range.end, other.end) };
      merged.splice(i, 1);
      place = Math.min(place, i);
    }
    merged.splice(place, 0, range);
  }
  return merged;
}

/** The Content-Range value of a 206. */
export function contentRange(range: ByteRange, size: number): string {
  return `bytes ${range.start}-${range.end - 1}/${size}`;
}

/** The Content-Range value of a 416. */
export function unsatisfiedRange(size: number): string {
  return `bytes */${size}`;
}

/** What stands around the ranges of a multipart/byteranges body. */
export interface MultipartFraming {
  /** For each range, what is sent before its bytes. */
  readonly prefixes: readonly Buffer[];
  readonly suffix: Buffer;
  /** Bytes of the whole body, ranges included. */
  readonly lengthBytes: number;
}

/** Frames several ranges as multipart/byteranges (RFC 9110 14.6). */
export function frameMultipart(
  ranges: readonly ByteRange[],
  size: number,
  contentType: string,
  boundary: string,
): MultipartFraming {
  const suffix = Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1');
  let lengthBytes = suffix.length;
  const prefixes = ranges.map((range, index) => {
    const lead = index === 0 ? '' : '\r\n';
    const fields = `Content-Type: ${contentType}\r\nContent-Range: ${contentRange(range, size)}\r\n`;
    const prefix = Buffer.from(`${lead}--${boundary}\r\n${fields}\r\n`, 'latin1');
    lengthBytes += prefix.length + range.end - range.start;
    return prefix;
  });
  return { prefixes, suffix, lengthBytes };
}
