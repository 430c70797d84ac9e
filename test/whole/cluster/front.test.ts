/** A front spreads connections over servers, which answer the clients directly. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { Holding, tally } from './holding.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const SERVERS = ['b', 'c', 'd'];
const HOST = 'local.test';
const LIVE = 10_000;

describe('front', { ...skipUnlessRoot(), timeout: 300_000 }, () => {
  let stand: Stand;
  let holding: Holding | null = null;
  before(async () => {
    stand = await Stand.up({
      name: 'clfront',
      nodes: 4,
      sizes: [1, KIB, MIB],
      set: ['nodes.a.role=front', 'observe.accessLog=off', 'limits.idleSeconds=600'],
    });
  });
  afterEach(async () => {
    await holding?.end();
    holding = null;
  });
  after(() => stand?.down());

  const frontBytes = async () => {
    const { stdout } = await stand.lab.exec('a', ['ip', '-j', '-s', 'link', 'show', 'dev', 'eth0']);
    const { rx, tx } = JSON.parse(stdout)[0].stats64;
    return rx.bytes + tx.bytes;
  };

  /** Permille of the front's table by node. */
  const spread = async (): Promise<Record<string, number>> =>
    (await stand.lab.admin('a', '/api/status')).engines[0].spread;

  const spreadIsOver = (nodes: readonly string[]) =>
    stand.until(`the front spreads over ${nodes}`, async () => {
      return (
        Object.keys(await spread())
          .sort()
          .join() === [...nodes].sort().join()
      );
    });

  const stop = async (node: string) => {
    stand.leaves(node);
    stand.lab.signal(node, 'SIGTERM');
    await stand.lab.ended(node, 30_000);
  };

  test('spreads connections evenly, over IPv4 and IPv6', async () => {
    for (const address of ['a', 'a6']) {
      holding = new Holding(stand.lab, address, HOST, '/1.bin');
      const counts = tally(await holding.open(600));
      assert.deepEqual(Object.keys(counts).sort(), SERVERS);
      // Six standard deviations of a fair spread.
      for (const count of Object.values(counts))
        assert.ok(Math.abs(count - 200) < 70, JSON.stringify(counts));
      await holding.end();
    }
    await stand.nothingLeft();
  });

  test('carries no byte of a response', async () => {
    const items = Array.from({ length: 4 }, () => item(HOST, MIB));
    const beforeBytes = await frontBytes();
    const report = await stand.runRight({ address: 'a', items, connections: 12 });
    const carried = (await frontBytes()) - beforeBytes;
    assert.equal(report.bytes, 48 * MIB);
    assert.deepEqual(Object.keys(report.byNode).sort(), SERVERS);
    // The clients' segments pass in and out: handshakes, requests, acknowledgements.
    assert.ok(
      carried < 0.02 * report.bytes,
      `${carried} bytes at the front for ${report.bytes} of responses`,
    );
    const { counters, router } = await stand.lab.admin('a', '/api/status');
    assert.equal(counters.connections_accepted, 0);
    assert.equal(router.divert_failed, 0);
    await stand.nothingLeft();
    await stand.noResets();
  });

  test('a connection that came through it is handed off like any other', async () => {
    const items = ['anchor.test', 'relay.test', 'anchor.test'].flatMap((host) =>
      [1, KIB, MIB].flatMap((size) => [item(host, size), item(host, size)]),
    );
    const report = await stand.runRight({ address: 'a', items, connections: 8 });
    assert.deepEqual(Object.keys(report.byNode).sort(), SERVERS);
    assert.ok(report.byMechanism.anchor > 40 && report.byMechanism.relay > 10, JSON.stringify(report));
    await stand.nothingLeft();
    await stand.noResets();
  });

  test('a server that leaves, and comes back, moves little but its own share of new connections', async () => {
    const ports = 600;
    const first = 20_000;
    /** Who answers connections from the same client ports. */
    const owners = async () => {
      const all = new Holding(stand.lab, 'a', HOST, '/1.bin');
      try {
        const nodes = await all.open(ports, first);
        await all.reset();
        return nodes;
      } finally {
        await all.end();
      }
    };
    const whole = await owners();
    await stop('d');
    await spreadIsOver(['b', 'c']);
    const without = await owners();
    assert.deepEqual(Object.keys(tally(without)).sort(), ['b', 'c']);
    const moved = whole.filter((node, i) => node !== 'd' && node !== without[i]).length;
    assert.ok(moved <= 0.06 * ports, `${moved} of ${ports} moved between servers that stayed`);
    await stand.start('d');
    await spreadIsOver(SERVERS);
    assert.deepEqual(await owners(), whole);
    await stand.nothingLeft();
  });

  test('10,000 live connections stay where they are while servers come and go', async () => {
    await stop('d');
    await spreadIsOver(['b', 'c']);
    holding = new Holding(stand.lab, 'a', HOST, '/1.bin');
    const nodes = await holding.open(LIVE);
    assert.deepEqual(Object.keys(tally(nodes)).sort(), ['b', 'c']);
    const unmoved = async () => {
      const { nodes: now, problems } = await holding!.ask();
      assert.deepEqual(problems, []);
      assert.deepEqual(now, nodes);
    };
    await stand.start('d');
    await spreadIsOver(SERVERS);
    await unmoved();
    const others = new Holding(stand.lab, 'a', HOST, '/1.bin');
    try {
      const counts = tally(await others.open(300));
      assert.ok(counts.d > 30, JSON.stringify(counts));
    } finally {
      await others.end();
    }
    await stand.kill('d');
    await spreadIsOver(['b', 'c']);
    await unmoved();
    await holding.end();
    await stand.start('d');
    await spreadIsOver(SERVERS);
    await stand.nothingLeft();
  });

  test('when its process is killed, and started again, connections go on and new ones come', async () => {
    holding = new Holding(stand.lab, 'a', HOST, '/1.bin');
    const nodes = await holding.open(500);
    await stand.kill('a');
    const { nodes: now, problems } = await holding.ask();
    assert.deepEqual(problems, []);
    assert.deepEqual(now, nodes);
    const others = new Holding(stand.lab, 'a', HOST, '/1.bin');
    try {
      assert.deepEqual(Object.keys(tally(await others.open(300))).sort(), SERVERS);
      await stand.start('a');
      assert.deepEqual(Object.keys(tally(await others.open(300))).sort(), SERVERS);
    } finally {
      await others.end();
    }
    assert.deepEqual((await holding.ask()).nodes, nodes);
    await holding.end();
    await stand.nothingLeft();
  });
});
