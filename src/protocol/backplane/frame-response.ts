/** The end of a response and of a half-pipe: DATA_DONE, COLLECTED, RESET, RESET_OK. `at` is the first byte after the header. */
import type { Identity } from '../http/continuation.ts';
import type { Codec } from './codec.ts';
import { IDENTITY_BYTES, readIdentity, writeIdentity } from './frame-continuation.ts';
import { FrameType } from './frame-types.ts';
import {
  checkPath,
  getFlags,
  getU64,
  must,
  putU8,
  putU16,
  putU32,
  putU64,
  requireAtLeast,
  requireLength,
} from './wire.ts';

/** Target to anchor: the whole response is written. */
export interface DataDone {
  type: typeof FrameType.DATA_DONE;
  request: number;
  epoch: number;
  /** E: the sequence number after the last byte; 0 with relay. */
  end: number;
  /** The response's status code, 100 to 999. */
  status: number;
  /** Close the connection after this response. */
  close: boolean;
  /** Bytes of the response, head included; at most 2^53 - 1. */
  bytes: number;
  bodyBytes: number;
  congestionWindow: number;
  srttUs: number;
  /** Microseconds from the receipt of SETUP to the first byte. */
  firstByteUs: number;
  /** Records of TLS that it is in; 0 without TLS. */
  records: number;
  /** The identity, as in SETUP_OK, of a response that was announced without one. */
  identity: Identity | null;
}

/** Target to anchor: every byte up to `end` is acknowledged. */
export interface Collected {
  type: typeof FrameType.COLLECTED;
  request: number;
  epoch: number;
  end: number;
  congestionWindow: number;
  srttUs: number;
}

/** Anchor to target: the half-pipe may go. */
export interface Reset {
  type: typeof FrameType.RESET;
  request: number;
  epoch: number;
  /** Discard at once, acknowledged or not. */
  discard: boolean;
  /** The target lets go only of what belongs to `epoch`. */
  onlyEpoch: boolean;
}

export interface ResetOk {
  type: typeof FrameType.RESET_OK;
  request: number;
}

/*
 * DATA_DONE (5), target to anchor
 *
 * | offset | bytes | field            | value |
 * |--------|-------|------------------|-------|
 * | 8      | 4     | request          | |
 * | 12     | 4     | epoch            | |
 * | 16     | 4     | end              | E: sequence number after the last byte; 0 with relay |
 * | 20     | 2     | status           | 100 to 999 |
 * | 22     | 1     | flags            | bit 0 close the connection after it, bit 1 identity, bit 2 records |
 * | 23     | 8     | bytes            | of the response with its head, at most 2^53 - 1 |
 * | 31     | 8     | bodyBytes        | at most bytes |
 * | 39     | 4     | congestionWindow | segments, 0 unknown; at most 2^20 |
 * | 43     | 4     | srttUs           | microseconds, 0 unknown; at most 10,000,000 |
 * | 47     | 4     | firstByteUs      | from receipt of SETUP to the first byte |
 * | 51     | 4     | records          | with bit 2 only, TLS: what it is in, not 0 |
 * | 51/55  | 20    | identity         | with bit 1 only; see frame-continuation.ts |
 */
const DATA_DONE_BYTES = 43;
const CLOSE = 1;
const DONE_IDENTITY = 2;
const DONE_RECORDS = 4;
const RECORDS_BYTES = 4;

function dataDoneSize({ records, identity }: DataDone): number {
  return DATA_DONE_BYTES + (records === 0 ? 0 : RECORDS_BYTES) + (identity === null ? 0 : IDENTITY_BYTES);
}

function writeDataDone(frame: DataDone, into: Buffer, start: number): number {
  checkDataDone(frame);
  let at = putU32(into, start, frame.request);
  at = putU32(into, at, frame.epoch);
  at = putU32(into, at, frame.end);
  at = putU16(into, at, frame.status);
  const { identity, records } = frame;
  const flags = (identity === null ? 0 : DONE_IDENTITY) | (records === 0 ? 0 : DONE_RECORDS);
  at = putU8(into, at, (frame.close ? CLOSE : 0) | flags);
  at = putU64(into, at, frame.bytes);
  at = putU64(into, at, frame.bodyBytes);
  at = putU32(into, at, frame.congestionWindow);
  at = putU32(into, at, frame.srttUs);
  at = putU32(into, at, frame.firstByteUs);
  if (records !== 0) at = putU32(into, at, records);
  return identity === null ? at : writeIdentity(identity, into, at);
}

function readDataDone(bytes: Buffer, at: number, end: number): DataDone {
  requireAtLeast(at, end, DATA_DONE_BYTES);
  const flags = getFlags(bytes, at + 14, CLOSE | DONE_IDENTITY | DONE_RECORDS);
  const identified = (flags & DONE_IDENTITY) !== 0;
  const recorded = (flags & DONE_RECORDS) !== 0;
  const identityAt = at + DATA_DONE_BYTES + (recorded ? RECORDS_BYTES : 0);
  requireLength(identityAt, end, identified ? IDENTITY_BYTES : 0);
  const frame: DataDone = {
    type: FrameType.DATA_DONE,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 4),
    end: bytes.readUInt32BE(at + 8),
    status: bytes.readUInt16BE(at + 12),
    close: (flags & CLOSE) !== 0,
    bytes: getU64(bytes, at + 15),
    bodyBytes: getU64(bytes, at + 23),
    congestionWindow: bytes.readUInt32BE(at + 31),
    srttUs: bytes.readUInt32BE(at + 35),
    firstByteUs: bytes.readUInt32BE(at + 39),
    records: recorded ? bytes.readUInt32BE(at + DATA_DONE_BYTES) : 0,
    identity: identified ? readIdentity(bytes, identityAt) : null,
  };
  must(!recorded || frame.records > 0, 'no records');
  checkDataDone(frame);
  return frame;
}

export const dataDoneCodec: Codec<DataDone> = {
  size: dataDoneSize,
  write: writeDataDone,
  read: readDataDone,
};

function checkDataDone(frame: DataDone): void {
  must(frame.status >= 100 && frame.status <= 999, 'status');
  must(frame.bodyBytes <= frame.bytes, 'more body than response');
  checkPath(frame);
}

/*
 * COLLECTED (6), target to anchor
 *
 * | offset | bytes | field            | value |
 * |--------|-------|------------------|-------|
 * | 8      | 4     | request          | |
 * | 12     | 4     | epoch            | |
 * | 16     | 4     | end              | every byte before it is acknowledged |
 * | 20     | 4     | congestionWindow | segments, 0 unknown; at most 2^20 |
 * | 24     | 4     | srttUs           | microseconds, 0 unknown; at most 10,000,000 |
 */
const COLLECTED_BYTES = 20;

function writeCollected(frame: Collected, into: Buffer, at: number): number {
  checkPath(frame);
  putU32(into, at, frame.request);
  putU32(into, at + 4, frame.epoch);
  putU32(into, at + 8, frame.end);
  putU32(into, at + 12, frame.congestionWindow);
  return putU32(into, at + 16, frame.srttUs);
}

function readCollected(bytes: Buffer, at: number, end: number): Collected {
  requireLength(at, end, COLLECTED_BYTES);
  const frame: Collected = {
    type: FrameType.COLLECTED,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 4),
    end: bytes.readUInt32BE(at + 8),
    congestionWindow: bytes.readUInt32BE(at + 12),
    srttUs: bytes.readUInt32BE(at + 16),
  };
  checkPath(frame);
  return frame;
}

export const collectedCodec: Codec<Collected> = {
  size: () => COLLECTED_BYTES,
  write: writeCollected,
  read: readCollected,
};

/*
 * RESET (7), anchor to target
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | the flow's id |
 * | 12     | 1     | flags   | bit 0 discard at once, bit 1 only that epoch |
 * | 13     | 4     | epoch   | |
 */
const RESET_BYTES = 9;
const DISCARD = 1;
const ONLY_EPOCH = 2;

function writeReset(frame: Reset, into: Buffer, at: number): number {
  putU32(into, at, frame.request);
  putU8(into, at + 4, (frame.discard ? DISCARD : 0) | (frame.onlyEpoch ? ONLY_EPOCH : 0));
  return putU32(into, at + 5, frame.epoch);
}

function readReset(bytes: Buffer, at: number, end: number): Reset {
  requireLength(at, end, RESET_BYTES);
  const flags = getFlags(bytes, at + 4, DISCARD | ONLY_EPOCH);
  return {
    type: FrameType.RESET,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 5),
    discard: (flags & DISCARD) !== 0,
    onlyEpoch: (flags & ONLY_EPOCH) !== 0,
  };
}

export const resetCodec: Codec<Reset> = { size: () => RESET_BYTES, write: writeReset, read: readReset };

/*
 * RESET_OK (8), target to anchor
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 */
const RESET_OK_BYTES = 4;

function writeResetOk(frame: ResetOk, into: Buffer, at: number): number {
  return putU32(into, at, frame.request);
}

function readResetOk(bytes: Buffer, at: number, end: number): ResetOk {
  requireLength(at, end, RESET_OK_BYTES);
  return { type: FrameType.RESET_OK, request: bytes.readUInt32BE(at) };
}

export const resetOkCodec: Codec<ResetOk> = {
  size: () => RESET_OK_BYTES,
  write: writeResetOk,
  read: readResetOk,
};
