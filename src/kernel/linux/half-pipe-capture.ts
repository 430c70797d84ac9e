/**
 * What a half-pipe starts from, captured from the anchor's socket. This is on the path of every handed-off request, so
 * there is one system call a fact and nothing is allocated but the result. Needs CAP_NET_ADMIN.
 */

import type { Endpoint } from '../../base/address.ts';
import { add, distance } from '../tcp/sequence.ts';
import { type ConnectionOptions, StateError } from '../tcp/state.ts';
import { droppedSegments, setDeaf, setHearing } from './deaf.ts';
import { monotonicMs } from './monotonic.ts';
import {
  agreedMss,
  CLOCK_ATTEMPTS,
  lastInfo,
  lastWindow,
  queueSequence,
  RECEIVE_QUEUE,
  REPAIR_OFF_PROBE,
  REPAIR_OFF_SILENT,
  REPAIR_ON,
  readInfo,
  readWindow,
  SEND_QUEUE,
  selectQueue,
  setRepair,
  setTimestampClock,
  timestampClock,
} from './repair-options.ts';
import { localEndpoint, remoteEndpoint, sendQueueBytes, unsentBytes } from './socket.ts';

/** What the out-half starts from, as the anchor's kernel has it. Windows in bytes, unscaled. */
export interface HalfPipeCapture extends ConnectionOptions {
  readonly client: Endpoint;
  readonly public: Endpoint;
  /** The MSS that the SYN segments agreed on, in bytes. */
  readonly mss: number;
  /** What the kernel knows of the path to the client, in bytes. */
  readonly pathMtu: number;
  /** The sequence number at which the kernel's count of acknowledged bytes was 0. */
  readonly countStart: number;
  /** The sequence number that the next byte written here gets, in this socket's own sequence space. */
  readonly writeSequence: number;
  /** What the client has acknowledged, in this socket's own sequence space. */
  readonly acknowledged: number;
  /** The next byte expected from the client. */
  readonly receiveSequence: number;
  /** What the client allows after the last byte it acknowledged. */
  readonly sendWindow: number;
  readonly maxWindow: number;
  /** What is advertised to the client after `receiveSequence`. */
  readonly receiveWindow: number;
  /** The TSval clock now, in ms. */
  readonly tsval: number;
  /** tsval at any time is (monotonicMs() + clockOffset) >>> 0. */
  readonly clockOffset: number;
  /** 0 when unknown. */
  readonly srttUs: number;
  readonly congestionWindow: number;
}

/**
 * The socket's clock, from then on known to the ms: the kernel only tells it rounded down to even, so it is moved
 * on, by 1 or 2 ms, to an even value in a known ms.
 */
function alignClock(fd: number): number {
  let clockOffset = 0;
  for (let attempt = 0; attempt < CLOCK_ATTEMPTS; attempt++) {
    const read = timestampClock(fd);
    if (read % 2 === 1)
      throw new StateError('STATE_NOT_CAPTURABLE', 'a connection with microsecond timestamps');
    const clock = add(read, 2);
    const before = monotonicMs();
    setTimestampClock(fd, clock);
    clockOffset = (clock - before) | 0;
    if (monotonicMs() === before) break;
  }
  return clockOffset;
}

/**
 * Reads TCP_INFO, and returns what was queued at that very moment, in bytes. Nobody writes meanwhile, so that only
 * shrinks, and the loop ends.
 */
function readQueued(fd: number): number {
  readInfo(fd);
  if (lastInfo.isIdle()) return 0;
  let queued: number;
  do {
    queued = sendQueueBytes(fd);
    readInfo(fd);
  } while (sendQueueBytes(fd) !== queued);
  return queued;
}

/**
 * The number after the last byte written, as the kernel says; the socket is in repair. While the send queue is
 * selected, the kernel takes what it would send for sent, all that waits for the client's window included, and sends
 * nothing: an acknowledgement in that moment would do it. So a socket that holds something back is deaf for so long.
 * Returns as well whether it has missed something. The receive queue is selected afterwards.
 */
function askWriteSequence(fd: number, holdsBack: boolean): { writeSequence: number; missed: boolean } {
  const dropped = holdsBack ? droppedSegments(fd) : 0;
  if (holdsBack) setDeaf(fd);
  selectQueue(fd, SEND_QUEUE);
  const writeSequence = queueSequence(fd);
  selectQueue(fd, RECEIVE_QUEUE);
  if (holdsBack) setHearing(fd);
  return { writeSequence, missed: holdsBack && droppedSegments(fd) !== dropped };
}

/**
 * Reads what a target needs from the anchor's socket, which stays in use. `previous`, an earlier capture of the
 * same socket, gives what cannot change, halves the cost, and spares the socket its send queue being selected. The
 * first capture moves the socket's TSval clock on by 1 or 2 ms. `holdsBack`: something was written and is not sent.
 */
export function captureHalfPipe(
  fd: number,
  previous?: HalfPipeCapture,
  holdsBack = previous === undefined && unsentBytes(fd) > 0,
): HalfPipeCapture {
  setRepair(fd, REPAIR_ON);
  let missed = false;
  try {
    const asked = previous === undefined ? askWriteSequence(fd, holdsBack) : null;
    missed = asked?.missed ?? false;
    if (asked === null) selectQueue(fd, RECEIVE_QUEUE);
    const queued = readQueued(fd);
    const written = add(lastInfo.bytesAcknowledged(), queued);
    const countStart = previous?.countStart ?? add(asked!.writeSequence, -written);
    const writeSequence = add(countStart, written);
    readWindow(fd);
    const edge = add(lastWindow.receiveWup(), lastWindow.receiveWindow());
    const receiveSequence = queueSequence(fd);
    const clockOffset =
      previous !== undefined ? previous.clockOffset : lastInfo.timestamps() ? alignClock(fd) : 0;
    return {
      client: previous?.client ?? remoteEndpoint(fd),
      public: previous?.public ?? localEndpoint(fd),
      mss: previous?.mss ?? agreedMss(fd),
      pathMtu: lastInfo.pathMtu(),
      sack: lastInfo.sack(),
      timestamps: lastInfo.timestamps(),
      sendScale: lastInfo.sendScale(),
      receiveScale: lastInfo.receiveScale(),
      countStart,
      writeSequence,
      acknowledged: add(writeSequence, -queued),
      receiveSequence,
      sendWindow: lastWindow.sendWindow(),
      maxWindow: lastWindow.maxWindow(),
      receiveWindow: Math.max(distance(receiveSequence, edge), 0),
      tsval: (monotonicMs() + clockOffset) >>> 0,
      clockOffset,
      srttUs: lastInfo.srttUs(),
      congestionWindow: lastInfo.congestionWindow(),
    };
  } finally {
    // The client says again what it said.
    setRepair(fd, missed ? REPAIR_OFF_PROBE : REPAIR_OFF_SILENT);
  }
}
