/**
 * Connection state as bytes, big-endian:
 *
 *   offset  size  field
 *        0     4  length of the whole, in bytes
 *        4     1  version (1)
 *        5     1  flags: 1 SACK, 2 timestamps, 4 window scaling, 8 FIN received, 16 FIN sent; the rest 0
 *        6     1  sendScale    (0 without scaling)
 *        7     1  receiveScale (0 without scaling)
 *        8    18  client: address 16, port 2
 *       26    18  public: address 16, port 2
 *       44     2  MSS
 *       46     2  receive buffer, in KiB; 0: no larger one than a socket begins with
 *       48     4  sendSequence
 *       52     4  receiveSequence
 *       56     4  advertisedEdge
 *       60     4  timestamp
 *       64    20  sendWl1, sendWindow, maxWindow, receiveWindow, receiveWup
 *       84     8  congestion window (segments), smoothed RTT (us)
 *       92    12  lengths of sendQueue, unsentQueue, receiveQueue
 *      104     -  the three queues
 *
 * Decoding any bytes gives a valid state or throws StateError.
 */
import { ADDRESS_BYTES, type Endpoint } from '../../base/address.ts';
import {
  type ConnectionState,
  MAX_QUEUE_BYTES,
  NO_SCALING,
  STATE_VERSION,
  StateError,
  validateState,
} from './state.ts';

export const STATE_HEADER_BYTES = 104;
export const MAX_STATE_BYTES = STATE_HEADER_BYTES + 3 * MAX_QUEUE_BYTES;

const NOTHING = Buffer.alloc(0);

const SACK = 1;
const TIMESTAMPS = 2;
const SCALING = 4;
const FIN_RECEIVED = 8;
const FIN_SENT = 16;
const ALL_FLAGS = 31;

/** How many bytes `encodeState` will write. */
export function encodedBytes(state: ConnectionState): number {
  return STATE_HEADER_BYTES + state.sendQueue.length + state.unsentQueue.length + state.receiveQueue.length;
}

function writeEndpoint(out: Buffer, endpoint: Endpoint, offset: number): void {
  endpoint.address.copy(out, offset);
  out.writeUInt16BE(endpoint.port, offset + ADDRESS_BYTES);
}

function readEndpoint(from: Buffer, offset: number): Endpoint {
  return {
    address: Buffer.from(from.subarray(offset, offset + ADDRESS_BYTES)),
    port: from.readUInt16BE(offset + ADDRESS_BYTES),
  };
}

/** Writes a valid state into `out` at `offset`; returns the offset after it. RangeError when it does not fit. */
export function encodeStateInto(state: ConnectionState, out: Buffer, offset = 0): number {
  validateState(state);
  const total = encodedBytes(state);
  if (out.length - offset < total) throw new RangeError(`connection state of ${total} bytes does not fit`);
  const { options, window, congestion } = state;
  const scaling = options.sendScale !== NO_SCALING;
  const to = out.subarray(offset, offset + total);
  to.writeUInt32BE(total, 0);
  to[4] = STATE_VERSION;
  to[5] =
    (options.sack ? SACK : 0) |
    (options.timestamps ? TIMESTAMPS : 0) |
    (scaling ? SCALING : 0) |
    (state.finReceived ? FIN_RECEIVED : 0) |
    (state.finSent ? FIN_SENT : 0);
  to[6] = scaling ? options.sendScale : 0;
  to[7] = scaling ? options.receiveScale : 0;
  writeEndpoint(to, state.client, 8);
  writeEndpoint(to, state.public, 26);
  to.writeUInt16BE(state.mss, 44);
  to.writeUInt16BE(state.receiveBufferKib, 46);
  to.writeUInt32BE(state.sendSequence, 48);
  to.writeUInt32BE(state.receiveSequence, 52);
  to.writeUInt32BE(state.advertisedEdge, 56);
  to.writeUInt32BE(state.timestamp, 60);
  to.writeUInt32BE(window.sendWl1, 64);
  to.writeUInt32BE(window.sendWindow, 68);
  to.writeUInt32BE(window.maxWindow, 72);
  to.writeUInt32BE(window.receiveWindow, 76);
  to.writeUInt32BE(window.receiveWup, 80);
  to.writeUInt32BE(congestion.window, 84);
  to.writeUInt32BE(congestion.srttUs, 88);
  let at = STATE_HEADER_BYTES;
  let lengthAt = 92;
  for (const queue of [state.sendQueue, state.unsentQueue, state.receiveQueue]) {
    to.writeUInt32BE(queue.length, lengthAt);
    lengthAt += 4;
    at += queue.copy(to, at);
  }
  return offset + total;
}

/** A valid state as bytes of its own. */
export function encodeState(state: ConnectionState): Buffer {
  const out = Buffer.allocUnsafe(encodedBytes(state));
  encodeStateInto(state, out);
  return out;
}

function malformed(message: string): never {
  throw new StateError('STATE_MALFORMED', message);
}

/** Reads a state that fills `from` exactly; it keeps no reference to `from`. Throws StateError. */
export function decodeState(from: Buffer): ConnectionState {
  if (from.length < STATE_HEADER_BYTES) malformed(`connection state of ${from.length} bytes`);
  if (from[4] !== STATE_VERSION)
    throw new StateError('STATE_VERSION', `connection state of version ${from[4]}`);
  if (from.readUInt32BE(0) !== from.length) malformed('the length field and the length differ');
  const flags = from[5];
  const scaling = (flags & SCALING) !== 0;
  if ((flags & ~ALL_FLAGS) !== 0) malformed('reserved bits are set');
  if (!scaling && (from[6] !== 0 || from[7] !== 0)) malformed('window scales without window scaling');
  const lengths = [from.readUInt32BE(92), from.readUInt32BE(96), from.readUInt32BE(100)];
  const total = STATE_HEADER_BYTES + lengths[0] + lengths[1] + lengths[2];
  if (total !== from.length) malformed('the queue lengths do not add up');
  const queues: Buffer[] = [];
  let at = STATE_HEADER_BYTES;
  for (const length of lengths) {
    if (length > MAX_QUEUE_BYTES) throw new StateError('STATE_QUEUE', `a queue of ${length} bytes`);
    queues.push(length === 0 ? NOTHING : Buffer.from(from.subarray(at, at + length)));
    at += length;
  }
  return validateState({
    version: STATE_VERSION,
    client: readEndpoint(from, 8),
    public: readEndpoint(from, 26),
    mss: from.readUInt16BE(44),
    receiveBufferKib: from.readUInt16BE(46),
    options: {
      sack: (flags & SACK) !== 0,
      timestamps: (flags & TIMESTAMPS) !== 0,
      sendScale: scaling ? from[6] : NO_SCALING,
      receiveScale: scaling ? from[7] : NO_SCALING,
    },
    sendSequence: from.readUInt32BE(48),
    receiveSequence: from.readUInt32BE(52),
    sendQueue: queues[0],
    unsentQueue: queues[1],
    receiveQueue: queues[2],
    window: {
      sendWl1: from.readUInt32BE(64),
      sendWindow: from.readUInt32BE(68),
      maxWindow: from.readUInt32BE(72),
      receiveWindow: from.readUInt32BE(76),
      receiveWup: from.readUInt32BE(80),
    },
    advertisedEdge: from.readUInt32BE(56),
    timestamp: from.readUInt32BE(60),
    finReceived: (flags & FIN_RECEIVED) !== 0,
    finSent: (flags & FIN_SENT) !== 0,
    congestion: { window: from.readUInt32BE(84), srttUs: from.readUInt32BE(88) },
  });
}
