/** Nodes of several engines: connections move between engines of different nodes, and between mechanisms. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { item, KIB, Stand } from '../cluster/support.ts';

const NODES = ['a', 'b', 'c'];
const SIZES = [0, 1, 1448, KIB, 64 * KIB + 1];
const HOSTS = ['migrate.test', 'anchor.test', 'local.test'];
const ITEMS = Array.from({ length: 90 }, (_, i) => item(HOSTS[i % HOSTS.length], SIZES[i % SIZES.length]));

describe('migrating between nodes of two engines', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  let resets = 0;
  const clientResets = async () => (await stand.lab.counters('client')).TcpEstabResets;
  before(async () => {
    stand = await Stand.up({
      name: 'mgengines',
      sizes: SIZES,
      set: ['observe.accessLog=off', ...NODES.map((node) => `nodes.${node}.engines=2`)],
    });
    resets = await clientResets();
  });
  after(() => stand?.down());

  test('migrate, anchor and local on the same connections, at every node', async () => {
    const reports = await Promise.all(
      NODES.map((address) => stand.runRight({ address, items: ITEMS, connections: 8 })),
    );
    for (const { byMechanism } of reports) {
      assert.ok(byMechanism.migrate > 200 && byMechanism.anchor > 100, JSON.stringify(byMechanism));
    }
    await stand.nothingLeft();
    assert.equal(await clientResets(), resets, 'connections reset');
  });

  test('rolling restart meanwhile', async () => {
    const running = stand.run({ address: 'a', items: ITEMS, connections: 20, durationMs: 8000 });
    running.catch(() => {});
    for (const node of NODES) {
      await stand.terminate(node);
      await stand.start(node);
    }
    const report = await running;
    assert.deepEqual(report.failures, []);
    assert.deepEqual(Object.keys(report.byNode).sort(), NODES);
    for (const node of NODES) await stand.start(node);
    await stand.nothingLeft();
    assert.equal(await clientResets(), resets, 'connections reset');
  });
});
