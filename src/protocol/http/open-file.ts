/** A file just opened: its content when it is small (then `fd` is -1), else its descriptor. */
import { readSync } from 'node:fs';
import { FileState } from '../../kernel/linux/file-state.ts';
import { closeFile } from '../../kernel/linux/files.ts';
import type { Coding } from './negotiate.ts';

/** Files up to this size are kept in memory. */
export const SMALL_FILE_BYTES = 65_536;
/** Attempts to read a file that changes while it is read. */
const MAX_READ_ATTEMPTS = 3;

export interface OpenFile {
  readonly coding: Coding | '';
  readonly fd: number;
  readonly state: FileState;
  readonly body: Buffer | null;
}

/** Reads a small file and closes it. One that keeps changing is left open, to be sent like a large one. */
export function readIfSmall(opened: OpenFile): OpenFile {
  const { fd, coding } = opened;
  let { state } = opened;
  for (let attempt = 0; attempt < MAX_READ_ATTEMPTS && state.sizeBytes <= SMALL_FILE_BYTES; attempt++) {
    const body = Buffer.allocUnsafeSlow(state.sizeBytes);
    let at = 0;
    while (at < body.length) {
      const bytes = readSync(fd, body, at, body.length - at, at);
      if (bytes === 0) break;
      at += bytes;
    }
    if (at === body.length && state.isCurrent(fd)) {
      closeFile(fd);
      return { coding, fd: -1, state, body };
    }
    state = new FileState(fd);
  }
  return { ...opened, state };
}
