/** What the kernel says about eBPF programs and maps that other processes loaded. Needs CAP_BPF and CAP_SYS_ADMIN. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { allocate, type Memory } from './memory.ts';

const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_MAP_GET_FD_BY_ID = 14;
const BPF_OBJ_GET_INFO_BY_FD = 15;

/** Of struct bpf_prog_info and bpf_map_info (include/uapi/linux/bpf.h) the parts up to the name. */
const PROGRAM_INFO_BYTES = 80;
const MAP_INFO_BYTES = 40;
const NAME_BYTES = 16;
const MAX_MAPS = 64;

const nameAt = (info: Memory, offset: number): string =>
  info.bytes.toString('latin1', offset, offset + NAME_BYTES).replace(/\0.*$/s, '');

function openById(command: number, call: string, id: number): number {
  const attributes = allocate(16);
  attributes.bytes.writeUInt32LE(id, 0);
  return check(call, libc.bpf(command, attributes.address, 16), `id ${id}`);
}

/** Fills `info` with what the kernel knows of a descriptor. */
function describe(fd: number, info: Memory): void {
  const attributes = allocate(16);
  attributes.bytes.writeUInt32LE(fd, 0);
  attributes.bytes.writeUInt32LE(info.bytes.length, 4);
  attributes.bytes.writeBigUInt64LE(BigInt(info.address), 8);
  check('bpf(OBJ_GET_INFO)', libc.bpf(BPF_OBJ_GET_INFO_BY_FD, attributes.address, 16));
}

/** The name of a loaded program and the ids of its maps. */
export function programInfo(id: number): { readonly name: string; readonly mapIds: readonly number[] } {
  const fd = openById(BPF_PROG_GET_FD_BY_ID, 'bpf(PROG_GET_FD_BY_ID)', id);
  try {
    const info = allocate(PROGRAM_INFO_BYTES);
    const maps = allocate(4 * MAX_MAPS);
    info.bytes.writeUInt32LE(MAX_MAPS, 52);
    info.bytes.writeBigUInt64LE(BigInt(maps.address), 56);
    describe(fd, info);
    const count = Math.min(MAX_MAPS, info.bytes.readUInt32LE(52));
    const mapIds = Array.from({ length: count }, (_, index) => maps.bytes.readUInt32LE(4 * index));
    return { name: nameAt(info, 64), mapIds };
  } finally {
    libc.close(fd);
  }
}

function openMap(mapIds: readonly number[], isIt: (info: Memory) => boolean): number {
  for (const id of mapIds) {
    const fd = openById(BPF_MAP_GET_FD_BY_ID, 'bpf(MAP_GET_FD_BY_ID)', id);
    const info = allocate(MAP_INFO_BYTES);
    describe(fd, info);
    if (isIt(info)) return fd;
    libc.close(fd);
  }
  return -1;
}

/** Opens the one of these maps that has this name; -1 when none has. The caller closes the descriptor. */
export function openMapNamed(mapIds: readonly number[], name: string): number {
  return openMap(mapIds, (info) => nameAt(info, 24) === name);
}

/** The same for one with keys and values of these sizes: what another version of the program left may have others. */
export function openMapOf(
  mapIds: readonly number[],
  { name, keyBytes, valueBytes }: { name: string; keyBytes: number; valueBytes: number },
): number {
  const hasSizes = ({ bytes }: Memory) =>
    bytes.readUInt32LE(8) === keyBytes && bytes.readUInt32LE(12) === valueBytes;
  return openMap(mapIds, (info) => nameAt(info, 24) === name && hasSizes(info));
}

/** The process that has a program open; undefined when none has, as after a crash. Other users' need root. */
export function holderOf(programId: number): number | undefined {
  const line = new RegExp(`^prog_id:\\s+${programId}$`, 'm');
  const holds = (pid: string, fd: string): boolean =>
    readlinkSync(`/proc/${pid}/fd/${fd}`) === 'anon_inode:bpf-prog' &&
    line.test(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'));
  for (const pid of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const fds = unlessGone(() => readdirSync(`/proc/${pid}/fd`), []);
    // A descriptor that is closed meanwhile says nothing about the others of its process.
    if (fds.some((fd) => unlessGone(() => holds(pid, fd), false))) return Number(pid);
  }
  return undefined;
}

/** A process, or a descriptor of it, may end between two looks. */
function unlessGone<T>(look: () => T, otherwise: T): T {
  try {
    return look();
  } catch {
    return otherwise;
  }
}
