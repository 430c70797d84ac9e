/** Descriptors that log lines are written to, without ever blocking a thread on a reader. */
import { closeSync, constants, fstatSync, openSync, readSync, write, writeSync } from 'node:fs';
import { check } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { addressOf } from '../../kernel/linux/memory.ts';
import { MSG_DONTWAIT, MSG_NOSIGNAL } from '../../kernel/linux/socket.ts';

const FILE_MODE = 0o640;
const { O_APPEND, O_CREAT, O_NOCTTY, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
const LINE_FEED = 10;

export interface Output {
  readonly fd: number;
  /** Ours to close. */
  readonly own: boolean;
  readonly socket: boolean;
  /** The file ends in the middle of a line. */
  readonly torn: boolean;
}

/** Opens a log file for appending. A FIFO that nobody reads fails with ENXIO instead of blocking. */
export function openFile(path: string): Output {
  const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY, FILE_MODE);
  return { fd, own: true, socket: false, torn: isTorn(path, fd) };
}

/** Whether the last line of a regular file has no end: a process before this one found the disk full, or was killed. */
function isTorn(path: string, fd: number): boolean {
  const stats = fstatSync(fd);
  if (!stats.isFile() || stats.size === 0) return false;
  const last = Buffer.alloc(1);
  try {
    const reader = openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    readSync(reader, last, 0, 1, stats.size - 1);
    closeSync(reader);
  } catch {
    // Another user's file, which this process may not read.
    return false;
  }
  return last[0] !== LINE_FEED;
}

/**
 * An inherited descriptor, as one that does not block: a thread blocked in write() would keep the process from
 * exiting. O_NONBLOCK on the descriptor itself would show in every process that shares it, so a pipe or terminal
 * is opened anew, and a socket (systemd's journal, Node's child_process) is sent to with MSG_DONTWAIT. A regular
 * file never waits for a reader.
 */
export function openInherited(fd: number): Output {
  const kind = fstatSync(fd);
  const inherited: Output = { fd, own: false, socket: kind.isSocket(), torn: false };
  if (!kind.isFIFO() && !kind.isCharacterDevice()) return inherited;
  try {
    const again = openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY);
    return { fd: again, own: true, socket: false, torn: false };
  } catch {
    // It cannot be opened anew (another user's terminal, a pipe without a reader): it is used as it is.
    return inherited;
  }
}

export function closeOutput(output: Output): void {
  if (output.own) closeSync(output.fd);
}

/**
 * Writes `bytes` from `start`, at once; the number of bytes taken. Throws the system's error;
 * EAGAIN or its other name, EWOULDBLOCK, when full.
 */
export function writeNow(output: Output, bytes: Buffer, start: number): number {
  if (!output.socket) return writeSync(output.fd, bytes, start);
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  return check('send', libc.send(output.fd, addressOf(bytes) + start, bytes.length - start, flags));
}

/** As `writeNow`, off this thread where a disk might be slow. `done` is called later in any case. */
export function writeLater(
  output: Output,
  bytes: Buffer,
  start: number,
  done: (error: NodeJS.ErrnoException | null, count: number) => void,
): void {
  if (!output.socket) {
    write(output.fd, bytes, start, done);
    return;
  }
  setImmediate(() => {
    let count = 0;
    try {
      count = writeNow(output, bytes, start);
    } catch (error) {
      done(error as NodeJS.ErrnoException, 0);
      return;
    }
    done(null, count);
  });
}
