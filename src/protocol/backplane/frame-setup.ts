/**
 * SETUP, its answers SETUP_OK and SETUP_REJECT, and what follows them: CONFIRM, WINDOW. `at` is always the first byte
 * after the header.
 */
import type { Continuation } from '../http/continuation.ts';
import { FrameError } from './errors.ts';
import {
  CONTINUATION_BYTES,
  IDENTITY_BYTES,
  readContinuation,
  readIdentity,
  writeContinuation,
  writeIdentity,
} from './frame-continuation.ts';
import {
  type Confirm,
  FrameType,
  type HalfPipe,
  MAX_BODY_BYTES,
  MAX_HEAD_BYTES,
  MAX_PROMISE_BYTES,
  MAX_WINDOW_BYTES,
  MAX_WINDOW_SCALE,
  NO_WINDOW_SCALE,
  RejectReason,
  type Setup,
  SetupMechanism,
  type SetupOk,
  type SetupReject,
  type Window,
} from './frame-types.ts';
import {
  checkPath,
  getFlags,
  getU64,
  must,
  putBytes,
  putU8,
  putU16,
  putU32,
  putU64,
  requireAtLeast,
  requireLength,
} from './wire.ts';

/*
 * SETUP (1), anchor to target
 *
 * | offset | bytes | field            | value |
 * |--------|-------|------------------|-------|
 * | 8      | 4     | request          | chosen by the anchor, unique on the link |
 * | 12     | 4     | epoch            | |
 * | 16     | 1     | mechanism        | 1 relay, 2 anchor, 3 clone, 4 split |
 * | 17     | 1     | method flags     | bit 0 client is HTTP/1.0, bit 1 respond with Connection: close, bit 2 body follows in RELAY_DATA (mechanism relay only), bit 3 continuation, bit 4 keep |
 * | 18     | 4     | sentAtMs         | sender's monotonic clock, milliseconds, wraps |
 * | 22     | 78    | half-pipe        | not with mechanism relay; see below |
 * | 22     | 16    | client address   | with mechanism relay only; IPv4 as ::ffff:a.b.c.d, :: when it is not known |
 * |        | 28    | continuation     | with bit 3 only; see frame-continuation.ts |
 * |        | 4     | keep             | with bit 4 only, mechanism clone: what the next request's choice goes by |
 * |        | 4     | site             | digest of the request's site, as the anchor sees it; 0 of none |
 * |        | 2     | head length H    | at most 32768 |
 * |        | H     | head             | the request head as received |
 * |        | 4     | body length B    | at most 65536; 0 when the body follows |
 * |        | B     | body             | |
 */
const SETUP_FIXED_BYTES = 14;
const HALF_PIPE_BYTES = 78;
const HTTP10 = 1;
const CLOSE = 2;
const BODY_FOLLOWS = 4;
const CONTINUES = 8;
const KEEPS = 16;
const KEEP_BYTES = 4;
const ADDRESS_BYTES = 16;
const UNKNOWN_ADDRESS = Buffer.alloc(ADDRESS_BYTES);

/** Bytes after the header. */
export function setupSize(frame: Setup): number {
  return (
    SETUP_FIXED_BYTES +
    (frame.halfPipe === null ? ADDRESS_BYTES : HALF_PIPE_BYTES) +
    (frame.continuation === null ? 0 : CONTINUATION_BYTES) +
    (frame.keep === null ? 0 : KEEP_BYTES) +
    10 +
    frame.head.length +
    frame.body.length
  );
}

export function writeSetup(frame: Setup, into: Buffer, start: number): number {
  checkSetup(frame);
  let at = putU32(into, start, frame.request);
  at = putU32(into, at, frame.epoch);
  at = putU8(into, at, frame.mechanism);
  at = putU8(
    into,
    at,
    (frame.http10 ? HTTP10 : 0) |
      (frame.close ? CLOSE : 0) |
      (frame.bodyFollows ? BODY_FOLLOWS : 0) |
      (frame.continuation === null ? 0 : CONTINUES) |
      (frame.keep === null ? 0 : KEEPS),
  );
  at = putU32(into, at, frame.sentAtMs);
  if (frame.halfPipe !== null) at = writeHalfPipe(frame.halfPipe, into, at);
  else at = putBytes(into, at, frame.client ?? UNKNOWN_ADDRESS, ADDRESS_BYTES);
  if (frame.continuation !== null) at = writeContinuation(frame.continuation, into, at);
  if (frame.keep !== null) at = putU32(into, at, frame.keep);
  at = putU32(into, at, frame.site);
  at = putU16(into, at, frame.head.length);
  at = putBytes(into, at, frame.head, frame.head.length);
  at = putU32(into, at, frame.body.length);
  return putBytes(into, at, frame.body, frame.body.length);
}

export function readSetup(bytes: Buffer, start: number, end: number): Setup {
  requireAtLeast(start, end, SETUP_FIXED_BYTES);
  const mechanism = bytes[start + 8] as SetupMechanism;
  const flags = getFlags(bytes, start + 9, HTTP10 | CLOSE | BODY_FOLLOWS | CONTINUES | KEEPS);
  let at = start + SETUP_FIXED_BYTES;
  let halfPipe: HalfPipe | null = null;
  let client: Buffer | null = null;
  if (mechanism !== SetupMechanism.RELAY) {
    requireAtLeast(at, end, HALF_PIPE_BYTES);
    halfPipe = readHalfPipe(bytes, at);
    at += HALF_PIPE_BYTES;
  } else {
    requireAtLeast(at, end, ADDRESS_BYTES);
    client = bytes.subarray(at, at + ADDRESS_BYTES);
    if (client.equals(UNKNOWN_ADDRESS)) client = null;
    at += ADDRESS_BYTES;
  }
  let continuation: Continuation | null = null;
  if ((flags & CONTINUES) !== 0) {
    requireAtLeast(at, end, CONTINUATION_BYTES);
    continuation = readContinuation(bytes, at);
    at += CONTINUATION_BYTES;
  }
  let keep: number | null = null;
  if ((flags & KEEPS) !== 0) {
    requireAtLeast(at, end, KEEP_BYTES);
    keep = bytes.readUInt32BE(at);
    at += KEEP_BYTES;
  }
  requireAtLeast(at, end, 6);
  const site = bytes.readUInt32BE(at);
  at += 4;
  const headEnd = at + 2 + bytes.readUInt16BE(at);
  requireAtLeast(headEnd, end, 4);
  const bodyLength = bytes.readUInt32BE(headEnd);
  requireLength(headEnd + 4, end, bodyLength);
  const frame: Setup = {
    type: FrameType.SETUP,
    request: bytes.readUInt32BE(start),
    epoch: bytes.readUInt32BE(start + 4),
    mechanism,
    http10: (flags & HTTP10) !== 0,
    close: (flags & CLOSE) !== 0,
    bodyFollows: (flags & BODY_FOLLOWS) !== 0,
    sentAtMs: bytes.readUInt32BE(start + 10),
    halfPipe,
    client,
    continuation,
    keep,
    site,
    head: bytes.subarray(at + 2, headEnd),
    body: bytes.subarray(headEnd + 4, end),
  };
  checkSetup(frame);
  return frame;
}

function checkSetup(frame: Setup): void {
  must(frame.mechanism >= SetupMechanism.RELAY && frame.mechanism <= SetupMechanism.SPLIT, 'mechanism');
  must((frame.mechanism === SetupMechanism.RELAY) === (frame.halfPipe === null), 'half-pipe and mechanism');
  must(frame.client === null || frame.halfPipe === null, 'client address beside a half-pipe');
  must(frame.client === null || !frame.client.equals(UNKNOWN_ADDRESS), 'unspecified client address');
  must(frame.keep === null || frame.mechanism === SetupMechanism.CLONE, 'keep and mechanism');
  must(!frame.bodyFollows || frame.body.length === 0, 'a body, and a body that follows');
  must(!frame.bodyFollows || frame.halfPipe === null, 'a body that follows and mechanism');
  if (frame.head.length > MAX_HEAD_BYTES)
    throw new FrameError('TOO_LARGE', `head of ${frame.head.length} bytes`);
  if (frame.body.length > MAX_BODY_BYTES)
    throw new FrameError('TOO_LARGE', `body of ${frame.body.length} bytes`);
  if (frame.halfPipe !== null) checkHalfPipe(frame.halfPipe);
}

/*
 * The half-pipe block of SETUP
 *
 * | offset | bytes | field            | value |
 * |--------|-------|------------------|-------|
 * | 0      | 16    | client address   | IPv4 as ::ffff:a.b.c.d |
 * | 16     | 2     | client port      | not 0 |
 * | 18     | 16    | public address   | same family |
 * | 34     | 2     | public port      | not 0 |
 * | 36     | 1     | family           | 4 or 6 |
 * | 37     | 1     | options          | bit 0 SACK, bit 1 timestamps, bit 2 ECN |
 * | 38     | 2     | mss              | bytes, not 0 |
 * | 40     | 1     | sendScale        | 0 to 14; 255 for both: no scaling |
 * | 41     | 1     | receiveScale     | |
 * | 42     | 4     | sequence         | S: where the target starts |
 * | 46     | 4     | acknowledge      | edge of the in-half |
 * | 50     | 4     | receiveWindow    | bytes, at most 2^30 |
 * | 54     | 4     | sendWindow       | bytes beyond S, at most maxWindow |
 * | 58     | 4     | maxWindow        | bytes, at most 2^30 |
 * | 62     | 4     | tsval            | |
 * | 66     | 4     | tsecr            | |
 * | 70     | 4     | congestionWindow | segments, 0 unknown; at most 2^20 |
 * | 74     | 4     | srttUs           | microseconds, 0 unknown; at most 10,000,000 |
 */
const SACK = 1;
const TIMESTAMPS = 2;
const ECN = 4;

function writeHalfPipe(pipe: HalfPipe, into: Buffer, start: number): number {
  let at = putBytes(into, start, pipe.clientAddress, 16);
  at = putU16(into, at, pipe.clientPort);
  at = putBytes(into, at, pipe.publicAddress, 16);
  at = putU16(into, at, pipe.publicPort);
  at = putU8(into, at, pipe.family);
  at = putU8(into, at, (pipe.sack ? SACK : 0) | (pipe.timestamps ? TIMESTAMPS : 0) | (pipe.ecn ? ECN : 0));
  at = putU16(into, at, pipe.mss);
  at = putU8(into, at, pipe.sendScale);
  at = putU8(into, at, pipe.receiveScale);
  at = putU32(into, at, pipe.sequence);
  at = putU32(into, at, pipe.acknowledge);
  at = putU32(into, at, pipe.receiveWindow);
  at = putU32(into, at, pipe.sendWindow);
  at = putU32(into, at, pipe.maxWindow);
  at = putU32(into, at, pipe.tsval);
  at = putU32(into, at, pipe.tsecr);
  at = putU32(into, at, pipe.congestionWindow);
  return putU32(into, at, pipe.srttUs);
}

function readHalfPipe(bytes: Buffer, at: number): HalfPipe {
  const options = getFlags(bytes, at + 37, SACK | TIMESTAMPS | ECN);
  return {
    clientAddress: bytes.subarray(at, at + 16),
    clientPort: bytes.readUInt16BE(at + 16),
    publicAddress: bytes.subarray(at + 18, at + 34),
    publicPort: bytes.readUInt16BE(at + 34),
    family: bytes[at + 36] as 4 | 6,
    sack: (options & SACK) !== 0,
    timestamps: (options & TIMESTAMPS) !== 0,
    ecn: (options & ECN) !== 0,
    mss: bytes.readUInt16BE(at + 38),
    sendScale: bytes[at + 40],
    receiveScale: bytes[at + 41],
    sequence: bytes.readUInt32BE(at + 42),
    acknowledge: bytes.readUInt32BE(at + 46),
    receiveWindow: bytes.readUInt32BE(at + 50),
    sendWindow: bytes.readUInt32BE(at + 54),
    maxWindow: bytes.readUInt32BE(at + 58),
    tsval: bytes.readUInt32BE(at + 62),
    tsecr: bytes.readUInt32BE(at + 66),
    congestionWindow: bytes.readUInt32BE(at + 70),
    srttUs: bytes.readUInt32BE(at + 74),
  };
}

function checkHalfPipe(pipe: HalfPipe): void {
  must(pipe.family === 4 || pipe.family === 6, 'family');
  must(isMapped(pipe.clientAddress) === (pipe.family === 4), 'client address and family');
  must(isMapped(pipe.publicAddress) === (pipe.family === 4), 'public address and family');
  must(pipe.clientPort !== 0 && pipe.publicPort !== 0, 'port 0');
  must(pipe.mss !== 0, 'mss 0');
  if (pipe.sendScale === NO_WINDOW_SCALE) must(pipe.receiveScale === NO_WINDOW_SCALE, 'one-sided scale');
  else must(pipe.sendScale <= MAX_WINDOW_SCALE && pipe.receiveScale <= MAX_WINDOW_SCALE, 'window scale');
  must(pipe.receiveWindow <= MAX_WINDOW_BYTES, 'receive window');
  must(pipe.maxWindow <= MAX_WINDOW_BYTES, 'largest window');
  // The kernel refuses TCP_REPAIR_WINDOW otherwise (tcp_repair_set_window).
  must(pipe.sendWindow <= pipe.maxWindow, 'send window above the largest');
  checkPath(pipe);
}

function isMapped(address: Buffer): boolean {
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return address[10] === 0xff && address[11] === 0xff;
}

/*
 * SETUP_OK (2), target to anchor
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 * | 16     | 1     | flags   | bit 0 confirmation wanted, bit 1 identity, bit 2 promise, bit 3 close the connection after it (with a promise) |
 * |        | 20    | identity | with bit 1 only; see frame-continuation.ts |
 * |        | 18    | promise | with bit 2 only; see below |
 *
 * The promise block of SETUP_OK, mechanism clone
 *
 * | offset | bytes | field     | value |
 * |--------|-------|-----------|-------|
 * | 0      | 2     | status    | 100 to 999 |
 * | 2      | 8     | bytes     | of the response with its head, 1 to 2^30 |
 * | 10     | 8     | bodyBytes | at most bytes |
 */
const SETUP_OK_BYTES = 9;
const PROMISE_BYTES = 18;
const CONFIRM_WANTED = 1;
const OK_IDENTITY = 2;
const PROMISED = 4;
const PROMISED_CLOSE = 8;

export function setupOkSize({ identity, promise }: SetupOk): number {
  return SETUP_OK_BYTES + (identity === null ? 0 : IDENTITY_BYTES) + (promise === null ? 0 : PROMISE_BYTES);
}

export function writeSetupOk(frame: SetupOk, into: Buffer, start: number): number {
  const { identity, promise } = frame;
  checkPromise(frame);
  let at = putU32(into, start, frame.request);
  at = putU32(into, at, frame.epoch);
  const promised = promise === null ? 0 : PROMISED | (promise.close ? PROMISED_CLOSE : 0);
  const flags = (frame.confirmWanted ? CONFIRM_WANTED : 0) | (identity === null ? 0 : OK_IDENTITY);
  at = putU8(into, at, flags | promised);
  if (identity !== null) at = writeIdentity(identity, into, at);
  if (promise === null) return at;
  at = putU16(into, at, promise.status);
  at = putU64(into, at, promise.bytes);
  return putU64(into, at, promise.bodyBytes);
}

export function readSetupOk(bytes: Buffer, at: number, end: number): SetupOk {
  requireAtLeast(at, end, SETUP_OK_BYTES);
  const flags = getFlags(bytes, at + 8, CONFIRM_WANTED | OK_IDENTITY | PROMISED | PROMISED_CLOSE);
  const identified = (flags & OK_IDENTITY) !== 0;
  const promised = (flags & PROMISED) !== 0;
  must(promised || (flags & PROMISED_CLOSE) === 0, 'close without a promise');
  const promiseAt = at + SETUP_OK_BYTES + (identified ? IDENTITY_BYTES : 0);
  requireLength(promiseAt, end, promised ? PROMISE_BYTES : 0);
  const frame: SetupOk = {
    type: FrameType.SETUP_OK,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 4),
    confirmWanted: (flags & CONFIRM_WANTED) !== 0,
    identity: identified ? readIdentity(bytes, at + SETUP_OK_BYTES) : null,
    promise: promised
      ? {
          status: bytes.readUInt16BE(promiseAt),
          close: (flags & PROMISED_CLOSE) !== 0,
          bytes: getU64(bytes, promiseAt + 2),
          bodyBytes: getU64(bytes, promiseAt + 10),
        }
      : null,
  };
  checkPromise(frame);
  return frame;
}

function checkPromise({ promise }: SetupOk): void {
  if (promise === null) return;
  must(promise.status >= 100 && promise.status <= 999, 'status');
  must(promise.bytes >= 1 && promise.bytes <= MAX_PROMISE_BYTES, 'promised bytes');
  must(promise.bodyBytes <= promise.bytes, 'more body than response');
}

/*
 * SETUP_REJECT (3), target to anchor
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 * | 16     | 1     | reason  | 1 full, 2 stale, 3 busy tuple, 4 state invalid, 5 not served here, 6 shutting down, 7 internal, 8 cannot go on with this response, 9 next request waits for SETUP, 10 not known yet |
 */
export const SETUP_REJECT_BYTES = 9;

export function writeSetupReject(frame: SetupReject, into: Buffer, at: number): number {
  checkReason(frame.reason);
  putU32(into, at, frame.request);
  putU32(into, at + 4, frame.epoch);
  return putU8(into, at + 8, frame.reason);
}

export function readSetupReject(bytes: Buffer, at: number, end: number): SetupReject {
  requireLength(at, end, SETUP_REJECT_BYTES);
  const reason = bytes[at + 8] as RejectReason;
  checkReason(reason);
  return {
    type: FrameType.SETUP_REJECT,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 4),
    reason,
  };
}

function checkReason(reason: number): void {
  must(reason >= RejectReason.FULL && reason <= RejectReason.PENDING, 'reject reason');
}

/*
 * CONFIRM (4), anchor to target
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 */
export const CONFIRM_BYTES = 8;

export function writeConfirm(frame: Confirm, into: Buffer, at: number): number {
  putU32(into, at, frame.request);
  return putU32(into, at + 4, frame.epoch);
}

export function readConfirm(bytes: Buffer, at: number, end: number): Confirm {
  requireLength(at, end, CONFIRM_BYTES);
  return { type: FrameType.CONFIRM, request: bytes.readUInt32BE(at), epoch: bytes.readUInt32BE(at + 4) };
}

/*
 * WINDOW (20), anchor to target
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 * | 16     | 4     | edge    | right edge of the client's window: a sequence number |
 */
export const WINDOW_BYTES = 12;

export function writeWindow(frame: Window, into: Buffer, at: number): number {
  putU32(into, at, frame.request);
  return putU32(into, putU32(into, at + 4, frame.epoch), frame.edge);
}

export function readWindow(bytes: Buffer, at: number, end: number): Window {
  requireLength(at, end, WINDOW_BYTES);
  const [request, epoch, edge] = [0, 4, 8].map((offset) => bytes.readUInt32BE(at + offset));
  return { type: FrameType.WINDOW, request, epoch, edge };
}
