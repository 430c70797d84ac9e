/**
 * The C library's calls as Baton uses them: synchronous, with file descriptors, addresses and lengths as plain
 * numbers. Results are the C results; a negative one means that `lastErrno()` says why. Lengths stay below 2 GiB,
 * so `int` is wide enough for every result.
 */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');

type Call<A extends unknown[]> = (...args: A) => number;
type N = number;

export const socket = libc.func('int socket(int, int, int)') as Call<[N, N, N]>;
export const socketpair = libc.func('int socketpair(int, int, int, intptr_t)') as Call<[N, N, N, N]>;
export const bind = libc.func('int bind(int, intptr_t, uint32_t)') as Call<[N, N, N]>;
export const connect = libc.func('int connect(int, intptr_t, uint32_t)') as Call<[N, N, N]>;
export const listen = libc.func('int listen(int, int)') as Call<[N, N]>;
export const accept4 = libc.func('int accept4(int, intptr_t, intptr_t, int)') as Call<[N, N, N, N]>;
export const shutdown = libc.func('int shutdown(int, int)') as Call<[N, N]>;
export const close = libc.func('int close(int)') as Call<[N]>;
export const recv = libc.func('int recv(int, intptr_t, size_t, int)') as Call<[N, N, N, N]>;
export const send = libc.func('int send(int, intptr_t, size_t, int)') as Call<[N, N, N, N]>;
/** send(2) from a Buffer's first byte, without asking for its address. */
export const sendBytes = libc.func('send', 'int', ['int', 'void*', 'size_t', 'int']) as (
  fd: N,
  bytes: Uint8Array,
  length: N,
  flags: N,
) => number;
export const sendto = libc.func('int sendto(int, intptr_t, size_t, int, intptr_t, uint32_t)') as Call<
  [N, N, N, N, N, N]
>;
export const sendfile = libc.func('int sendfile(int, int, intptr_t, size_t)') as Call<[N, N, N, N]>;
export const pread = libc.func('int pread(int, intptr_t, size_t, int64_t)') as Call<[N, N, N, N]>;
export const preadv2 = libc.func('int preadv2(int, intptr_t, int, int64_t, int)') as Call<[N, N, N, N, N]>;
export const statx = libc.func('int statx(int, intptr_t, int, uint32_t, intptr_t)') as Call<[N, N, N, N, N]>;
export const read = libc.func('int read(int, intptr_t, size_t)') as Call<[N, N, N]>;
export const write = libc.func('int write(int, intptr_t, size_t)') as Call<[N, N, N]>;
export const setsockopt = libc.func('int setsockopt(int, int, int, intptr_t, uint32_t)') as Call<
  [N, N, N, N, N]
>;
export const getsockopt = libc.func('int getsockopt(int, int, int, intptr_t, intptr_t)') as Call<
  [N, N, N, N, N]
>;
export const getsockname = libc.func('int getsockname(int, intptr_t, intptr_t)') as Call<[N, N, N]>;
export const getpeername = libc.func('int getpeername(int, intptr_t, intptr_t)') as Call<[N, N, N]>;
export const ioctl = libc.func('int ioctl(int, ulong, intptr_t)') as Call<[N, N, N]>;
export const epollCreate1 = libc.func('int epoll_create1(int)') as Call<[N]>;
export const epollCtl = libc.func('int epoll_ctl(int, int, int, intptr_t)') as Call<[N, N, N, N]>;
export const epollWait = libc.func('int epoll_wait(int, intptr_t, int, int)') as Call<[N, N, N, N]>;
export const eventfd = libc.func('int eventfd(uint32_t, int)') as Call<[N, N]>;
export const mmap = libc.func('intptr_t mmap(intptr_t, size_t, int, int, int, long)') as Call<
  [N, N, N, N, N, N]
>;
export const munmap = libc.func('int munmap(intptr_t, size_t)') as Call<[N, N]>;
export const prctl = libc.func('int prctl(int, ulong, ulong, ulong, ulong)') as Call<[N, N, N, N, N]>;
export const memcpy = libc.func('intptr_t memcpy(intptr_t, intptr_t, size_t)') as Call<[N, N, N]>;
export const clockGettime = libc.func('int clock_gettime(int, intptr_t)') as Call<[N, N]>;
export const ifIndexToName = libc.func('intptr_t if_indextoname(uint32_t, intptr_t)') as Call<[N, N]>;
export const ifNameToIndex = libc.func('uint32_t if_nametoindex(const char*)') as Call<[string]>;
const systemCall = libc.func('long syscall(long, int, intptr_t, uint32_t)') as Call<[N, N, N, N]>;
const SYS_BPF = process.arch === 'arm64' ? 280 : 321;

/** bpf(2), which has no C wrapper: command, address of its attributes, their size in bytes. */
export function bpf(command: number, attributes: number, sizeBytes: number): number {
  return systemCall(SYS_BPF, command, attributes, sizeBytes);
}
