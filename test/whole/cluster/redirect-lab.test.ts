/** A loaded node's router sends new connections to lighter nodes, and stops when the load is gone. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { Holding, tally } from './holding.ts';
import { MIB, Stand } from './support.ts';

/** Load is what comes nearest to its bound. Here that is connections: how much processor a test gets nobody can tell. */
const CONNECTIONS = 1000;
const REDIRECT = 'redirect={ enabled: true, highPermille: 250, lowPermille: 50 }';
const LOAD = 350;
const MAX_STEPS = 9;
const TIMEOUT_MS = 60_000;

describe('SYN redirect', { ...skipUnlessRoot(), timeout: 240_000 }, () => {
  let stand: Stand;
  let load: Holding | null = null;
  before(async () => {
    stand = await Stand.up({
      name: 'clredir',
      sizes: [1, 16 * MIB],
      set: [REDIRECT, `limits.connections=${CONNECTIONS}`, 'observe.accessLog=off'],
    });
  });
  after(async () => {
    await load?.end();
    stand?.down();
  });

  const status = (node: string) => stand.lab.admin(node, '/api/status');
  const redirected = async () => (await status('a')).counters.redirected_permille_now as number;

  /** Who answers 200 new connections to node a. */
  const answering = async () => {
    const holding = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    try {
      return tally(await holding.open(200));
    } finally {
      await holding.end();
    }
  };

  test('without load every connection stays', async () => {
    assert.deepEqual(await answering(), { a: 200 });
    assert.equal(await redirected(), 0);
  });

  test('under load new connections go to lighter nodes, established ones stay', async () => {
    const held = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
    try {
      await held.open(50);
      load = new Holding(stand.lab, 'a', 'local.test', '/1.bin');
      await load.open(LOAD);
      await stand.until(
        'half of the connections are redirected',
        async () => (await redirected()) >= 500,
        TIMEOUT_MS,
      );
      const counts = await answering();
      assert.ok((counts.b ?? 0) + (counts.c ?? 0) > 60, JSON.stringify(counts));
      const { nodes, problems } = await held.ask();
      assert.deepEqual(problems, []);
      assert.deepEqual(tally(nodes), { a: 50 });
      assert.ok((await status('a')).router.spread > 0);
    } finally {
      await held.end();
    }
    await stand.noResets();
  });

  test('without the load they come back, and nothing has flapped', async () => {
    await load!.end();
    await stand.until('nothing is redirected', async () => (await redirected()) === 0, TIMEOUT_MS);
    assert.deepEqual(await answering(), { a: 200 });
    const { counters } = await status('a');
    assert.ok(counters.spread_changes <= 2 * MAX_STEPS, `${counters.spread_changes} changes`);
    await stand.nothingLeft();
  });

  test('a node that is ending sends new connections to the others', async () => {
    // A response that goes on keeps it from ending at once.
    const job = stand.clientArgv({
      address: 'a',
      items: [{ host: 'local.test', path: `/${16 * MIB}.bin`, size: 16 * MIB }],
      leave: { afterBytes: 1, how: 'stall' },
    });
    const staller = stand.lab.spawn('client', job, { stdio: ['ignore', 'ignore', 'pipe'] });
    try {
      await once(staller.stderr!, 'data');
      stand.leaves('a');
      stand.lab.signal('a', 'SIGTERM');
      await stand.until('a gives new connections away', async () => {
        return !('a' in (await status('a')).engines[0].spread);
      });
      assert.deepEqual(Object.keys(await answering()).sort(), ['b', 'c']);
    } finally {
      staller.kill('SIGKILL');
    }
    await stand.lab.ended('a', 20_000);
  });
});
