/** Loads by the time to first byte: what the median says, and what the switch makes of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Counters } from '../../src/base/counters.ts';
import { FEWEST, FirstBytes } from '../../src/cluster/first-bytes.ts';
import { quickLoadOf } from '../../src/cluster/quick-load.ts';

const wait = (waits: readonly number[], atMs = 0) => {
  const times = new FirstBytes();
  for (const ms of waits) times.add(atMs, ms);
  return times;
};

test('half of the newest requests wait longer than what is told; a few that wait long change nothing', () => {
  const quick = Array.from({ length: 40 }, () => 2);
  assert.equal(wait([...quick, ...Array.from({ length: 20 }, () => 30_000)]).medianMs(0), 2);
  assert.equal(wait(Array.from({ length: 40 }, (_, i) => 100 + i)).medianMs(0), 120);
});

test('too few requests say nothing, nor do those of more than a second ago', () => {
  const slow = Array.from({ length: FEWEST }, () => 900);
  assert.equal(wait(slow.slice(1)).medianMs(0), 0);
  const times = wait(slow, 5000);
  assert.deepEqual([times.medianMs(5000), times.medianMs(6000), times.medianMs(6001)], [900, 900, 0]);
});

test('whatever comes, only the newest count, and the median is one of them', () => {
  const waits = fc.array(fc.integer({ min: 0, max: 60_000 }), { minLength: FEWEST, maxLength: 200 });
  fc.assert(
    fc.property(waits, (all) => {
      const newest = all.slice(-64).sort((a, b) => a - b);
      assert.equal(wait(all).medianMs(0), newest[newest.length >> 1]);
    }),
  );
});

test('the load is what there is most of, by its bound; without a bound the time does not count', () => {
  const counters = new Counters();
  const load = (firstByteMs: number | null = 1000) =>
    quickLoadOf(counters, { connections: 100, firstByteMs });
  counters.set('quick_cpu_permille_now', 300);
  assert.deepEqual(load(), { permille: 300, cause: 'processor' });
  counters.set('first_byte_ms_now', 800);
  assert.deepEqual(load(), { permille: 800, cause: 'time to first byte' });
  assert.deepEqual(load(2000), { permille: 400, cause: 'time to first byte' });
  assert.deepEqual(load(null), { permille: 300, cause: 'processor' });
  counters.set('connections_now', 90);
  assert.deepEqual(load(), { permille: 900, cause: 'connections' });
  counters.set('accept_queue_now', 4096);
  assert.deepEqual(load(), { permille: 1000, cause: 'accept queue' });
  counters.set('first_byte_ms_now', 60_000);
  assert.deepEqual(load(), { permille: 1000, cause: 'accept queue' }, 'no load is higher than 1000');
});
