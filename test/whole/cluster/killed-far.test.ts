/**
 * A process is killed whose clients are behind a link that loses segments, and some of them behind a front; it has two
 * engines. Each gets all bytes or an end, as without all that: also those whose last acknowledgement, or the reset, is
 * lost.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { ADDRESSES, clients, clientsOfFront, Killing } from './killing.ts';
import type { Knock } from './knocker.ts';

const KNOCKER = fileURLToPath(new URL('./knocker.js', import.meta.url));
/** After a kill no connection fails that begins later. */
const REFUSED_LIMIT_MS = 1000;
const OBSERVED_MS = 500;

describe('a killed process with two engines, clients far away', {
  ...skipUnlessRoot(),
  timeout: 120_000,
}, () => {
  let killing: Killing;
  before(async () => {
    killing = await Killing.up({
      name: 'killedfar',
      nodes: 4,
      delayMs: 8,
      lossPercent: 2,
      set: ['nodes.d.role=front', ...['a', 'b', 'c'].map((node) => `nodes.${node}.engines=2`)],
    });
  });
  after(() => killing?.down());

  test('it is not started again: its clients get an end, new ones at the front are served by the others', async () => {
    const knocker = await killing.observe(KNOCKER, `http://${ADDRESSES.d[0]}/1024.bin`, 'local.test');
    const killedAtMs = await killing.killDuring([...clients(), ...clientsOfFront()], async () => {});
    await delay(Math.max(0, killedAtMs + REFUSED_LIMIT_MS + OBSERVED_MS - Date.now()));
    knocker.end();
    const knocks = JSON.parse(await knocker.ended) as Knock[];
    const later = knocks.filter(({ atMs }) => atMs > killedAtMs + REFUSED_LIMIT_MS);
    assert.ok(later.length > 0);
    assert.deepEqual(
      later.filter(({ node }) => node !== 'b' && node !== 'c'),
      [],
    );
    await killing.stand.start('a');
    await killing.stand.nothingLeft();
  });

  test('it is started again at once: the next process ends what the one before left of those behind the front', async () => {
    await killing.killDuring(clientsOfFront(), () => killing.stand.start('a'));
    await killing.stand.nothingLeft();
  });
});
