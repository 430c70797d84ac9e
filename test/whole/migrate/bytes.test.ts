/** Every byte of every response while the connection itself moves from node to node. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Report } from '../cluster/client.ts';
import { KIB, MIB, mix, Stand } from '../cluster/support.ts';

const HOST = 'migrate.test';
const SIZES = [0, 1, 1447, 1448, 1449, KIB, 64 * KIB - 1, 64 * KIB + 1];
const LARGE = 10 * MIB;

function moved(report: Report, atLeast: number): void {
  assert.ok((report.byMechanism.migrate ?? 0) >= atLeast, JSON.stringify(report.byMechanism));
  assert.deepEqual(Object.keys(report.byNode).sort(), ['a', 'b', 'c']);
}

describe('migrating connections', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'mgbytes',
      sizes: [...SIZES, 16 * KIB, LARGE],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  const clientResets = async () => (await stand.lab.counters('client')).TcpEstabResets;
  let resets = 0;
  beforeEach(async () => {
    resets = await clientResets();
  });
  /** What a guard kept back is no reset for the client. */
  const noneReset = async () => assert.equal(await clientResets(), resets, 'connections reset');

  const counter = async (name: string): Promise<number> => {
    let sum = 0;
    for (const { name: node } of stand.lab.nodes)
      sum += (await stand.lab.admin(node, '/api/status')).counters[name];
    return sum;
  };

  for (const address of ['a', 'fd77::102']) {
    test(`${address}: 200 requests and 10 MiB ones on one connection, which moves for most of them`, async () => {
      const before = await counter('migrations_out');
      const items = [...mix(200, SIZES, [HOST]), ...mix(6, [LARGE], [HOST])];
      const report = await stand.runRight({ address, items });
      moved(report, items.length * 0.9);
      assert.ok((await counter('migrations_out')) - before >= 50, 'a ring of more than 50 moves');
      assert.equal(await counter('migrations_resumed'), 0);
      await stand.nothingLeft();
      await noneReset();
    });
  }

  test('16 pipelined requests at a time', async () => {
    const items = mix(320, SIZES, [HOST]);
    const report = await stand.runRight({ address: 'c', items, pipeline: 16 });
    moved(report, items.length / 3);
    await stand.nothingLeft();
    await noneReset();
  });

  test('requests in segments of one byte', async () => {
    const report = await stand.runRight({ address: 'b', items: mix(40, SIZES, [HOST]), segmentBytes: 1 });
    moved(report, 30);
    await stand.nothingLeft();
  });

  test('all mechanisms on one connection', async () => {
    const hosts = ['migrate.test', 'anchor.test', 'local.test', 'relay.test', 'drain.test'];
    const items = mix(300, SIZES, hosts);
    const report = await stand.runRight({ address: 'a', items });
    moved(report, 60);
    assert.ok((report.byMechanism.anchor ?? 0) >= 20, JSON.stringify(report.byMechanism));
    await stand.nothingLeft();
    await noneReset();
  });

  test('eight connections to every node at the same time', async () => {
    const items = mix(60, [0, 1, KIB, 1448, 16 * KIB, 64 * KIB + 1], [HOST]);
    await Promise.all(['a', 'b', 'c'].map((address) => stand.runRight({ address, items, connections: 8 })));
    await stand.nothingLeft();
    await noneReset();
  });

  test('mechanism drain: everything is acknowledged before a connection moves', async () => {
    const report = await stand.runRight({ address: 'a', items: mix(60, SIZES, ['drain.test']) });
    moved(report, 40);
    await stand.nothingLeft();
    await noneReset();
  });

  test('a client that has closed its half', async () => {
    const report = await stand.run({
      address: 'a',
      items: mix(4, [LARGE], [HOST]),
      connections: 4,
      pipeline: 4,
      leave: { afterBytes: MIB, how: 'fin' },
    });
    assert.deepEqual(report.failures, []);
    assert.equal(report.answered, 16, 'what was asked before the FIN is answered');
    await stand.nothingLeft();
  });

  test('a client that resets', async () => {
    await stand.run({
      address: 'a',
      items: mix(8, [LARGE], [HOST]),
      connections: 4,
      leave: { afterBytes: 12 * MIB, how: 'rst' },
    });
    await stand.nothingLeft();
  });
});

describe('migrating on a slow, lossy path', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'mgloss',
      sizes: [KIB, 16 * KIB, 64 * KIB + 1, MIB],
      delayMs: 20,
      lossPercent: 3,
      seed: 11,
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  for (const address of ['a', 'fd77::103'])
    test(`${address}: 3 % loss and 20 ms: every byte right`, async () => {
      const items = [...mix(60, [KIB, 16 * KIB, 64 * KIB + 1], [HOST]), ...mix(3, [MIB], [HOST])];
      const report = await stand.runRight({ address, items, silenceMs: 20_000 });
      moved(report, 50);
      const overlapping = mix(20, [KIB, 16 * KIB], [HOST]);
      await stand.runRight({ address, items: overlapping, pipeline: 2, behindUs: 40_000, silenceMs: 20_000 });
      await stand.nothingLeft();
    });
});
