/**
 * Half-pipes: the out-half of a connection, restored at a target as an established socket with empty queues. This is
 * on the path of every handed-off request, so there is one system call a fact and nothing is allocated. Needs
 * CAP_NET_ADMIN and CAP_NET_RAW.
 */
import { add } from '../tcp/sequence.ts';
import { SOCKADDR_BYTES, writeSockaddr } from './address.ts';
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { monotonicMs } from './monotonic.ts';
import {
  CLOCK_ATTEMPTS,
  lastWindow,
  RECEIVE_QUEUE,
  REPAIR_OFF_SILENT,
  REPAIR_ON,
  readWindow,
  SEND_QUEUE,
  selectQueue,
  setMss,
  setOptions,
  setQueueSequence,
  setRepair,
  setTimestampClock,
  writeWindow,
} from './repair-options.ts';
import { canSeedRtt, type RttSeed, seedRtt } from './rtt-seed.ts';
import {
  IPPROTO_TCP,
  pendingError,
  SO_MARK,
  SOL_SOCKET,
  sendQueueBytes,
  setOption,
  sharePort,
  TCP_NODELAY,
  tcpSocket,
} from './socket.ts';

/**
 * What a target needs to send the out-half from `sequence` on, in the client's sequence space. The first byte to send
 * gets that number.
 */
export interface HalfPipeSeed extends RttSeed {
  readonly mss: number;
  /** What was advertised to the client after `acknowledge`, in bytes. */
  readonly receiveWindow: number;
  readonly maxWindow: number;
  /** Our TSval clock at `tsvalAtMs`; an odd value is rounded up, so the clock never goes back for the client. */
  readonly tsval: number;
  /** The moment that `tsval` is of (`monotonicMs`), now when absent: the clock has gone on since. */
  readonly tsvalAtMs?: number;
  /** SO_MARK: by it a router knows what the socket sends from its first segment on. */
  readonly mark?: number;
}

const TCP_WINDOW_CLAMP = 10;
/** Since Linux 6.15. */
const TCP_RTO_MAX_MS = 44;
/** The least that the kernel accepts for TCP_RTO_MAX_MS. */
const FIRST_TIMEOUT_MS = 1000;
/** A first timeout of this many RTTs is not premature. */
const FIRST_TIMEOUT_RTTS = 3;
const sockaddr = allocate(SOCKADDR_BYTES);
/** AF_UNSPEC: connect() to it dissolves the association. */
const unspecified = allocate(SOCKADDR_BYTES);
const optionWord = allocate(4);

/** What is known of the socket that `restoreHalfPipe` made last. */
export const lastRestored = {
  /** tsval is (monotonicMs() + clockOffset) >>> 0. */
  clockOffset: 0,
  /** Its retransmission time-outs are limited, and stay so: no other connection can use the socket. */
  limitsTimeout: false,
  /** It was made of the spare socket. */
  wasSpare: false,
};

/** Sets the clock to what it is at this very ms; a thread that is held up in between tries again. */
function setClock(fd: number, seed: HalfPipeSeed): number {
  const since = seed.tsvalAtMs ?? monotonicMs();
  let clock = 0;
  for (let attempt = 0; attempt < CLOCK_ATTEMPTS; attempt++) {
    const before = monotonicMs();
    const exact = add(seed.tsval, before - since);
    clock = add(exact, exact % 2);
    setTimestampClock(fd, clock);
    lastRestored.clockOffset = (clock - before) | 0;
    if (monotonicMs() === before) break;
  }
  return clock;
}

function limitTimeout(fd: number, milliseconds: number): void {
  optionWord.view.setInt32(0, milliseconds, true);
  libc.setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, optionWord.address, 4);
}

/** A socket in repair, bound to the public endpoint. */
function newSocket(seed: HalfPipeSeed): number {
  const fd = tcpSocket(seed.public.address);
  try {
    if (seed.mark !== undefined) setOption(fd, SOL_SOCKET, SO_MARK, seed.mark);
    setRepair(fd, REPAIR_ON);
    sharePort(fd);
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    check('bind', libc.bind(fd, sockaddr.address, writeSockaddr(sockaddr.bytes, seed.public)));
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

function establish(fd: number, seed: HalfPipeSeed, withRtt: boolean): void {
  const { options } = seed;
  selectQueue(fd, RECEIVE_QUEUE);
  setQueueSequence(fd, seed.acknowledge);
  selectQueue(fd, SEND_QUEUE);
  setQueueSequence(fd, withRtt ? add(seed.sequence, -1) : seed.sequence);
  setMss(fd, seed.mss);
  check('connect', libc.connect(fd, sockaddr.address, writeSockaddr(sockaddr.bytes, seed.client)));
  setOptions(fd, seed.mss, options);
  const clock = options.timestamps ? setClock(fd, seed) : seed.tsval;
  if (withRtt) seedRtt(fd, seed, clock);
  // Its own buffer would let it advertise more than the anchor did, for bytes that the anchor then drops.
  setOption(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, Math.max(seed.receiveWindow, 1));
  writeWindow(fd, seed.acknowledge, seed.sendWindow, seed.maxWindow, seed.receiveWindow, seed.acknowledge);
  // No timestamps, no RTT: a limit on the timeout is what is left (older kernels have none, and start at 3 s). It
  // stays for the life of the half-pipe.
  lastRestored.limitsTimeout = !withRtt && seed.srttUs > 0;
  if (lastRestored.limitsTimeout) {
    limitTimeout(fd, Math.max(FIRST_TIMEOUT_MS, Math.ceil((seed.srttUs * FIRST_TIMEOUT_RTTS) / 1000)));
  }
  setRepair(fd, REPAIR_OFF_SILENT);
}

/**
 * An established socket, non-blocking and TCP_NODELAY, with empty queues, that sends from `sequence` on. Nothing is
 * sent by this. `spare`: a socket that `disconnectSilently` has emptied, of the same public endpoint and with the same
 * mark; -1: none. It is gone, too, when this fails. Throws SystemError: EADDRNOTAVAIL when this machine has a socket
 * with these endpoints already, or not the public address.
 */
export function restoreHalfPipe(seed: HalfPipeSeed, spare = -1): number {
  let withRtt = canSeedRtt(seed);
  lastRestored.wasSpare = spare >= 0;
  for (;;) {
    const fd = lastRestored.wasSpare ? spare : newSocket(seed);
    try {
      establish(fd, seed, withRtt);
      return fd;
    } catch (error) {
      // In repair or never connected: silent, and a byte that stands for the RTT goes with it.
      libc.close(fd);
      if (!withRtt) throw error;
      withRtt = false;
      lastRestored.wasSpare = false;
    }
  }
}

/**
 * Ends a connection without a word, whatever is queued, and leaves its socket for another one: bound, in repair, with
 * its options. Throws SystemError; the socket is then as it was, and in repair.
 */
export function disconnectSilently(fd: number): void {
  setRepair(fd, REPAIR_ON);
  check('connect', libc.connect(fd, unspecified.address, SOCKADDR_BYTES));
  // That the connection was aborted is not the next one's.
  pendingError(fd);
}

/**
 * Sets the send window of a socket in use, for a half-pipe that was kept while others sent on the flow: to what
 * `windowFrom` says of its first unacknowledged byte, which is given as the number of bytes from there to the last
 * one written. Bytes that waited for it go out.
 */
export function refreshSendWindow(fd: number, windowFrom: (queuedBytes: number) => number): void {
  setRepair(fd, REPAIR_ON);
  try {
    let queued: number;
    do {
      queued = sendQueueBytes(fd);
      const sendWindow = windowFrom(queued);
      readWindow(fd);
      writeWindow(
        fd,
        lastWindow.sendWl1(),
        sendWindow,
        Math.max(lastWindow.maxWindow(), sendWindow),
        lastWindow.receiveWindow(),
        lastWindow.receiveWup(),
      );
      // An acknowledgement just before would have it allowed as much more as was acknowledged.
    } while (sendQueueBytes(fd) !== queued);
  } finally {
    setRepair(fd, REPAIR_OFF_SILENT);
  }
  // Setting it, even again, makes the kernel look at what it may send now.
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}
