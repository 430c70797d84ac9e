import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameError, type FrameErrorCode } from '../../../src/protocol/backplane/errors.ts';
import {
  AbortReason,
  decodeFrame,
  encodeFrame,
  type FlowEndpoints,
  type Frame,
  FrameType,
  frameLength,
  frameSize,
  type HalfPipe,
  type Hello,
  MAX_BODY_BYTES,
  MAX_FRAME_BYTES,
  MAX_HEAD_BYTES,
  MAX_MIGRATED_STATE_BYTES,
  MAX_RELAY_BYTES,
  type Migrate,
  type MovedResponse,
  RELAYED_END_BYTES,
  RejectReason,
  type Setup,
  SetupMechanism,
  ViewKind,
} from '../../../src/protocol/backplane/frames.ts';
import type { TlsSession } from '../../../src/protocol/tls/session.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { byType, encoded, frame } from './generators.ts';

/** With another byte. */
function patched(frame: Buffer, at: number, byte: number): Buffer {
  const copy = Buffer.from(frame);
  copy[at] = byte;
  return copy;
}

const throwsCode = (code: FrameErrorCode, run: () => void) =>
  assert.throws(run, (error) => error instanceof FrameError && error.code === code);

const PIPE: HalfPipe = {
  clientAddress: Buffer.from('00000000000000000000ffff0a4d0001', 'hex'),
  clientPort: 0x9c40,
  publicAddress: Buffer.from('00000000000000000000ffff0a4d0065', 'hex'),
  publicPort: 80,
  family: 4,
  sack: true,
  timestamps: true,
  ecn: false,
  mss: 1448,
  sendScale: 7,
  receiveScale: 7,
  sequence: 0xfffffff0,
  acknowledge: 0x01020304,
  receiveWindow: 0x10000,
  sendWindow: 0x20000,
  maxWindow: 0x30000,
  tsval: 0x11111111,
  tsecr: 0x22222222,
  congestionWindow: 10,
  srttUs: 175000,
};
const FLOW: FlowEndpoints = {
  clientAddress: PIPE.clientAddress,
  clientPort: PIPE.clientPort,
  publicAddress: PIPE.publicAddress,
  publicPort: PIPE.publicPort,
};
const SETUP: Setup = {
  type: FrameType.SETUP,
  request: 0xdeadbeef,
  epoch: 2,
  mechanism: SetupMechanism.ANCHOR,
  http10: true,
  close: true,
  bodyFollows: false,
  sentAtMs: 0xffffffff,
  halfPipe: PIPE,
  client: null,
  secure: false,
  continuation: null,
  keep: null,
  seal: null,
  estimates: null,
  site: 0x5173d16e,
  head: Buffer.from('GET'),
  body: Buffer.from('xy'),
};
const MIGRATE: Migrate = {
  type: FrameType.MIGRATE,
  request: 0xdeadbeef,
  epoch: 2,
  serveFirst: true,
  draining: true,
  response: null,
  session: null,
  sentAtMs: 0x01020304,
  stateBytes: 0x10000,
  bytes: Buffer.from('hi'),
};
const SESSION: TlsSession = {
  suite: SUITES[2],
  resumed: true,
  clientSecret: Buffer.alloc(32, 0xaa),
  serverSecret: Buffer.alloc(32, 0xbb),
  clientRecord: 2 ** 32 + 2,
  serverRecord: 3,
  behind: Buffer.from([23, 3]),
  held: Buffer.from('GET'),
};
const HELLO: Hello = {
  type: FrameType.HELLO,
  protocol: 1,
  node: 'a',
  engine: 0,
  engines: 2,
  mac: Buffer.from('020000000001', 'hex'),
  clockMs: 5,
  bootId: Buffer.from('0102030405060708', 'hex'),
};
const IDENTITY = { headBytes: 0x120, lengthBytes: 2 ** 32 + 0x120, validator: 0xfedcba9876543210n };
const MOVED: MovedResponse = {
  continuation: { ...IDENTITY, offset: IDENTITY.headBytes },
  close: false,
  head: Buffer.from('GET'),
  cut: 0,
};
const ids = { request: 0xdeadbeef, epoch: 2 };
const IDS = 'deadbeef 00000002';

/** Types whose last field reaches to the end of the frame. */
const OPEN_ENDED = new Set<FrameType>([FrameType.RELAY_DATA, FrameType.MIGRATE, FrameType.MIGRATE_DATA]);

/** The layouts as documented, field by field. */
const LAYOUTS: [Frame, string][] = [
  [
    {
      type: FrameType.VIEW,
      sections: [
        { kind: ViewKind.NODE, name: 'a', serves: false, essence: 0x0102030405060708n, rest: 0n },
        { kind: ViewKind.SITE, name: 'sé', serves: true, essence: 2n ** 64n - 1n, rest: 9n },
      ],
    },
    `00000034 16 01 0000 0002 01 01 61 00 0102030405060708 0000000000000000
     02 03 73c3a9 01 ffffffffffffffff 0000000000000009`,
  ],
  [
    SETUP,
    `00000073 01 01 0000 ${IDS} 02 03 ffffffff
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 04 03 05a8 07 07
     fffffff0 01020304 00010000 00020000 00030000 11111111 22222222 0000000a 0002ab98
     5173d16e 0003 474554 00000002 7879`,
  ],
  [
    {
      ...SETUP,
      seal: {
        suite: SUITES[0],
        number: 2 ** 32 + 7,
        cut: 0x1234,
        iv: Buffer.alloc(12, 0x11),
        key: Buffer.alloc(16, 0x22),
      },
    },
    `0000009b 01 01 0000 ${IDS} 02 43 ffffffff
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 04 03 05a8 07 07
     fffffff0 01020304 00010000 00020000 00030000 11111111 22222222 0000000a 0002ab98
     1301 0000000100000007 1234 ${'11'.repeat(12)} ${'22'.repeat(16)} 5173d16e 0003 474554 00000002 7879`,
  ],
  [
    { ...SETUP, estimates: { relay: 0x1234, anchor: null, clone: 0xfffe } },
    `00000079 01 01 0000 ${IDS} 02 83 ffffffff
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 04 03 05a8 07 07
     fffffff0 01020304 00010000 00020000 00030000 11111111 22222222 0000000a 0002ab98
     1234 ffff fffe 5173d16e 0003 474554 00000002 7879`,
  ],
  [
    { ...SETUP, mechanism: SetupMechanism.CLONE, keep: 0x89abcdef },
    `00000077 01 01 0000 ${IDS} 03 13 ffffffff
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 04 03 05a8 07 07
     fffffff0 01020304 00010000 00020000 00030000 11111111 22222222 0000000a 0002ab98
     89abcdef 5173d16e 0003 474554 00000002 7879`,
  ],
  [
    {
      ...SETUP,
      mechanism: SetupMechanism.RELAY,
      halfPipe: null,
      client: PIPE.clientAddress,
      http10: false,
      close: false,
      bodyFollows: true,
      body: Buffer.alloc(0),
    },
    `00000033 01 01 0000 ${IDS} 01 04 ffffffff 00000000000000000000ffff0a4d0001 5173d16e 0003 474554 00000000`,
  ],
  [
    { ...SETUP, mechanism: SetupMechanism.RELAY, halfPipe: null },
    `00000035 01 01 0000 ${IDS} 01 03 ffffffff ${'00'.repeat(16)} 5173d16e 0003 474554 00000002 7879`,
  ],
  [
    { ...SETUP, mechanism: SetupMechanism.BOOST, halfPipe: null, client: PIPE.clientAddress },
    `00000035 01 01 0000 ${IDS} 05 03 ffffffff 00000000000000000000ffff0a4d0001 5173d16e 0003 474554 00000002 7879`,
  ],
  [
    { ...SETUP, continuation: { ...IDENTITY, offset: 2 ** 32 } },
    `0000008f 01 01 0000 ${IDS} 02 0b ffffffff
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 04 03 05a8 07 07
     fffffff0 01020304 00010000 00020000 00030000 11111111 22222222 0000000a 0002ab98
     00000120 0000000100000120 fedcba9876543210 0000000100000000
     5173d16e 0003 474554 00000002 7879`,
  ],
  [
    { type: FrameType.SETUP_OK, ...ids, confirmWanted: true, identity: null, announcement: null },
    `00000011 02 01 0000 ${IDS} 01`,
  ],
  [
    { type: FrameType.SETUP_OK, ...ids, confirmWanted: false, identity: IDENTITY, announcement: null },
    `00000025 02 01 0000 ${IDS} 02 00000120 0000000100000120 fedcba9876543210`,
  ],
  [
    {
      type: FrameType.SETUP_OK,
      ...ids,
      confirmWanted: false,
      identity: null,
      announcement: { status: 206, close: true, bytes: 0x1234567, bodyBytes: 0x1234500 },
    },
    `00000023 02 01 0000 ${IDS} 0c 00ce 0000000001234567 0000000001234500`,
  ],
  [
    { type: FrameType.SETUP_REJECT, ...ids, reason: RejectReason.BUSY_TUPLE },
    `00000011 03 01 0000 ${IDS} 03`,
  ],
  [{ type: FrameType.CONFIRM, ...ids }, `00000010 04 01 0000 ${IDS}`],
  [{ type: FrameType.WINDOW, ...ids, edge: 0x80000001 }, `00000014 14 01 0000 ${IDS} 80000001`],
  [
    {
      type: FrameType.DATA_DONE,
      ...ids,
      end: 0x80000001,
      status: 200,
      close: true,
      bytes: 2 ** 32 + 5,
      bodyBytes: 2 ** 32 - 1,
      congestionWindow: 40,
      srttUs: 1000,
      firstByteUs: 50,
      records: 0,
      identity: null,
    },
    `00000033 05 01 0000 ${IDS} 80000001 00c8 01 0000000100000005 00000000ffffffff 00000028 000003e8 00000032`,
  ],
  [
    {
      type: FrameType.DATA_DONE,
      ...ids,
      end: 0x80000001,
      status: 200,
      close: false,
      bytes: 5,
      bodyBytes: 3,
      congestionWindow: 0,
      srttUs: 0,
      firstByteUs: 50,
      records: 2,
      identity: { headBytes: 2, lengthBytes: 5, validator: 9n },
    },
    `0000004b 05 01 0000 ${IDS} 80000001 00c8 06 0000000000000005 0000000000000003 00000000 00000000 00000032
     00000002 00000002 0000000000000005 0000000000000009`,
  ],
  [
    { type: FrameType.COLLECTED, ...ids, end: 0xffffffff, congestionWindow: 40, srttUs: 1000 },
    `0000001c 06 01 0000 ${IDS} ffffffff 00000028 000003e8`,
  ],
  [
    { type: FrameType.RESET, ...ids, discard: false, onlyEpoch: true },
    '00000011 07 01 0000 deadbeef 02 00000002',
  ],
  [{ type: FrameType.RESET_OK, request: 0xdeadbeef }, '0000000c 08 01 0000 deadbeef'],
  [{ type: FrameType.ABORT, ...ids, reason: AbortReason.TIMED_OUT }, `00000011 09 01 0000 ${IDS} 03`],
  [
    { type: FrameType.KEEPALIVE, sentAtMs: 1, echoMs: 2, heldMs: 3 },
    '00000014 0a 01 0000 00000001 00000002 00000003',
  ],
  [
    {
      type: FrameType.LOAD,
      connections: 256,
      cpuPermille: 1000,
      requestsPerSecond: 65536,
      accepting: true,
      takesBack: false,
      acceptQueue: 3,
    },
    '00000017 0b 01 0000 00000100 03e8 00010000 01 00000003',
  ],
  [
    {
      ...{ type: FrameType.LOAD, connections: 0, cpuPermille: 0, requestsPerSecond: 0 },
      ...{ accepting: false, takesBack: true, acceptQueue: 0 },
    },
    '00000017 0b 01 0000 00000000 0000 00000000 02 00000000',
  ],
  [
    {
      type: FrameType.RELAY_DATA,
      request: 0xdeadbeef,
      last: true,
      requestBody: true,
      end: null,
      bytes: Buffer.from('hi'),
    },
    '0000000f 0c 01 0000 deadbeef 03 6869',
  ],
  [
    {
      type: FrameType.RELAY_DATA,
      request: 0xdeadbeef,
      last: false,
      requestBody: false,
      end: null,
      bytes: Buffer.from('hi'),
    },
    '0000000f 0c 01 0000 deadbeef 00 6869',
  ],
  [
    {
      type: FrameType.RELAY_DATA,
      request: 0xdeadbeef,
      last: true,
      requestBody: false,
      end: { status: 404, bodyBytes: 2 ** 33 + 1, close: true },
      bytes: Buffer.from('hi'),
    },
    '00000019 0c 01 0000 deadbeef 05 0194 0000000200000001 6869',
  ],
  [
    { type: FrameType.RELAY_CREDIT, request: 0xdeadbeef, credit: 65536 },
    '00000010 0d 01 0000 deadbeef 00010000',
  ],
  [MIGRATE, `0000001b 0f 01 0000 ${IDS} 03 01020304 00010000 6869`],
  [
    { ...MIGRATE, session: SESSION },
    `00000077 0f 01 0000 ${IDS} 13 01020304 00010000 1303 01 0000000100000002 0000000000000003
     ${'aa'.repeat(32)} ${'bb'.repeat(32)} 0002 1703 0003 474554 6869`,
  ],
  [
    {
      ...MIGRATE,
      serveFirst: false,
      draining: false,
      response: {
        continuation: { ...IDENTITY, offset: 2 ** 32 },
        close: true,
        head: Buffer.from('GET'),
        cut: 0,
      },
    },
    `0000003c 0f 01 0000 ${IDS} 0c 01020304 00010000
     00000120 0000000100000120 fedcba9876543210 0000000100000000 0003 474554 6869`,
  ],
  [
    { type: FrameType.MIGRATE_DATA, request: 0xdeadbeef, bytes: Buffer.from('hi') },
    '0000000e 10 01 0000 deadbeef 6869',
  ],
  [{ type: FrameType.MIGRATE_OK, ...ids }, `00000010 11 01 0000 ${IDS}`],
  [
    { type: FrameType.ROUTE, flow: FLOW, epoch: 7 },
    `00000030 12 01 0000
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 00000007`,
  ],
  [
    { type: FrameType.CLEANUP, flow: FLOW, epoch: 7 },
    `00000030 13 01 0000
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 00000007`,
  ],
  [
    { type: FrameType.CLEANUP_OK, flow: FLOW, epoch: 7 },
    `00000030 15 01 0000
     00000000000000000000ffff0a4d0001 9c40 00000000000000000000ffff0a4d0065 0050 00000007`,
  ],
  [HELLO, '00000022 0e 01 0000 0001 01 61 0000 0002 020000000001 00000005 0102030405060708'],
  [
    {
      type: FrameType.CATALOGUE,
      site: 'www',
      restart: true,
      complete: false,
      partial: true,
      entries: [
        { path: 'a/é', document: { sizeBytes: 0x102030405, modifiedMs: 0x18f00000000 } },
        { path: 'b', document: null },
      ],
    },
    '0000002a 18 01 0000 03 777777 05 0002 0004 612fc3a9 01 0000000102030405 0000018f00000000 0001 62 00',
  ],
  [
    {
      type: FrameType.CACHED,
      site: 'é',
      restart: true,
      entries: [
        { document: 0xdeadbeef, held: true },
        { document: 1, held: false },
      ],
    },
    '00000018 19 01 0000 02 c3a9 01 0002 deadbeef 01 00000001 00',
  ],
];

describe('frames', () => {
  it('have the documented layouts', () => {
    for (const [value, hex] of LAYOUTS) {
      const expected = hex.replace(/\s/g, '');
      assert.equal(encoded(value).toString('hex'), expected);
      assert.deepEqual(decodeFrame(Buffer.from(expected, 'hex')), value);
    }
    assert.deepEqual(
      new Set(LAYOUTS.map(([value]) => value.type)),
      new Set(Object.values(FrameType)),
      'every type is here',
    );
  });

  for (const [name, type] of Object.entries(FrameType))
    it(`${name}: round trip at any offset, nothing written beside it`, () => {
      fc.assert(
        fc.property(byType[name], fc.nat(16), fc.nat(16), (value, before, after) => {
          assert.equal(value.type, type);
          const size = frameSize(value);
          const buffer = Buffer.alloc(before + size + after, 0xee);
          assert.equal(encodeFrame(value, buffer, before), before + size);
          assert.equal(frameLength(buffer, before, buffer.length), size);
          // The spread: values of fc.record have no prototype.
          assert.deepEqual(decodeFrame(buffer, before, before + size), { ...value });
          assert.ok(buffer.subarray(0, before).every((byte) => byte === 0xee));
          assert.ok(buffer.subarray(before + size).every((byte) => byte === 0xee));
        }),
      );
    });

  it('are refused when cut at any byte, or followed by any', () => {
    for (const [value] of LAYOUTS) {
      const bytes = encoded(value);
      for (let length = 0; length < bytes.length; length++) {
        throwsCode('LENGTH', () => decodeFrame(bytes.subarray(0, length)));
        if (length < 8 || OPEN_ENDED.has(value.type)) continue;
        // The same cut with a length field that agrees: the layout itself must notice.
        const cut = Buffer.from(bytes.subarray(0, length));
        cut.writeUInt32BE(length, 0);
        assert.throws(() => decodeFrame(cut), FrameError);
      }
      throwsCode('LENGTH', () => decodeFrame(Buffer.concat([bytes, Buffer.alloc(1)])));
      if (OPEN_ENDED.has(value.type)) continue;
      const longer = Buffer.concat([bytes, Buffer.alloc(1)]);
      longer.writeUInt32BE(longer.length, 0);
      throwsCode('LENGTH', () => decodeFrame(longer));
    }
  });

  it('have one encoding: what decodes, encodes to the same bytes', () => {
    for (const [value] of LAYOUTS) {
      const bytes = encoded(value);
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const flipped = Buffer.from(bytes);
        flipped[bit >> 3] ^= 1 << (bit & 7);
        let decoded: Frame;
        try {
          decoded = decodeFrame(flipped);
        } catch (error) {
          assert.ok(error instanceof FrameError, String(error));
          continue;
        }
        assert.deepEqual(encoded(decoded), flipped);
      }
    }
  });

  it('decode of any bytes is a frame or a FrameError', () => {
    const hostile = fc.tuple(fc.nat(16), fc.uint8Array({ maxLength: 400 })).map(([type, tail]) => {
      const bytes = Buffer.concat([Buffer.from([0, 0, 0, 0, type, 1, 0, 0]), tail]);
      bytes.writeUInt32BE(bytes.length, 0);
      return bytes;
    });
    const mutated = fc
      .tuple(frame, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }))
      .map(([value, changes]) => {
        const bytes = encoded(value);
        for (const [at, byte] of changes) bytes[at % bytes.length] = byte;
        return bytes;
      });
    const raw = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
    fc.assert(
      fc.property(fc.oneof(hostile, mutated, raw), (bytes) => {
        try {
          const decoded = decodeFrame(bytes);
          assert.deepEqual(encoded(decoded), bytes);
        } catch (error) {
          assert.ok(error instanceof FrameError, String(error));
        }
      }),
      { numRuns: 5000 },
    );
  });

  it('the largest SETUP and RELAY_DATA fit; one byte more is refused', () => {
    const setup = { ...SETUP, head: Buffer.alloc(MAX_HEAD_BYTES), body: Buffer.alloc(MAX_BODY_BYTES) };
    assert.ok(frameSize(setup) <= MAX_FRAME_BYTES);
    assert.deepEqual(decodeFrame(encoded(setup)), setup);
    throwsCode('TOO_LARGE', () => encoded({ ...setup, head: Buffer.alloc(MAX_HEAD_BYTES + 1) }));
    throwsCode('TOO_LARGE', () => encoded({ ...setup, body: Buffer.alloc(MAX_BODY_BYTES + 1) }));
    const end = { status: 200, bodyBytes: 1, close: false };
    const piece = { type: FrameType.RELAY_DATA, request: 1, last: false, requestBody: false, end: null };
    for (const [data, most] of [
      [piece, MAX_RELAY_BYTES],
      [{ ...piece, last: true, end }, MAX_RELAY_BYTES - RELAYED_END_BYTES],
    ] as const) {
      assert.equal(frameSize({ ...data, bytes: Buffer.alloc(most) }), MAX_FRAME_BYTES);
      assert.equal(encoded({ ...data, bytes: Buffer.alloc(most) }).length, MAX_FRAME_BYTES);
      throwsCode('TOO_LARGE', () => encoded({ ...data, bytes: Buffer.alloc(most + 1) }));
    }
    throwsCode('OUT_OF_RANGE', () => encoded({ ...piece, last: true, bytes: Buffer.alloc(1) }));
    throwsCode('OUT_OF_RANGE', () => encoded({ ...piece, end, bytes: Buffer.alloc(1) }));
    const raw = encoded({ ...piece, last: true, end, bytes: Buffer.alloc(0) });
    throwsCode('OUT_OF_RANGE', () => decodeFrame(patched(raw, 12, 0b100)));
    throwsCode('OUT_OF_RANGE', () => decodeFrame(patched(raw, 12, 0b111)));
    throwsCode('OUT_OF_RANGE', () => decodeFrame(patched(raw, 13, 4)));
    throwsCode('OUT_OF_RANGE', () => decodeFrame(patched(raw, 15, 0xff)));
    throwsCode('LENGTH', () => decodeFrame(patched(raw.subarray(0, -1), 3, raw.length - 1)));
    throwsCode('TOO_LARGE', () => encoded({ ...MIGRATE, stateBytes: MAX_MIGRATED_STATE_BYTES + 1 }));
    const huge = Buffer.alloc(MAX_FRAME_BYTES + 1);
    huge.writeUInt32BE(huge.length, 0);
    throwsCode('TOO_LARGE', () => decodeFrame(huge));
  });

  it('names what is wrong with a header', () => {
    const patch = (at: number, byte: number) => {
      const bytes = encoded({ type: FrameType.CONFIRM, ...ids });
      bytes[at] = byte;
      return () => decodeFrame(bytes);
    };
    throwsCode('UNKNOWN_TYPE', patch(4, 0));
    throwsCode('UNKNOWN_TYPE', patch(4, Math.max(...Object.values(FrameType)) + 1));
    throwsCode('UNKNOWN_TYPE', patch(4, 255));
    throwsCode('VERSION', patch(5, 2));
    throwsCode('RESERVED', patch(6, 1));
    throwsCode('RESERVED', patch(7, 1));
    throwsCode('TOO_LARGE', patch(0, 255));
    throwsCode('LENGTH', patch(3, 7));
    throwsCode('LENGTH', patch(3, 17));
  });

  it('refuses values that no correct sender produces, in both directions', () => {
    const pipe = (change: Partial<HalfPipe>): Frame => ({ ...SETUP, halfPipe: { ...PIPE, ...change } });
    const done = LAYOUTS.find(([value]) => value.type === FrameType.DATA_DONE)![0];
    const load = LAYOUTS.find(([value]) => value.type === FrameType.LOAD)![0];
    const cached = LAYOUTS.find(([value]) => value.type === FrameType.CACHED)![0];
    const goesOn = (change: object): Frame => ({
      ...SETUP,
      continuation: { ...IDENTITY, offset: IDENTITY.headBytes, ...change },
    });
    const bad: Frame[] = [
      goesOn({ headBytes: 0 }),
      goesOn({ offset: IDENTITY.headBytes - 1 }),
      goesOn({ offset: IDENTITY.lengthBytes + 1 }),
      goesOn({ lengthBytes: IDENTITY.headBytes - 1 }),
      goesOn({ lengthBytes: 2 ** 53 }),
      goesOn({ validator: -1n }),
      goesOn({ validator: 2n ** 64n }),
      { ...done, identity: { ...IDENTITY, headBytes: 0 } } as Frame,
      { ...SETUP, request: -1 },
      { ...SETUP, epoch: 1.5 },
      { ...SETUP, sentAtMs: 2 ** 32 },
      { ...SETUP, request: Number.NaN },
      { ...SETUP, mechanism: 6 as SetupMechanism },
      { ...SETUP, mechanism: SetupMechanism.RELAY },
      { ...SETUP, mechanism: SetupMechanism.BOOST },
      { ...SETUP, halfPipe: null },
      { ...SETUP, client: PIPE.clientAddress },
      { ...SETUP, mechanism: SetupMechanism.RELAY, halfPipe: null, client: Buffer.alloc(16) },
      { ...SETUP, bodyFollows: true },
      { ...SETUP, keep: 1 },
      { ...SETUP, mechanism: SetupMechanism.CLONE, keep: 2 ** 32 },
      pipe({ family: 5 as 4 }),
      pipe({ family: 6 }),
      pipe({ clientAddress: Buffer.alloc(16) }),
      pipe({ publicAddress: Buffer.alloc(16) }),
      pipe({ clientAddress: PIPE.clientAddress.subarray(0, 15) }),
      pipe({ clientPort: 0 }),
      pipe({ publicPort: 0 }),
      pipe({ mss: 0 }),
      pipe({ sendScale: 15 }),
      pipe({ receiveScale: 15 }),
      pipe({ sendScale: 255 }),
      pipe({ receiveScale: 255 }),
      pipe({ receiveWindow: 2 ** 30 + 1 }),
      pipe({ maxWindow: 2 ** 30 + 1 }),
      pipe({ sendWindow: PIPE.maxWindow + 1 }),
      pipe({ congestionWindow: 2 ** 20 + 1 }),
      pipe({ srttUs: 10_000_001 }),
      { ...done, congestionWindow: 2 ** 31 } as Frame,
      { ...done, srttUs: 10_000_001 } as Frame,
      { type: FrameType.COLLECTED, ...ids, end: 1, congestionWindow: 2 ** 31, srttUs: 0 },
      { type: FrameType.COLLECTED, ...ids, end: 1, congestionWindow: 0, srttUs: 2 ** 32 - 1 },
      { ...SETUP, bodyFollows: true, body: Buffer.alloc(0) },
      { type: FrameType.ROUTE, flow: FLOW, epoch: 0 },
      { type: FrameType.ROUTE, flow: { ...FLOW, clientAddress: Buffer.alloc(16, 0x20) }, epoch: 1 },
      { ...HELLO, mac: Buffer.from('010000000001', 'hex') },
      { type: FrameType.SETUP_REJECT, ...ids, reason: 0 as RejectReason },
      { type: FrameType.SETUP_REJECT, ...ids, reason: 11 as RejectReason },
      { type: FrameType.ABORT, ...ids, reason: 0 as AbortReason },
      { type: FrameType.ABORT, ...ids, reason: 9 as AbortReason },
      { ...done, status: 99 } as Frame,
      { ...done, status: 1000 } as Frame,
      { ...done, bytes: 2 ** 53 } as Frame,
      { ...done, bodyBytes: 2 ** 32 + 6 } as Frame,
      { ...load, cpuPermille: 1001 } as Frame,
      { ...cached, site: '' } as Frame,
      { ...cached, site: 'a'.repeat(64) } as Frame,
      { ...cached, site: '\ud800' } as Frame,
      { ...cached, entries: [{ document: 2 ** 32, held: true }] } as Frame,
      { ...cached, entries: [{ document: -1, held: true }] } as Frame,
      { type: FrameType.RELAY_CREDIT, request: 1, credit: 0 },
      { type: FrameType.RELAY_CREDIT, request: 1, credit: 2 ** 31 },
      { ...MIGRATE, epoch: 0 },
      { ...MIGRATE, session: { ...SESSION, serverRecord: 2 ** 24 + 1 } },
      { ...MIGRATE, session: { ...SESSION, behind: Buffer.alloc(16_645) } },
      { ...MIGRATE, session: { ...SESSION, held: Buffer.alloc(15 * 1024 + 1) } },
      { ...MIGRATE, session: SESSION, response: { ...MOVED, cut: 16_413 } },
      { ...MIGRATE, response: { ...MOVED, cut: 1 } },
      { ...MIGRATE, response: { ...MOVED, continuation: { ...IDENTITY, offset: 1 } } },
      { ...MIGRATE, stateBytes: 0 },
      { ...MIGRATE, stateBytes: 1 },
      { type: FrameType.MIGRATE_DATA, request: 1, bytes: Buffer.alloc(0) },
      { type: FrameType.ROUTE, flow: { ...FLOW, clientPort: 0 }, epoch: 1 },
      { type: FrameType.ROUTE, flow: { ...FLOW, clientAddress: Buffer.alloc(4) }, epoch: 1 },
      { type: FrameType.CLEANUP, flow: { ...FLOW, publicPort: 0 }, epoch: 1 },
      { ...HELLO, protocol: 0 },
      { ...HELLO, engine: 2 },
      { ...HELLO, engines: 0 },
      { ...HELLO, node: '' },
      { ...HELLO, node: 'a'.repeat(64) },
      { ...HELLO, node: 'a\nb' },
      { ...HELLO, node: '\ud800' },
      { ...HELLO, mac: Buffer.alloc(5) },
      { ...HELLO, bootId: Buffer.alloc(9) },
    ];
    for (const value of bad) throwsCode('OUT_OF_RANGE', () => encoded(value));
  });

  it('refuses them on the wire too', () => {
    const patched = (value: Frame, at: number, hex: string) => {
      const bytes = encoded(value);
      bytes.set(Buffer.from(hex, 'hex'), at);
      return () => decodeFrame(bytes);
    };
    const done = LAYOUTS.find(([value]) => value.type === FrameType.DATA_DONE)![0];
    const announced = LAYOUTS.find(
      ([value]) => value.type === FrameType.SETUP_OK && value.announcement !== null,
    )![0];
    const pipeAt = 22;
    throwsCode('LENGTH', patched(SETUP, 17, '80'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, 17, '20'));
    const seal = { suite: SUITES[1], number: 1, cut: 2, iv: Buffer.alloc(12), key: Buffer.alloc(32) };
    const sealed = { ...SETUP, seal };
    const sealAt = pipeAt + 78;
    throwsCode('OUT_OF_RANGE', patched(sealed, sealAt, '1304'));
    throwsCode('OUT_OF_RANGE', patched(sealed, sealAt + 2, '00200000'));
    throwsCode('OUT_OF_RANGE', patched(sealed, sealAt + 10, '4016'));
    throwsCode('LENGTH', patched(SETUP, 17, '43'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, 17, '04'));
    throwsCode('RESERVED', patched(SETUP, pipeAt + 37, '08'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 36, '06'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 16, '0000'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 38, '0000'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 40, '0f'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 41, 'ff'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 50, '40000001'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 54, '00030001'));
    throwsCode('OUT_OF_RANGE', patched(SETUP, pipeAt + 70, '80000000'));
    throwsCode('OUT_OF_RANGE', patched(done, 39, '80000000'));
    throwsCode('RESERVED', patched(announced, 16, '1c'));
    throwsCode('OUT_OF_RANGE', patched(announced, 16, '08'));
    throwsCode('LENGTH', patched(announced, 16, '00'));
    throwsCode('OUT_OF_RANGE', patched(announced, 17, '0063'));
    throwsCode('OUT_OF_RANGE', patched(announced, 19, '0000000040000001'));
    throwsCode('OUT_OF_RANGE', patched(announced, 27, '0000000001234568'));
    const listed = LAYOUTS.find(([value]) => value.type === FrameType.CATALOGUE)![0];
    for (const [at, hex] of [
      [8, '00'],
      [9, 'ff'],
      [15, '0000'],
      [17, 'ff'],
      [21, '02'],
      [22, '00200000'],
    ] as const)
      throwsCode('OUT_OF_RANGE', patched(listed, at, hex));
    throwsCode('RESERVED', patched(listed, 12, '08'));
    throwsCode('LENGTH', patched(listed, 13, '0001'));
    throwsCode('LENGTH', patched(listed, 13, '0003'));
    const inMemory = LAYOUTS.find(([value]) => value.type === FrameType.CACHED)![0];
    for (const [at, hex] of [
      [8, '00'],
      [9, 'ff'],
      [18, '02'],
      [23, 'ff'],
    ] as const)
      throwsCode('OUT_OF_RANGE', patched(inMemory, at, hex));
    throwsCode('RESERVED', patched(inMemory, 11, '02'));
    throwsCode('LENGTH', patched(inMemory, 12, '0001'));
    throwsCode('LENGTH', patched(inMemory, 12, '0003'));
    throwsCode('OUT_OF_RANGE', patched(HELLO, 11, '0a'));
    throwsCode('OUT_OF_RANGE', patched(HELLO, 11, 'ff'));
    throwsCode('OUT_OF_RANGE', patched(HELLO, 12, '0002'));
    throwsCode('OUT_OF_RANGE', patched(done, 23, '00200000'));
    throwsCode('OUT_OF_RANGE', patched(done, 20, '0063'));
    const identified: Frame = {
      type: FrameType.SETUP_OK,
      ...ids,
      confirmWanted: false,
      identity: IDENTITY,
      announcement: null,
    };
    throwsCode('LENGTH', patched(identified, 16, '00'));
    throwsCode('RESERVED', patched(identified, 16, '10'));
    throwsCode('OUT_OF_RANGE', patched(identified, 17, '00000000'));
    throwsCode('OUT_OF_RANGE', patched(identified, 21, '00200000'));
  });

  it('does not write beyond the room given', () => {
    const value: Frame = { type: FrameType.CONFIRM, ...ids };
    throwsCode('NO_ROOM', () => encodeFrame(value, Buffer.alloc(15), 0));
    throwsCode('NO_ROOM', () => encodeFrame(value, Buffer.alloc(20), 5));
    assert.equal(encodeFrame(value, Buffer.alloc(20), 4), 20);
  });
});
