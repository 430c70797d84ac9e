/**
 * The socket options that connection state is read and written with (TCP_REPAIR, needs CAP_NET_ADMIN), one
 * function a system call, on preallocated memory.
 */
import { type ConnectionOptions, MAX_CONGESTION_WINDOW, MAX_SRTT_US, NO_SCALING } from '../tcp/state.ts';
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { IPPROTO_TCP, TCP_INFO, TCP_MAXSEG } from './socket.ts';

const TCP_REPAIR = 19;
const TCP_REPAIR_QUEUE = 20;
const TCP_QUEUE_SEQ = 21;
const TCP_REPAIR_OPTIONS = 22;
const TCP_TIMESTAMP = 24;
const TCP_REPAIR_WINDOW = 29;

export const REPAIR_ON = 1;
/** Off, with a window probe: the peer answers with what it holds. */
export const REPAIR_OFF_PROBE = 0;
/** Off, and nothing is sent. */
export const REPAIR_OFF_SILENT = -1;
export const RECEIVE_QUEUE = 1;
export const SEND_QUEUE = 2;

/** TCP option kinds in struct tcp_repair_opt. */
const KIND_MSS = 2;
const KIND_WINDOW_SCALE = 3;
const KIND_SACK_PERMITTED = 4;
const KIND_TIMESTAMPS = 8;
/** What setsockopt(TCP_MAXSEG) accepts; a larger agreed MSS (loopback) is restored as this. */
const MAX_SETTABLE_MSS_BYTES = 32_767;

/** Bits of tcpi_options. */
const TCPI_TIMESTAMPS = 1;
const TCPI_SACK = 2;
const TCPI_SCALING = 4;

const INFO_BYTES = 240;
const WINDOW_BYTES = 20;

const value = allocate(4);
const optionBlock = allocate(32);
const info = allocate(INFO_BYTES);
const window = allocate(WINDOW_BYTES);
const length = allocate(4);

function set(fd: number, option: number, word: number): void {
  value.view.setInt32(0, word, true);
  if (libc.setsockopt(fd, IPPROTO_TCP, option, value.address, 4) < 0)
    check('setsockopt', -1, `TCP ${option}`);
}

function get(fd: number, option: number): number {
  length.view.setUint32(0, 4, true);
  if (libc.getsockopt(fd, IPPROTO_TCP, option, value.address, length.address) < 0) {
    check('getsockopt', -1, `TCP ${option}`);
  }
  return value.view.getUint32(0, true);
}

/** REPAIR_ON or REPAIR_OFF_SILENT. While on, writes stay in the socket and close() is silent. */
export function setRepair(fd: number, mode: number): void {
  set(fd, TCP_REPAIR, mode);
}

/** Makes the client say what it holds: it answers a window probe with an acknowledgement. */
export function probe(fd: number): void {
  setRepair(fd, REPAIR_ON);
  setRepair(fd, REPAIR_OFF_PROBE);
}

/** Chooses the queue that sequence numbers and bytes are for: RECEIVE_QUEUE or SEND_QUEUE. */
export function selectQueue(fd: number, queue: number): void {
  set(fd, TCP_REPAIR_QUEUE, queue);
}

/** The selected queue's sequence number: the kernel's write_seq or rcv_nxt, FINs counted. */
export function queueSequence(fd: number): number {
  return get(fd, TCP_QUEUE_SEQ);
}

/** Sets the selected queue's sequence number; possible only before connect(). */
export function setQueueSequence(fd: number, sequence: number): void {
  set(fd, TCP_QUEUE_SEQ, sequence);
}

/** The MSS that the SYN segments agreed on, of a socket in repair. */
export function agreedMss(fd: number): number {
  return get(fd, TCP_MAXSEG);
}

/** Sets the MSS; must come before connect(), or the socket keeps 524 for life. */
export function setMss(fd: number, mss: number): void {
  set(fd, TCP_MAXSEG, Math.min(mss, MAX_SETTABLE_MSS_BYTES));
}

/** The clock our TSval is taken from, in ms, rounded down to even by the kernel. */
export function timestampClock(fd: number): number {
  return get(fd, TCP_TIMESTAMP);
}

/**
 * How often the timestamp clock is set anew when the thread was interrupted and the millisecond has passed meanwhile.
 */
export const CLOCK_ATTEMPTS = 4;

/** Sets that clock. `milliseconds` must be even: an odd value switches the socket to microseconds. */
export function setTimestampClock(fd: number, milliseconds: number): void {
  set(fd, TCP_TIMESTAMP, milliseconds);
}

/** Sets what the SYN segments agreed on; only once established and before any byte is written. */
export function setOptions(fd: number, mss: number, options: ConnectionOptions): void {
  const { view } = optionBlock;
  let at = 8;
  view.setUint32(0, KIND_MSS, true);
  view.setUint32(4, Math.min(mss, MAX_SETTABLE_MSS_BYTES), true);
  if (options.sendScale !== NO_SCALING) {
    view.setUint32(at, KIND_WINDOW_SCALE, true);
    view.setUint32(at + 4, options.sendScale | (options.receiveScale << 16), true);
    at += 8;
  }
  if (options.sack) {
    view.setUint32(at, KIND_SACK_PERMITTED, true);
    view.setUint32(at + 4, 0, true);
    at += 8;
  }
  if (options.timestamps) {
    view.setUint32(at, KIND_TIMESTAMPS, true);
    view.setUint32(at + 4, 0, true);
    at += 8;
  }
  if (libc.setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, optionBlock.address, at) < 0) {
    check('setsockopt', -1, 'TCP_REPAIR_OPTIONS');
  }
}

/** The last window read: struct tcp_repair_window, read afresh by `readWindow`. */
export const lastWindow = {
  sendWl1: () => window.view.getUint32(0, true),
  sendWindow: () => window.view.getUint32(4, true),
  maxWindow: () => window.view.getUint32(8, true),
  receiveWindow: () => window.view.getUint32(12, true),
  receiveWup: () => window.view.getUint32(16, true),
};

export function readWindow(fd: number): void {
  length.view.setUint32(0, WINDOW_BYTES, true);
  if (libc.getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, window.address, length.address) < 0) {
    check('getsockopt', -1, 'TCP_REPAIR_WINDOW');
  }
}

/**
 * Sets all windows. The kernel refuses (EINVAL) maxWindow < sendWindow, sendWl1 after the receive window, and
 * receiveWup after the next sequence number expected.
 */
export function writeWindow(
  fd: number,
  sendWl1: number,
  sendWindow: number,
  maxWindow: number,
  receiveWindow: number,
  receiveWup: number,
): void {
  window.view.setUint32(0, sendWl1, true);
  window.view.setUint32(4, sendWindow, true);
  window.view.setUint32(8, maxWindow, true);
  window.view.setUint32(12, receiveWindow, true);
  window.view.setUint32(16, receiveWup, true);
  if (libc.setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, window.address, WINDOW_BYTES) < 0) {
    check('setsockopt', -1, 'TCP_REPAIR_WINDOW');
  }
}

/** The last struct tcp_info read, read afresh by `readInfo`. */
export const lastInfo = {
  /** The kernel's TCP state, see TcpState. */
  state: () => info.view.getUint8(0),
  sack: () => (info.view.getUint8(5) & TCPI_SACK) !== 0,
  timestamps: () => (info.view.getUint8(5) & TCPI_TIMESTAMPS) !== 0,
  sendScale: () => ((info.view.getUint8(5) & TCPI_SCALING) === 0 ? NO_SCALING : info.view.getUint8(6) & 15),
  receiveScale: () =>
    (info.view.getUint8(5) & TCPI_SCALING) === 0 ? NO_SCALING : info.view.getUint8(6) >> 4,
  retransmitTimeoutUs: () => info.view.getUint32(8, true),
  sendMss: () => info.view.getUint32(16, true),
  /** Nothing is sent and not acknowledged, and nothing waits to be sent. */
  isIdle: () => info.view.getUint32(24, true) === 0 && info.view.getUint32(144, true) === 0,
  /** What the kernel knows of the path to the client, in bytes. */
  pathMtu: () => info.view.getUint32(60, true),
  srttUs: () => Math.min(info.view.getUint32(68, true), MAX_SRTT_US),
  congestionWindow: () => Math.min(info.view.getUint32(80, true), MAX_CONGESTION_WINDOW),
  totalRetransmissions: () => info.view.getUint32(100, true),
  /** Modulo 2^32. */
  bytesAcknowledged: () => info.view.getUint32(120, true),
  sendWindow: () => info.view.getUint32(228, true),
  receiveWindow: () => info.view.getUint32(232, true),
};

export function readInfo(fd: number): void {
  length.view.setUint32(0, INFO_BYTES, true);
  if (libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info.address, length.address) < 0) {
    check('getsockopt', -1, 'TCP_INFO');
  }
}

/** States of include/net/tcp_states.h. */
export const TcpState = {
  ESTABLISHED: 1,
  FIN_WAIT1: 4,
  FIN_WAIT2: 5,
  TIME_WAIT: 6,
  CLOSE: 7,
  CLOSE_WAIT: 8,
  LAST_ACK: 9,
  LISTEN: 10,
  CLOSING: 11,
} as const;
