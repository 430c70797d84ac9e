/** Frames of the link itself, HELLO, KEEPALIVE and LOAD, and of relayed bytes, RELAY_DATA and RELAY_CREDIT. */
import type { Codec } from './codec.ts';
import { FrameError } from './errors.ts';
import {
  FrameType,
  MAX_CREDIT_BYTES,
  MAX_NODE_NAME_BYTES,
  MAX_RELAY_BYTES,
  RELAYED_END_BYTES,
} from './frame-types.ts';
import {
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

export interface Keepalive {
  type: typeof FrameType.KEEPALIVE;
  sentAtMs: number;
  /** The `sentAtMs` received last, 0 when none was. */
  echoMs: number;
  /** How long ago that was. */
  heldMs: number;
}

export interface Load {
  type: typeof FrameType.LOAD;
  /** Client connections of the sending engine. */
  connections: number;
  /** The processor share of the sending engine, 0 to 1000. */
  cpuPermille: number;
  requestsPerSecond: number;
  /** Takes new connections and handoffs. */
  accepting: boolean;
  /** Clients of its public addresses that a booster has may come back to it. */
  takesBack: boolean;
  /** Connections that wait to be accepted. */
  acceptQueue: number;
}

/** What DATA_DONE says of a relayed response that the anchor does not see for itself. */
export interface RelayedEnd {
  /** 100 to 999. */
  status: number;
  bodyBytes: number;
  /** The connection ends with it. */
  close: boolean;
}

export interface RelayData {
  type: typeof FrameType.RELAY_DATA;
  request: number;
  /** Nothing of the request body follows; of a response `end` says so. */
  last: boolean;
  /** Bytes of the request body (anchor to target); else of the response (target to anchor). */
  requestBody: boolean;
  /** Of a response: it ends with these bytes. Null: more follows, or DATA_DONE. */
  end: RelayedEnd | null;
  /** At most MAX_RELAY_BYTES; with `end` RELAYED_END_BYTES less. */
  bytes: Buffer;
}

export interface RelayCredit {
  type: typeof FrameType.RELAY_CREDIT;
  request: number;
  /** Bytes that may be sent in addition, 1 to MAX_CREDIT_BYTES. */
  credit: number;
}

/** The first frame in each direction: who is at this end. */
export interface Hello {
  type: typeof FrameType.HELLO;
  protocol: number;
  /** 1 to MAX_NODE_NAME_BYTES bytes of UTF-8 without control characters. */
  node: string;
  /** Below `engines`. */
  engine: number;
  engines: number;
  /** 6 bytes: where the router sends this node's packets. */
  mac: Buffer;
  clockMs: number;
  /** 8 bytes, new with every start of the process. */
  bootId: Buffer;
}

/*
 * KEEPALIVE (10), both directions
 *
 * | offset | bytes | field    | value |
 * |--------|-------|----------|-------|
 * | 8      | 4     | sentAtMs | sender's monotonic clock, milliseconds, wraps |
 * | 12     | 4     | echoMs   | the sentAtMs received last, 0 when none was |
 * | 16     | 4     | heldMs   | how long ago it was received |
 */
const KEEPALIVE_BYTES = 12;

function writeKeepalive(frame: Keepalive, into: Buffer, at: number): number {
  putU32(into, at, frame.sentAtMs);
  putU32(into, at + 4, frame.echoMs);
  return putU32(into, at + 8, frame.heldMs);
}

function readKeepalive(bytes: Buffer, at: number, end: number): Keepalive {
  requireLength(at, end, KEEPALIVE_BYTES);
  return {
    type: FrameType.KEEPALIVE,
    sentAtMs: bytes.readUInt32BE(at),
    echoMs: bytes.readUInt32BE(at + 4),
    heldMs: bytes.readUInt32BE(at + 8),
  };
}

export const keepaliveCodec: Codec<Keepalive> = {
  size: () => KEEPALIVE_BYTES,
  write: writeKeepalive,
  read: readKeepalive,
};

/*
 * LOAD (11), both directions
 *
 * | offset | bytes | field             | value |
 * |--------|-------|-------------------|-------|
 * | 8      | 4     | connections       | |
 * | 12     | 2     | cpuPermille       | of the sending engine, 0 to 1000 |
 * | 14     | 4     | requestsPerSecond | |
 * | 18     | 1     | flags             | bit 0 accepting connections and handoffs, bit 1 takes back its clients of boosters |
 * | 19     | 4     | acceptQueue       | connections that wait to be accepted |
 */
const LOAD_BYTES = 15;
const ACCEPTING = 1;
const TAKES_BACK = 2;

function writeLoad(frame: Load, into: Buffer, at: number): number {
  must(frame.cpuPermille <= 1000, 'CPU permille');
  putU32(into, at, frame.connections);
  putU16(into, at + 4, frame.cpuPermille);
  putU32(into, at + 6, frame.requestsPerSecond);
  putU8(into, at + 10, (frame.accepting ? ACCEPTING : 0) | (frame.takesBack ? TAKES_BACK : 0));
  return putU32(into, at + 11, frame.acceptQueue);
}

function readLoad(bytes: Buffer, at: number, end: number): Load {
  requireLength(at, end, LOAD_BYTES);
  const cpuPermille = bytes.readUInt16BE(at + 4);
  must(cpuPermille <= 1000, 'CPU permille');
  const flags = getFlags(bytes, at + 10, ACCEPTING | TAKES_BACK);
  return {
    type: FrameType.LOAD,
    connections: bytes.readUInt32BE(at),
    cpuPermille,
    requestsPerSecond: bytes.readUInt32BE(at + 6),
    accepting: (flags & ACCEPTING) !== 0,
    takesBack: (flags & TAKES_BACK) !== 0,
    acceptQueue: bytes.readUInt32BE(at + 11),
  };
}

export const loadCodec: Codec<Load> = { size: () => LOAD_BYTES, write: writeLoad, read: readLoad };

/*
 * RELAY_DATA (12), both directions
 *
 * | offset | bytes | field     | value |
 * |--------|-------|-----------|-------|
 * | 8      | 4     | request   | |
 * | 12     | 1     | flags     | bit 0 last, bit 1 request body (anchor to target); else response (target to anchor); bit 2 close the connection after it (the last of a response only) |
 * | 13     | 2     | status    | the last of a response only: 100 to 999 |
 * | 15     | 8     | bodyBytes | the last of a response only: of the whole, at most 2^53 - 1 |
 * | 13/23  | rest  | bytes     | to the end of the frame; may be empty |
 */
const RELAY_DATA_FIXED_BYTES = 5;
const LAST = 1;
const REQUEST_BODY = 2;
const CLOSE = 4;

function writeRelayData(frame: RelayData, into: Buffer, at: number): number {
  const { bytes, last, requestBody, end } = frame;
  if (bytes.length > MAX_RELAY_BYTES - (end === null ? 0 : RELAYED_END_BYTES))
    throw new FrameError('TOO_LARGE', `${bytes.length} bytes to relay`);
  must(end === null ? requestBody || !last : !requestBody && last, 'the end of a response, and of no other');
  const flags = (last ? LAST : 0) | (requestBody ? REQUEST_BODY : 0) | (end?.close === true ? CLOSE : 0);
  putU32(into, at, frame.request);
  putU8(into, at + 4, flags);
  const behind =
    end === null ? at + RELAY_DATA_FIXED_BYTES : writeEnd(end, into, at + RELAY_DATA_FIXED_BYTES);
  return putBytes(into, behind, bytes, bytes.length);
}

function writeEnd({ status, bodyBytes }: RelayedEnd, into: Buffer, at: number): number {
  must(status >= 100 && status <= 999, 'status');
  return putU64(into, putU16(into, at, status), bodyBytes);
}

function readRelayData(bytes: Buffer, at: number, end: number): RelayData {
  requireAtLeast(at, end, RELAY_DATA_FIXED_BYTES);
  const flags = getFlags(bytes, at + 4, LAST | REQUEST_BODY | CLOSE);
  const last = (flags & LAST) !== 0;
  const requestBody = (flags & REQUEST_BODY) !== 0;
  const isEnd = last && !requestBody;
  must(isEnd || (flags & CLOSE) === 0, 'only the end of a response closes the connection');
  const behind = at + RELAY_DATA_FIXED_BYTES + (isEnd ? RELAYED_END_BYTES : 0);
  requireAtLeast(at, end, behind - at);
  return {
    type: FrameType.RELAY_DATA,
    request: bytes.readUInt32BE(at),
    last,
    requestBody,
    end: isEnd ? readEnd(bytes, at + RELAY_DATA_FIXED_BYTES, (flags & CLOSE) !== 0) : null,
    bytes: bytes.subarray(behind, end),
  };
}

function readEnd(bytes: Buffer, at: number, close: boolean): RelayedEnd {
  const status = bytes.readUInt16BE(at);
  must(status >= 100 && status <= 999, 'status');
  return { status, bodyBytes: getU64(bytes, at + 2), close };
}

export const relayDataCodec: Codec<RelayData> = {
  size: ({ bytes, end }) => RELAY_DATA_FIXED_BYTES + (end === null ? 0 : RELAYED_END_BYTES) + bytes.length,
  write: writeRelayData,
  read: readRelayData,
};

/*
 * RELAY_CREDIT (13), both directions: against the RELAY_DATA it answers
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | credit  | bytes that may be sent in addition, 1 to 2^31 - 1 |
 */
const RELAY_CREDIT_BYTES = 8;

function writeRelayCredit(frame: RelayCredit, into: Buffer, at: number): number {
  must(frame.credit >= 1 && frame.credit <= MAX_CREDIT_BYTES, 'credit');
  putU32(into, at, frame.request);
  return putU32(into, at + 4, frame.credit);
}

function readRelayCredit(bytes: Buffer, at: number, end: number): RelayCredit {
  requireLength(at, end, RELAY_CREDIT_BYTES);
  const credit = bytes.readUInt32BE(at + 4);
  must(credit >= 1 && credit <= MAX_CREDIT_BYTES, 'credit');
  return { type: FrameType.RELAY_CREDIT, request: bytes.readUInt32BE(at), credit };
}

export const relayCreditCodec: Codec<RelayCredit> = {
  size: () => RELAY_CREDIT_BYTES,
  write: writeRelayCredit,
  read: readRelayCredit,
};

/*
 * HELLO (14), the first frame in each direction
 *
 * | offset | bytes | field       | value |
 * |--------|-------|-------------|-------|
 * | 8      | 2     | protocol    | version of the frames' meaning, not 0 |
 * | 10     | 1     | name length | 1 to 63 |
 * | 11     | N     | node        | UTF-8, no control characters |
 * | 11+N   | 2     | engine      | index, below engines |
 * | 13+N   | 2     | engines     | at least 1 |
 * | 15+N   | 6     | mac         | of one interface, no multicast address |
 * | 21+N   | 4     | clockMs     | sender's monotonic clock, milliseconds, wraps |
 * | 25+N   | 8     | bootId      | random, new with every start |
 */
const HELLO_FIXED_BYTES = 25;
const MAC_BYTES = 6;
const BOOT_ID_BYTES = 8;
const STRICT_UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function helloSize(frame: Hello): number {
  return HELLO_FIXED_BYTES + Buffer.byteLength(frame.node);
}

function writeHello(frame: Hello, into: Buffer, start: number): number {
  checkHello(frame);
  const nameBytes = Buffer.byteLength(frame.node);
  let at = putU16(into, start, frame.protocol);
  at = putU8(into, at, nameBytes);
  at += into.write(frame.node, at, 'utf8');
  at = putU16(into, at, frame.engine);
  at = putU16(into, at, frame.engines);
  at = putBytes(into, at, frame.mac, MAC_BYTES);
  at = putU32(into, at, frame.clockMs);
  return putBytes(into, at, frame.bootId, BOOT_ID_BYTES);
}

function readHello(bytes: Buffer, start: number, end: number): Hello {
  requireAtLeast(start, end, HELLO_FIXED_BYTES);
  const nameBytes = bytes[start + 2];
  requireLength(start, end, HELLO_FIXED_BYTES + nameBytes);
  const at = start + 3 + nameBytes;
  const frame: Hello = {
    type: FrameType.HELLO,
    protocol: bytes.readUInt16BE(start),
    node: decodeName(bytes.subarray(start + 3, at)),
    engine: bytes.readUInt16BE(at),
    engines: bytes.readUInt16BE(at + 2),
    mac: bytes.subarray(at + 4, at + 10),
    clockMs: bytes.readUInt32BE(at + 10),
    bootId: bytes.subarray(at + 14, at + 22),
  };
  checkHello(frame);
  return frame;
}

export const helloCodec: Codec<Hello> = { size: helloSize, write: writeHello, read: readHello };

function decodeName(bytes: Buffer): string {
  try {
    return STRICT_UTF8.decode(bytes);
  } catch {
    throw new FrameError('OUT_OF_RANGE', 'node name is no UTF-8');
  }
}

function checkHello(frame: Hello): void {
  const nameBytes = Buffer.byteLength(frame.node);
  must(nameBytes >= 1 && nameBytes <= MAX_NODE_NAME_BYTES, 'node name length');
  // Names go to logs: no control characters; and no lone surrogates, which UTF-8 cannot carry.
  must(!/[\p{Cc}\p{Cs}]/u.test(frame.node), 'node name characters');
  must(frame.protocol !== 0, 'protocol version 0');
  must(frame.engine < frame.engines, 'engine index');
  must((frame.mac[0] & 1) === 0, 'a MAC address of many');
}
