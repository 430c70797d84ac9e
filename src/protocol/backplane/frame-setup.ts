/** SETUP: an anchor asks a target to serve a request. `at` is the first byte after the header. */
import type { Continuation } from '../http/continuation.ts';
import type { LentHalf } from '../tls/traffic.ts';
import type { Codec } from './codec.ts';
import { FrameError } from './errors.ts';
import { CONTINUATION_BYTES, readContinuation, writeContinuation } from './frame-continuation.ts';
import { ESTIMATES_BYTES, type RowEstimates, readEstimates, writeEstimates } from './frame-estimates.ts';
import {
  checkHalfPipe,
  HALF_PIPE_BYTES,
  type HalfPipe,
  readHalfPipe,
  writeHalfPipe,
} from './frame-half-pipe.ts';
import { lentHalfSize, readLentHalf, writeLentHalf } from './frame-lent-half.ts';
import { FrameType, MAX_BODY_BYTES, MAX_HEAD_BYTES } from './frame-types.ts';
import { getFlags, must, putBytes, putU8, putU16, putU32, requireAtLeast, requireLength } from './wire.ts';

export const SetupMechanism = { RELAY: 1, ANCHOR: 2, CLONE: 3, SPLIT: 4, BOOST: 5 } as const;
export type SetupMechanism = (typeof SetupMechanism)[keyof typeof SetupMechanism];

/** Whoever sends such a SETUP carries the response: there is no half-pipe. */
export function isCarried(mechanism: SetupMechanism): boolean {
  return mechanism === SetupMechanism.RELAY || mechanism === SetupMechanism.BOOST;
}

/** Anchor to target: serve this request. */
export interface Setup {
  type: typeof FrameType.SETUP;
  request: number;
  epoch: number;
  mechanism: SetupMechanism;
  /** The client speaks HTTP/1.0. */
  http10: boolean;
  /** Respond with `Connection: close`. */
  close: boolean;
  /** The body follows in RELAY_DATA; `body` is then empty. */
  bodyFollows: boolean;
  /** The sender's monotonic clock in milliseconds, modulo 2^32. */
  sentAtMs: number;
  /** Null with relay and boost only. */
  halfPipe: HalfPipe | null;
  /** The connection is TLS: what the target seals the response with. Null otherwise, and with relay and boost. */
  seal: LentHalf | null;
  /** With relay and boost only, as the half-pipe says it otherwise: the client's address; null when it is not known. */
  client: Buffer | null;
  /** With relay only: the client speaks TLS. */
  secure: boolean;
  /** The response is to go on where another node left it; null: from its beginning. */
  continuation: Continuation | null;
  /**
   * With mechanism clone only: the target may answer the connection's next request without being asked, when its own
   * policy chooses it as well. Stands for what the anchor's policy chooses by; null: it may not.
   */
  keep: number | null;
  /** For a client that Server-Timing is told to, when mechanism auto has chosen the row; else null. */
  estimates: RowEstimates | null;
  /** Stands for the site that the request is of, as the anchor sees it; 0: of none. */
  site: number;
  /** The request head as the client sent it, at most MAX_HEAD_BYTES. */
  head: Buffer;
  /** At most MAX_BODY_BYTES. */
  body: Buffer;
}

/*
 * SETUP (1), anchor to target
 *
 * | offset | bytes | field            | value |
 * |--------|-------|------------------|-------|
 * | 8      | 4     | request          | chosen by the anchor, unique on the link |
 * | 12     | 4     | epoch            | |
 * | 16     | 1     | mechanism        | 1 relay, 2 anchor, 3 clone, 4 split |
 * | 17     | 1     | method flags     | bit 0 client is HTTP/1.0, bit 1 respond with Connection: close, bit 2 body follows in RELAY_DATA (mechanism relay only), bit 3 continuation, bit 4 keep, bit 5 the client speaks TLS (mechanism relay only), bit 6 lent half, bit 7 estimates |
 * | 18     | 4     | sentAtMs         | sender's monotonic clock, milliseconds, wraps |
 * | 22     | 78    | half-pipe        | not with mechanism relay; see below |
 * | 22     | 16    | client address   | with mechanism relay only; IPv4 as ::ffff:a.b.c.d, :: when it is not known |
 * |        | 28    | continuation     | with bit 3 only; see frame-continuation.ts |
 * |        | 4     | keep             | with bit 4 only, mechanism clone: what the next request's choice goes by |
 * |        | 40/56 | lent half        | with bit 6 only, not with mechanism relay; see frame-lent-half.ts |
 * |        | 6     | estimates        | with bit 7 only; see frame-estimates.ts |
 * |        | 4     | site             | digest of the request's site, as the anchor sees it; 0 of none |
 * |        | 2     | head length H    | at most 32768 |
 * |        | H     | head             | the request head as received |
 * |        | 4     | body length B    | at most 65536; 0 when the body follows |
 * |        | B     | body             | |
 */
const SETUP_FIXED_BYTES = 14;
const HTTP10 = 1;
const CLOSE = 2;
const BODY_FOLLOWS = 4;
const CONTINUES = 8;
const KEEPS = 16;
const SECURE = 32;
const SEALS = 64;
const ESTIMATES = 128;
const FLAGS = HTTP10 | CLOSE | BODY_FOLLOWS | CONTINUES | KEEPS | SECURE | SEALS | ESTIMATES;
const KEEP_BYTES = 4;
const ADDRESS_BYTES = 16;
const UNKNOWN_ADDRESS = Buffer.alloc(ADDRESS_BYTES);
const NOTHING = Buffer.alloc(0);

/** Bytes after the header. */
function setupSize(frame: Setup): number {
  return (
    SETUP_FIXED_BYTES +
    (frame.halfPipe === null ? ADDRESS_BYTES : HALF_PIPE_BYTES) +
    (frame.continuation === null ? 0 : CONTINUATION_BYTES) +
    (frame.keep === null ? 0 : KEEP_BYTES) +
    (frame.seal === null ? 0 : lentHalfSize(frame.seal)) +
    (frame.estimates === null ? 0 : ESTIMATES_BYTES) +
    10 +
    frame.head.length +
    frame.body.length
  );
}

function writeSetup(frame: Setup, into: Buffer, start: number): number {
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
      (frame.keep === null ? 0 : KEEPS) |
      (frame.secure ? SECURE : 0) |
      (frame.seal === null ? 0 : SEALS) |
      (frame.estimates === null ? 0 : ESTIMATES),
  );
  at = putU32(into, at, frame.sentAtMs);
  if (frame.halfPipe !== null) at = writeHalfPipe(frame.halfPipe, into, at);
  else at = putBytes(into, at, frame.client ?? UNKNOWN_ADDRESS, ADDRESS_BYTES);
  if (frame.continuation !== null) at = writeContinuation(frame.continuation, into, at);
  if (frame.keep !== null) at = putU32(into, at, frame.keep);
  if (frame.seal !== null) at = writeLentHalf(frame.seal, into, at);
  if (frame.estimates !== null) at = writeEstimates(frame.estimates, into, at);
  at = putU32(into, at, frame.site);
  at = putU16(into, at, frame.head.length);
  at = putBytes(into, at, frame.head, frame.head.length);
  at = putU32(into, at, frame.body.length);
  return putBytes(into, at, frame.body, frame.body.length);
}

function readSetup(bytes: Buffer, start: number, end: number): Setup {
  requireAtLeast(start, end, SETUP_FIXED_BYTES);
  const mechanism = bytes[start + 8] as SetupMechanism;
  const flags = getFlags(bytes, start + 9, FLAGS);
  const blocks = readBlocks(bytes, start + SETUP_FIXED_BYTES, end, mechanism, flags);
  const at = blocks.end;
  requireAtLeast(at, end, 6);
  const headStart = at + 6;
  const headEnd = headStart + bytes.readUInt16BE(at + 4);
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
    halfPipe: blocks.halfPipe,
    client: blocks.client,
    secure: (flags & SECURE) !== 0,
    continuation: blocks.continuation,
    keep: blocks.keep,
    seal: blocks.seal,
    estimates: blocks.estimates,
    site: bytes.readUInt32BE(at),
    head: bytes.subarray(headStart, headEnd),
    body: bodyLength === 0 ? NOTHING : bytes.subarray(headEnd + 4, end),
  };
  checkSetup(frame);
  return frame;
}

/** What lies between the fixed fields and the site: which blocks there are, mechanism and flags say. */
interface Blocks extends Pick<Setup, 'halfPipe' | 'client' | 'continuation' | 'keep' | 'seal' | 'estimates'> {
  /** Where the blocks end. */
  readonly end: number;
}

function readBlocks(
  bytes: Buffer,
  start: number,
  end: number,
  mechanism: SetupMechanism,
  flags: number,
): Blocks {
  let at = start;
  /** The place of a block of so many bytes. */
  const next = (length: number): number => {
    requireAtLeast(at, end, length);
    at += length;
    return at - length;
  };
  const carried = isCarried(mechanism);
  const halfPipe = carried ? null : readHalfPipe(bytes, next(HALF_PIPE_BYTES));
  const client = carried ? readClient(bytes, next(ADDRESS_BYTES)) : null;
  const continuation = (flags & CONTINUES) === 0 ? null : readContinuation(bytes, next(CONTINUATION_BYTES));
  const keep = (flags & KEEPS) === 0 ? null : bytes.readUInt32BE(next(KEEP_BYTES));
  const seal = (flags & SEALS) === 0 ? null : readLentHalf(bytes, at, end);
  if (seal !== null) next(lentHalfSize(seal));
  const estimates = (flags & ESTIMATES) === 0 ? null : readEstimates(bytes, next(ESTIMATES_BYTES));
  return { end: at, halfPipe, client, continuation, keep, seal, estimates };
}

function readClient(bytes: Buffer, at: number): Buffer | null {
  const client = bytes.subarray(at, at + ADDRESS_BYTES);
  return client.equals(UNKNOWN_ADDRESS) ? null : client;
}

export const setupCodec: Codec<Setup> = { size: setupSize, write: writeSetup, read: readSetup };

function checkSetup(frame: Setup): void {
  must(frame.mechanism >= SetupMechanism.RELAY && frame.mechanism <= SetupMechanism.BOOST, 'mechanism');
  must(isCarried(frame.mechanism) === (frame.halfPipe === null), 'half-pipe and mechanism');
  must(frame.client === null || frame.halfPipe === null, 'client address beside a half-pipe');
  must(frame.client === null || !frame.client.equals(UNKNOWN_ADDRESS), 'unspecified client address');
  must(!frame.secure || frame.halfPipe === null, 'a client with TLS beside a half-pipe');
  must(frame.keep === null || frame.mechanism === SetupMechanism.CLONE, 'keep and mechanism');
  must(frame.seal === null || frame.halfPipe !== null, 'a lent half without a half-pipe');
  must(frame.seal === null || frame.keep === null, 'keep, of requests that only the anchor can read');
  must(!frame.bodyFollows || frame.body.length === 0, 'a body, and a body that follows');
  must(!frame.bodyFollows || frame.halfPipe === null, 'a body that follows and mechanism');
  if (frame.head.length > MAX_HEAD_BYTES)
    throw new FrameError('TOO_LARGE', `head of ${frame.head.length} bytes`);
  if (frame.body.length > MAX_BODY_BYTES)
    throw new FrameError('TOO_LARGE', `body of ${frame.body.length} bytes`);
  if (frame.halfPipe !== null) checkHalfPipe(frame.halfPipe);
}
