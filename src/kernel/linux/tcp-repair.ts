/**
 * Moving a whole connection: `capture` reads everything a socket holds, `restore` makes a socket that goes on from
 * there. Both use TCP_REPAIR and need CAP_NET_ADMIN. Nothing here touches the network's routes: whoever moves a
 * connection first sees to it that its packets reach the right node.
 */

import type { Endpoint } from '../../base/address.ts';
import { pathMss } from '../tcp/path-mss.ts';
import { add, max, span } from '../tcp/sequence.ts';
import { type ConnectionState, STATE_VERSION, StateError, validateState } from '../tcp/state.ts';
import { droppedSegments, setDeaf, setHearing } from './deaf.ts';
import { check, EAGAIN, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { addressOf } from './memory.ts';
import { SEGMENT_ACK, SEGMENT_FIN, sendSegment } from './raw.ts';
import {
  agreedMss,
  lastInfo,
  lastWindow,
  probe,
  RECEIVE_QUEUE,
  REPAIR_OFF_SILENT,
  REPAIR_ON,
  readInfo,
  readWindow,
  SEND_QUEUE,
  selectQueue,
  setMss,
  setOptions,
  setQueueSequence,
  setRepair,
  setTimestampClock,
  TcpState,
  timestampClock,
  writeWindow,
} from './repair-options.ts';
import { readQueues } from './repair-queues.ts';
import { canSeedRtt, type RttSeed, seedRtt } from './rtt-seed.ts';
import * as sockets from './socket.ts';
import { growReceiveBuffer, growSendBuffer, receiveBufferKib, settleSendBuffer } from './socket-buffers.ts';

/** One write into a queue in repair: the kernel allocates it in one piece. */
const REFILL_CHUNK_BYTES = 32 * 1024;
/** The kernel drops what it has no room for between devices (net.core.netdev_max_backlog), loopback included. */
const FIN_ATTEMPTS = 3;
/** How often capture looks again when segments arrive or are acknowledged while it reads. */
const CAPTURE_ATTEMPTS = 8;

const FIN_RECEIVED_STATES: readonly number[] = [TcpState.CLOSE_WAIT, TcpState.LAST_ACK, TcpState.CLOSING];
const FIN_SENT_STATES: readonly number[] = [
  TcpState.FIN_WAIT1,
  TcpState.FIN_WAIT2,
  TcpState.LAST_ACK,
  TcpState.CLOSING,
];
/** States in which our FIN is sent and not acknowledged: it counts as a byte in the kernel's queue length. */
export const FIN_PENDING_STATES: readonly number[] = [
  TcpState.FIN_WAIT1,
  TcpState.LAST_ACK,
  TcpState.CLOSING,
];

/** Reads a socket that is in repair; null when the connection moved on meanwhile. */
function readState(fd: number, { freeze, advertisedEdge, ends }: CaptureOptions): ConnectionState | null {
  readInfo(fd);
  const state = lastInfo.state();
  const finReceived = FIN_RECEIVED_STATES.includes(state);
  const finSent = FIN_SENT_STATES.includes(state);
  if (state !== TcpState.ESTABLISHED && !finReceived && !finSent) {
    throw new StateError('STATE_NOT_CAPTURABLE', `a connection in TCP state ${state}`);
  }
  const options = {
    sack: lastInfo.sack(),
    timestamps: lastInfo.timestamps(),
    sendScale: lastInfo.sendScale(),
    receiveScale: lastInfo.receiveScale(),
  };
  const congestion = { window: lastInfo.congestionWindow(), srttUs: lastInfo.srttUs() };
  const window = windowOf(fd);
  const pub = ends?.public ?? sockets.localEndpoint(fd);
  // Whoever goes on must not have to find out again what the path lets through.
  const mss = pathMss(agreedMss(fd), lastInfo.pathMtu(), pub.address);
  const timestamp = timestampClock(fd);
  const queues = readQueues(fd, FIN_PENDING_STATES.includes(state), freeze === true);
  if (queues === null) return null;
  const { nextExpected } = queues;
  const receiveSequence = add(nextExpected, finReceived ? -1 : 0);
  const edge = add(window.receiveWup, window.receiveWindow);
  const receiveWup = finReceived && window.receiveWup === nextExpected ? receiveSequence : window.receiveWup;
  return {
    version: STATE_VERSION,
    client: ends?.client ?? sockets.remoteEndpoint(fd),
    public: pub,
    mss,
    options,
    receiveBufferKib: receiveBufferKib(fd),
    sendSequence: add(queues.writeSequence, finSent ? -1 : 0),
    receiveSequence,
    sendQueue: queues.sent,
    unsentQueue: queues.unsent,
    receiveQueue: queues.received,
    window: { ...window, receiveWup },
    advertisedEdge: advertisedEdge === undefined ? edge : max(edge, advertisedEdge),
    timestamp,
    finReceived,
    finSent,
    congestion,
  };
}

function windowOf(fd: number): ConnectionState['window'] {
  readWindow(fd);
  return {
    sendWl1: lastWindow.sendWl1(),
    sendWindow: lastWindow.sendWindow(),
    maxWindow: lastWindow.maxWindow(),
    receiveWindow: lastWindow.receiveWindow(),
    receiveWup: lastWindow.receiveWup(),
  };
}

export interface CaptureOptions {
  /**
   * Leave the socket in repair and deaf, so that nothing more is acknowledged and close() is silent. Without it the
   * socket is as it was. `thaw` undoes it.
   */
  readonly freeze?: boolean;
  /** The largest edge advertised before this socket existed, when it was itself restored. */
  readonly advertisedEdge?: number;
  /** The socket's two ends, where they are known. */
  readonly ends?: { readonly client: Endpoint; readonly public: Endpoint } | undefined;
}

/**
 * Reads the whole state of an established or half-closed connection. Throws StateError when it cannot travel
 * (STATE_NOT_CAPTURABLE, STATE_QUEUE, STATE_MOVING; urgent data is lost) and SystemError; the socket then is as it
 * was. Segments received out of order are not part of the state: the client sends them again.
 */
export function capture(fd: number, options: CaptureOptions = {}): ConnectionState {
  const freeze = options.freeze === true;
  let done = false;
  setRepair(fd, REPAIR_ON);
  try {
    // Moved, it must not acknowledge bytes that its captured state does not hold.
    if (freeze) setDeaf(fd);
    for (let attempt = 0; attempt < CAPTURE_ATTEMPTS; attempt++) {
      const state = readState(fd, options);
      if (state === null) continue;
      validateState(state);
      done = freeze;
      return state;
    }
    throw new StateError('STATE_MOVING', 'the connection did not hold still');
  } finally {
    if (!done && freeze) thaw(fd);
    else if (!done) setRepair(fd, REPAIR_OFF_SILENT);
  }
}

/** Undoes `freeze`: the connection goes on here. What the client said meanwhile it is asked for again. */
export function thaw(fd: number): void {
  setRepair(fd, REPAIR_OFF_SILENT);
  setHearing(fd);
  if (droppedSegments(fd) > 0) probe(fd);
}

/** Closes without FIN or RST: the connection lives on elsewhere. */
export function silentClose(fd: number): void {
  setRepair(fd, REPAIR_ON);
  check('close', libc.close(fd));
}

/**
 * Writes all of `bytes`; in repair into the selected queue, otherwise to the client. They end their segment: the next
 * byte of this socket may belong behind another node's.
 */
function refill(fd: number, bytes: Buffer): void {
  const address = addressOf(bytes);
  for (let at = 0; at < bytes.length; ) {
    const chunk = Math.min(bytes.length - at, REFILL_CHUNK_BYTES);
    const last = at + chunk === bytes.length ? sockets.MSG_EOR : 0;
    const sent = libc.send(fd, address + at, chunk, sockets.MSG_NOSIGNAL | last);
    if (sent <= 0) throw new SystemError('send', sent < 0 ? lastErrno() : EAGAIN, 'refilling a queue');
    at += sent;
  }
}

/**
 * The client's FIN once more, from ourselves: there is no option for it. It was acknowledged, so the client does not send
 * it again; a socket that has not heard it would wait for it in vain.
 */
function replayFin(fd: number, state: ConnectionState): void {
  for (let attempt = 0; attempt < FIN_ATTEMPTS; attempt++) {
    sendFin(state);
    readInfo(fd);
    if (FIN_RECEIVED_STATES.includes(lastInfo.state())) return;
  }
  throw new SystemError('sendto', EAGAIN, 'a FIN did not come through loopback');
}

function sendFin(state: ConnectionState): void {
  sendSegment({
    from: state.client,
    to: state.public,
    sequence: state.receiveSequence,
    acknowledge: add(state.sendSequence, -state.sendQueue.length - state.unsentQueue.length),
    flags: SEGMENT_FIN | SEGMENT_ACK,
    window: 0,
    timestamps: state.options.timestamps,
    tsval: 0,
    tsecr: 0,
  });
}

/** What the RTT is given with, see rtt-seed.ts. */
function rttSeed(state: ConnectionState): RttSeed {
  const { client, public: pub, options, sendQueue, unsentQueue, receiveQueue } = state;
  return {
    client,
    public: pub,
    options,
    sequence: add(state.sendSequence, -sendQueue.length - unsentQueue.length),
    acknowledge: add(state.receiveSequence, -receiveQueue.length),
    sendWindow: state.window.sendWindow,
    srttUs: state.congestion.srttUs,
  };
}

function fill(fd: number, state: ConnectionState, rtt: RttSeed | null): void {
  const { window } = state;
  const edge = max(add(window.receiveWup, window.receiveWindow), state.advertisedEdge);
  const receiveWindow = span(window.receiveWup, edge);
  const unacknowledged = state.sendQueue.length + state.unsentQueue.length;
  selectQueue(fd, RECEIVE_QUEUE);
  setQueueSequence(fd, add(state.receiveSequence, -state.receiveQueue.length));
  selectQueue(fd, SEND_QUEUE);
  // Where the RTT is given, a byte that was never sent lies before the first one.
  setQueueSequence(fd, add(state.sendSequence, -unacknowledged - (rtt === null ? 0 : 1)));
  growReceiveBuffer(fd, state.receiveQueue.length, state.receiveBufferKib);
  if (unacknowledged > 0) growSendBuffer(fd, unacknowledged);
  setMss(fd, state.mss);
  sockets.setOption(fd, sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1);
  sockets.bindTo(fd, state.public);
  sockets.connectTo(fd, state.client);
  setOptions(fd, state.mss, state.options);
  if (state.options.timestamps) setTimestampClock(fd, state.timestamp);
  if (rtt !== null) seedRtt(fd, rtt, state.timestamp);
  refill(fd, state.sendQueue);
  if (state.receiveQueue.length > 0) {
    selectQueue(fd, RECEIVE_QUEUE);
    refill(fd, state.receiveQueue);
  }
  // Before the window: the segment's own window field, and the answer to it, must not count.
  if (state.finReceived) replayFin(fd, state);
  writeWindow(fd, window.sendWl1, window.sendWindow, window.maxWindow, receiveWindow, window.receiveWup);
  setRepair(fd, REPAIR_OFF_SILENT);
  // Leaving repair has taken it away.
  sockets.setOption(fd, sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1);
}

/**
 * A socket that continues the connection: non-blocking, TCP_NODELAY. Bytes that were never sent go out at once, and
 * a FIN that was sent is sent again (the client takes it as a duplicate if it had it); with `restoreSilently` they
 * wait for `release`. Throws StateError for an invalid state, SystemError otherwise (EADDRNOTAVAIL: this node already
 * has a socket with these endpoints, or not the public address); nothing is sent to the client then.
 */
export function restore(state: ConnectionState): number {
  const fd = restoreSilently(state);
  try {
    release(fd, state);
  } catch (error) {
    silentClose(fd);
    throw error;
  }
  return fd;
}

/** As `restore`, but what was never sent waits for `release`. */
export function restoreSilently(state: ConnectionState): number {
  validateState(state);
  const seed = rttSeed(state);
  let rtt = canSeedRtt(seed) ? seed : null;
  for (;;) {
    const fd = sockets.tcpSocket(state.public.address);
    try {
      setRepair(fd, REPAIR_ON);
      sockets.sharePort(fd);
      fill(fd, state, rtt);
      return fd;
    } catch (error) {
      // Still in repair (or never connected), so this close is silent.
      libc.close(fd);
      if (rtt === null) throw error;
      rtt = null;
    }
  }
}

/** Sends what `restoreSilently` kept back. Throws SystemError when the client has reset the connection meanwhile. */
export function release(fd: number, state: ConnectionState): void {
  refill(fd, state.unsentQueue);
  if (state.sendQueue.length + state.unsentQueue.length > 0) settleSendBuffer(fd);
  if (state.finSent) check('shutdown', libc.shutdown(fd, sockets.SHUT_WR));
}
