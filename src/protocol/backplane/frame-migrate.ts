/**
 * Frames of mechanism migrate: MIGRATE, MIGRATE_DATA and MIGRATE_OK move a whole connection; by ROUTE, CLEANUP and
 * CLEANUP_OK the node that owns its public address knows where it is. `at` is always the first byte after the header.
 */
import { isMapped } from '../../base/address.ts';
import type { Continuation } from '../http/continuation.ts';
import { MAX_SEALED_BYTES } from '../tls/records.ts';
import type { TlsSession } from '../tls/session.ts';
import { type Codec, epochCodec } from './codec.ts';
import { FrameError } from './errors.ts';
import { CONTINUATION_BYTES, readContinuation, writeContinuation } from './frame-continuation.ts';
import { readTlsSession, tlsSessionSize, writeTlsSession } from './frame-tls-session.ts';
import {
  FRAME_HEADER_BYTES,
  FrameType,
  MAX_FRAME_BYTES,
  MAX_HEAD_BYTES,
  MAX_MIGRATED_STATE_BYTES,
} from './frame-types.ts';
import { getFlags, must, putBytes, putU8, putU16, putU32, requireAtLeast, requireLength } from './wire.ts';

/** Initiator to target: take this connection, its whole state in this frame and MIGRATE_DATA. */
export interface Migrate {
  type: typeof FrameType.MIGRATE;
  request: number;
  /** How often the connection has moved, this time included; not 0. */
  epoch: number;
  /** The first request there is not given away again. */
  serveFirst: boolean;
  /** The initiator goes away: take it even when its home cannot be told at once. */
  draining: boolean;
  /** The connection is in the middle of this response; null: between two requests. */
  response: MovedResponse | null;
  /** The connection is TLS; null: it is in the clear. */
  session: TlsSession | null;
  /** The initiator's monotonic clock, in milliseconds modulo 2^32. */
  sentAtMs: number;
  /** Bytes of the whole state, 1 to MAX_MIGRATED_STATE_BYTES. */
  stateBytes: number;
  bytes: Buffer;
}

/** A response that goes on at another node, on the same connection. */
export interface MovedResponse {
  continuation: Continuation;
  /** The connection ends with it. */
  close: boolean;
  /** The head of its request as the client sent it, at most MAX_HEAD_BYTES. */
  head: Buffer;
  /**
   * With TLS: how many bytes of the session's next record the client has already, or gets from the state that travels.
   * Without TLS 0.
   */
  cut: number;
}

export interface MigrateData {
  type: typeof FrameType.MIGRATE_DATA;
  request: number;
  /** At least 1 byte. */
  bytes: Buffer;
}

/** Target to initiator: the connection is restored, and silent until CONFIRM. */
export interface MigrateOk {
  type: typeof FrameType.MIGRATE_OK;
  request: number;
  epoch: number;
}

/** A connection by its endpoints; addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. */
export interface FlowEndpoints {
  clientAddress: Buffer;
  clientPort: number;
  publicAddress: Buffer;
  publicPort: number;
}

/** A connection, and how often it had moved. */
export interface FlowEpoch {
  flow: FlowEndpoints;
  epoch: number;
}

/** Owner to home: this connection is here now. */
export interface Route extends FlowEpoch {
  type: typeof FrameType.ROUTE;
}

/** Owner to home: the connection has ended. */
export interface Cleanup extends FlowEpoch {
  type: typeof FrameType.CLEANUP;
}

/** Home to owner: nothing of it is sent on any more. */
export interface CleanupOk extends FlowEpoch {
  type: typeof FrameType.CLEANUP_OK;
}

/*
 * MIGRATE (15), initiator to target: take this connection
 *
 * | offset | bytes | field      | value |
 * |--------|-------|------------|-------|
 * | 8      | 4     | request    | chosen by the initiator, unique on the link |
 * | 12     | 4     | epoch      | moves of this connection, this one included; not 0 |
 * | 16     | 1     | flags      | bit 0 serve the first request there, bit 1 the initiator drains, bit 2 in the middle of a response, bit 3 which ends the connection, bit 4 TLS |
 * | 17     | 4     | sentAtMs   | initiator's monotonic clock, milliseconds, wraps |
 * | 21     | 4     | stateBytes | of the whole connection state, 1 to 1572864 |
 * |        | 28    | continuation | with bit 2 only; see frame-continuation.ts |
 * |        | 2     | head length H | with bit 2 only, at most 32768 |
 * |        | H     | head       | with bit 2 only: of the request, as received |
 * |        | 79 or more | session | with bit 4 only; see frame-tls-session.ts |
 * |        | 2     | cut        | with bits 2 and 4 only: bytes of the server's next record that are out, at most 16412 |
 * |        | rest  | bytes      | the state's first bytes, at most stateBytes |
 */
const MIGRATE_FIXED_BYTES = 17;
const SERVE_FIRST = 1;
const DRAINING = 2;
const RESPONDING = 4;
const CLOSE = 8;
const SECURE = 16;
const CUT_BYTES = 2;

/** Bytes after the header. */
function migrateSize(frame: Migrate): number {
  const { response, session } = frame;
  const secure = session === null ? 0 : tlsSessionSize(session);
  const cut = session === null ? 0 : CUT_BYTES;
  const extra = response === null ? 0 : CONTINUATION_BYTES + 2 + response.head.length + cut;
  return MIGRATE_FIXED_BYTES + extra + secure + frame.bytes.length;
}

function writeMigrate(frame: Migrate, into: Buffer, start: number): number {
  checkMigrate(frame);
  let at = putU32(into, start, frame.request);
  at = putU32(into, at, frame.epoch);
  const { response, session } = frame;
  const secure = session === null ? 0 : SECURE;
  const first = (frame.serveFirst ? SERVE_FIRST : 0) | (frame.draining ? DRAINING : 0) | secure;
  at = putU8(into, at, first | (response === null ? 0 : RESPONDING) | (response?.close ? CLOSE : 0));
  at = putU32(into, at, frame.sentAtMs);
  at = putU32(into, at, frame.stateBytes);
  if (response !== null) {
    at = writeContinuation(response.continuation, into, at);
    at = putU16(into, at, response.head.length);
    at = putBytes(into, at, response.head, response.head.length);
  }
  if (session !== null) at = writeTlsSession(session, into, at);
  if (session !== null && response !== null) at = putU16(into, at, response.cut);
  return putBytes(into, at, frame.bytes, frame.bytes.length);
}

function readMigrate(bytes: Buffer, at: number, end: number): Migrate {
  requireAtLeast(at, end, MIGRATE_FIXED_BYTES);
  const flags = getFlags(bytes, at + 8, SERVE_FIRST | DRAINING | RESPONDING | CLOSE | SECURE);
  const close = (flags & CLOSE) !== 0;
  let next = at + MIGRATE_FIXED_BYTES;
  let response: MovedResponse | null = null;
  if ((flags & RESPONDING) !== 0) {
    requireAtLeast(next, end, CONTINUATION_BYTES + 2);
    const head = next + CONTINUATION_BYTES + 2;
    const length = bytes.readUInt16BE(head - 2);
    requireAtLeast(head, end, length);
    const continuation = readContinuation(bytes, next);
    next = head + length;
    response = { continuation, close, head: bytes.subarray(head, next), cut: 0 };
  } else must(!close, 'the end of a connection without a response');
  let session: TlsSession | null = null;
  if ((flags & SECURE) !== 0) {
    session = readTlsSession(bytes, next, end);
    next += tlsSessionSize(session);
    if (response !== null) {
      requireAtLeast(next, end, CUT_BYTES);
      response.cut = bytes.readUInt16BE(next);
      next += CUT_BYTES;
    }
  }
  const frame: Migrate = {
    type: FrameType.MIGRATE,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 4),
    serveFirst: (flags & SERVE_FIRST) !== 0,
    draining: (flags & DRAINING) !== 0,
    response,
    session,
    sentAtMs: bytes.readUInt32BE(at + 9),
    stateBytes: bytes.readUInt32BE(at + 13),
    bytes: bytes.subarray(next, end),
  };
  checkMigrate(frame);
  return frame;
}

export const migrateCodec: Codec<Migrate> = { size: migrateSize, write: writeMigrate, read: readMigrate };

function checkMigrate(frame: Migrate): void {
  must(frame.epoch !== 0, 'epoch 0');
  const cut = frame.response?.cut ?? 0;
  must(cut < (frame.session === null ? 1 : MAX_SEALED_BYTES), 'more than the beginning of a record');
  must(frame.stateBytes >= 1, 'a state of no bytes');
  if (frame.stateBytes > MAX_MIGRATED_STATE_BYTES)
    throw new FrameError('TOO_LARGE', `connection state of ${frame.stateBytes} bytes`);
  must(frame.bytes.length <= frame.stateBytes, 'more bytes than the state has');
  const headBytes = frame.response?.head.length ?? 0;
  if (headBytes > MAX_HEAD_BYTES) throw new FrameError('TOO_LARGE', `head of ${headBytes} bytes`);
}

/*
 * MIGRATE_DATA (16), initiator to target: more of the state
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | rest  | bytes   | to the end of the frame; at least 1 |
 */
const MIGRATE_DATA_FIXED_BYTES = 4;
/** What one MIGRATE or MIGRATE_DATA frame carries of a state. */
export const MAX_STATE_PIECE_BYTES =
  MAX_FRAME_BYTES - FRAME_HEADER_BYTES - MIGRATE_FIXED_BYTES - CONTINUATION_BYTES - 2 - MAX_HEAD_BYTES;

function writeMigrateData(frame: MigrateData, into: Buffer, at: number): number {
  must(frame.bytes.length > 0, 'a piece of no bytes');
  putU32(into, at, frame.request);
  return putBytes(into, at + MIGRATE_DATA_FIXED_BYTES, frame.bytes, frame.bytes.length);
}

function readMigrateData(bytes: Buffer, at: number, end: number): MigrateData {
  requireAtLeast(at, end, MIGRATE_DATA_FIXED_BYTES + 1);
  return {
    type: FrameType.MIGRATE_DATA,
    request: bytes.readUInt32BE(at),
    bytes: bytes.subarray(at + MIGRATE_DATA_FIXED_BYTES, end),
  };
}

export const migrateDataCodec: Codec<MigrateData> = {
  size: (frame) => MIGRATE_DATA_FIXED_BYTES + frame.bytes.length,
  write: writeMigrateData,
  read: readMigrateData,
};

/*
 * MIGRATE_OK (17), target to initiator: the connection is restored, and silent until CONFIRM
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 */
export const migrateOkCodec = epochCodec<MigrateOk>(FrameType.MIGRATE_OK);

/*
 * The flow block of ROUTE, CLEANUP and CLEANUP_OK
 *
 * | offset | bytes | field          | value |
 * |--------|-------|----------------|-------|
 * | 0      | 16    | client address | IPv4 as ::ffff:a.b.c.d |
 * | 16     | 2     | client port    | not 0 |
 * | 18     | 16    | public address | same family |
 * | 34     | 2     | public port    | not 0 |
 */
const FLOW_BYTES = 36;

function writeFlow(flow: FlowEndpoints, into: Buffer, start: number): number {
  checkFlow(flow);
  let at = putBytes(into, start, flow.clientAddress, 16);
  at = putU16(into, at, flow.clientPort);
  at = putBytes(into, at, flow.publicAddress, 16);
  return putU16(into, at, flow.publicPort);
}

function readFlow(bytes: Buffer, at: number): FlowEndpoints {
  const flow = {
    clientAddress: bytes.subarray(at, at + 16),
    clientPort: bytes.readUInt16BE(at + 16),
    publicAddress: bytes.subarray(at + 18, at + 34),
    publicPort: bytes.readUInt16BE(at + 34),
  };
  checkFlow(flow);
  return flow;
}

function checkFlow(flow: FlowEndpoints): void {
  must(flow.clientAddress.length === 16 && flow.publicAddress.length === 16, 'address length');
  must(flow.clientPort !== 0 && flow.publicPort !== 0, 'port 0');
  must(isMapped(flow.clientAddress) === isMapped(flow.publicAddress), 'address families');
}

/*
 * ROUTE (18), owner to home: this connection is here now
 * CLEANUP (19), owner to home: the connection has ended
 * CLEANUP_OK (21), home to owner: nothing of it is sent on any more
 *
 * | offset | bytes | field | value |
 * |--------|-------|-------|-------|
 * | 8      | 36    | flow  | see above |
 * | 44     | 4     | epoch | moves of the connection, not 0; in CLEANUP_OK as in CLEANUP |
 */
const FLOW_EPOCH_BYTES = FLOW_BYTES + 4;

function flowEpochCodec<F extends FlowEpoch & { type: number }>(
  type: F['type'],
): Codec<FlowEpoch & { type: F['type'] }> {
  return {
    size: () => FLOW_EPOCH_BYTES,
    write({ flow, epoch }, into, at) {
      must(epoch !== 0, 'epoch 0');
      return putU32(into, writeFlow(flow, into, at), epoch);
    },
    read(bytes, at, end) {
      requireLength(at, end, FLOW_EPOCH_BYTES);
      const epoch = bytes.readUInt32BE(at + FLOW_BYTES);
      must(epoch !== 0, 'epoch 0');
      return { type, flow: readFlow(bytes, at), epoch };
    },
  };
}

export const routeCodec = flowEpochCodec<Route>(FrameType.ROUTE);
export const cleanupCodec = flowEpochCodec<Cleanup>(FrameType.CLEANUP);
export const cleanupOkCodec = flowEpochCodec<CleanupOk>(FrameType.CLEANUP_OK);
