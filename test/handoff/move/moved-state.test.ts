/** What happens to a connection's state on its way: sequence spaces, bytes put back, bytes left out. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseAddress } from '../../../src/base/address.ts';
import type { OwnSpace } from '../../../src/handoff/flow/own-space.ts';
import { onTheRoad, putBack, toClientSpace, withoutUnsent } from '../../../src/handoff/move/moved-state.ts';
import { decodeState, encodeState } from '../../../src/kernel/tcp/codec.ts';
import { add, distance } from '../../../src/kernel/tcp/sequence.ts';
import { type ConnectionState, STATE_VERSION, validateState } from '../../../src/kernel/tcp/state.ts';

/** Numbers around which sequence arithmetic goes wrong, and any others. */
const sequence = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff),
  fc.integer({ min: -3000, max: 3000 }).map((n) => n >>> 0),
);
const queue = fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes));

const state: fc.Arbitrary<ConnectionState> = fc
  .record({
    sendSequence: sequence,
    receiveSequence: sequence,
    timestamp: sequence,
    sendQueue: queue,
    unsentQueue: queue,
    receiveQueue: queue,
    sendWindow: fc.integer({ min: 0, max: 65_535 }),
  })
  .map(({ sendWindow, timestamp, ...fields }) => ({
    version: STATE_VERSION,
    client: { address: parseAddress('10.0.0.1'), port: 40_000 },
    public: { address: parseAddress('10.0.0.2'), port: 80 },
    mss: 1448,
    options: { sack: true, timestamps: true, sendScale: 7, receiveScale: 7 },
    ...fields,
    window: {
      sendWl1: fields.receiveSequence,
      sendWindow,
      maxWindow: 65_535,
      receiveWindow: 65_535,
      receiveWup: fields.receiveSequence,
    },
    advertisedEdge: add(fields.receiveSequence, 65_535),
    timestamp: add(timestamp, -(timestamp % 2)),
    finReceived: false,
    finSent: false,
    congestion: { window: 10, srttUs: 1000 },
    receiveBufferKib: 0,
  }));

const first = (s: ConnectionState) => add(s.sendSequence, -s.sendQueue.length - s.unsentQueue.length);

/** A last own range that begins `before` bytes before the first unacknowledged one. */
function spaceOf(s: ConnectionState, before: number, shift: number, room: number): OwnSpace {
  const acknowledged = add(first(s), shift);
  return { from: add(first(s), -before), shift, stamp: 5, acknowledged, edge: add(acknowledged, room) };
}

describe('a connection state on its way', () => {
  it('moves into the client space as one piece: queues as they are, numbers shifted, window renewed', () => {
    const check = (s: ConnectionState, before: number, shift: number, room: number): void => {
      const moved = toClientSpace(s, spaceOf(s, before, shift, room));
      assert.ok(moved !== null);
      assert.equal(moved.sendSequence, add(s.sendSequence, shift));
      assert.equal(first(moved), add(first(s), shift));
      assert.equal(moved.receiveSequence, s.receiveSequence);
      assert.equal(moved.window.sendWindow, Math.max(room, s.window.sendWindow));
      assert.ok(distance(add(s.timestamp, 5), moved.timestamp) >= 0);
      for (const name of ['sendQueue', 'unsentQueue', 'receiveQueue'] as const)
        assert.ok(moved[name].equals(s[name]));
      validateState(moved);
      assert.deepEqual(decodeState(encodeState(moved)), moved);
    };
    const room = fc.integer({ min: 0, max: 2 ** 20 });
    fc.assert(fc.property(state, fc.integer({ min: 0, max: 2 ** 27 }), sequence, room, check));
  });

  it('does not move while bytes before the last own range are unacknowledged', () => {
    fc.assert(
      fc.property(state, fc.integer({ min: 1, max: 2 ** 27 }), sequence, (s, missing, shift) => {
        assert.equal(toClientSpace(s, spaceOf(s, -missing, shift, 1000)), null);
      }),
    );
  });

  it('does not move when the client has acknowledged more than was sent', () => {
    fc.assert(
      fc.property(state, sequence, fc.integer({ min: 1, max: 2 ** 20 }), (s, shift, beyond) => {
        const space = spaceOf(s, 0, shift, 2 ** 21);
        const sentEnd = add(s.sendSequence, shift - s.unsentQueue.length);
        assert.notEqual(toClientSpace(s, { ...space, acknowledged: sentEnd }), null);
        assert.equal(toClientSpace(s, { ...space, acknowledged: add(sentEnd, beyond) }), null);
      }),
    );
  });

  it('has bytes that were read in front of its receive queue again', () => {
    fc.assert(
      fc.property(state, queue, (s, unanswered) => {
        const back = putBack(s, unanswered);
        assert.ok(back.receiveQueue.equals(Buffer.concat([unanswered, s.receiveQueue])));
        assert.equal(back.receiveSequence, s.receiveSequence);
        validateState(back);
      }),
    );
  });

  it('leaves out what was never sent, and never more', () => {
    fc.assert(
      fc.property(state, fc.integer({ min: 0, max: 4000 }), (s, limit) => {
        const left = withoutUnsent(s, limit);
        const dropped = s.unsentQueue.length - left.unsentQueue.length;
        assert.equal(dropped, Math.min(limit, s.unsentQueue.length));
        assert.equal(left.sendSequence, add(s.sendSequence, -dropped));
        assert.ok(left.unsentQueue.equals(s.unsentQueue.subarray(0, s.unsentQueue.length - dropped)));
        assert.equal(first(left), first(s));
        validateState(left);
      }),
    );
  });

  it('has a clock that goes on, by an even amount', () => {
    fc.assert(
      fc.property(state, (s) => {
        const later = onTheRoad(s);
        assert.ok(distance(s.timestamp, later.timestamp) >= 5);
        assert.equal(later.timestamp % 2, 0);
      }),
    );
  });
});
