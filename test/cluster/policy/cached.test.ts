/** Policy cached: who has it in memory, whose it is else, and who is passed over because of its load. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { PolicyConfig, SiteConfig } from '../../../src/base/config/config.ts';
import type { NodeLoad } from '../../../src/cluster/load.ts';
import { AHEAD_PERMILLE, BACK_PERMILLE, BUSY_PERMILLE, Cached } from '../../../src/cluster/policy/cached.ts';
import { createPolicy, goesByMemory } from '../../../src/cluster/policy/create.ts';
import { Hash } from '../../../src/cluster/policy/hash.ts';
import type { Candidate } from '../../../src/cluster/policy/policy.ts';
import type { RequestHead } from '../../../src/protocol/http/request.ts';

const get = (path: string): RequestHead => ({ path }) as RequestHead;

/** Nodes 0, 1, 2, ... with these loads. */
const nodes = (...permille: number[]): Candidate[] =>
  permille.map((loadPermille, index) => ({
    index,
    name: String.fromCharCode(97 + index),
    load: { loadPermille } as NodeLoad,
  }));

/** A policy, who has which path in memory, and what it counted. */
function stand(memory: Record<string, readonly number[]> = {}) {
  const counted = { held: 0, not: 0 };
  const policy = new Cached({
    holders: ({ path }, candidates) => candidates.filter(({ index }) => memory[path]?.includes(index)),
    chosen: (held) => {
      if (held) counted.held++;
      else counted.not++;
    },
  });
  return { policy, counted, memory };
}

const PATHS = Array.from({ length: 100 }, (_, i) => `/${i}`);
const homeOf = (path: string, among: readonly Candidate[]) => new Hash().choose(get(path), among);
/** A path whose home is this node. */
const pathAt = (node: number, among: readonly Candidate[]) =>
  PATHS.find((path) => homeOf(path, among) === node)!;

describe('policy cached', () => {
  test('what is in no memory goes to its home, which every node finds alike', () => {
    const all = nodes(0, 0, 0);
    const { policy, counted } = stand();
    for (const path of PATHS) assert.equal(policy.choose(get(path), all), homeOf(path, all));
    assert.equal(new Set(PATHS.map((path) => homeOf(path, all))).size, 3);
    assert.deepEqual(counted, { held: 0, not: PATHS.length });
  });

  test('what is in a memory goes there, wherever its home is', () => {
    const all = nodes(0, 0, 0);
    const { policy, counted } = stand(Object.fromEntries(PATHS.map((path, i) => [path, [i % 3]])));
    for (const [i, path] of PATHS.entries()) assert.equal(policy.choose(get(path), all), i % 3);
    assert.deepEqual(counted, { held: PATHS.length, not: 0 });
  });

  test('a node that has it and is no candidate is not chosen', () => {
    const all = nodes(0, 0, 0);
    const { policy } = stand({ '/x': [1] });
    assert.notEqual(policy.choose(get('/x'), [all[0], all[2]]), 1);
  });

  test('of several that have it each gets its share by what it has left', () => {
    const { policy } = stand({ '/x': [0, 2] });
    const chosen = Array.from({ length: 400 }, () => policy.choose(get('/x'), nodes(600, 0, 200)));
    const [first, other, last] = [0, 1, 2].map((node) => chosen.filter((index) => index === node).length);
    assert.equal(other, 0);
    assert.ok(Math.abs(first - 400 / 3) <= 2 && Math.abs(last - 800 / 3) <= 2, `${first}, ${last}`);
  });

  test('a hot document spreads to a second node, one and the same for all who ask', () => {
    const all = nodes(BUSY_PERMILLE, 100, 100, 100);
    const path = pathAt(0, all);
    const [asks, other] = [stand({ [path]: [0] }), stand({ [path]: [0] })];
    const second = asks.policy.choose(get(path), all);
    assert.equal(second, homeOf(path, all.slice(1)));
    assert.equal(other.policy.choose(get(path), all), second);
    asks.memory[path] = [0, second];
    assert.equal(asks.policy.choose(get(path), all), second);
    assert.deepEqual(asks.counted, { held: 1, not: 1 });
    // The first has become light again: both serve.
    const calm = nodes(0, 0, 0, 0);
    const both = new Set(Array.from({ length: 4 }, () => asks.policy.choose(get(path), calm)));
    assert.deepEqual(both, new Set([0, second]));
  });

  test('nobody is passed over who has room, or is not much ahead of the lightest', () => {
    const rows: [number, number, boolean][] = [
      [BUSY_PERMILLE - 1, 0, false],
      [BUSY_PERMILLE, 0, true],
      [BUSY_PERMILLE, BUSY_PERMILLE - AHEAD_PERMILLE, true],
      [BUSY_PERMILLE, BUSY_PERMILLE - AHEAD_PERMILLE + 1, false],
      [1000, 1000 - AHEAD_PERMILLE, true],
      [1000, 1001 - AHEAD_PERMILLE, false],
      [1000, 1000, false],
    ];
    for (const [load, lightest, passedOver] of rows) {
      const { policy } = stand({ '/x': [1] });
      const node = policy.choose(get('/x'), nodes(lightest, load));
      assert.equal(node, passedOver ? 0 : 1, `${load} beside ${lightest}`);
    }
  });

  test('one that was passed over comes back when it is clearly lighter', () => {
    const { policy } = stand({ '/x': [1] });
    const chosen = (load: number) => policy.choose(get('/x'), nodes(0, load));
    const back = BUSY_PERMILLE - BACK_PERMILLE;
    const loads = [BUSY_PERMILLE - 1, BUSY_PERMILLE, BUSY_PERMILLE - 1, back, back - 1, BUSY_PERMILLE - 1];
    assert.deepEqual(loads.map(chosen), [1, 0, 0, 0, 1, 1]);
  });

  test('it is made by its name, and as the fallback of classes', () => {
    const memory = { holders: (_: RequestHead, all: readonly Candidate[]) => all.slice(2), chosen: () => {} };
    const context = { site: 's', sizeOf: () => null };
    const choose = (policy: PolicyConfig) =>
      createPolicy({ policy } as SiteConfig, new Map(), context, memory, () => {}).choose(
        get('/x'),
        nodes(0, 0, 0),
        0,
      );
    const classes = { kind: 'class', rules: [] } as const;
    for (const policy of ['cached', { ...classes, fallback: 'cached' }] as const) {
      assert.equal(choose(policy), 2);
      assert.equal(goesByMemory(policy), true);
    }
    const module = { kind: 'module', file: '/x.js', options: undefined } as const;
    for (const policy of ['hash', { ...classes, fallback: 'hash' }, module] as const)
      assert.equal(goesByMemory(policy), false);
  });

  test('some candidate is chosen whatever the loads, and the lightest is never passed over', () => {
    const permille = fc.integer({ min: 0, max: 1000 });
    const reports = fc.array(fc.array(permille, { minLength: 4, maxLength: 4 }), { minLength: 1 });
    fc.assert(
      fc.property(reports, fc.integer({ min: 1, max: 15 }), (loads, there) => {
        const { policy, memory } = stand();
        for (const report of loads) {
          const candidates = nodes(...report).filter(({ index }) => (there >> index) & 1);
          const indices = candidates.map(({ index }) => index);
          assert.ok(indices.includes(policy.choose(get('/y'), candidates)));
          const lightest = candidates.reduce((least, one) =>
            one.load.loadPermille < least.load.loadPermille ? one : least,
          );
          memory['/x'] = [lightest.index];
          assert.equal(policy.choose(get('/x'), candidates), lightest.index);
        }
      }),
    );
  });
});
