/** TCP segments in Ethernet frames, made and read without the code under test; checksums from scratch. */
import assert from 'node:assert';
import { isMapped, parseAddress } from '../../../src/base/address.ts';

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;
export const URG = 32;
export const CWR = 128;

export const CLIENT_MAC = Buffer.from('02000000c117', 'hex');
export const NODE_MAC = Buffer.from('020000000001', 'hex');

const ETHERNET_BYTES = 14;
const TCP_BYTES = 20;
const PROTOCOL_TCP = 6;

/** One TCP segment. Addresses are textual and of one family; `window` is the field as on the wire. */
export interface Segment {
  source: string;
  destination: string;
  sourcePort: number;
  destinationPort: number;
  seq: number;
  ack: number;
  flags: number;
  window: number;
  /** TTL, or hop limit. */
  hops: number;
  /** TSval and TSecr. */
  timestamps?: readonly [number, number];
  /** SACK blocks: left and right edge. */
  sack?: ReadonlyArray<readonly [number, number]>;
  payload: Buffer;
}

/** The Internet checksum (RFC 1071); 0 over data that contains its own correct checksum. */
export function checksum(...parts: Buffer[]): number {
  let sum = 0;
  const bytes = Buffer.concat(parts);
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

function options(segment: Segment): Buffer {
  const parts: Buffer[] = [];
  if (segment.timestamps !== undefined) {
    const option = Buffer.from([1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
    option.writeUInt32BE(segment.timestamps[0], 4);
    option.writeUInt32BE(segment.timestamps[1], 8);
    parts.push(option);
  }
  if (segment.sack !== undefined) {
    const option = Buffer.alloc(4 + 8 * segment.sack.length);
    option.set([1, 1, 5, 2 + 8 * segment.sack.length]);
    segment.sack.forEach(([left, right], i) => {
      option.writeUInt32BE(left, 4 + 8 * i);
      option.writeUInt32BE(right, 8 + 8 * i);
    });
    parts.push(option);
  }
  return Buffer.concat(parts);
}

/** An IP packet in a frame. `source` and `destination` are textual. */
export function ipFrame(
  source: string,
  destination: string,
  protocol: number,
  body: Buffer,
  hops = 64,
): Buffer {
  const from = parseAddress(source);
  const to = parseAddress(destination);
  const four = isMapped(from);
  const ip = Buffer.alloc(four ? 20 : 40);
  if (four) {
    ip.set([0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, hops, protocol]);
    ip.writeUInt16BE(20 + body.length, 2);
    from.copy(ip, 12, 12);
    to.copy(ip, 16, 12);
    ip.writeUInt16BE(checksum(ip), 10);
  } else {
    ip.set([0x60, 0, 0, 0, 0, 0, protocol, hops]);
    ip.writeUInt16BE(body.length, 4);
    from.copy(ip, 8);
    to.copy(ip, 24);
  }
  const type = Buffer.from(four ? '0800' : '86dd', 'hex');
  return Buffer.concat([NODE_MAC, CLIENT_MAC, type, ip, body]);
}

function pseudoHeader(from: Buffer, to: Buffer, protocol: number, lengthBytes: number): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(lengthBytes, 0);
  tail.writeUInt32BE(protocol, 4);
  return Buffer.concat([from, to, tail]);
}

/** The segment as a frame from the client's router to the node. */
export function build(segment: Segment): Buffer {
  const extra = options(segment);
  const tcp = Buffer.alloc(TCP_BYTES);
  tcp.writeUInt16BE(segment.sourcePort, 0);
  tcp.writeUInt16BE(segment.destinationPort, 2);
  tcp.writeUInt32BE(segment.seq, 4);
  tcp.writeUInt32BE(segment.ack, 8);
  tcp[12] = ((TCP_BYTES + extra.length) / 4) << 4;
  tcp[13] = segment.flags;
  tcp.writeUInt16BE(segment.window, 14);
  const body = Buffer.concat([tcp, extra, segment.payload]);
  const four = !segment.source.includes(':');
  const from = parseAddress(segment.source).subarray(four ? 12 : 0);
  const to = parseAddress(segment.destination).subarray(four ? 12 : 0);
  body.writeUInt16BE(checksum(pseudoHeader(from, to, PROTOCOL_TCP, body.length), body), 16);
  return ipFrame(segment.source, segment.destination, PROTOCOL_TCP, body, segment.hops);
}

function readOptions(bytes: Buffer, segment: Segment): void {
  for (let i = 0; i < bytes.length && bytes[i] !== 0; ) {
    if (bytes[i] === 1) {
      i++;
      continue;
    }
    const length = bytes[i + 1];
    assert.ok(length >= 2 && i + length <= bytes.length, `options are well formed: ${bytes.toString('hex')}`);
    if (bytes[i] === 8) segment.timestamps = [bytes.readUInt32BE(i + 2), bytes.readUInt32BE(i + 6)];
    if (bytes[i] === 5) {
      assert.ok(length >= 10 && length % 8 === 2, 'a SACK option has whole blocks');
      const blocks: Array<[number, number]> = [];
      for (let at = i + 2; at < i + length; at += 8)
        blocks.push([bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4)]);
      segment.sack = blocks;
    }
    i += length;
  }
}

/** Reads a frame whose lengths and checksums must all be right. `from` gives the textual addresses. */
export function read(frame: Buffer, from: Pick<Segment, 'source' | 'destination'>): Segment {
  const ip = frame.subarray(ETHERNET_BYTES);
  const four = frame.readUInt16BE(12) === 0x0800;
  const headerBytes = four ? 20 : 40;
  if (four) {
    assert.equal(checksum(ip.subarray(0, 20)), 0, 'IP checksum');
    assert.equal(ip.readUInt16BE(2), ip.length, 'IP total length');
  } else {
    assert.equal(ip.readUInt16BE(4), ip.length - 40, 'IPv6 payload length');
  }
  const source = ip.subarray(four ? 12 : 8, four ? 16 : 24);
  const destination = ip.subarray(four ? 16 : 24, headerBytes);
  assert.deepEqual(source, parseAddress(from.source).subarray(four ? 12 : 0), 'source address');
  assert.deepEqual(
    destination,
    parseAddress(from.destination).subarray(four ? 12 : 0),
    'destination address',
  );
  const tcp = ip.subarray(headerBytes);
  const pseudo = pseudoHeader(source, destination, PROTOCOL_TCP, tcp.length);
  assert.equal(checksum(pseudo, tcp), 0, 'TCP checksum');
  const dataAt = (tcp[12] >> 4) * 4;
  const segment: Segment = {
    source: from.source,
    destination: from.destination,
    sourcePort: tcp.readUInt16BE(0),
    destinationPort: tcp.readUInt16BE(2),
    seq: tcp.readUInt32BE(4),
    ack: tcp.readUInt32BE(8),
    flags: tcp[13],
    window: tcp.readUInt16BE(14),
    hops: ip[four ? 8 : 7],
    payload: Buffer.from(tcp.subarray(dataAt)),
  };
  readOptions(tcp.subarray(TCP_BYTES, dataAt), segment);
  return segment;
}

/** An ARP message for IPv4 over Ethernet (RFC 826). */
export function arpFrame(operation: number, sender: string, target: string): Buffer {
  const arp = Buffer.alloc(28);
  arp.set([0, 1, 8, 0, 6, 4, 0, operation]);
  CLIENT_MAC.copy(arp, 8);
  parseAddress(sender).copy(arp, 14, 12);
  parseAddress(target).copy(arp, 24, 12);
  return Buffer.concat([NODE_MAC, CLIENT_MAC, Buffer.from('0806', 'hex'), arp]);
}

/** A neighbour solicitation (135) or advertisement (136) for `target` (RFC 4861 sections 4.3, 4.4). */
export function neighbourFrame(type: number, source: string, destination: string, target: string): Buffer {
  const body = Buffer.alloc(24);
  body[0] = type;
  parseAddress(target).copy(body, 8);
  const pseudo = pseudoHeader(parseAddress(source), parseAddress(destination), 58, body.length);
  body.writeUInt16BE(checksum(pseudo, body), 2);
  return ipFrame(source, destination, 58, body);
}
