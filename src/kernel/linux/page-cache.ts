/** Which parts of a file are in the kernel's page cache. */
import { EAGAIN, lastErrno } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';

const RWF_NOWAIT = 8;

/** struct iovec: address, length; 64 bits each. */
const IOVEC_BYTES = 16;
/**
 * An iovec and the byte that it points to, in one piece of memory, so that both live as long as the address is used.
 */
const memory = allocate(IOVEC_BYTES + 1);
memory.view.setBigUint64(0, BigInt(memory.address + IOVEC_BYTES), true);
memory.view.setBigUint64(8, 1n, true);

/**
 * Whether the page with the byte at `offset` of an open file can be read without waiting for a disk. True also when the
 * kernel cannot tell, because the file system has no such reads (tmpfs, which is memory, is one of them).
 *
 * Looking is not free of effects: the kernel begins to read a page that is not there, and takes one that is there for
 * used. mincore() and cachestat() would have none, but tell the truth only to who owns the file.
 */
export function isInPageCache(fd: number, offset: number): boolean {
  return libc.preadv2(fd, memory.address, 1, offset, RWF_NOWAIT) >= 0 || lastErrno() !== EAGAIN;
}
