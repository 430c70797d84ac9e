/**
 * Sizes of the files below a root directory, for policies: without opening a file for good or reading it, so that
 * asking about files that other nodes serve pushes nothing out of this node's file cache.
 */
import { LRUCache } from 'lru-cache';
import { FileState } from '../../kernel/linux/file-state.ts';
import { closeFile } from '../../kernel/linux/files.ts';
import { resolvePath } from './path.ts';
import { RootDirectory } from './root-directory.ts';

const MAX_ENTRIES = 65_536;
/** A size is believed for this long. */
export const SIZE_BELIEVED_MS = 10_000;
const INDEX = 'index.html';

export class FileSizes {
  readonly #root: RootDirectory;
  readonly #sizes: LRUCache<string, { readonly bytes: number | null; readonly atMs: number }>;

  /** `root`: absolute path. Throws when it cannot be opened. */
  constructor(root: string) {
    this.#root = new RootDirectory(root);
    this.#sizes = new LRUCache({ max: MAX_ENTRIES });
  }

  /** Bytes of the file that a raw request path leads to; null when there is none. */
  sizeOf(path: string, nowMs: number): number | null {
    const known = this.#sizes.get(path);
    if (known !== undefined && nowMs - known.atMs < SIZE_BELIEVED_MS) return known.bytes;
    if (this.#root.renew()) this.#sizes.clear();
    const bytes = this.#look(path);
    // A copy: the path is cut out of a head, which it would keep in memory.
    this.#sizes.set(Buffer.from(path, 'latin1').toString('latin1'), { bytes, atMs: nowMs });
    return bytes;
  }

  #look(path: string): number | null {
    const resolved = resolvePath(path);
    if (typeof resolved === 'number') return null;
    const file = resolved.directory || resolved.file === '' ? `${resolved.file}/${INDEX}` : resolved.file;
    let fd: number;
    try {
      fd = this.#root.open(file.replace(/^\/+/, ''));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== undefined) return null;
      throw error;
    }
    try {
      const { isFile, sizeBytes } = new FileState(fd);
      return isFile ? sizeBytes : null;
    } finally {
      closeFile(fd);
    }
  }

  close(): void {
    this.#root.close();
  }
}
