/** A socket that is deaf for a while: TCP sees nothing of the segments for it, and answers none (socket(7): socket filters). */
import { check, ENOENT, lastErrno } from './errors.ts';
import * as libc from './libc.ts';
import { addressOf, allocate } from './memory.ts';
import { getOptionBytes, SOL_SOCKET } from './socket.ts';

const SO_ATTACH_BPF = 50;
const SO_DETACH_BPF = 27;
const SO_MEMINFO = 55;
/** SK_MEMINFO_VARS numbers of 4 bytes; the last one, SK_MEMINFO_DROPS, counts segments that were dropped. */
const MEMINFO_BYTES = 36;
const MEMINFO_DROPS = 32;

const BPF_PROG_LOAD = 5;
const BPF_PROG_TYPE_SOCKET_FILTER = 1;
const PROGRAM_ATTRIBUTE_BYTES = 64;
const INSTRUCTION_BYTES = 8;
/** "r0 = 0" and "exit": every segment is dropped before TCP sees it. */
const MOV64_IMM = 0xb7;
const EXIT = 0x95;

const memory = allocate(MEMINFO_BYTES);
/** The filter's descriptor, as setsockopt wants it; 0 while there is none. */
const program = allocate(4);

/**
 * The filter of deaf sockets of this thread from now on: the router's, which keeps the segments for whoever moves the
 * connection (rule deaf).
 */
export function setDeafFilter(fd: number): void {
  program.view.setInt32(0, fd, true);
}

/**
 * Without a router: a program that drops everything, once for this thread, for as long as the process lasts. To attach
 * it costs a tenth of what a classic filter does, which the kernel translates anew for each socket. Needs CAP_BPF or
 * CAP_SYS_ADMIN.
 */
function loadDropAll(): void {
  const instructions = allocate(2 * INSTRUCTION_BYTES);
  instructions.view.setUint8(0, MOV64_IMM);
  instructions.view.setUint8(INSTRUCTION_BYTES, EXIT);
  const license = Buffer.from('MIT\0');
  const attributes = allocate(PROGRAM_ATTRIBUTE_BYTES);
  attributes.view.setUint32(0, BPF_PROG_TYPE_SOCKET_FILTER, true);
  attributes.view.setUint32(4, 2, true);
  attributes.view.setBigUint64(8, BigInt(instructions.address), true);
  attributes.view.setBigUint64(16, BigInt(addressOf(license)), true);
  const fd = check(
    'bpf(PROG_LOAD)',
    libc.bpf(BPF_PROG_LOAD, attributes.address, PROGRAM_ATTRIBUTE_BYTES),
    'the filter of a deaf socket',
  );
  setDeafFilter(fd);
}

export function setDeaf(fd: number): void {
  if (program.view.getInt32(0, true) === 0) loadDropAll();
  check('setsockopt', libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, program.address, 4), 'filter');
}

/** Harmless for a socket that hears. */
export function setHearing(fd: number): void {
  const result = libc.setsockopt(fd, SOL_SOCKET, SO_DETACH_BPF, memory.address, 4);
  if (result < 0 && lastErrno() !== ENOENT) check('setsockopt', result, 'no filter');
}

/** Segments for the socket that TCP has not seen, or not taken, since it was made, modulo 2^32. */
export function droppedSegments(fd: number): number {
  getOptionBytes(fd, SOL_SOCKET, SO_MEMINFO, memory.address, MEMINFO_BYTES);
  return memory.view.getUint32(MEMINFO_DROPS, true);
}
