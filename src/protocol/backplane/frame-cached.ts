/** CACHED: what documents of a site the sending engine has in memory. `at` is the first byte after the header. */
import type { Codec } from './codec.ts';
import { getSiteList, putSiteList, siteListSize } from './frame-site-list.ts';
import { FrameType } from './frame-types.ts';
import { must, putU8, putU32, requireLength } from './wire.ts';

/** In both directions: what documents of a site the sending engine has in memory. A hint: it may be wrong. */
export interface Cached {
  type: typeof FrameType.CACHED;
  /** Its name, 1 to 63 bytes of UTF-8. */
  site: string;
  /** What this engine said of the site before holds no longer. */
  restart: boolean;
  /** The documents, by hash of the path relative to the root (documentHash). `held`: in memory; else no longer. */
  entries: Array<{ readonly document: number; readonly held: boolean }>;
}

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
const RESTART = 1;

/** Bytes of one entry. */
export const CACHED_ENTRY_BYTES = 5;

function cachedSize(frame: Cached): number {
  return siteListSize(frame.site) + frame.entries.length * CACHED_ENTRY_BYTES;
}

function writeCached(frame: Cached, into: Buffer, start: number): number {
  let at = putSiteList(into, start, frame.site, frame.restart ? RESTART : 0, frame.entries.length);
  for (const { document, held } of frame.entries) at = putU8(into, putU32(into, at, document), held ? 1 : 0);
  return at;
}

function readCached(bytes: Buffer, start: number, end: number): Cached {
  const { site, flags, count, at: first } = getSiteList(bytes, start, end, RESTART);
  requireLength(first, end, count * CACHED_ENTRY_BYTES);
  const entries: Cached['entries'] = [];
  for (let at = first; at < end; at += CACHED_ENTRY_BYTES) {
    const kind = bytes[at + 4];
    must(kind <= 1, 'entry kind');
    entries.push({ document: bytes.readUInt32BE(at), held: kind === 1 });
  }
  return { type: FrameType.CACHED, site, restart: (flags & RESTART) !== 0, entries };
}

export const cachedCodec: Codec<Cached> = { size: cachedSize, write: writeCached, read: readCached };
