/** A socket that is deaf for a while: segments for it are dropped unanswered, as if lost (socket(7): socket filters). */
import { check, ENOENT, lastErrno } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { getOptionBytes, SOL_SOCKET } from './socket.ts';

const SO_ATTACH_FILTER = 26;
const SO_DETACH_FILTER = 27;
const SO_MEMINFO = 55;
/** SK_MEMINFO_VARS numbers of 4 bytes; the last one, SK_MEMINFO_DROPS, counts segments that were dropped. */
const MEMINFO_BYTES = 36;
const MEMINFO_DROPS = 32;

/** struct sock_fprog and its one instruction, "return 0": every segment is dropped before TCP sees it. */
const dropAll = allocate(24);
dropAll.view.setUint16(0, 1, true);
dropAll.view.setBigUint64(8, BigInt(dropAll.address + 16), true);
dropAll.view.setUint16(16, 0x06, true);

const memory = allocate(MEMINFO_BYTES);

export function setDeaf(fd: number): void {
  check('setsockopt', libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, dropAll.address, 16), 'filter');
}

/** Harmless for a socket that hears. */
export function setHearing(fd: number): void {
  const result = libc.setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, memory.address, 4);
  if (result < 0 && lastErrno() !== ENOENT) check('setsockopt', result, 'no filter');
}

/** Segments for the socket that were dropped since it was made, modulo 2^32. */
export function droppedSegments(fd: number): number {
  getOptionBytes(fd, SOL_SOCKET, SO_MEMINFO, memory.address, MEMINFO_BYTES);
  return memory.view.getUint32(MEMINFO_DROPS, true);
}
