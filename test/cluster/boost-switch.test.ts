/** When a server's new clients go to boosters. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BoostSwitch, CALM_MS, MAX_HOLD_MS, MIN_HOLD_MS } from '../../src/cluster/boost-switch.ts';

const MARKS = { onPermille: 800, offPermille: 500 };
const LOOK_MS = 25;

/** Looks at a load every 25 ms. Returns the times at which it was switched. */
function watch(it: BoostSwitch, fromMs: number, toMs: number, load: (nowMs: number) => number): number[] {
  const switched: number[] = [];
  for (let now = fromMs; now < toMs; now += LOOK_MS)
    if (it.look(now, load(now), 'processor')) switched.push(now);
  return switched;
}

describe('the switch of a boost', () => {
  test('it is on with the first look at a load that is high enough, and says why', () => {
    const it = new BoostSwitch(MARKS);
    assert.equal(it.look(0, 799, 'processor'), false);
    assert.equal(it.look(25, 800, 'accept queue'), true);
    assert.deepEqual(it.state, { on: true, why: 'accept queue', sinceMs: 25 });
  });

  test('it is off when the load has been low for the whole time', () => {
    const it = new BoostSwitch(MARKS);
    const load = (now: number) => (now === 0 ? 1000 : now === 1000 ? 500 : 0);
    assert.deepEqual(watch(it, 0, 10_000, load), [0, 1025 + MIN_HOLD_MS]);
    assert.deepEqual(it.state.why, null);
  });

  test('one that comes on again soon stays on twice as long, until it has been off for a while', () => {
    const it = new BoostSwitch(MARKS);
    // The load comes back with the clients, at once.
    const load = () => (it.state.on ? 0 : 1000);
    const times = watch(it, 0, 600_000, load);
    const held = times.flatMap((at, i) => (i % 2 === 1 ? [at - times[i - 1] - LOOK_MS] : []));
    assert.deepEqual(held.slice(0, 6), [2000, 4000, 8000, 16_000, 32_000, MAX_HOLD_MS]);
    assert.ok(held.slice(5).every((ms) => ms === MAX_HOLD_MS));
    const last = times.at(-1)!;
    const calm = Math.max(last, 600_000) + MAX_HOLD_MS;
    watch(it, 600_000, calm + CALM_MS, () => 0);
    const [on, off] = watch(it, calm + CALM_MS, calm + CALM_MS + 10_000, (now) =>
      now === calm + CALM_MS ? 1000 : 0,
    );
    assert.equal(off - on, MIN_HOLD_MS + LOOK_MS);
  });

  test('by hand it is on or off whatever the load is; left to the load again, it goes by that', () => {
    const it = new BoostSwitch(MARKS);
    it.set('on');
    assert.equal(it.look(0, 0, 'processor'), true);
    assert.equal(it.state.why, 'by hand');
    it.set('off');
    assert.equal(it.look(25, 1000, 'processor'), true);
    assert.equal(it.state.on, false);
    it.set('auto');
    assert.equal(it.look(50, 1000, 'processor'), true);
    assert.equal(it.state.why, 'processor');
  });

  test('whatever the load does, it does not flap', () => {
    const loads = fc.array(fc.tuple(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 1, max: 5000 })), {
      minLength: 1,
      maxLength: 60,
    });
    fc.assert(
      fc.property(loads, (steps) => {
        const it = new BoostSwitch(MARKS);
        let now = 0;
        let onAtMs = Number.NEGATIVE_INFINITY;
        for (const [permille, forMs] of steps) {
          const before = it.state.on;
          for (const end = now + forMs; now < end; now += LOOK_MS) {
            if (!it.look(now, permille, 'processor')) continue;
            if (it.state.on) {
              assert.ok(permille >= MARKS.onPermille);
              onAtMs = now;
            } else {
              assert.ok(permille < MARKS.offPermille);
              assert.ok(now - onAtMs >= MIN_HOLD_MS, 'it stays on for a while');
            }
          }
          if (permille >= MARKS.onPermille) assert.ok(it.state.on);
          if (permille >= MARKS.offPermille && permille < MARKS.onPermille)
            assert.equal(it.state.on, before, 'between the two marks nothing changes');
        }
      }),
    );
  });
});
