/**
 * The files of a root directory, opened and described, in a bounded cache.
 *
 *   Map request path -> Entry -> representations[0]   the file itself
 *                                 representations[1..] its precompressed siblings
 *
 * A small file is read into memory and closed; a large one stays open, counted by references, and its descriptor is
 * closed when the entry has left the cache and no response uses it any more. An entry is compared with the file
 * system, and the root with what its path leads to, at most once in REVALIDATE_MS; an entry of a large file before
 * every response, since the kernel sends what is in the file then. What a look has found holds for all paths of the
 * file: no client sees an older state than another one has seen. Eviction is second chance: an entry that was used
 * since it was last looked at goes to the back of the queue instead.
 */
import { SystemError } from '../../kernel/linux/errors.ts';
import { FileState } from '../../kernel/linux/file-state.ts';
import { closeFile } from '../../kernel/linux/files.ts';
import { Entry } from './file-entry.ts';
import { contentType, type MediaTypes } from './media-types.ts';
import { CODINGS, type Coding } from './negotiate.ts';
import { type OpenFile, readIfSmall } from './open-file.ts';
import { directoryLocation, resolvePath } from './path.ts';
import { Representation } from './representation.ts';
import { RootDirectory } from './root-directory.ts';

/** How long an entry is believed without looking at the file system. */
export const REVALIDATE_MS = 1000;
const INDEX = 'index.html';

/** Has the bytes of a large file read elsewhere; `done` gets their digest, or null when nobody can vouch for one. */
export type DigestFile = (
  file: { readonly fd: number; readonly version: string; readonly sizeBytes: number },
  done: (digest: string | null) => void,
) => void;

export interface FileCacheOptions {
  /** Absolute path of the root directory. */
  readonly root: string;
  /** Bound on the memory of small files and their ready-made responses. */
  readonly memoryBytes: number;
  /** Bound on descriptors of large files (those still being sent after eviction come on top). */
  readonly openFiles: number;
  /** Bound on entries. */
  readonly entries: number;
  readonly types: MediaTypes;
  /** Null: large files have no strong validator. */
  readonly digest: DigestFile | null;
}

/** No file to send: the status to answer with, and where to go when it is 301. */
export interface Failure {
  readonly status: 301 | 400 | 404 | 500 | 503;
  readonly location: string;
}

export class FileCache {
  readonly #options: FileCacheOptions;
  readonly #root: RootDirectory;
  readonly #entries = new Map<string, Entry>();
  readonly #byDocument = new Map<number, Set<Entry>>();
  #memoryBytes = 0;
  #descriptors = 0;

  constructor(options: FileCacheOptions) {
    this.#options = options;
    this.#root = new RootDirectory(options.root);
  }

  /** Entries, their memory, their descriptors: for metrics and tests. */
  get usage(): { entries: number; memoryBytes: number; descriptors: number } {
    return { entries: this.#entries.size, memoryBytes: this.#memoryBytes, descriptors: this.#descriptors };
  }

  /** A copy of the list of all entries. */
  get all(): Entry[] {
    return [...this.#entries.values()];
  }

  /** A cached entry that needs no look at its path, or undefined. */
  fresh(path: string, nowMs: number): Entry | undefined {
    const entry = this.#entries.get(path);
    if (entry === undefined) return undefined;
    const ageMs = nowMs - entry.checkedAtMs;
    // A clock that was set back makes an age negative: then look as well.
    if (ageMs >= REVALIDATE_MS || ageMs < 0) return undefined;
    if (entry.descriptors > 0 && !entry.isCurrent) return undefined;
    entry.requested();
    return entry;
  }

  /** The file that a raw request path leads to. */
  lookup(path: string, nowMs: number): Entry | Failure {
    const fresh = this.fresh(path, nowMs);
    if (fresh !== undefined) return fresh;
    if (this.#root.renew()) for (const entry of this.all) this.#drop(entry);
    const known = this.#entries.get(path);
    const found = this.#open(path, known, nowMs);
    if (found instanceof Entry) this.#digest(found);
    if (found === known) return found;
    if (known !== undefined) this.#drop(known);
    const document = found instanceof Entry ? found.document : known?.document;
    if (document !== undefined) this.#agree(document, found);
    if (found instanceof Entry) this.#keep(found);
    return found;
  }

  /** A file has several paths (`/`, `/index.html`, `/inde%78.html`): what shows at one is old at all the others. */
  #agree(document: number, found: Entry | Failure): void {
    for (const other of [...(this.#byDocument.get(document) ?? [])])
      if (!(found instanceof Entry && found.isAsOld(other))) this.#drop(other);
  }

  close(): void {
    for (const entry of this.all) this.#drop(entry);
    this.#root.close();
  }

  /** Opens what `path` leads to; gives `known` back when that is still exactly what is there. */
  #open(path: string, known: Entry | undefined, nowMs: number): Entry | Failure {
    const resolved = resolvePath(path);
    if (typeof resolved === 'number') return { status: resolved, location: '' };
    const { file } = resolved;
    const name = resolved.directory ? (file === '' ? INDEX : `${file}/${INDEX}`) : file;
    const opened: OpenFile[] = [];
    try {
      const main = this.#openOne(name, '');
      if (!main.state.isFile) {
        closeFile(main.fd);
        if (!main.state.isDirectory || resolved.directory) return { status: 404, location: '' };
        return { status: 301, location: directoryLocation(file) };
      }
      opened.push(main);
      for (const { coding, suffix } of CODINGS) {
        const sibling = this.#openSibling(name + suffix, coding, main.state);
        if (sibling !== null) opened.push(sibling);
      }
      const isKnown = known?.isOf(opened) === true;
      // Where a change may have left no trace in the times the bytes have to be compared.
      if (!isKnown || !known.settled)
        for (let i = 0; i < opened.length; i++) opened[i] = readIfSmall(opened[i]);
      if (isKnown && (known.settled || known.holds(opened))) {
        known.settled ||= opened.every(({ state }) => state.settled);
        known.checkedAtMs = nowMs;
        known.requested();
        closeAll(opened);
        return known;
      }
    } catch (error) {
      closeAll(opened);
      return failureOf(error);
    }
    const type = contentType(name, this.#options.types);
    const representations = opened.map((one) => new Representation(one, type, opened.length > 1, nowMs));
    return new Entry(path, name, representations, nowMs);
  }

  #openOne(name: string, coding: Coding | ''): OpenFile {
    const fd = this.#root.open(name);
    try {
      return { coding, fd, state: new FileState(fd), body: null };
    } catch (error) {
      closeFile(fd);
      throw error;
    }
  }

  /** A file's precompressed sibling; null when there is none, or it is of an older state of the file. */
  #openSibling(name: string, coding: Coding, file: FileState): OpenFile | null {
    let sibling: OpenFile;
    try {
      sibling = this.#openOne(name, coding);
    } catch (error) {
      if (failureOf(error).status === 404) return null;
      throw error;
    }
    if (sibling.state.isFile && wholeSeconds(sibling.state) >= wholeSeconds(file)) return sibling;
    closeFile(sibling.fd);
    return null;
  }

  /** Has the digests found that are wanted. A file that has just changed waits for the next look at it. */
  #digest(entry: Entry): void {
    const { digest } = this.#options;
    if (digest === null || !entry.settled) return;
    for (const one of entry.representations) {
      if (one.fd === -1 || one.digest !== null || one.digestPending) continue;
      const { fd, sizeBytes, file } = one;
      one.digestPending = true;
      one.retain();
      digest({ fd, sizeBytes, version: file.version }, (found) => {
        one.digestPending = false;
        if (found !== null) one.vouch(found);
        one.release();
      });
    }
  }

  #keep(entry: Entry): void {
    this.#entries.set(entry.path, entry);
    const paths = this.#byDocument.get(entry.document);
    if (paths === undefined) this.#byDocument.set(entry.document, new Set([entry]));
    else paths.add(entry);
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
    const paths = this.#byDocument.get(entry.document);
    paths?.delete(entry);
    if (paths?.size === 0) this.#byDocument.delete(entry.document);
    this.#memoryBytes -= entry.memoryBytes;
    this.#descriptors -= entry.descriptors;
    entry.release();
  }
}

function closeAll(opened: readonly OpenFile[]): void {
  for (const { fd } of opened) if (fd !== -1) closeFile(fd);
}

/** Tools that copy times to a sibling often do so in whole seconds. */
function wholeSeconds({ modifiedMs }: FileState): number {
  return Math.floor(modifiedMs / 1000);
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
