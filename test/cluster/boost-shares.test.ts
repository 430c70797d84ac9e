/** How a booster's places are shared by its origins. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { boundFor, isFullFor } from '../../src/cluster/boost-shares.ts';

const MOST = 800;
const bound = (origin: number, counts: Record<number, number>) =>
  boundFor(origin, new Map(Object.entries(counts).map(([one, count]) => [Number(one), count])), MOST);

test('alone it may have seven eighths; with others its equal part of them, and what they do not use', () => {
  assert.equal(bound(0, {}), 700);
  assert.equal(bound(0, { 0: 700 }), 700);
  assert.equal(bound(1, { 0: 700 }), 350);
  assert.equal(bound(0, { 0: 700, 1: 1 }), 699);
  assert.equal(bound(0, { 0: 700, 1: 100 }), 600);
  assert.equal(bound(0, { 0: 350, 1: 350 }), 350);
  assert.equal(bound(2, { 0: 350, 1: 350 }), 233);
  assert.equal(bound(0, { 0: 500, 1: 100, 2: 100 }), 500);
});

test('three that are overloaded get equal shares, whoever came first', () => {
  const counts = new Map<number, number>();
  const arrive = (origin: number) => {
    const count = counts.get(origin) ?? 0;
    const total = [...counts.values()].reduce((sum, one) => sum + one, 0);
    if (total < MOST && count < boundFor(origin, counts, MOST)) counts.set(origin, count + 1);
  };
  for (let i = 0; i < MOST; i++) arrive(0);
  assert.deepEqual([...counts.values()], [700]);
  for (let i = 0; i < 20_000; i++) {
    for (const origin of [0, 1, 2]) arrive(origin);
    // One client in so many leaves, of whichever origin.
    const left = [...counts.keys()][i % counts.size];
    if (i % 2 === 0) counts.set(left, counts.get(left)! - 1);
  }
  for (const count of counts.values()) assert.ok(Math.abs(count - 233) <= 3, `${[...counts.values()]}`);
});

test('whatever comes and leaves: what all may have is never exceeded, and an equal part is never refused but by a full house', () => {
  const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.boolean()), { maxLength: 300 });
  fc.assert(
    fc.property(steps, fc.integer({ min: 8, max: 60 }), (all, most) => {
      const counts = new Map<number, number>();
      for (const [origin, comes] of all) {
        const count = counts.get(origin) ?? 0;
        const total = [...counts.values()].reduce((sum, one) => sum + one, 0);
        if (!comes) {
          if (count > 1) counts.set(origin, count - 1);
          else counts.delete(origin);
        } else if (count < boundFor(origin, counts, most)) {
          if (total < most) counts.set(origin, count + 1);
        } else {
          const origins = counts.size + (counts.has(origin) ? 0 : 1);
          assert.ok(count >= Math.floor((most - Math.ceil(most / 8)) / origins));
        }
      }
    }),
  );
});

test('an origin is told that it is full before it is, and that there is room when there is some', () => {
  const at = (count: number, was: boolean) => isFullFor(0, new Map([[0, count]]), MOST, was);
  assert.deepEqual(
    [at(660, false), at(665, false), at(600, true), at(594, true)],
    [false, true, true, false],
  );
});
