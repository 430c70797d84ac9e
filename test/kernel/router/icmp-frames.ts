/** ICMP errors in Ethernet frames, made and read without the code under test; checksums from scratch. */
import assert from 'node:assert';
import { isMapped, parseAddress } from '../../../src/base/address.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { ACK, build, checksum, ipFrame, type Segment } from './frames.ts';
import { type Counts, type Family, range, type Stand, toClient, UNSPEC } from './stand.ts';

const ETHERNET_BYTES = 14;
const SOURCE_MAC = 6;
const ICMP_BYTES = 8;
const PROTOCOL_ICMP = 1;
const PROTOCOL_ICMP6 = 58;
/** Ports and sequence number: all of TCP that an error must quote (RFC 792). */
const QUOTED_TCP_BYTES = 8;

export interface IcmpError {
  /** Who tells. */
  source: string;
  destination: string;
  type: number;
  code: number;
  /** The second word of the ICMP header: with "too big" messages the MTU. */
  rest: number;
  hops: number;
  /** What it is about, as it left for the client. */
  quoted: Segment;
  /** The station of the link that sends the frame; default: the client's router. */
  station?: Buffer;
  /** Of the quoted TCP segment; default 8, all that need be there. */
  quotedBytes?: number;
}

const isFourText = (address: string) => isMapped(parseAddress(address));

function pseudoHeader(source: string, destination: string, lengthBytes: number): Buffer {
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(lengthBytes, 0);
  tail.writeUInt32BE(PROTOCOL_ICMP6, 4);
  return Buffer.concat([parseAddress(source), parseAddress(destination), tail]);
}

/** An ICMP message with this body behind the first word. */
export function icmpFrame(
  source: string,
  destination: string,
  [type, code]: readonly [number, number],
  body: Buffer,
  hops = 64,
): Buffer {
  const four = isFourText(destination);
  const icmp = Buffer.concat([Buffer.from([type, code, 0, 0]), body]);
  const sum = four ? checksum(icmp) : checksum(pseudoHeader(source, destination, icmp.length), icmp);
  icmp.writeUInt16BE(sum, 2);
  return ipFrame(source, destination, four ? PROTOCOL_ICMP : PROTOCOL_ICMP6, icmp, hops);
}

export function errorFrame(error: IcmpError): Buffer {
  const { source, destination, type, code, rest, quoted, quotedBytes = QUOTED_TCP_BYTES } = error;
  const packet = build(quoted).subarray(ETHERNET_BYTES);
  const word = Buffer.alloc(4);
  word.writeUInt32BE(rest);
  const head = isFourText(destination) ? 20 : 40;
  const body = Buffer.concat([word, packet.subarray(0, head + quotedBytes)]);
  const frame = icmpFrame(source, destination, [type, code], body, error.hops);
  error.station?.copy(frame, SOURCE_MAC);
  return frame;
}

/** Fails unless the frame is the error, all checksums right, but for hops and the quoted sequence number: returned. */
export function readError(frame: Buffer, error: IcmpError): { hops: number; seq: number } {
  const four = isFourText(error.destination);
  const headBytes = four ? 20 : 40;
  const ip = frame.subarray(ETHERNET_BYTES);
  if (four) assert.equal(checksum(ip.subarray(0, headBytes)), 0, 'IP checksum');
  const icmp = ip.subarray(headBytes);
  const parts = four ? [icmp] : [pseudoHeader(error.source, error.destination, icmp.length), icmp];
  assert.equal(checksum(...parts), 0, 'ICMP checksum');
  const hops = ip[four ? 8 : 7];
  const seqAt = ICMP_BYTES + headBytes + 4;
  const seq = icmp.readUInt32BE(seqAt);
  const expected = errorFrame({ ...error, hops }).subarray(ETHERNET_BYTES + headBytes);
  // The quoted checksum is that of the segment as it was sent: nobody looks at it.
  for (const bytes of [icmp, expected]) {
    bytes.writeUInt16BE(0, 2);
    bytes.writeUInt32BE(0, seqAt);
  }
  assert.deepEqual(icmp, expected, 'the rest of the message');
  return { hops, seq };
}

const WORD = Buffer.from('a response');

export const isFour = ({ client }: Family) => !client.includes(':');
/** Somebody on the way to the client. */
const routerOf = (family: Family) => (isFour(family) ? '203.0.113.9' : '2001:db8:2::9');

/** "The packet is too big" about a segment from `pub` with this number, changed by `parts`. */
export function tooBig(family: Family, pub: string, seq: number, parts: Partial<IcmpError> = {}): IcmpError {
  const message = isFour(family) ? { type: 3, code: 4 } : { type: 2, code: 0 };
  const quoted = toClient(family, pub, { seq, flags: ACK, payload: WORD });
  return { source: routerOf(family), destination: pub, ...message, rest: 1280, hops: 60, quoted, ...parts };
}

/** Other errors that a kernel listens to: type and code. */
export const others = (family: Family): Array<[number, number]> =>
  isFour(family)
    ? [
        [3, 1],
        [3, 13],
        [11, 0],
        [12, 0],
      ]
    : [
        [1, 3],
        [3, 0],
        [4, 1],
      ];

/** Runs an error; the result is it with another number, or as it was. */
export function runError(
  stand: Stand,
  error: IcmpError,
): { verdict: number; counts: Counts; seq: number; hops: number; frame: Buffer } {
  const result = stand.runFrame('baton_ingress', errorFrame(error));
  return { ...result, ...readError(result.frame, error) };
}

/** Passes as it is. */
export function assertUntouched(stand: Stand, error: IcmpError, why: string): void {
  const { verdict, counts, seq, hops } = runError(stand, error);
  assert.deepEqual(
    { verdict, counts, seq, hops },
    { verdict: UNSPEC, counts: {}, seq: error.quoted.seq, hops: error.hops },
    why,
  );
}

/** Own [0, 1000), node 1 [1000, 3000), own [3000, 4000), node 2 [4000, 4500), node 1 again from 4500 on. */
export function anchored(base: number, local: number): ranges.FlowRules {
  const at = (n: number) => add(base, n);
  return {
    ...ranges.emptyRules(layout.ROLE_ANCHOR),
    ownNext: add(local, 2000),
    ranges: [
      range({ start: at(0), end: at(1000), local }),
      range({ start: at(1000), end: at(3000), owner: 1 }),
      range({ start: at(3000), end: at(4000), local: add(local, 1000) }),
      range({ start: at(4000), end: at(4500), owner: 2 }),
      range({ start: at(4500), owner: 1, open: true }),
    ],
  };
}
