/**
 * The files of a root directory, opened and described, in a bounded cache.
 *
 *   Map request path -> Entry -> representations[0]   the file itself
 *                                 representations[1..] its precompressed siblings
 *
 * A small file is read into memory and closed; a large one stays open, counted by references, and its descriptor is
 * closed when the entry has left the cache and no response uses it any more. An entry is compared with the file
 * system at most once in REVALIDATE_MS. Eviction is second chance: an entry that was used since it was last looked
 * at goes to the back of the queue instead.
 */
import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { lookup } from 'mrmime';
import { documentHash } from '../../base/text-hash.ts';
import { SystemError } from '../../kernel/linux/errors.ts';
import { closeFile, openBeneath } from '../../kernel/linux/files.ts';
import { Stretch } from './continuation.ts';
import { formatDate } from './date.ts';
import { CODINGS, type Coding, chooseVariant, type Variant } from './negotiate.ts';
import { directoryLocation, resolvePath } from './path.ts';
import type { Response } from './reply.ts';

/** How long an entry is believed without looking at the file system. */
export const REVALIDATE_MS = 1000;
/** Files up to this size are kept in memory. */
export const SMALL_FILE_BYTES = 65_536;
/** Attempts to read a file that changes while it is read. */
const MAX_READ_ATTEMPTS = 3;
/** Accept-Encoding values whose outcome an entry remembers, and the longest of them. */
const MAX_CHOICES = 16;
const MAX_CHOICE_BYTES = 128;
/** What an entry costs beside its path and bodies: choices, fields, ready-made heads. */
const ENTRY_OVERHEAD_BYTES = 4096;
/** The body of a small file, and a ready-made response of each kind. */
const BODY_COPIES = 4;
const INDEX = 'index.html';

export interface FileCacheOptions {
  /** Absolute path of the root directory. */
  readonly root: string;
  /** Bound on the memory of small files and their ready-made responses. */
  readonly memoryBytes: number;
  /** Bound on descriptors of large files (those still being sent after eviction come on top). */
  readonly openFiles: number;
  /** Bound on entries. */
  readonly entries: number;
}

/** One form of a file: itself or a precompressed sibling. */
export class Representation implements Variant {
  readonly coding: Coding | '';
  readonly sizeBytes: number;
  readonly etag: string;
  readonly lastModifiedMs: number;
  readonly contentType: string;
  /** All of it. */
  readonly whole: Stretch;
  /** ETag, Last-Modified, Vary: what 304 and 412 need. */
  readonly validatorFields: string;
  /** The fields of a 200 but for its length, type and date. */
  readonly fields: string;
  /** The content of a small file, else null. */
  readonly body: Buffer | null;
  /** Ready-made responses by kind (see Content), each with the second of its Date. */
  readonly ready: (Response | null)[] = [null, null, null];
  readonly readySecond: number[] = [-1, -1, -1];
  /** Identifies this state of the file. */
  readonly version: string;
  #fd: number;
  /** One for the cache, one for each response in flight. */
  #references = 1;

  constructor(opened: Opened, name: string, varies: boolean) {
    const { stats } = opened;
    this.coding = opened.coding;
    this.sizeBytes = Number(stats.size);
    this.etag = strongEtag(stats, opened.coding);
    this.whole = new Stretch(this.etag, 0, this.sizeBytes);
    this.lastModifiedMs = Number(stats.mtimeMs);
    this.contentType = contentType(name);
    const vary = varies ? 'Vary: Accept-Encoding\r\n' : '';
    const lastModified = formatDate(this.lastModifiedMs);
    this.validatorFields = `ETag: ${this.etag}\r\nLast-Modified: ${lastModified}\r\n${vary}`;
    const encoding = opened.coding === '' ? '' : `Content-Encoding: ${opened.coding}\r\n`;
    this.fields = `Accept-Ranges: bytes\r\n${encoding}${this.validatorFields}`;
    this.body = opened.body;
    this.version = versionOf(stats);
    this.#fd = opened.fd;
  }

  /** The open descriptor of a large file, -1 for a small one. */
  get fd(): number {
    return this.#fd;
  }

  /** A response is being sent from it. */
  get inUse(): boolean {
    return this.#references > 1;
  }

  retain(): void {
    this.#references++;
  }

  release(): void {
    if (--this.#references > 0 || this.#fd === -1) return;
    closeFile(this.#fd);
    this.#fd = -1;
  }
}

/** A file that a request path leads to, with everything that may be sent for it. */
export class Entry {
  readonly path: string;
  /** Hash of the file's name below the root. */
  readonly document: number;
  readonly representations: readonly Representation[];
  readonly memoryBytes: number;
  readonly descriptors: number;
  checkedAtMs: number;
  used = false;
  /** For those who look what is in memory: requested since the last look; in memory at the last look. */
  asked = true;
  resident = false;
  readonly #choices = new Map<string, Representation>();

  constructor(path: string, name: string, representations: readonly Representation[], nowMs: number) {
    this.path = detached(path);
    this.document = documentHash(name);
    this.representations = representations;
    this.checkedAtMs = nowMs;
    let memoryBytes = ENTRY_OVERHEAD_BYTES + path.length;
    let descriptors = 0;
    for (const { body, fd } of representations) {
      if (body !== null) memoryBytes += BODY_COPIES * body.length;
      if (fd !== -1) descriptors++;
    }
    this.memoryBytes = memoryBytes;
    this.descriptors = descriptors;
  }

  requested(): void {
    this.used = true;
    this.asked = true;
  }

  /** The representation for an Accept-Encoding value. */
  choose(acceptEncoding: string | undefined): Representation {
    if (acceptEncoding === undefined || this.representations.length === 1) return this.representations[0];
    let choice = this.#choices.get(acceptEncoding);
    if (choice === undefined) {
      choice = this.representations[chooseVariant(acceptEncoding, this.representations)];
      if (this.#choices.size < MAX_CHOICES && acceptEncoding.length <= MAX_CHOICE_BYTES) {
        this.#choices.set(detached(acceptEncoding), choice);
      }
    }
    return choice;
  }

  release(): void {
    for (const representation of this.representations) representation.release();
  }
}

/** No file to send: the status to answer with, and where to go when it is 301. */
export interface Failure {
  readonly status: 301 | 400 | 404 | 500 | 503;
  readonly location: string;
}

/** A file just opened: its content when it is small (then `fd` is -1), else its descriptor. */
interface Opened {
  readonly coding: Coding | '';
  readonly fd: number;
  readonly stats: BigIntStats;
  readonly body: Buffer | null;
}

export class FileCache {
  readonly #options: FileCacheOptions;
  readonly #rootFd: number;
  readonly #entries = new Map<string, Entry>();
  #memoryBytes = 0;
  #descriptors = 0;

  constructor(options: FileCacheOptions) {
    this.#options = options;
    this.#rootFd = openSync(options.root, constants.O_RDONLY | constants.O_DIRECTORY);
  }

  /** Entries, their memory, their descriptors: for metrics and tests. */
  get usage(): { entries: number; memoryBytes: number; descriptors: number } {
    return { entries: this.#entries.size, memoryBytes: this.#memoryBytes, descriptors: this.#descriptors };
  }

  /** All entries, as they are now. */
  get all(): Entry[] {
    return [...this.#entries.values()];
  }

  /** A cached entry that needs no look at the file system, or undefined. */
  fresh(path: string, nowMs: number): Entry | undefined {
    const entry = this.#entries.get(path);
    if (entry === undefined) return undefined;
    const ageMs = nowMs - entry.checkedAtMs;
    // A clock that was set back makes an age negative: then look as well.
    if (ageMs >= REVALIDATE_MS || ageMs < 0) return undefined;
    entry.requested();
    return entry;
  }

  /** The file that a raw request path leads to. */
  lookup(path: string, nowMs: number): Entry | Failure {
    const fresh = this.fresh(path, nowMs);
    if (fresh !== undefined) return fresh;
    const known = this.#entries.get(path);
    const found = this.#open(path, known, nowMs);
    if (found === known) return found;
    if (known !== undefined) this.#drop(known);
    if (found instanceof Entry) this.#keep(found);
    return found;
  }

  close(): void {
    for (const entry of [...this.#entries.values()]) this.#drop(entry);
    closeSync(this.#rootFd);
  }

  /** Opens what `path` leads to; gives `known` back when that is still exactly what is there. */
  #open(path: string, known: Entry | undefined, nowMs: number): Entry | Failure {
    const resolved = resolvePath(path);
    if (typeof resolved === 'number') return { status: resolved, location: '' };
    const { file } = resolved;
    const name = resolved.directory ? (file === '' ? INDEX : `${file}/${INDEX}`) : file;
    const opened: Opened[] = [];
    try {
      const fd = openBeneath(this.#rootFd, name);
      const stats = statsOf(fd);
      if (stats.isDirectory() && !resolved.directory) {
        closeFile(fd);
        return { status: 301, location: directoryLocation(file) };
      }
      if (!stats.isFile()) {
        closeFile(fd);
        return { status: 404, location: '' };
      }
      opened.push(pending(fd, stats, ''));
      for (const { coding, suffix } of CODINGS) {
        const sibling = this.#openSibling(name + suffix, coding);
        if (sibling !== null) opened.push(sibling);
      }
      if (known !== undefined && sameVersions(known, opened)) {
        known.checkedAtMs = nowMs;
        known.requested();
        for (const one of opened) closeFile(one.fd);
        return known;
      }
      for (let i = 0; i < opened.length; i++) opened[i] = readIfSmall(opened[i]);
    } catch (error) {
      for (const one of opened) if (one.fd !== -1) closeFile(one.fd);
      return failureOf(error);
    }
    const representations = opened.map((one) => new Representation(one, name, opened.length > 1));
    return new Entry(path, name, representations, nowMs);
  }

  #openSibling(name: string, coding: Coding): Opened | null {
    let fd: number;
    try {
      fd = openBeneath(this.#rootFd, name);
    } catch (error) {
      if (failureOf(error).status === 404) return null;
      throw error;
    }
    const stats = statsOf(fd);
    if (stats.isFile()) return pending(fd, stats, coding);
    closeFile(fd);
    return null;
  }

  #keep(entry: Entry): void {
    this.#entries.set(entry.path, entry);
    this.#memoryBytes += entry.memoryBytes;
    this.#descriptors += entry.descriptors;
    // Ends: an entry is met twice at most, and the newcomer is not dropped even when it alone is too much.
    for (const oldest of this.#entries.values()) {
      if (!this.#overLimit()) break;
      if (oldest === entry) continue;
      if (oldest.used) {
        oldest.used = false;
        this.#entries.delete(oldest.path);
        this.#entries.set(oldest.path, oldest);
      } else {
        this.#drop(oldest);
      }
    }
  }

  #overLimit(): boolean {
    const { memoryBytes, openFiles, entries } = this.#options;
    return this.#memoryBytes > memoryBytes || this.#descriptors > openFiles || this.#entries.size > entries;
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.path);
    this.#memoryBytes -= entry.memoryBytes;
    this.#descriptors -= entry.descriptors;
    entry.release();
  }
}

/** A copy of a string that was cut out of a head: the cut itself would keep the whole head in memory. */
function detached(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

function statsOf(fd: number): BigIntStats {
  return fstatSync(fd, { bigint: true });
}

function pending(fd: number, stats: BigIntStats, coding: Coding | ''): Opened {
  return { coding, fd, stats, body: null };
}

/** Reads a small file and closes it. One that keeps changing is left open, to be sent like a large one. */
function readIfSmall(opened: Opened): Opened {
  let { stats } = opened;
  for (let attempt = 0; attempt < MAX_READ_ATTEMPTS && stats.size <= SMALL_FILE_BYTES; attempt++) {
    const body = Buffer.allocUnsafeSlow(Number(stats.size));
    let at = 0;
    while (at < body.length) {
      const bytes = readSync(opened.fd, body, at, body.length - at, at);
      if (bytes === 0) break;
      at += bytes;
    }
    const after = statsOf(opened.fd);
    if (at === body.length && versionOf(after) === versionOf(stats)) {
      closeFile(opened.fd);
      return { coding: opened.coding, fd: -1, stats, body };
    }
    stats = after;
  }
  return { ...opened, stats };
}

function sameVersions(entry: Entry, opened: readonly Opened[]): boolean {
  const { representations } = entry;
  return (
    representations.length === opened.length &&
    opened.every(
      ({ coding, stats }, i) =>
        representations[i].coding === coding && representations[i].version === versionOf(stats),
    )
  );
}

function versionOf(stats: BigIntStats): string {
  return `${stats.dev}:${stats.ino}:${stats.size}:${stats.mtimeNs}:${stats.ctimeNs}`;
}

/** From size, time and coding only, so that nodes with identical copies of a file give the same tag. */
function strongEtag(stats: BigIntStats, coding: string): string {
  const hash = createHash('sha256').update(`${stats.size}:${stats.mtimeNs}:${coding}`).digest('base64url');
  return `"${stats.size.toString(36)}-${hash.substring(0, 16)}"`;
}

function contentType(name: string): string {
  const type = lookup(name) ?? 'application/octet-stream';
  return type.startsWith('text/') ? `${type}; charset=utf-8` : type;
}

const TRY_LATER = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);
const NOT_THERE = new Set([
  'ENOENT',
  'ENOTDIR',
  'ELOOP',
  'EXDEV',
  'EACCES',
  'ENAMETOOLONG',
  'ENXIO',
  'EPERM',
]);

/** The status for an error of open, stat or read. A path that leaves the root (EXDEV) is not there. */
function failureOf(error: unknown): Failure {
  const code = error instanceof SystemError ? error.code : (error as NodeJS.ErrnoException).code;
  if (code === undefined) throw error;
  if (NOT_THERE.has(code)) return { status: 404, location: '' };
  return { status: TRY_LATER.has(code) ? 503 : 500, location: '' };
}
