/**
 * What the file system says of an open file, and whether it still says so. The times are the only sign that bytes have
 * changed, so it matters how far they can be trusted: a change that follows another within the file system's
 * granularity leaves no trace (what git calls racy).
 */
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';

const AT_EMPTY_PATH = 0x1000;
const STATX_BASIC_STATS = 0x7ff;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
/** How long after a change another one may carry the same time: a tick of the kernel's clock. */
const GRANULARITY_MS = 20;
/** The granularity of file systems whose times are whole seconds, or even seconds (FAT). */
const COARSE_GRANULARITY_MS = 2000;

/** struct statx (statx(2)). */
const STATX_BYTES = 256;
const NLINK = 16;
const MODE = 28;
const INO = 32;
const SIZE = 40;
const CTIME_S = 96;
const CTIME_NS = 104;
const MTIME_S = 112;
const MTIME_NS = 120;
const DEV_MAJOR = 136;
const DEV_MINOR = 140;

const noPath = allocate(1);
const { view, address } = allocate(STATX_BYTES);

function look(fd: number): void {
  check('statx', libc.statx(fd, noPath.address, AT_EMPTY_PATH, STATX_BASIC_STATS, address));
}

/**
 * What tells a change, in words of 32 bits: a look compares, and is made for every response, so it makes no BigInt.
 * A file's size and time of modification, and its time of change.
 */
const CONTENT = [SIZE, SIZE + 4, MTIME_S, MTIME_S + 4, MTIME_NS];
const CHANGE = [CTIME_S, CTIME_S + 4, CTIME_NS];

const wordAt = (offset: number): number => view.getUint32(offset, true);

function shows(offsets: readonly number[], known: readonly number[]): boolean {
  for (let i = 0; i < offsets.length; i++) if (wordAt(offsets[i]) !== known[i]) return false;
  return true;
}

/** Seconds and nanoseconds at `offset`. */
function timeText(offset: number): string {
  return `${view.getBigInt64(offset, true)}.${view.getUint32(offset + 8, true)}`;
}

export class FileState {
  readonly isFile: boolean;
  readonly isDirectory: boolean;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
  /** The same text: the same file, and not changed as far as its times tell, those of its name and rights included. */
  readonly version: string;
  /** Whatever changes it after this was looked at shows in `version`. */
  readonly settled: boolean;
  readonly #links: number;
  readonly #content: readonly number[];
  readonly #change: readonly number[];

  /** Reads the state of an open file or directory. Throws SystemError. */
  constructor(fd: number) {
    const nowMs = Date.now();
    look(fd);
    const type = view.getUint16(MODE, true) & S_IFMT;
    this.isFile = type === S_IFREG;
    this.isDirectory = type === S_IFDIR;
    this.#links = wordAt(NLINK);
    this.#content = CONTENT.map(wordAt);
    this.#change = CHANGE.map(wordAt);
    const size = view.getBigUint64(SIZE, true);
    this.sizeBytes = Number(size);
    this.modifiedMs = Number(view.getBigInt64(MTIME_S, true)) * 1000 + Math.floor(wordAt(MTIME_NS) / 1e6);
    const device = `${wordAt(DEV_MAJOR)}:${wordAt(DEV_MINOR)}`;
    const inode = view.getBigUint64(INO, true);
    this.version = `${device}:${inode}:${size}:${timeText(MTIME_S)}:${timeText(CTIME_S)}`;
    const changedNs = wordAt(CTIME_NS);
    const changedMs = Number(view.getBigInt64(CTIME_S, true)) * 1000 + changedNs / 1e6;
    const granularityMs = changedNs === 0 ? COARSE_GRANULARITY_MS : GRANULARITY_MS;
    this.settled = nowMs - changedMs > granularityMs;
  }

  /** Nothing has happened to the file `fd`, of which this was, as far as its times tell. */
  isCurrent(fd: number): boolean {
    look(fd);
    return shows(CONTENT, this.#content) && shows(CHANGE, this.#change);
  }

  /**
   * Nobody has written to the file `fd`, of which this was, as far as its times tell. A link made or removed, as when a
   * release is deleted, changes the time of change, too, and no byte.
   */
  isUnwritten(fd: number): boolean {
    look(fd);
    return shows(CONTENT, this.#content) && (shows(CHANGE, this.#change) || wordAt(NLINK) !== this.#links);
  }
}
