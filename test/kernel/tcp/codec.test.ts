import assert from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../../src/base/address.ts';
import {
  decodeState,
  encodedBytes,
  encodeState,
  encodeStateInto,
  STATE_HEADER_BYTES,
} from '../../../src/kernel/tcp/codec.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import {
  type ConnectionState,
  MAX_CONGESTION_WINDOW,
  MAX_QUEUE_BYTES,
  MAX_SRTT_US,
  NO_SCALING,
  STATE_VERSION,
  StateError,
  type StateErrorCode,
  validateState,
  windowLimit,
} from '../../../src/kernel/tcp/state.ts';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const port = fc.integer({ min: 1, max: 65_535 });
const queue = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const scales = fc.oneof(
  fc.constant([NO_SCALING, NO_SCALING]),
  fc.tuple(fc.integer({ min: 0, max: 14 }), fc.integer({ min: 0, max: 14 })),
);
const addresses = fc.oneof(
  fc.tuple(fc.ipV4(), fc.ipV4()),
  fc.tuple(fc.constantFrom('2001:db8::1', 'fe80::2'), fc.constantFrom('::1', 'fd00::77')),
);

/** Any valid connection state. */
const anyState: fc.Arbitrary<ConnectionState> = fc
  .record({
    addresses,
    ports: fc.tuple(port, port),
    mss: fc.integer({ min: 88, max: 65_535 }),
    scales,
    booleans: fc.tuple(fc.boolean(), fc.boolean(), fc.boolean(), fc.boolean()),
    sequences: fc.tuple(u32, u32),
    queues: fc.tuple(queue, queue, queue),
    /** Fractions from which values are made that do not contradict each other. */
    parts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 5, maxLength: 5 }),
    timestamp: u32,
    congestion: fc.tuple(fc.nat(MAX_CONGESTION_WINDOW), fc.nat(MAX_SRTT_US)),
    receiveBufferKib: fc.integer({ min: 0, max: 65_535 }),
  })
  .map((r) => {
    const maxWindow = Math.floor(r.parts[0] * windowLimit(r.scales[0]));
    const receiveWindow = Math.floor(r.parts[1] * windowLimit(r.scales[1]));
    const receiveSequence = r.sequences[1];
    const receiveWup = add(receiveSequence, -Math.floor(r.parts[2] * 100_000));
    return {
      version: STATE_VERSION,
      client: { address: parseAddress(r.addresses[0]), port: r.ports[0] },
      public: { address: parseAddress(r.addresses[1]), port: r.ports[1] },
      mss: r.mss,
      options: {
        sack: r.booleans[0],
        timestamps: r.booleans[1],
        sendScale: r.scales[0],
        receiveScale: r.scales[1],
      },
      sendSequence: r.sequences[0],
      receiveSequence,
      sendQueue: r.queues[0],
      unsentQueue: r.queues[1],
      receiveQueue: r.queues[2],
      window: {
        sendWl1: add(receiveSequence, Math.floor(r.parts[3] * receiveWindow)),
        sendWindow: Math.floor(r.parts[4] * maxWindow),
        maxWindow,
        receiveWindow,
        receiveWup,
      },
      advertisedEdge: add(receiveWup, receiveWindow),
      timestamp: r.timestamp - (r.timestamp % 2),
      finReceived: r.booleans[2],
      finSent: r.booleans[3],
      congestion: { window: r.congestion[0], srttUs: r.congestion[1] },
      receiveBufferKib: r.receiveBufferKib,
    };
  });

const sample = (): ConnectionState => fc.sample(anyState, { numRuns: 1, seed: 7 })[0];

/** A state, or StateError: everything else is a fault. */
function decodeOrStateError(bytes: Buffer): ConnectionState | StateError {
  try {
    return validateState(decodeState(bytes));
  } catch (error) {
    if (error instanceof StateError) return error;
    throw error;
  }
}

test('what is encoded is decoded', () => {
  fc.assert(
    fc.property(anyState, (state) => {
      const bytes = encodeState(state);
      assert.equal(bytes.length, encodedBytes(state));
      assert.deepEqual(decodeState(bytes), state);
    }),
  );
});

test('encoding into a larger buffer touches only its own bytes', () => {
  const state = sample();
  const out = Buffer.alloc(encodedBytes(state) + 20, 0xee);
  const end = encodeStateInto(state, out, 10);
  assert.equal(end, out.length - 10);
  assert.deepEqual(decodeState(out.subarray(10, end)), state);
  assert.ok(
    out.subarray(0, 10).every((byte) => byte === 0xee) && out.subarray(end).every((byte) => byte === 0xee),
  );
  assert.throws(() => encodeStateInto(state, out, 21), RangeError);
});

test('a decoded state does not change with the buffer it came from', () => {
  const state = sample();
  const bytes = encodeState(state);
  const decoded = decodeState(bytes);
  bytes.fill(0xff);
  assert.deepEqual(decoded, state);
});

test('truncation at every byte, and bytes too many', () => {
  const bytes = encodeState(sample());
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => decodeState(bytes.subarray(0, length)), StateError, `${length} bytes`);
  }
  assert.throws(() => decodeState(Buffer.concat([bytes, Buffer.alloc(1)])), { code: 'STATE_MALFORMED' });
});

test('every flipped bit gives another state or StateError', () => {
  const state = sample();
  const original = encodeState(state);
  let refused = 0;
  for (let bit = 0; bit < original.length * 8; bit++) {
    const bytes = Buffer.from(original);
    bytes[bit >> 3] ^= 1 << (bit & 7);
    const result = decodeOrStateError(bytes);
    if (result instanceof StateError) refused++;
    else assert.notDeepEqual(result, state, `bit ${bit} means nothing`);
  }
  assert.ok(refused > 8 * 8, 'length, version, reserved bits and queue lengths are checked');
});

test('any bytes give a state or StateError', () => {
  const head = encodeState(sample()).subarray(0, STATE_HEADER_BYTES);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (random, plausible) => {
      const bytes = plausible ? Buffer.concat([head, random]) : Buffer.from(random);
      if (plausible) bytes.writeUInt32BE(bytes.length, 0);
      decodeOrStateError(bytes);
    }),
    { numRuns: 2000 },
  );
});

test('contradictions are refused by name, before encoding and after decoding', () => {
  const base: ConnectionState = {
    ...sample(),
    options: { sack: true, timestamps: true, sendScale: 7, receiveScale: 7 },
    receiveSequence: 5000,
    window: { sendWl1: 4000, sendWindow: 1000, maxWindow: 2000, receiveWindow: 3000, receiveWup: 4500 },
    advertisedEdge: 7500,
    client: { address: parseAddress('10.0.0.1'), port: 1 },
    public: { address: parseAddress('10.0.0.2'), port: 2 },
  };
  validateState(base);
  const { window, options } = base;
  const cases: [StateErrorCode, Partial<ConnectionState>][] = [
    ['STATE_WINDOW', { window: { ...window, sendWindow: 2001 } }],
    ['STATE_WINDOW', { window: { ...window, maxWindow: 65_535 * 128 + 1 } }],
    ['STATE_WINDOW', { window: { ...window, receiveWindow: 65_535 * 128 + 1 } }],
    ['STATE_WINDOW', { window: { ...window, receiveWup: 5001 } }],
    ['STATE_WINDOW', { window: { ...window, sendWl1: 8001 } }],
    ['STATE_EDGE', { advertisedEdge: 7499 }],
    ['STATE_EDGE', { advertisedEdge: 2 ** 30 + 5000 }],
    ['STATE_MSS', { mss: 87 }],
    ['STATE_MSS', { mss: 65_536 }],
    ['STATE_SCALE', { options: { ...options, sendScale: 15 } }],
    ['STATE_SCALE', { options: { ...options, receiveScale: NO_SCALING } }],
    ['STATE_ENDPOINT', { client: { address: parseAddress('::1'), port: 1 } }],
    ['STATE_ENDPOINT', { client: { address: parseAddress('10.0.0.1'), port: 0 } }],
    ['STATE_ENDPOINT', { public: { address: Buffer.alloc(4), port: 1 } }],
    ['STATE_QUEUE', { sendQueue: Buffer.alloc(MAX_QUEUE_BYTES + 1) }],
    ['STATE_RANGE', { timestamp: 7 }],
    ['STATE_RANGE', { sendSequence: 2 ** 32 }],
    ['STATE_RANGE', { receiveSequence: -1 }],
    ['STATE_VERSION', { version: 2 as typeof STATE_VERSION }],
  ];
  for (const [code, change] of cases) {
    assert.throws(
      () => encodeState({ ...base, ...change }),
      { name: 'StateError', code },
      JSON.stringify(change),
    );
  }
  const bytes = encodeState(base);
  bytes.writeUInt32BE(7499, 56);
  assert.throws(() => decodeState(bytes), { code: 'STATE_EDGE' });
});
