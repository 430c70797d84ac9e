import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { LOAD_INTERVAL_MS } from '../../src/cluster/load.ts';
import {
  HOLD_MS,
  MAX_REDIRECTED_PERMILLE,
  type PeerLoad,
  Redirect,
  redirectTable,
  STEP_PERMILLE,
} from '../../src/cluster/redirect.ts';
import { SPREAD_SIZE } from '../../src/kernel/router/layout.ts';

const OPTIONS = { highPermille: 800, lowPermille: 500 };
const MAX_STEPS = MAX_REDIRECTED_PERMILLE / STEP_PERMILLE;

/** Looks every LOAD_INTERVAL_MS for `seconds`; returns how often the shares changed. */
function run(
  redirect: Redirect,
  fromMs: number,
  seconds: number,
  own: (nowMs: number) => number,
  peers: (nowMs: number) => PeerLoad[],
): number {
  let changes = 0;
  for (let now = fromMs; now < fromMs + seconds * 1000; now += LOAD_INTERVAL_MS) {
    if (redirect.look(now, own(now), peers(now))) changes++;
  }
  return changes;
}

const b = (loadPermille: number): PeerLoad => ({ owner: 2, loadPermille });
const c = (loadPermille: number): PeerLoad => ({ owner: 3, loadPermille });

describe('SYN redirect', () => {
  it('gives the lightest peer a step at a time while the node is loaded, and takes it back', () => {
    const redirect = new Redirect(OPTIONS);
    const loaded = () => 1000;
    const first = run(redirect, 0, 6, loaded, () => [b(300), c(100)]);
    assert.equal(first, 2);
    assert.deepEqual([...redirect.shares], [[3, 2 * STEP_PERMILLE]]);
    const rest = run(redirect, 6000, 60, loaded, () => [b(300), c(600)]);
    assert.equal(rest, MAX_STEPS - 2);
    assert.equal(redirect.redirectedPermille, MAX_REDIRECTED_PERMILLE);
    const light = () => 100;
    const back = run(redirect, 66_000, 60, light, () => [b(300), c(100)]);
    assert.equal(back, MAX_STEPS);
    assert.equal(redirect.redirectedPermille, 0);
  });

  it('redirects nothing to peers that are loaded themselves, and relieves one that gets too much', () => {
    const redirect = new Redirect(OPTIONS);
    const loaded = () => 1000;
    const none = run(redirect, 0, 20, loaded, () => [b(600)]);
    assert.equal(none, 0);
    run(redirect, 20_000, 6, loaded, () => [b(100)]);
    assert.ok(redirect.redirectedPermille > 0);
    run(redirect, 26_000, 30, loaded, () => [b(1000)]);
    assert.equal(redirect.redirectedPermille, 0);
  });

  it('takes the share of a peer that is gone away at once', () => {
    const redirect = new Redirect(OPTIONS);
    const loaded = () => 1000;
    const steps = run(redirect, 0, 4, loaded, () => [b(100)]);
    assert.equal(steps, 1);
    assert.equal(redirect.look(4000, 1000, []), true);
    assert.equal(redirect.redirectedPermille, 0);
  });

  it('does not take a busy start for load', () => {
    const redirect = new Redirect(OPTIONS);
    const own = (now: number) => (now < 1000 ? 1000 : 650);
    const steps = run(redirect, 0, 60, own, () => [b(0)]);
    assert.equal(steps, 0);
  });

  it('goes one way only around either threshold, whatever the noise', () => {
    const noise = fc.array(fc.integer({ min: -250, max: 250 }), { minLength: 240, maxLength: 240 });
    const around = fc.constantFrom(OPTIONS.highPermille, OPTIONS.lowPermille);
    fc.assert(
      fc.property(noise, around, fc.nat(MAX_STEPS), (deltas, center, start) => {
        const redirect = new Redirect(OPTIONS);
        const peers = () => [b(100)];
        let now = 0;
        // Up to any share first.
        for (; redirect.redirectedPermille < start * STEP_PERMILLE; now += LOAD_INTERVAL_MS)
          redirect.look(now, 1000, peers());
        const before = redirect.redirectedPermille;
        const own = (at: number) => center + deltas[((at - now) / LOAD_INTERVAL_MS) % deltas.length];
        const changes = run(redirect, now, 120, own, peers);
        assert.ok(changes <= MAX_STEPS, `${changes} changes in two minutes`);
        assert.equal(Math.abs(redirect.redirectedPermille - before), changes * STEP_PERMILLE);
      }),
    );
  });

  it('finds a share that holds when load follows it, and stays there', () => {
    const offered = fc.integer({ min: 0, max: 1500 });
    fc.assert(
      fc.property(offered, fc.array(fc.integer({ min: -60, max: 60 }), { minLength: 7 }), (load, deltas) => {
        const redirect = new Redirect(OPTIONS);
        const kept = () => (1000 - redirect.redirectedPermille) / 1000;
        const own = (at: number) =>
          Math.min(1000, Math.max(0, load * kept() + deltas[(at / LOAD_INTERVAL_MS) % deltas.length]));
        const peers = () => [b((load * (1 - kept())) / 2), c((load * (1 - kept())) / 2)];
        run(redirect, 0, 60, own, peers);
        assert.equal(run(redirect, 60_000, 600, own, peers), 0, `offered ${load}: changes after a minute`);
      }),
    );
  });

  it('never steps twice within the hold time', () => {
    const loads = fc.array(fc.tuple(fc.nat(1000), fc.nat(1000), fc.nat(1000)), { minLength: 100 });
    fc.assert(
      fc.property(loads, (all) => {
        const redirect = new Redirect(OPTIONS);
        let changedAtMs = Number.NEGATIVE_INFINITY;
        all.forEach(([own, one, other], i) => {
          const now = i * LOAD_INTERVAL_MS;
          if (!redirect.look(now, own, [b(one), c(other)])) return;
          assert.ok(now - changedAtMs >= HOLD_MS);
          changedAtMs = now;
        });
      }),
    );
  });

  it('makes tables of those shares', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 4 }), (one, other) => {
        const shares = new Map([
          [2, one * STEP_PERMILLE],
          [7, other * STEP_PERMILLE],
        ]);
        const table = redirectTable(shares, SPREAD_SIZE);
        for (const owner of [0, 2, 7]) {
          const share = owner === 0 ? 1000 - (one + other) * STEP_PERMILLE : shares.get(owner)!;
          const count = table.filter((entry) => entry === owner).length;
          assert.ok(Math.abs(count - (SPREAD_SIZE * share) / 1000) <= 1);
        }
      }),
    );
  });
});
