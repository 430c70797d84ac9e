/** CATALOGUE: what documents the sending node has of a site, in pieces. `at` is the first byte after the header. */
import type { Codec } from './codec.ts';
import { getSiteList, putSiteList, siteListSize } from './frame-site-list.ts';
import { FrameType, MAX_DOCUMENT_PATH_BYTES } from './frame-types.ts';
import {
  getText,
  getU64,
  must,
  putText,
  putU8,
  putU16,
  putU64,
  requireAtLeast,
  requireLength,
  textLength,
} from './wire.ts';

/** A file as its node describes it. */
export interface Document {
  readonly sizeBytes: number;
  /** Milliseconds since the epoch. */
  readonly modifiedMs: number;
}

/** In both directions: what documents the sender has of a site. */
export interface Catalogue {
  type: typeof FrameType.CATALOGUE;
  /** Its name, 1 to 63 bytes of UTF-8. */
  site: string;
  /** What was said of the site before holds no longer. */
  restart: boolean;
  /** This piece is the last of the whole list; changes may follow. */
  complete: boolean;
  /** The list is too long to be told whole: the sender has documents that are not on it. */
  partial: boolean;
  /**
   * The documents, by path relative to the root, 1 to MAX_DOCUMENT_PATH_BYTES bytes; null: the sender no longer has the
   * document.
   */
  entries: Array<{ readonly path: string; readonly document: Document | null }>;
}

/*
 * CATALOGUE (24), both directions
 *
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 8      | 1     | name length | 1 to 63 |
 * | 9      | N     | site        | UTF-8 |
 * | 9+N    | 1     | flags       | bit 0 forget what was said before, bit 1 all has been said now, bit 2 not all of the documents are listed |
 * | 10+N   | 2     | count       | of entries |
 * |        |       | entries     | |
 *
 * An entry of CATALOGUE
 *
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 0      | 2     | path length | 1 to 4096 |
 * | 2      | P     | path        | UTF-8, relative to the root |
 * | 2+P    | 1     | kind        | 0 the node has it no more, 1 it has it |
 * | 3+P    | 8     | sizeBytes   | with kind 1 only |
 * | 11+P   | 8     | modifiedMs  | with kind 1 only; milliseconds since the epoch |
 */
const ENTRY_FIXED_BYTES = 3;
const DOCUMENT_BYTES = 16;
const RESTART = 1;
const COMPLETE = 2;
const PARTIAL = 4;

/** Bytes of one entry. */
export function entrySize(path: string, document: Document | null): number {
  return ENTRY_FIXED_BYTES + Buffer.byteLength(path) + (document === null ? 0 : DOCUMENT_BYTES);
}

function catalogueSize(frame: Catalogue): number {
  let size = siteListSize(frame.site);
  for (const { path, document } of frame.entries) size += entrySize(path, document);
  return size;
}

function writeCatalogue(frame: Catalogue, into: Buffer, start: number): number {
  const { restart, complete, partial } = frame;
  const flags = (restart ? RESTART : 0) | (complete ? COMPLETE : 0) | (partial ? PARTIAL : 0);
  let at = putSiteList(into, start, frame.site, flags, frame.entries.length);
  for (const { path, document } of frame.entries) {
    at = putText(into, putU16(into, at, textLength(path, MAX_DOCUMENT_PATH_BYTES)), path);
    at = putU8(into, at, document === null ? 0 : 1);
    if (document === null) continue;
    at = putU64(into, at, document.sizeBytes);
    at = putU64(into, at, document.modifiedMs);
  }
  return at;
}

function readCatalogue(bytes: Buffer, start: number, end: number): Catalogue {
  const { site, flags, count, at: first } = getSiteList(bytes, start, end, RESTART | COMPLETE | PARTIAL);
  let at = first;
  const entries: Catalogue['entries'] = [];
  for (let i = 0; i < count; i++) {
    requireAtLeast(at, end, ENTRY_FIXED_BYTES);
    const pathEnd = at + 2 + bytes.readUInt16BE(at);
    requireAtLeast(pathEnd, end, 1);
    const path = getText(bytes, at + 2, pathEnd, MAX_DOCUMENT_PATH_BYTES);
    const kind = bytes[pathEnd];
    must(kind <= 1, 'entry kind');
    at = pathEnd + 1;
    if (kind === 1) requireAtLeast(at, end, DOCUMENT_BYTES);
    const document = kind === 1 ? { sizeBytes: getU64(bytes, at), modifiedMs: getU64(bytes, at + 8) } : null;
    if (kind === 1) at += DOCUMENT_BYTES;
    entries.push({ path, document });
  }
  requireLength(at, end, 0);
  return {
    type: FrameType.CATALOGUE,
    site,
    restart: (flags & RESTART) !== 0,
    complete: (flags & COMPLETE) !== 0,
    partial: (flags & PARTIAL) !== 0,
    entries,
  };
}

export const catalogueCodec: Codec<Catalogue> = {
  size: catalogueSize,
  write: writeCatalogue,
  read: readCatalogue,
};
