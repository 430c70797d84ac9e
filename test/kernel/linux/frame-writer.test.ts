/** What is left to do of a frame, and frames that are damaged. */
import assert from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { foldSum, sumWords } from '../../../src/kernel/linux/checksum.ts';
import { offloadOf } from '../../../src/kernel/linux/frame-writer.ts';
import { build, checksum, type Segment } from '../router/frames.ts';
import { errorFrame } from '../router/icmp-frames.ts';

const ETHERNET_BYTES = 14;
const TCP_BYTES = 20;
const STAMPS_BYTES = 12;
const TCP_CHECKSUM = 16;
const MAC_BYTES = 12;

const byte = fc.integer({ min: 0, max: 255 });
const port = fc.integer({ min: 1, max: 65_535 });
const number = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const payload = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const isV4 = fc.boolean();

const segment = fc
  .record({ isV4, port, number, payload, host: byte, stamped: fc.boolean() })
  .map((parts) => ({
    isV4: parts.isV4,
    stamped: parts.stamped,
    segment: {
      source: parts.isV4 ? `198.51.100.${parts.host}` : `2001:db8::${parts.host.toString(16)}`,
      destination: parts.isV4 ? '192.0.2.80' : '2001:db8::80',
      sourcePort: parts.port,
      destinationPort: 80,
      seq: parts.number,
      ack: parts.number,
      flags: 16,
      window: 100,
      hops: 64,
      payload: parts.payload,
      ...(parts.stamped ? { timestamps: [parts.number, 7] as const } : {}),
    } satisfies Segment,
  }));

/** The frame as an interface gets it that makes checksums itself: there is the sum of the pseudo-header only. */
function leaveOut(frame: Buffer, four: boolean): Buffer {
  const out = Buffer.from(frame);
  const start = ETHERNET_BYTES + (four ? 20 : 40);
  const tail = Buffer.alloc(8);
  tail.writeUInt32BE(frame.length - start, 0);
  tail.writeUInt32BE(6, 4);
  const addresses = four ? frame.subarray(26, 34) : frame.subarray(22, 54);
  out.writeUInt16BE(~checksum(addresses, tail) & 0xffff, start + TCP_CHECKSUM);
  return out;
}

test('a frame with its checksum, one without, and padding', () => {
  fc.assert(
    fc.property(segment, fc.integer({ min: 0, max: 30 }), (made, padding) => {
      const frame = build(made.segment);
      const start = ETHERNET_BYTES + (made.isV4 ? 20 : 40);
      const expected = {
        lengthBytes: frame.length,
        needsChecksum: false,
        checksumStart: start,
        headerBytes: start + TCP_BYTES + (made.stamped ? STAMPS_BYTES : 0),
        isV4: made.isV4,
      };
      const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc(padding, 0xff)]);
      assert.deepEqual(offloadOf(padded(frame), 0), expected);
      const unfinished = leaveOut(frame, made.isV4);
      assert.deepEqual(offloadOf(padded(unfinished), 0), { ...expected, needsChecksum: true });
      assert.deepEqual(
        offloadOf(unfinished, 100),
        { ...expected, needsChecksum: true },
        'of several segments',
      );
    }),
  );
});

test('one damaged bit of what the checksum is about is seen', () => {
  fc.assert(
    fc.property(segment, fc.nat(), (made, which) => {
      const frame = build(made.segment);
      const first = ETHERNET_BYTES + (made.isV4 ? 12 : 8);
      const bit = which % ((frame.length - first) * 8);
      frame[first + (bit >> 3)] ^= 1 << (bit & 7);
      assert.equal(offloadOf(frame, 0), null);
    }),
  );
});

test('several segments with a whole checksum, and what is no whole segment, are refused', () => {
  fc.assert(
    fc.property(segment, fc.nat(), (made, cut) => {
      const frame = build(made.segment);
      assert.equal(offloadOf(frame, 100), null);
      assert.equal(offloadOf(frame.subarray(0, cut % frame.length), 0), null);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => offloadOf(Buffer.from(bytes), 0) === null),
  );
  const arp = Buffer.alloc(60);
  arp.writeUInt16BE(0x0806, MAC_BYTES);
  assert.equal(offloadOf(arp, 0), null);
});

test('an ICMP error is whole as it is', () => {
  fc.assert(
    fc.property(segment, ({ segment: quoted, isV4: four }) => {
      const [type, code] = four ? [3, 4] : [2, 0];
      const { source, destination, hops } = quoted;
      const frame = errorFrame({ source, destination, type, code, rest: 1280, hops, quoted });
      const nothing = { needsChecksum: false, checksumStart: 0, headerBytes: 0 };
      assert.deepEqual(offloadOf(frame, 0), { lengthBytes: frame.length, ...nothing, isV4: four });
      assert.equal(offloadOf(frame, 100), null, 'of several segments');
      assert.equal(offloadOf(frame.subarray(0, frame.length - 1), 0), null, 'cut');
    }),
  );
});

test('sums of odd lengths, and of many words', () => {
  assert.equal(sumWords(Buffer.from([1, 2, 3, 255]), 0, 3), 0x0102 + 0x0300);
  const ones = Buffer.alloc(65_536, 0xff);
  assert.equal(foldSum(sumWords(ones, 0, ones.length)), 0xffff);
});
