import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { maglevTable, type SpreadNode } from '../../src/cluster/maglev.ts';
import { SPREAD_SIZE } from '../../src/kernel/router/layout.ts';

/** Clusters of distinct names, each with its place as owner. */
const clusters = (min: number, max: number) =>
  fc
    .uniqueArray(fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/), { minLength: min, maxLength: max })
    .map((names) => names.map((name, index): SpreadNode => ({ name, owner: index + 1 })));

function countOf(table: Uint8Array): Map<number, number> {
  const counts = new Map<number, number>();
  for (const owner of table) counts.set(owner, (counts.get(owner) ?? 0) + 1);
  return counts;
}

/** Entries that changed although neither their old nor their new owner is `node`. */
function disturbed(before: Uint8Array, after: Uint8Array, node: number): number {
  let count = 0;
  for (let i = 0; i < before.length; i++)
    if (before[i] !== after[i] && before[i] !== node && after[i] !== node) count++;
  return count;
}

describe('Maglev', () => {
  it('gives every entry to a node, in shares that differ by 2 % at most', () => {
    fc.assert(
      fc.property(clusters(1, 62), (nodes) => {
        const counts = countOf(maglevTable(nodes, SPREAD_SIZE));
        assert.deepEqual([...counts.keys()].sort(), nodes.map((node) => node.owner).sort());
        const fair = SPREAD_SIZE / nodes.length;
        for (const count of counts.values()) assert.ok(Math.abs(count - fair) <= 0.02 * fair + 1, `${count}`);
      }),
      { numRuns: 60 },
    );
  });

  it('does not depend on the order of the nodes', () => {
    const shuffled = clusters(1, 20).chain((nodes) =>
      fc.tuple(fc.constant(nodes), fc.shuffledSubarray(nodes, { minLength: nodes.length })),
    );
    fc.assert(
      fc.property(shuffled, ([nodes, other]) => {
        assert.deepEqual(maglevTable(nodes, SPREAD_SIZE), maglevTable(other, SPREAD_SIZE));
      }),
      { numRuns: 40 },
    );
  });

  it('moves little more than the share of a node that comes or goes', () => {
    const cases = clusters(3, 40).chain((nodes) => fc.tuple(fc.constant(nodes), fc.nat(nodes.length - 1)));
    fc.assert(
      fc.property(cases, ([nodes, at]) => {
        const all = maglevTable(nodes, SPREAD_SIZE);
        const fewer = maglevTable(nodes.toSpliced(at, 1), SPREAD_SIZE);
        const extra = disturbed(all, fewer, nodes[at].owner);
        assert.ok(
          extra <= 0.02 * SPREAD_SIZE,
          `${extra} of ${SPREAD_SIZE} entries moved between other nodes`,
        );
      }),
      { numRuns: 60 },
    );
  });

  it('keeps to that with names whose steps would meet again and again', () => {
    const nodes = ['mj2', 'o--', 'a'].map((name, index): SpreadNode => ({ name, owner: index + 1 }));
    const all = maglevTable(nodes, SPREAD_SIZE);
    for (const gone of nodes) {
      const fewer = maglevTable(
        nodes.filter((node) => node !== gone),
        SPREAD_SIZE,
      );
      assert.ok(disturbed(all, fewer, gone.owner) <= 0.01 * SPREAD_SIZE);
    }
  });

  it('refuses an empty cluster and an owner that is no byte', () => {
    assert.throws(() => maglevTable([], SPREAD_SIZE), /0 nodes/);
    assert.throws(() => maglevTable([{ name: 'a', owner: 0 }], SPREAD_SIZE), /owner 0/);
    assert.throws(() => maglevTable([{ name: 'a', owner: 256 }], SPREAD_SIZE), /owner 256/);
  });
});
