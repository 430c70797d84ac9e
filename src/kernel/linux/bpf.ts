/**
 * eBPF through libbpf (objects, attaching to tc) and bpf(2) (maps). Handles of libbpf are plain addresses.
 * `KernelObject` owns everything it opened; `close()` gives it back, except what is attached to an interface.
 */
import koffi from 'koffi';
import { check, EAGAIN, EEXIST, ENOENT, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { addressOf, allocate, type Memory, viewOf } from './memory.ts';

const BPF_MAP_CREATE = 0;
const BPF_MAP_LOOKUP_ELEM = 1;
const BPF_MAP_UPDATE_ELEM = 2;
const BPF_MAP_DELETE_ELEM = 3;
const BPF_MAP_GET_NEXT_KEY = 4;
const BPF_MAP_LOOKUP_AND_DELETE_ELEM = 21;
const BPF_LINK_CREATE = 28;
const BPF_NOEXIST = 1n;
const BPF_CGROUP_SOCK_OPS = 3;
const BPF_MAP_TYPE_RINGBUF = 27;

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const PAGE_BYTES = 4096;

/** Ours among the filters of an interface: neighbours keep theirs. */
const TC_PRIORITY = 47728;
const TC_HANDLE = 1;
const TC_REPLACE = 1;
const LOAD_ATTEMPTS = 10;
export const TC_INGRESS = 1;
export const TC_EGRESS = 2;

type Handle = number;

interface Libbpf {
  setPrint: (callback: null) => unknown;
  open: (path: string, options: null) => Handle;
  load: (object: Handle) => number;
  close: (object: Handle) => void;
  findMap: (object: Handle, name: string) => Handle;
  mapFd: (map: Handle) => number;
  setMaxEntries: (map: Handle, entries: number) => number;
  reuseFd: (map: Handle, fd: number) => number;
  findProgram: (object: Handle, name: string) => Handle;
  programFd: (program: Handle) => number;
  hookCreate: (hook: number) => number;
  attach: (hook: number, options: number) => number;
  detach: (hook: number, options: number) => number;
  query: (hook: number, options: number) => number;
}

let loaded: Libbpf | undefined;

/** Loads libbpf on first use, so that `baton doctor` can say that it is missing. */
function libbpf(): Libbpf {
  if (loaded !== undefined) return loaded;
  const lib = koffi.load('libbpf.so.1');
  loaded = {
    setPrint: lib.func('void* libbpf_set_print(void*)'),
    open: lib.func('intptr_t bpf_object__open_file(const char*, void*)'),
    load: lib.func('int bpf_object__load(intptr_t)'),
    close: lib.func('void bpf_object__close(intptr_t)'),
    findMap: lib.func('intptr_t bpf_object__find_map_by_name(intptr_t, const char*)'),
    mapFd: lib.func('int bpf_map__fd(intptr_t)'),
    setMaxEntries: lib.func('int bpf_map__set_max_entries(intptr_t, uint32_t)'),
    reuseFd: lib.func('int bpf_map__reuse_fd(intptr_t, int)'),
    findProgram: lib.func('intptr_t bpf_object__find_program_by_name(intptr_t, const char*)'),
    programFd: lib.func('int bpf_program__fd(intptr_t)'),
    hookCreate: lib.func('int bpf_tc_hook_create(intptr_t)'),
    attach: lib.func('int bpf_tc_attach(intptr_t, intptr_t)'),
    detach: lib.func('int bpf_tc_detach(intptr_t, intptr_t)'),
    query: lib.func('int bpf_tc_query(intptr_t, intptr_t)'),
  };
  loaded.setPrint(null);
  return loaded;
}

/** libbpf returns negative errnos. */
function checked(call: string, result: number, detail: string): number {
  if (result < 0) throw new SystemError(call, -result, detail);
  return result;
}

export interface ObjectOptions {
  /** Replaces the sizes of the named maps. */
  readonly maxEntries?: Readonly<Record<string, number>>;
  /** Maps that exist already, by name, to be used in the place of new ones (descriptors). */
  readonly maps?: Readonly<Record<string, number>>;
}

function openObject(path: string, { maxEntries = {}, maps = {} }: ObjectOptions): Handle {
  const lib = libbpf();
  const handle = lib.open(path, null);
  if (handle === 0) throw new SystemError('bpf_object__open_file', ENOENT, path);
  for (const [name, entries] of Object.entries(maxEntries)) {
    checked('bpf_map__set_max_entries', lib.setMaxEntries(lib.findMap(handle, name), entries), name);
  }
  for (const [name, fd] of Object.entries(maps))
    checked('bpf_map__reuse_fd', lib.reuseFd(lib.findMap(handle, name), fd), name);
  return handle;
}

/** An eBPF object: programs and maps, loaded into the kernel. */
export class KernelObject {
  #handle: Handle;

  /** Opens and loads `path`. Needs CAP_BPF and CAP_NET_ADMIN. */
  constructor(path: string, options: ObjectOptions = {}) {
    for (let attempt = 1; ; attempt++) {
      this.#handle = openObject(path, options);
      const result = libbpf().load(this.#handle);
      if (result >= 0) return;
      libbpf().close(this.#handle);
      // The verifier gives way to any signal that arrives while it works.
      if (result !== -EAGAIN || attempt === LOAD_ATTEMPTS) checked('bpf_object__load', result, path);
    }
  }

  mapFd(name: string): number {
    const map = libbpf().findMap(this.#handle, name);
    if (map === 0) throw new SystemError('bpf_object__find_map_by_name', ENOENT, name);
    return libbpf().mapFd(map);
  }

  programFd(name: string): number {
    const program = libbpf().findProgram(this.#handle, name);
    if (program === 0) throw new SystemError('bpf_object__find_program_by_name', ENOENT, name);
    return libbpf().programFd(program);
  }

  close(): void {
    libbpf().close(this.#handle);
  }
}

function hookMemory(ifindex: number, direction: number): Memory {
  const hook = allocate(24);
  hook.bytes.writeBigUInt64LE(24n, 0);
  hook.bytes.writeInt32LE(ifindex, 8);
  hook.bytes.writeUInt32LE(direction, 12);
  return hook;
}

function tcOptions(programFd: number, flags: number): Memory {
  const options = allocate(32);
  options.bytes.writeBigUInt64LE(32n, 0);
  options.bytes.writeInt32LE(programFd, 8);
  options.bytes.writeUInt32LE(flags, 12);
  options.bytes.writeUInt32LE(TC_HANDLE, 20);
  options.bytes.writeUInt32LE(TC_PRIORITY, 24);
  return options;
}

/**
 * Attaches a program to an interface's clsact (made when missing), in the place of one that a crashed process left.
 * It stays attached when the process dies: a guard must outlive what it guards against.
 */
export function attachToInterface(programFd: number, ifindex: number, direction: number): void {
  const hook = hookMemory(ifindex, direction);
  const created = libbpf().hookCreate(hook.address);
  if (created < 0 && created !== -EEXIST) checked('bpf_tc_hook_create', created, `ifindex ${ifindex}`);
  const options = tcOptions(programFd, TC_REPLACE);
  checked('bpf_tc_attach', libbpf().attach(hook.address, options.address), `ifindex ${ifindex}`);
}

/** Detaches our program, if there is one; the clsact and other filters stay. Returns whether there was one. */
export function detachFromInterface(ifindex: number, direction: number): boolean {
  const hook = hookMemory(ifindex, direction);
  return libbpf().detach(hook.address, tcOptions(0, 0).address) >= 0;
}

/** The id of our program on an interface; 0 when there is none. */
export function attachedProgram(ifindex: number, direction: number): number {
  const hook = hookMemory(ifindex, direction);
  const options = tcOptions(0, 0);
  if (libbpf().query(hook.address, options.address) < 0) return 0;
  return options.bytes.readUInt32LE(16);
}

/** Attaches a sock_ops program to a cgroup; closing the returned descriptor detaches it. */
export function attachToCgroup(programFd: number, cgroupFd: number): number {
  const attributes = allocate(64);
  attributes.bytes.writeUInt32LE(programFd, 0);
  attributes.bytes.writeUInt32LE(cgroupFd, 4);
  attributes.bytes.writeUInt32LE(BPF_CGROUP_SOCK_OPS, 8);
  return check('bpf(LINK_CREATE)', libc.bpf(BPF_LINK_CREATE, attributes.address, 64));
}

/** A map reached by system calls: for entries that change with connections, not with segments. */
export class KernelMap {
  readonly fd: number;
  readonly key: Memory;
  readonly value: Memory;
  readonly #attributes = allocate(32);
  /** Attributes of an update that must make a new entry. */
  readonly #newAttributes = allocate(32);
  /** Without a value: the kernel refuses BPF_MAP_DELETE_ELEM when anything follows the key. */
  readonly #keyAttributes = allocate(32);

  constructor(fd: number, keyBytes: number, valueBytes: number) {
    this.fd = fd;
    this.key = allocate(keyBytes);
    this.value = allocate(valueBytes);
    this.#attributes.bytes.writeUInt32LE(fd, 0);
    this.#attributes.bytes.writeBigUInt64LE(BigInt(this.key.address), 8);
    this.#attributes.bytes.writeBigUInt64LE(BigInt(this.value.address), 16);
    this.#attributes.bytes.copy(this.#newAttributes.bytes);
    this.#newAttributes.bytes.writeBigUInt64LE(BPF_NOEXIST, 24);
    this.#attributes.bytes.copy(this.#keyAttributes.bytes, 0, 0, 16);
  }

  /** Stores `value` under `key`. */
  update(): void {
    check('bpf(MAP_UPDATE)', libc.bpf(BPF_MAP_UPDATE_ELEM, this.#attributes.address, 32));
  }

  /** Stores `value` under `key`, unless there is an entry: then false. */
  insert(): boolean {
    const result = libc.bpf(BPF_MAP_UPDATE_ELEM, this.#newAttributes.address, 32);
    if (result < 0 && lastErrno() === EEXIST) return false;
    check('bpf(MAP_UPDATE)', result);
    return true;
  }

  /** Reads the entry of `key` into `value`; false when there is none. */
  lookup(): boolean {
    return libc.bpf(BPF_MAP_LOOKUP_ELEM, this.#attributes.address, 32) >= 0;
  }

  /** Removes the entry of `key` and reads what it was into `value`; false when there was none. */
  take(): boolean {
    return libc.bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, this.#attributes.address, 32) >= 0;
  }

  /** Removes the entry of `key`; false when there was none. */
  delete(): boolean {
    return libc.bpf(BPF_MAP_DELETE_ELEM, this.#keyAttributes.address, 32) >= 0;
  }

  /** All keys, copied: for tests, status and clean-up. */
  keys(): Buffer[] {
    const out: Buffer[] = [];
    const attributes = allocate(32);
    const current = allocate(this.key.bytes.length);
    attributes.bytes.writeUInt32LE(this.fd, 0);
    attributes.bytes.writeBigUInt64LE(BigInt(current.address), 16);
    while (libc.bpf(BPF_MAP_GET_NEXT_KEY, attributes.address, 32) >= 0) {
      out.push(Buffer.from(current.bytes));
      attributes.bytes.writeBigUInt64LE(BigInt(current.address), 8);
    }
    return out;
  }
}

/** Maps a memory-mappable array of `sizeBytes` (rounded up to pages): reading and writing it costs no system call. */
export function mapMemory(fd: number, sizeBytes: number): { view: ArrayBuffer; unmap: () => void } {
  const length = Math.ceil(sizeBytes / PAGE_BYTES) * PAGE_BYTES;
  const address = libc.mmap(0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  check('mmap', address === -1 ? -1 : 0, 'bpf map');
  return { view: viewOf(address, length), unmap: () => libc.munmap(address, length) };
}

/** Makes a ring buffer map of `sizeBytes` (a power of two of pages). */
export function createRingBuffer(sizeBytes: number): number {
  const attributes = allocate(72);
  attributes.bytes.writeUInt32LE(BPF_MAP_TYPE_RINGBUF, 0);
  attributes.bytes.writeUInt32LE(sizeBytes, 12);
  return check('bpf(MAP_CREATE)', libc.bpf(BPF_MAP_CREATE, attributes.address, 72), 'ring buffer');
}

/** Writes a descriptor into an array of maps. */
export function setInnerMap(outerFd: number, index: number, innerFd: number): void {
  const outer = new KernelMap(outerFd, 4, 4);
  outer.key.bytes.writeUInt32LE(index, 0);
  outer.value.bytes.writeUInt32LE(innerFd, 0);
  outer.update();
}

const BPF_PROG_TEST_RUN = 10;

/** Runs a tc program on a hand-made frame (BPF_PROG_TEST_RUN). Returns its verdict and the frame afterwards. */
export function testRun(programFd: number, frame: Buffer): { verdict: number; frame: Buffer } {
  const out = Buffer.from(new ArrayBuffer(frame.length + 256));
  const attributes = allocate(80);
  attributes.bytes.writeUInt32LE(programFd, 0);
  attributes.bytes.writeUInt32LE(frame.length, 8);
  attributes.bytes.writeUInt32LE(out.length, 12);
  attributes.bytes.writeBigUInt64LE(BigInt(addressOf(frame)), 16);
  attributes.bytes.writeBigUInt64LE(BigInt(addressOf(out)), 24);
  check('bpf(PROG_TEST_RUN)', libc.bpf(BPF_PROG_TEST_RUN, attributes.address, 80));
  return {
    verdict: attributes.bytes.readInt32LE(4),
    frame: out.subarray(0, attributes.bytes.readUInt32LE(12)),
  };
}
