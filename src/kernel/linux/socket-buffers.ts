/**
 * The sizes of a restored socket's buffers, which stay under the kernel's automatic sizing (socket(7), tcp(7)).
 */
import { MAX_RECEIVE_BUFFER_KIB } from '../tcp/state.ts';
import { getOption, SOL_SOCKET, setOption } from './socket.ts';

const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_BUF_LOCK = 72;

const KIB = 1024;
/** What setsockopt multiplies a buffer size by, for the kernel's own overhead. */
const OVERHEAD_FACTOR = 2;
/** The kernel takes a write only while its send buffer has room beyond what is queued. */
const SEND_SLACK_BYTES = 64 * KIB;
const SETTLED_SEND_BYTES = 64 * KIB;
/** The smallest buffer that a kernel may be configured to give (4 KiB) holds that, overhead included. */
const SMALL_QUEUE_BYTES = 1024;
/** The receive buffer that a socket begins with, as kernels are usually configured. */
const USUAL_RECEIVE_BUFFER_BYTES = 128 * KIB;
/** What another node may have this one's kernel keep of a client. */
const MAX_RECEIVE_BUFFER_BYTES = 16 * 1024 * KIB;

function sizeBuffer(fd: number, force: number, bytes: number): void {
  setOption(fd, SOL_SOCKET, force, bytes);
  setOption(fd, SOL_SOCKET, SO_BUF_LOCK, 0);
}

/**
 * Lets a buffer hold `bytes` of a queue. A window is no reason for a larger one: what is free is advertised, so a buffer
 * made for a window gives a larger window, and more at every move.
 */
function growBuffer(fd: number, option: number, force: number, bytes: number): void {
  if (bytes <= SMALL_QUEUE_BYTES) return;
  if (getOption(fd, SOL_SOCKET, option) < bytes * OVERHEAD_FACTOR) sizeBuffer(fd, force, bytes);
}

/** Makes room in the send buffer for a queue that is refilled. The kernel sizes it again by what is sent later. */
export function growSendBuffer(fd: number, queuedBytes: number): void {
  growBuffer(fd, SO_SNDBUF, SO_SNDBUFFORCE, queuedBytes + SEND_SLACK_BYTES);
}

/**
 * After the refill: a buffer twice the queue that came would be filled, and the next move had twice as much to carry.
 * The kernel sizes it by the congestion window from here on; what is above that waits to be acknowledged.
 */
export function settleSendBuffer(fd: number): void {
  if (getOption(fd, SOL_SOCKET, SO_SNDBUF) > SETTLED_SEND_BYTES * OVERHEAD_FACTOR)
    sizeBuffer(fd, SO_SNDBUFFORCE, SETTLED_SEND_BYTES);
}

/** A receive buffer as it travels: 0 stands for one that a socket begins with. */
export function receiveBufferKib(fd: number): number {
  const bytes = getOption(fd, SOL_SOCKET, SO_RCVBUF);
  return bytes <= USUAL_RECEIVE_BUFFER_BYTES ? 0 : Math.min(Math.ceil(bytes / KIB), MAX_RECEIVE_BUFFER_KIB);
}

/**
 * Makes room in the receive buffer: for the queue that is refilled, and for what the client was allowed to send, for
 * which the kernel before had grown its buffer.
 */
export function growReceiveBuffer(fd: number, queuedBytes: number, bufferKib: number): void {
  const before = Math.min(bufferKib * KIB, MAX_RECEIVE_BUFFER_BYTES) / OVERHEAD_FACTOR;
  growBuffer(fd, SO_RCVBUF, SO_RCVBUFFORCE, Math.max(queuedBytes, before));
}
