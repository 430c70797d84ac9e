/** Segments of connections that move, with a router and an interface that are made up. */
import assert from 'node:assert';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { Counters } from '../../../src/base/counters.ts';
import { TEXT_SEED, textHash } from '../../../src/base/text-hash.ts';
import { tupleKey } from '../../../src/handoff/flow/four-tuple.ts';
import { PARKED_LIMIT_BYTES, ParkedSegments } from '../../../src/handoff/move/parked.ts';
import type { ParkedSegment } from '../../../src/kernel/router/parked-ring.ts';

const ENGINE = 3;
const tupleOf = (port: number) => ({
  client: { address: parseAddress('198.51.100.7'), port },
  public: { address: parseAddress('192.0.2.80'), port: 80 },
});
const A = tupleOf(1);
const B = tupleOf(2);

function stand({ hasRoom = true, isDown = false } = {}) {
  const ring: Array<[string, ParkedSegment]> = [];
  /** What happened, in order. */
  const log: string[] = [];
  const counters = new Counters();
  const parked = new ParkedSegments(
    ENGINE,
    {
      park: (client, _, engine) => {
        assert.equal(engine, ENGINE);
        log.push(`park ${client.port}`);
        return hasRoom ? () => log.push(`restore ${client.port}`) : null;
      },
    },
    {
      drain: (each) => {
        for (const [key, segment] of ring.splice(0)) each(key, segment);
      },
    },
    {
      write: (frame, segmentBytes) => {
        log.push(`${frame.toString()} ${segmentBytes}`);
        return !isDown;
      },
    },
    counters,
  );
  const view = Buffer.alloc(64);
  /** The router keeps a segment; its memory is used again. */
  const comes = (ends: typeof A, text: string, segmentBytes = 0) => {
    ring.push([tupleKey(ends), { frame: Buffer.from(text), segmentBytes }]);
  };
  const hears = (ends: typeof A, text: string) => {
    const frame = view.subarray(0, view.write(text));
    ring.push([tupleKey(ends), { frame, segmentBytes: 0 }]);
    parked.hear();
    view.fill(0);
  };
  return { parked, log, comes, hears, ring, counters };
}

test('each connection gets its own segments, in their order, and nothing before it is known where it is', () => {
  const { parked, log, comes, hears, counters } = stand();
  assert.ok(parked.park(A) && parked.park(B));
  hears(A, 'a1');
  hears(B, 'b1');
  comes(A, 'a2', 1448);
  comes(B, 'b2');
  assert.deepEqual(log.splice(0), ['park 1', 'park 2']);
  parked.release(A);
  assert.deepEqual(log.splice(0), ['a1 0', 'a2 1448']);
  comes(B, 'b3');
  parked.giveBack(B);
  assert.deepEqual(log.splice(0), ['restore 2', 'b1 0', 'b2 0', 'b3 0']);
  assert.deepEqual([counters.get('segments_replayed'), counters.get('segments_lost')], [5, 0]);
});

test('two connections whose keys have the same hash are not taken for each other', () => {
  const client = (address: string, port: number) => ({
    ...A,
    client: { address: parseAddress(address), port },
  });
  const pair = [client('198.51.14.85', 54878), client('198.51.233.98', 27021)];
  const [hash, other] = pair.map((ends) => textHash(tupleKey(ends), TEXT_SEED));
  assert.equal(hash, other);
  for (const [first, second] of [pair, pair.toReversed()]) {
    const { parked, log, hears } = stand();
    for (const ends of pair) parked.park(ends);
    hears(second, 'second');
    hears(first, 'first');
    log.length = 0;
    parked.release(first);
    parked.release(first);
    assert.deepEqual(log.splice(0), ['first 0']);
    parked.giveBack(second);
    assert.deepEqual(log.splice(0), [`restore ${second.client.port}`, 'second 0']);
    hears(second, 'late');
    assert.deepEqual(log, ['late 0']);
  }
});

test('what the router kept while the route changed follows at once', () => {
  const { parked, log, hears } = stand();
  parked.park(A);
  parked.release(A);
  hears(A, 'late');
  assert.deepEqual(log, ['park 1', 'late 0']);
});

test('without room in the router nothing is kept, and nothing put back', () => {
  const { parked, log } = stand({ hasRoom: false });
  assert.equal(parked.park(A), false);
  parked.giveBack(A);
  parked.release(A);
  assert.deepEqual(log, ['park 1']);
});

test('memory is bounded, for all connections together, and free again afterwards', () => {
  const { parked, ring, counters } = stand();
  const frame = Buffer.alloc(64 * 1024);
  const fits = PARKED_LIMIT_BYTES / frame.length;
  for (const times of [1, 2]) {
    parked.park(A);
    parked.park(B);
    for (let i = 0; i < fits + 4; i++)
      ring.push([tupleKey(i % 2 === 0 ? A : B), { frame, segmentBytes: 1448 }]);
    parked.hear();
    parked.release(A);
    parked.giveBack(B);
    assert.equal(counters.get('segments_lost'), 4 * times);
    assert.equal(counters.get('segments_replayed'), fits * times);
  }
});

test('what cannot be written is lost, and counted', () => {
  const { parked, comes, counters } = stand({ isDown: true });
  parked.park(A);
  comes(A, 'a1');
  parked.giveBack(A);
  assert.deepEqual([counters.get('segments_replayed'), counters.get('segments_lost')], [0, 1]);
});
