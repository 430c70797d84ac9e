/** What the frames begin with that tell of a site in pieces: CATALOGUE, CACHED. `at` is the first byte after the header. */
import { MAX_NODE_NAME_BYTES } from './frame-types.ts';
import { getFlags, getText, putText, putU8, putU16, requireAtLeast, textLength } from './wire.ts';

/*
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 8      | 1     | name length | 1 to 63 |
 * | 9      | N     | site        | UTF-8 |
 * | 9+N    | 1     | flags       | each frame's own |
 * | 10+N   | 2     | count       | of entries, which follow |
 */
const FIXED_BYTES = 4;

export function siteListSize(site: string): number {
  return FIXED_BYTES + Buffer.byteLength(site);
}

/** Returns where the entries begin. */
export function putSiteList(into: Buffer, start: number, site: string, flags: number, count: number): number {
  let at = putText(into, putU8(into, start, textLength(site, MAX_NODE_NAME_BYTES)), site);
  at = putU8(into, at, flags);
  return putU16(into, at, count);
}

/** `mask`: the flags that there are. `at`: where the entries begin. */
export function getSiteList(
  bytes: Buffer,
  start: number,
  end: number,
  mask: number,
): { site: string; flags: number; count: number; at: number } {
  requireAtLeast(start, end, FIXED_BYTES);
  const at = start + 1 + bytes[start];
  requireAtLeast(at, end, FIXED_BYTES - 1);
  const site = getText(bytes, start + 1, at, MAX_NODE_NAME_BYTES);
  return { site, flags: getFlags(bytes, at, mask), count: bytes.readUInt16BE(at + 1), at: at + 3 };
}
