/** Connections that migrate behind a front, and servers of other makes behind the nodes. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Item } from '../cluster/client.ts';
import { item, KIB, MIB, Stand } from '../cluster/support.ts';
import type { RestJob } from './idle-client.ts';
import { rest } from './resting.ts';

const UPSTREAM = fileURLToPath(new URL('../cluster/upstream.js', import.meta.url));
const UPSTREAM_PORT = 8080;
const SIZES = [0, 1, 1448, KIB, 64 * KIB + 1];
const ONE_NODE = 'hash.test';

describe('migrating behind a front', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  const servers: ChildProcess[] = [];
  before(async () => {
    const upstream = `127.0.0.1:${UPSTREAM_PORT}`;
    stand = await Stand.up({
      name: 'mgfront',
      nodes: 4,
      sizes: [...SIZES, MIB],
      sites: [
        { name: 'upstream', hosts: ['upstream.test'], upstream, policy: 'round-robin', mechanism: 'migrate' },
      ],
      set: ['nodes.a.role=front', 'observe.accessLog=off', 'limits.idleSeconds=120'],
    });
    for (const node of ['b', 'c', 'd']) {
      const server = stand.lab.spawn(node, [process.execPath, UPSTREAM, String(UPSTREAM_PORT)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      servers.push(server);
      await once(server.stdout!, 'data');
    }
  });
  after(() => {
    for (const server of servers) server.kill('SIGKILL');
    stand?.down();
  });

  const clientResets = async () => (await stand.lab.counters('client')).TcpEstabResets;
  let resets = 0;
  beforeEach(async () => {
    resets = await clientResets();
  });
  afterEach(async () => assert.equal(await clientResets(), resets, 'connections reset'));

  for (const address of ['a', 'fd77::101'])
    test(`${address}: the front follows every move`, async () => {
      const items = Array.from({ length: 90 }, (_, i) => item('migrate.test', SIZES[i % SIZES.length]));
      const report = await stand.runRight({ address, items, connections: 4 });
      assert.deepEqual(Object.keys(report.byNode).sort(), ['b', 'c', 'd']);
      const { router } = await stand.lab.admin('a', '/api/status');
      assert.ok(router.diverted > 500, `${router.diverted} segments diverted`);
      await stand.nothingLeft();
    });

  test('upstreams: every framing, and bodies of every size, on connections that move', async () => {
    const get = (framing: string, size: number): Item => ({
      host: 'upstream.test',
      path: `/${framing}/${size}`,
      size,
    });
    const post = (size: number): Item => ({ ...get('post', size), bodyBytes: size });
    const items = [1, KIB, 64 * KIB + 1, MIB].flatMap((size) =>
      Array.from({ length: 4 }, () => [get('length', size), get('chunked', size), post(size)]).flat(),
    );
    const report = await stand.runRight({ address: 'a', items, connections: 4 });
    assert.deepEqual(Object.keys(report.byNode).sort(), ['b', 'c', 'd']);
    assert.ok(report.byMechanism.migrate > 100, JSON.stringify(report.byMechanism));
    await stand.nothingLeft();
  });

  test('a request body in many segments, while the connection moves', async () => {
    const size = 200 * KIB;
    const items: Item[] = Array.from({ length: 6 }, () => ({
      host: 'upstream.test',
      path: `/post/${size}`,
      size,
      bodyBytes: size,
    }));
    await stand.runRight({ address: 'a', items, segmentBytes: 1000 });
    await stand.nothingLeft();
  });

  test('a server that has given its connections away is killed: they live on', async () => {
    const job: RestJob = { address: 'a', connections: 60, item: item(ONE_NODE, KIB), again: 3 };
    const clients = await rest(stand, job);
    const owners = await Promise.all(
      ['b', 'c', 'd'].map(async (node) => {
        const { engines, counters } = await stand.lab.admin(node, '/api/status');
        return { node, connections: engines[0].connections, out: counters.migrations_out };
      }),
    );
    const [owner, ...others] = owners.sort((one, other) => other.connections - one.connections);
    assert.equal(owner.connections, 60, 'all are at the node of their path');
    for (const { node, out } of others) {
      assert.ok(out > 0, `${node} has given connections away`);
      await stand.kill(node);
    }
    const report = await clients.askAgain();
    assert.deepEqual(report.failures, []);
    assert.deepEqual(report.after, { [owner.node]: 180 });
    for (const { node } of others) await stand.lab.start(node);
    for (const { node } of others) await stand.start(node);
    await stand.nothingLeft();
  });
});
