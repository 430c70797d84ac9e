/** AF_PACKET sockets (packet(7)): whole Ethernet frames of one interface, in and out. Needs CAP_NET_RAW. */
import koffi from 'koffi';
import { check, EINTR, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { getOptionBytes, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET, setOption } from './socket.ts';

export const AF_PACKET = 17;
const ETH_P_ALL = 3;
export const SOL_PACKET = 263;
const PACKET_STATISTICS = 6;
const PACKET_IGNORE_OUTGOING = 23;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SOCKADDR_LL_BYTES = 20;
const SOCKET_BUFFER_BYTES = 16 * 1024 * 1024;

const POLLIN = 1;
const POLLFD_BYTES = 8;
const NS_PER_MS = 1_000_000;

const ppoll = koffi.load('libc.so.6').func('int ppoll(intptr_t, ulong, intptr_t, intptr_t)') as (
  ...args: number[]
) => number;

/** Opens a non-blocking socket for every frame that arrives on the interface, and for sending frames on it. */
export function packetSocket(interfaceName: string): number {
  const index = libc.ifNameToIndex(interfaceName);
  if (index === 0) throw new SystemError('if_nametoindex', lastErrno(), interfaceName);
  // Protocol 0 until bind(): otherwise frames of other interfaces would be queued meanwhile.
  const fd = check('socket', libc.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), 'AF_PACKET');
  try {
    setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER_BYTES);
    setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER_BYTES);
    setOption(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
    const address = allocate(SOCKADDR_LL_BYTES);
    address.bytes.writeUInt16LE(AF_PACKET, 0);
    address.bytes.writeUInt16BE(ETH_P_ALL, 2);
    address.bytes.writeInt32LE(index, 4);
    check('bind', libc.bind(fd, address.address, SOCKADDR_LL_BYTES), interfaceName);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}

const statistics = allocate(8);

/** Frames that the kernel dropped because the socket's queue was full, since the last call. */
export function packetDrops(fd: number): number {
  getOptionBytes(fd, SOL_PACKET, PACKET_STATISTICS, statistics.address, 8);
  return statistics.bytes.readUInt32LE(4);
}

/** Waits until one of a fixed set of descriptors is readable, with a timeout finer than epoll_wait's. */
export class ReadableWait {
  readonly #polls;
  readonly #timeout = allocate(16);
  readonly #count: number;

  constructor(fds: readonly number[]) {
    this.#count = fds.length;
    this.#polls = allocate(fds.length * POLLFD_BYTES);
    for (const [index, fd] of fds.entries()) {
      this.#polls.bytes.writeInt32LE(fd, index * POLLFD_BYTES);
      this.#polls.bytes.writeInt16LE(POLLIN, index * POLLFD_BYTES + 4);
    }
  }

  /** Waits at most `timeoutMs`, which may have a fraction. */
  wait(timeoutMs: number): void {
    const seconds = Math.floor(timeoutMs / 1000);
    this.#timeout.bytes.writeBigInt64LE(BigInt(seconds), 0);
    this.#timeout.bytes.writeBigInt64LE(BigInt(Math.floor((timeoutMs - seconds * 1000) * NS_PER_MS)), 8);
    const count = ppoll(this.#polls.address, this.#count, this.#timeout.address, 0);
    if (count < 0 && lastErrno() !== EINTR) throw new SystemError('ppoll', lastErrno());
  }
}
