/** CACHED: what documents of a site the sending engine has in memory. `at` is the first byte after the header. */
import { type Cached, FrameType, MAX_NODE_NAME_BYTES } from './frame-types.ts';
import {
  getFlags,
  getText,
  must,
  putText,
  putU8,
  putU16,
  putU32,
  requireAtLeast,
  requireLength,
  textLength,
} from './wire.ts';

/*
 * CACHED (25), both directions
 *
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 8      | 1     | name length | 1 to 63 |
 * | 9      | N     | site        | UTF-8 |
 * | 9+N    | 1     | flags       | bit 0 forget what was said of the site before |
 * | 10+N   | 2     | count       | of entries |
 * |        |       | entries     | |
 *
 * An entry of CACHED
 *
 * | offset | bytes | field    | value |
 * |--------|-------|----------|-------|
 * | 0      | 4     | document | hash of its path, relative to the root |
 * | 4      | 1     | kind     | 0 no longer in memory, 1 in memory |
 */
const FIXED_BYTES = 4;
const RESTART = 1;

/** Bytes of one entry. */
export const CACHED_ENTRY_BYTES = 5;

export function cachedSize(frame: Cached): number {
  return FIXED_BYTES + Buffer.byteLength(frame.site) + frame.entries.length * CACHED_ENTRY_BYTES;
}

export function writeCached(frame: Cached, into: Buffer, start: number): number {
  let at = putU8(into, start, textLength(frame.site, MAX_NODE_NAME_BYTES));
  at = putText(into, at, frame.site);
  at = putU8(into, at, frame.restart ? RESTART : 0);
  at = putU16(into, at, frame.entries.length);
  for (const { document, held } of frame.entries) at = putU8(into, putU32(into, at, document), held ? 1 : 0);
  return at;
}

export function readCached(bytes: Buffer, start: number, end: number): Cached {
  requireAtLeast(start, end, FIXED_BYTES);
  let at = start + 1 + bytes[start];
  requireAtLeast(at, end, FIXED_BYTES - 1);
  const site = getText(bytes, start + 1, at, MAX_NODE_NAME_BYTES);
  const restart = (getFlags(bytes, at, RESTART) & RESTART) !== 0;
  const count = bytes.readUInt16BE(at + 1);
  at += 3;
  requireLength(at, end, count * CACHED_ENTRY_BYTES);
  const entries: Cached['entries'] = [];
  for (; at < end; at += CACHED_ENTRY_BYTES) {
    const kind = bytes[at + 4];
    must(kind <= 1, 'entry kind');
    entries.push({ document: bytes.readUInt32BE(at), held: kind === 1 });
  }
  return { type: FrameType.CACHED, site, restart, entries };
}
