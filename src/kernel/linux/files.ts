/** Opening files that are certainly below a directory. */
import { constants } from 'node:fs';
import koffi from 'koffi';
import { EAGAIN, EINTR, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';

const syscallOpenat2 = koffi
  .load('libc.so.6')
  .func('long syscall(long number, long directory, str path, void *how, size_t size)');

/** The same number on every architecture (unified since Linux 5.1). */
const SYS_OPENAT2 = 437;
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_BENEATH = 0x08;
const O_CLOEXEC = 0o2000000;
/** The kernel gives up with EAGAIN when a rename races with the check for '..'. */
const MAX_ATTEMPTS = 8;

/** struct open_how: flags, mode, resolve; 64 bits each. */
const how = allocate(24);
// Not blocking, so that a FIFO without a writer doesn't stop the caller.
const flags = constants.O_RDONLY | constants.O_NOCTTY | constants.O_NONBLOCK | O_CLOEXEC;
how.view.setBigUint64(0, BigInt(flags), true);
how.view.setBigUint64(16, BigInt(RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS), true);

/** Closes what `openBeneath` opened: to Node's own close() it is a stranger's, of which it warns. */
export function closeFile(fd: number): void {
  libc.close(fd);
}

/**
 * Opens `path` (relative to `rootFd`) for reading and returns its descriptor. Neither `..` nor a symbolic link leads
 * out of the root: the kernel refuses with EXDEV (openat2(2), RESOLVE_BENEATH). Directories open too. Throws
 * SystemError.
 */
export function openBeneath(rootFd: number, path: string): number {
  for (let attempt = 1; ; attempt++) {
    const fd = syscallOpenat2(SYS_OPENAT2, rootFd, path, how.bytes, how.bytes.length) as number;
    if (fd >= 0) return fd;
    const errno = lastErrno();
    if ((errno === EAGAIN || errno === EINTR) && attempt < MAX_ATTEMPTS) continue;
    throw new SystemError('openat2', errno, path);
  }
}
