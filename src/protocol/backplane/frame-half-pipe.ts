/** What a target needs to send the out-half itself, and its block in SETUP. `at` is the first byte of the block. */
import { isMapped } from '../../base/address.ts';
import { MAX_WINDOW_BYTES, MAX_WINDOW_SCALE, NO_WINDOW_SCALE } from './frame-types.ts';
import { checkPath, getFlags, must, putBytes, putU8, putU16, putU32 } from './wire.ts';

/** What the target needs to send the out-half itself. */
export interface HalfPipe {
  /** 16 bytes in network order; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
  clientAddress: Buffer;
  clientPort: number;
  publicAddress: Buffer;
  publicPort: number;
  family: 4 | 6;
  sack: boolean;
  timestamps: boolean;
  ecn: boolean;
  /** What the target may send in one segment, in bytes. */
  mss: number;
  /** Window scales, 0 to MAX_WINDOW_SCALE; both NO_WINDOW_SCALE when the connection scales no windows. */
  sendScale: number;
  receiveScale: number;
  /** S: the sequence number at which the target starts. */
  sequence: number;
  /** The edge of the in-half: the next byte expected from the client. */
  acknowledge: number;
  /** Bytes offered to the client, never a smaller right edge than was advertised. */
  receiveWindow: number;
  /** Bytes that the client allows beyond S. */
  sendWindow: number;
  /** The largest window the client ever offered; at least sendWindow. */
  maxWindow: number;
  tsval: number;
  tsecr: number;
  /** Segments; 0 when unknown. */
  congestionWindow: number;
  /** Microseconds; 0 when unknown. */
  srttUs: number;
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
export const HALF_PIPE_BYTES = 78;
const SACK = 1;
const TIMESTAMPS = 2;
const ECN = 4;

export function writeHalfPipe(pipe: HalfPipe, into: Buffer, start: number): number {
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

export function readHalfPipe(bytes: Buffer, at: number): HalfPipe {
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

export function checkHalfPipe(pipe: HalfPipe): void {
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
