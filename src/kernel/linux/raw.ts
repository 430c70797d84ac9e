/**
 * TCP segments without a socket. From ourselves to ourselves, in another's name: a crafted segment with the client's
 * address as source and our public address as destination goes through the loopback device into our own stack, before
 * any packet of the client's. It sets in a restored socket what no option can set. And to a client whose connection
 * has no socket here. Needs CAP_NET_RAW.
 */

import { type Endpoint, isMapped } from '../../base/address.ts';
import { AF_INET, AF_INET6, SOCKADDR_BYTES, writeSockaddr } from './address.ts';
import { foldSum, sumWords } from './checksum.ts';
import { check, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from './socket.ts';

/** A raw socket of this protocol takes whole packets, IP header included (IPv4 and IPv6). */
const IPPROTO_RAW = 255;
const PROTOCOL_TCP = 6;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;
const TCP_HEADER_BYTES = 20;
const TIMESTAMP_OPTION_BYTES = 12;
const HOP_LIMIT = 64;
const MAX_PACKET_BYTES = IPV6_HEADER_BYTES + TCP_HEADER_BYTES + TIMESTAMP_OPTION_BYTES;

export const SEGMENT_FIN = 0x01;
const SEGMENT_RST = 0x04;
export const SEGMENT_ACK = 0x10;

/** A segment without payload. */
export interface Segment {
  readonly from: Endpoint;
  readonly to: Endpoint;
  readonly sequence: number;
  readonly acknowledge: number;
  readonly flags: number;
  /** The window field as it stands in the header: scaled down, 0..65535. */
  readonly window: number;
  /** Whether the timestamps option is there. */
  readonly timestamps: boolean;
  readonly tsval: number;
  readonly tsecr: number;
}

const packet = allocate(MAX_PACKET_BYTES);
const destination = allocate(SOCKADDR_BYTES);
const rawSockets = { v4: -1, v6: -1 };

function rawSocket(v4: boolean): number {
  const known = v4 ? rawSockets.v4 : rawSockets.v6;
  if (known >= 0) return known;
  const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const fd = check('socket', libc.socket(v4 ? AF_INET : AF_INET6, type, IPPROTO_RAW), 'raw');
  if (v4) rawSockets.v4 = fd;
  else rawSockets.v6 = fd;
  return fd;
}

/**
 * Opens the raw sockets now, in this network namespace, so that no request has to. Where the kernel has no IPv6 there
 * is nothing to open for it.
 */
export function openRawSockets(): void {
  rawSocket(true);
  try {
    rawSocket(false);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
  }
}

/** Closes the raw sockets; the next segment opens them again (in the network namespace of that moment). */
export function closeRawSockets(): void {
  if (rawSockets.v4 >= 0) libc.close(rawSockets.v4);
  if (rawSockets.v6 >= 0) libc.close(rawSockets.v6);
  rawSockets.v4 = -1;
  rawSockets.v6 = -1;
}

/** Writes the IP header; the IPv4 checksum is left to the kernel. */
function writeIpHeader(bytes: Buffer, segment: Segment, v4: boolean, tcpBytes: number): void {
  if (v4) {
    bytes.writeUInt32BE(0x4500_0000 | (IPV4_HEADER_BYTES + tcpBytes), 0);
    bytes.writeUInt32BE(0x0000_4000, 4);
    bytes.writeUInt32BE((HOP_LIMIT << 24) | (PROTOCOL_TCP << 16), 8);
    segment.from.address.copy(bytes, 12, 12, 16);
    segment.to.address.copy(bytes, 16, 12, 16);
    return;
  }
  bytes.writeUInt32BE(0x6000_0000, 0);
  bytes.writeUInt32BE((tcpBytes << 16) | (PROTOCOL_TCP << 8) | HOP_LIMIT, 4);
  segment.from.address.copy(bytes, 8);
  segment.to.address.copy(bytes, 24);
}

/** Writes the packet and returns its length in bytes. */
export function writePacket(bytes: Buffer, segment: Segment): number {
  const v4 = isMapped(segment.to.address);
  const at = v4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
  const tcpBytes = TCP_HEADER_BYTES + (segment.timestamps ? TIMESTAMP_OPTION_BYTES : 0);
  writeIpHeader(bytes, segment, v4, tcpBytes);
  bytes.writeUInt16BE(segment.from.port, at);
  bytes.writeUInt16BE(segment.to.port, at + 2);
  bytes.writeUInt32BE(segment.sequence, at + 4);
  bytes.writeUInt32BE(segment.acknowledge, at + 8);
  bytes[at + 12] = (tcpBytes / 4) << 4;
  bytes[at + 13] = segment.flags;
  bytes.writeUInt16BE(segment.window, at + 14);
  bytes.writeUInt32BE(0, at + 16);
  if (segment.timestamps) {
    // NOP, NOP, kind 8, length 10 (RFC 7323 appendix A).
    bytes.writeUInt32BE(0x0101_080a, at + 20);
    bytes.writeUInt32BE(segment.tsval, at + 24);
    bytes.writeUInt32BE(segment.tsecr, at + 28);
  }
  const addresses = sumWords(bytes, v4 ? 12 : 8, at);
  const sum = addresses + PROTOCOL_TCP + tcpBytes + sumWords(bytes, at, at + tcpBytes);
  bytes.writeUInt16BE(~foldSum(sum) & 0xffff, at + 16);
  return at + tcpBytes;
}

/** Sends the segment. When this returns, and it is for a socket of this machine, that has seen it. */
export function sendSegment(segment: Segment): void {
  const packetBytes = writePacket(packet.bytes, segment);
  const v4 = isMapped(segment.to.address);
  const addressBytes = writeSockaddr(destination.bytes, segment.to);
  // An IPv6 raw socket takes the port of its destination for a protocol, which must be its own or 0.
  if (!v4) destination.bytes.writeUInt16BE(0, 2);
  check(
    'sendto',
    libc.sendto(rawSocket(v4), packet.address, packetBytes, 0, destination.address, addressBytes),
    'raw',
  );
}

/** Sends a reset with this sequence number, without payload or acknowledgement. Throws SystemError. */
export function sendReset(from: Endpoint, to: Endpoint, sequence: number): void {
  const none = { acknowledge: 0, window: 0, timestamps: false, tsval: 0, tsecr: 0 };
  sendSegment({ ...none, from, to, sequence, flags: SEGMENT_RST });
}
