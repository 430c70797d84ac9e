/**
 * Connection state: everything needed to continue a TCP connection elsewhere, as one plain value (the TCB of
 * RFC 9293 section 3.3.1, from the side of the server).
 *
 *   receive side      [receiveQueue             ][ advertised, not yet received  ]
 *                      received, not read        ^receiveSequence                ^advertisedEdge
 *
 *   send side         [sendQueue               ][unsentQueue                     ]
 *                      sent, unacknowledged      written, not sent               ^sendSequence
 *
 * A FIN takes a sequence number of its own which is in neither `sendSequence` nor `receiveSequence`: `finSent` and
 * `finReceived` stand for it.
 */
import { ADDRESS_BYTES, type Endpoint, isMapped } from '../../base/address.ts';
import { add, distance, isU32, lessOrEqual } from './sequence.ts';

export const STATE_VERSION = 1;
/** The largest queue that travels; a connection with more is not captured. */
export const MAX_QUEUE_BYTES = 4 * 1024 * 1024;
/** The kernel's own floor for an MSS (TCP_MIN_MSS). */
export const MIN_MSS_BYTES = 88;
export const MAX_MSS_BYTES = 65_535;
export const MAX_RECEIVE_BUFFER_KIB = 65_535;
/** RFC 7323 section 2.3. */
export const MAX_WINDOW_SCALE = 14;
/** Segments: no path fills that many, and a kernel that is given 2^31 warns. */
export const MAX_CONGESTION_WINDOW = 2 ** 20;
/** What is longer a new socket measures by itself; its first timeout is three times as long. */
export const MAX_SRTT_US = 10_000_000;
/** In `sendScale` and `receiveScale`: window scaling was not agreed. */
export const NO_SCALING = -1;

/** What the SYN segments agreed on. */
export interface ConnectionOptions {
  readonly sack: boolean;
  readonly timestamps: boolean;
  /** Shift for windows the client sends: 0..14, or NO_SCALING; both are NO_SCALING or neither is. */
  readonly sendScale: number;
  /** Shift for windows we send. */
  readonly receiveScale: number;
}

/** Windows in bytes, scaling already applied; the fields of the kernel's struct tcp_repair_window. */
export interface ConnectionWindow {
  /** Sequence number of the segment that last updated the send window (SND.WL1). */
  readonly sendWl1: number;
  /** What the client allows after the last byte it acknowledged (SND.WND). */
  readonly sendWindow: number;
  /** The largest send window the client ever offered. */
  readonly maxWindow: number;
  /** What we allowed after `receiveWup`. */
  readonly receiveWindow: number;
  /** The acknowledgment number that went with `receiveWindow`. */
  readonly receiveWup: number;
}

export interface ConnectionState {
  readonly version: typeof STATE_VERSION;
  readonly client: Endpoint;
  readonly public: Endpoint;
  /**
   * The MSS option's value as agreed, in bytes (options such as timestamps still come off it); less where the path is
   * known to let less through.
   */
  readonly mss: number;
  readonly options: ConnectionOptions;
  /**
   * The buffer that the advertised window was given for, with the kernel's overhead, in KiB; 0: no larger one than a
   * socket begins with. A smaller one drops what the client was allowed to send.
   */
  readonly receiveBufferKib: number;
  /** The sequence number after the last byte of `unsentQueue`: the next byte written gets it. No FIN counted. */
  readonly sendSequence: number;
  /** The sequence number after the last byte of `receiveQueue`: the next byte received has it. No FIN counted. */
  readonly receiveSequence: number;
  readonly sendQueue: Buffer;
  readonly unsentQueue: Buffer;
  readonly receiveQueue: Buffer;
  readonly window: ConnectionWindow;
  /** The largest right edge of a window ever advertised to the client; restore never advertises a smaller one. */
  readonly advertisedEdge: number;
  /** The clock of our TSval at capture, in ms, even (the kernel takes an odd one as "microseconds"). */
  readonly timestamp: number;
  readonly finReceived: boolean;
  readonly finSent: boolean;
  /** Not restored by the kernel: the congestion window in segments and the smoothed RTT, 0 when unknown. */
  readonly congestion: { readonly window: number; readonly srttUs: number };
}

export type StateErrorCode =
  | 'STATE_VERSION'
  | 'STATE_MALFORMED'
  | 'STATE_RANGE'
  | 'STATE_ENDPOINT'
  | 'STATE_MSS'
  | 'STATE_SCALE'
  | 'STATE_QUEUE'
  | 'STATE_WINDOW'
  | 'STATE_EDGE'
  | 'STATE_NOT_CAPTURABLE'
  | 'STATE_MOVING';

/** A connection state that contradicts itself, or a connection that has none. Serve the connection where it is. */
export class StateError extends Error {
  override readonly name = 'StateError';
  readonly code: StateErrorCode;

  constructor(code: StateErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

function reject(code: StateErrorCode, message: string): never {
  throw new StateError(code, message);
}

function validateEndpoint(name: string, { address, port }: Endpoint): void {
  if (address.length !== ADDRESS_BYTES)
    reject('STATE_ENDPOINT', `${name}: address of ${address.length} bytes`);
  if (!Number.isInteger(port) || port <= 0 || port > 65_535)
    reject('STATE_ENDPOINT', `${name}: port ${port}`);
}

function validateScale(scale: number): void {
  if (!Number.isInteger(scale) || scale < NO_SCALING || scale > MAX_WINDOW_SCALE)
    reject('STATE_SCALE', `window scale ${scale}`);
}

function validateScales({ sendScale, receiveScale }: ConnectionOptions): void {
  validateScale(sendScale);
  validateScale(receiveScale);
  if ((sendScale === NO_SCALING) !== (receiveScale === NO_SCALING))
    reject('STATE_SCALE', 'window scaling on one side only');
}

/** The largest window in bytes that a 16-bit field and a shift of `scale` can stand for. */
export function windowLimit(scale: number): number {
  return 65_535 << Math.max(scale, 0);
}

function validateWindow(state: ConnectionState): void {
  const { sendWl1, sendWindow, maxWindow, receiveWindow, receiveWup } = state.window;
  const { sendScale, receiveScale } = state.options;
  if (sendWindow > maxWindow)
    reject('STATE_WINDOW', `send window ${sendWindow} above the largest, ${maxWindow}`);
  if (maxWindow > windowLimit(sendScale))
    reject('STATE_WINDOW', `send window ${maxWindow} at scale ${sendScale}`);
  if (receiveWindow > windowLimit(receiveScale))
    reject('STATE_WINDOW', `receive window ${receiveWindow} at scale ${receiveScale}`);
  if (!lessOrEqual(receiveWup, state.receiveSequence))
    reject('STATE_WINDOW', 'the window was advertised after bytes not yet received');
  if (!lessOrEqual(sendWl1, add(state.receiveSequence, receiveWindow)))
    reject('STATE_WINDOW', 'the send window was updated by a segment outside the receive window');
  const edge = distance(add(receiveWup, receiveWindow), state.advertisedEdge);
  if (edge < 0) reject('STATE_EDGE', `the largest advertised edge is ${-edge} bytes before the present one`);
  if (distance(receiveWup, state.advertisedEdge) > windowLimit(MAX_WINDOW_SCALE))
    reject('STATE_EDGE', 'the advertised edge is further away than any window reaches');
}

function validateQueue({ length }: Buffer): void {
  if (length > MAX_QUEUE_BYTES) reject('STATE_QUEUE', `a queue of ${length} bytes`);
}

/** Throws StateError when the value contradicts itself; otherwise returns it. */
export function validateState(state: ConnectionState): ConnectionState {
  const { version, client, public: pub, mss, window, congestion, timestamp } = state;
  if (version !== STATE_VERSION) reject('STATE_VERSION', `connection state of version ${version}`);
  validateEndpoint('client', client);
  validateEndpoint('public', pub);
  if (isMapped(client.address) !== isMapped(pub.address))
    reject('STATE_ENDPOINT', 'endpoints of two address families');
  if (!Number.isInteger(mss) || mss < MIN_MSS_BYTES || mss > MAX_MSS_BYTES)
    reject('STATE_MSS', `MSS of ${mss} bytes`);
  const { receiveBufferKib } = state;
  if (!isU32(receiveBufferKib) || receiveBufferKib > MAX_RECEIVE_BUFFER_KIB)
    reject('STATE_RANGE', `a receive buffer of ${receiveBufferKib} KiB`);
  validateScales(state.options);
  for (const value of [
    state.sendSequence,
    state.receiveSequence,
    state.advertisedEdge,
    timestamp,
    window.sendWl1,
    window.sendWindow,
    window.maxWindow,
    window.receiveWindow,
    window.receiveWup,
    congestion.window,
    congestion.srttUs,
  ]) {
    if (!isU32(value)) reject('STATE_RANGE', `${value} is not an unsigned 32-bit number`);
  }
  if (congestion.window > MAX_CONGESTION_WINDOW || congestion.srttUs > MAX_SRTT_US)
    reject(
      'STATE_RANGE',
      `a congestion window of ${congestion.window} segments, RTT ${congestion.srttUs} us`,
    );
  if (timestamp % 2 !== 0) reject('STATE_RANGE', 'an odd timestamp');
  validateQueue(state.sendQueue);
  validateQueue(state.unsentQueue);
  validateQueue(state.receiveQueue);
  validateWindow(state);
  return state;
}
