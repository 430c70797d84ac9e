/**
 * Sockets: thin, typed wrappers over the system calls. Those on the hot path (recv, send, sendfile) return the C
 * result, negative with `lastErrno()`; the others throw SystemError.
 */

import { type Endpoint, formatEndpoint, isMapped } from '../../base/address.ts';
import { AF_INET, AF_INET6, AF_UNIX, readSockaddr, SOCKADDR_BYTES, writeSockaddr } from './address.ts';
import { check, EINPROGRESS, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';

export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;

export const SOL_SOCKET = 1;
export const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
export const IPPROTO_IPV6 = 41;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_MARK = 36;
export const IPV6_V6ONLY = 26;
const IPV6_FREEBIND = 78;
const IP_FREEBIND = 15;

export const IP_BIND_ADDRESS_NO_PORT = 24;

export const TCP_NODELAY = 1;
/** Bytes not sent yet, beyond which the kernel takes no more. */
export const TCP_NOTSENT_LOWAT = 25;
export const TCP_MAXSEG = 2;
export const TCP_LINGER2 = 8;
export const TCP_INFO = 11;
export const TCP_QUICKACK = 12;
export const TCP_USER_TIMEOUT = 18;

export const MSG_PEEK = 0x2;
export const MSG_DONTWAIT = 0x40;
export const MSG_EOR = 0x80;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_MORE = 0x8000;

export const SHUT_WR = 1;

const FIONREAD = 0x541b;
const TIOCOUTQ = 0x5411;
const SIOCOUTQNSD = 0x894b;

const sockaddr = allocate(SOCKADDR_BYTES);
const accepted = allocate(SOCKADDR_BYTES);
const acceptedLength = allocate(4);
const optionValue = allocate(8);
const optionLength = allocate(4);

/** Opens a non-blocking, close-on-exec TCP socket of the family of `address`. */
export function tcpSocket(address: Buffer): number {
  const family = isMapped(address) ? AF_INET : AF_INET6;
  return check('socket', libc.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

/** Two connected stream sockets of this machine alone (unix(7)). */
export function socketPair(): [number, number] {
  const pair = allocate(8);
  check('socketpair', libc.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.address));
  return [pair.view.getInt32(0, true), pair.view.getInt32(4, true)];
}

/** Sets an integer option. */
export function setOption(fd: number, level: number, option: number, value: number): void {
  optionValue.bytes.writeInt32LE(value | 0, 0);
  check('setsockopt', libc.setsockopt(fd, level, option, optionValue.address, 4), `${level}/${option}`);
}

/** Reads an integer option as an unsigned number. */
export function getOption(fd: number, level: number, option: number): number {
  optionLength.bytes.writeUInt32LE(4, 0);
  check(
    'getsockopt',
    libc.getsockopt(fd, level, option, optionValue.address, optionLength.address),
    `${level}/${option}`,
  );
  return optionValue.bytes.readUInt32LE(0);
}

/** Reads a structured option into `address`; returns the length the kernel gave. */
export function getOptionBytes(
  fd: number,
  level: number,
  option: number,
  address: number,
  sizeBytes: number,
): number {
  optionLength.bytes.writeUInt32LE(sizeBytes, 0);
  check(
    'getsockopt',
    libc.getsockopt(fd, level, option, address, optionLength.address),
    `${level}/${option}`,
  );
  return optionLength.bytes.readUInt32LE(0);
}

export function bindTo(fd: number, endpoint: Endpoint): void {
  const result = libc.bind(fd, sockaddr.address, writeSockaddr(sockaddr.bytes, endpoint));
  if (result < 0) throw new SystemError('bind', lastErrno(), formatEndpoint(endpoint));
}

/** Binds as a listener of ours would be, also to an address that the machine does not have yet (IP_FREEBIND). */
export function bindAhead(fd: number, endpoint: Endpoint): void {
  const isV4 = isMapped(endpoint.address);
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  setOption(fd, isV4 ? IPPROTO_IP : IPPROTO_IPV6, isV4 ? IP_FREEBIND : IPV6_FREEBIND, 1);
  if (!isV4) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  bindTo(fd, endpoint);
}

/** Starts to connect; completion shows as EPOLLOUT (then SO_ERROR tells). */
export function connectTo(fd: number, endpoint: Endpoint): void {
  const result = libc.connect(fd, sockaddr.address, writeSockaddr(sockaddr.bytes, endpoint));
  if (result < 0 && lastErrno() !== EINPROGRESS) throw new SystemError('connect', lastErrno());
}

/**
 * Lets others bind the port, as an accepted socket does. Without it a restored socket, or what the kernel still closes
 * of it after a crash, keeps the port from the listeners of an engine that starts.
 */
export function sharePort(fd: number): void {
  setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

/** Opens a listener that shares its port with the other engines of the process. */
export function listenOn(endpoint: Endpoint, backlog: number): number {
  const fd = tcpSocket(endpoint.address);
  try {
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (!isMapped(endpoint.address)) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    bindTo(fd, endpoint);
    check('listen', libc.listen(fd, backlog));
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}

/** Accepts one connection, non-blocking; negative when there is none (`lastErrno()`). */
export function acceptFrom(fd: number): number {
  acceptedLength.bytes.writeUInt32LE(SOCKADDR_BYTES, 0);
  return libc.accept4(fd, accepted.address, acceptedLength.address, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/** The other end of the connection that `acceptFrom` gave last; the socket forgets it when that resets it. */
export function acceptedPeer(): Endpoint {
  return readSockaddr(accepted.bytes);
}

export function localEndpoint(fd: number): Endpoint {
  optionLength.bytes.writeUInt32LE(SOCKADDR_BYTES, 0);
  check('getsockname', libc.getsockname(fd, sockaddr.address, optionLength.address));
  return readSockaddr(sockaddr.bytes);
}

export function remoteEndpoint(fd: number): Endpoint {
  optionLength.bytes.writeUInt32LE(SOCKADDR_BYTES, 0);
  check('getpeername', libc.getpeername(fd, sockaddr.address, optionLength.address));
  return readSockaddr(sockaddr.bytes);
}

function queueLength(fd: number, request: number, name: string): number {
  check(name, libc.ioctl(fd, request, optionValue.address));
  return optionValue.bytes.readInt32LE(0);
}

/** Bytes received and not yet read. */
export function receiveQueueBytes(fd: number): number {
  return queueLength(fd, FIONREAD, 'SIOCINQ');
}

/** Bytes written that the peer has not acknowledged, sent or not. */
export function sendQueueBytes(fd: number): number {
  return queueLength(fd, TIOCOUTQ, 'SIOCOUTQ');
}

/** Bytes written and not yet sent. */
export function unsentBytes(fd: number): number {
  return queueLength(fd, SIOCOUTQNSD, 'SIOCOUTQNSD');
}

/** The socket's pending error, as an errno; 0 when there is none. */
export function pendingError(fd: number): number {
  return getOption(fd, SOL_SOCKET, SO_ERROR);
}

/** Closes so that the peer gets RST at once: for connections that must not be continued. */
export function abortClose(fd: number): void {
  optionValue.bytes.writeInt32LE(1, 0);
  optionValue.bytes.writeInt32LE(0, 4);
  libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, optionValue.address, 8);
  libc.close(fd);
}
