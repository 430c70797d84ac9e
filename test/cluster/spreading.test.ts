/** The tables that a server's router spreads new connections by. */
import assert from 'node:assert';
import { test } from 'node:test';
import type { ClusterConfig } from '../../src/base/config/config.ts';
import { LoadTable } from '../../src/cluster/load.ts';
import { Spreading } from '../../src/cluster/spreading.ts';

const SIZE = 101;

function spreading(self: number, up: Set<number>) {
  const loads = new LoadTable(3, 100);
  const idle = { connections: 0, cpuPermille: 0, requestsPerSecond: 0, acceptQueue: 0 };
  for (const node of [0, 1, 2]) loads.report(node, 0, { ...idle, accepting: true }, 0);
  const nodes = ['a', 'b', 'c'].map((name) => ({ name, role: name === 'c' ? 'front' : 'server' }));
  const config = { nodes, redirect: { enabled: false } } as unknown as ClusterConfig;
  const written: { heirs: Uint8Array[] } = { heirs: [] };
  const map = {
    write: () => {},
    writeHeirs: (table: Uint8Array) => written.heirs.push(Uint8Array.from(table)),
    setFront: () => {},
    setAway: () => {},
  };
  const isUp = (node: number) => up.has(node);
  return {
    spreading: new Spreading({ config, self, loads, isUp, boosting: null, map, size: SIZE }),
    written,
  };
}

test('a server names its heirs: the other servers that can be reached, once links are settled', () => {
  const up = new Set<number>();
  const { spreading: a, written } = spreading(0, up);
  a.look(0, false, false);
  assert.deepEqual(written.heirs, [], 'those of the process before stay');
  up.add(1).add(2);
  a.look(1, true, false);
  a.look(2, true, false);
  assert.deepEqual(
    written.heirs,
    [new Uint8Array(SIZE).fill(2)],
    'a front is none, and nothing is written twice',
  );
  up.delete(1);
  a.look(3, true, false);
  assert.deepEqual(written.heirs.at(-1), new Uint8Array(SIZE), 'nobody is left');
});

test('a front has no heirs: its table outlives it', () => {
  const { spreading: c, written } = spreading(2, new Set([0, 1]));
  c.look(0, true, false);
  assert.deepEqual(written.heirs, []);
});
