/** More responses by relay at once than a link queues: all wait for their turn, and the node for nothing. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { item, KIB, Stand } from './support.ts';

const CONNECTIONS = 48;

describe('relay: a link with more to send than it queues', { ...skipUnlessRoot(), timeout: 60_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'relaybusy',
      sizes: [64 * KIB],
      sites: (root) => [{ name: 'there', hosts: ['there.test'], root, serve: ['b'], mechanism: 'relay' }],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  test('every response is relayed', async () => {
    const items = Array.from({ length: 10 }, () => item('there.test', 64 * KIB));
    const report = await stand.runRight({ address: 'a', items, connections: CONNECTIONS });
    assert.deepEqual(report.byNode, { b: items.length * CONNECTIONS });
    assert.equal(await stand.total('links_failed'), 0);
    assert.equal(await stand.total('handoffs_timed_out'), 0);
    await stand.nothingLeft();
  });
});
