/**
 * The directory that a site's files are in. Its path is followed anew whenever it is asked to: a deployment swaps a
 * symbolic link, or renames directories, and what was opened once would go on to be the old release.
 */
import { closeSync, constants, fstatSync, openSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SystemError } from '../../kernel/linux/errors.ts';
import { openBeneath } from '../../kernel/linux/files.ts';

/** Which directory it is. While it is open no other one is numbered so. */
interface Place {
  readonly dev: bigint;
  readonly ino: bigint;
}

export class RootDirectory {
  readonly #path: string;
  #fd: number;
  #place: Place;

  /** `path`: absolute. Throws when it cannot be opened. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = openDirectory(path);
    this.#place = fstatSync(this.#fd, { bigint: true });
  }

  /**
   * Follows the path again. True: it leads to another directory now, whose files those below are from now on. A path
   * that leads nowhere, as in the middle of a swap, changes nothing.
   */
  renew(): boolean {
    let fd: number;
    try {
      const { dev, ino } = statSync(this.#path, { bigint: true });
      if (dev === this.#place.dev && ino === this.#place.ino) return false;
      fd = openDirectory(this.#path);
    } catch {
      return false;
    }
    closeSync(this.#fd);
    this.#fd = fd;
    this.#place = fstatSync(fd, { bigint: true });
    return true;
  }

  /** Opens a file or directory below it and returns its descriptor. Throws the system's error; EXDEV: it is outside. */
  open(name: string): number {
    try {
      return openBeneath(this.#fd, name);
    } catch (error) {
      if (!(error instanceof SystemError) || error.code !== 'EXDEV') throw error;
      const inside = this.#inside(name);
      if (inside === null) throw error;
      return openBeneath(this.#fd, inside);
    }
  }

  /**
   * What a name leads to that passes an absolute link, or leaves the root and comes back, as a name below the root;
   * null when it ends outside. Whatever changes meanwhile: the kernel sees to it that opening stays below the root.
   */
  #inside(name: string): string | null {
    const root = realpathSync.native(this.#path);
    const real = realpathSync.native(join(root, name));
    const prefix = root.endsWith('/') ? root : `${root}/`;
    return real.startsWith(prefix) ? real.substring(prefix.length) : null;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function openDirectory(path: string): number {
  return openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
}
