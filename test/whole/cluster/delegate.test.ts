/** Self-delegation in a running cluster: each node decides alone which of its own clients' requests others answer. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Report } from './client.ts';
import { inTime } from './faults.ts';
import { item, KIB, Stand } from './support.ts';

const NODES = ['a', 'b', 'c'];
const SIZES = [0, KIB, 64 * KIB + 1];
const REQUESTS = 300;
/** Requests on several connections at a time: the policy counts over all of them. */
const CONNECTIONS = 3;

const site = (root: string, name: string, policy: object, mechanism = 'split') => ({
  name,
  hosts: [`${name}.test`],
  root,
  policy: { name: 'delegate', ...policy },
  mechanism,
});

describe('self-delegation', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'clgive',
      sizes: SIZES,
      sites: (root) => [
        ...[0, 40, 100].flatMap((percent) => [
          site(root, `split${percent}`, { percent }),
          site(root, `clone${percent}`, { percent }, 'clone'),
        ]),
        site(root, 'busy', { requestsPerSecond: 5 }),
      ],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  function ask(address: string, name: string): Promise<Report> {
    const items = Array.from({ length: REQUESTS / CONNECTIONS }, (_, i) =>
      item(`${name}.test`, SIZES[i % SIZES.length]),
    );
    // A split request ends its connection.
    return stand.runRight({ address, items, connections: CONNECTIONS, each: !name.startsWith('clone') });
  }

  for (const name of ['split', 'clone']) {
    for (const percent of [0, 40, 100]) {
      test(`${name}: ${percent} % of every node's requests, in all directions at once`, async () => {
        const all = () => Promise.all(NODES.map((node) => ask(node, `${name}${percent}`)));
        const reports = await inTime(stand, NODES, all);
        const given = (REQUESTS * percent) / 100;
        for (const [i, node] of NODES.entries()) {
          const { byNode, byMechanism } = reports[i];
          const others = NODES.filter((other) => other !== node).map((other) => byNode[other] ?? 0);
          assert.deepEqual([byNode[node] ?? 0, byMechanism[name] ?? 0], [REQUESTS - given, given], node);
          assert.deepEqual(others, [given / 2, given / 2], `${node} gives to the others in turn`);
        }
        await stand.nothingLeft();
      });
    }
  }

  test('by the own number of requests: what is above it goes to the others', async () => {
    const reports = await Promise.all([ask('a', 'busy'), ask('b', 'busy')]);
    for (const [i, { byNode }] of reports.entries()) {
      // At least the first few are answered here, and not many more for each second that it took.
      assert.ok(byNode[NODES[i]] >= 5 && byNode[NODES[i]] < REQUESTS / 2, JSON.stringify(byNode));
      assert.ok(
        NODES.every((node) => byNode[node] > 0),
        JSON.stringify(byNode),
      );
    }
    await stand.nothingLeft();
  });
});
