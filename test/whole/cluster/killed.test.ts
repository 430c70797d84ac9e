/** A process is killed: each of its clients gets all bytes or an end, and new ones are served by the others. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { Holding, tally } from './holding.ts';
import { ADDRESSES, clients, Killing } from './killing.ts';
import type { Knock } from './knocker.ts';
import type { Stand } from './support.ts';

const KNOCKER = fileURLToPath(new URL('./knocker.js', import.meta.url));
/** After a kill no new connection fails any more. */
const REFUSED_LIMIT_MS = 1000;
const OBSERVED_MS = 500;
/** Ports of clients which come, leave, and come again. */
const AGAIN_PORT = 20_000;

describe('a killed process', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  let killing: Killing;
  before(async () => {
    killing = await Killing.up({ name: 'killed' });
    stand = killing.stand;
  });
  after(() => killing?.down());

  test('it is not started again: its clients get an end, new ones are served by the others', async () => {
    const knocker = await killing.observe(KNOCKER, `http://${ADDRESSES.a[0]}/1024.bin`, 'local.test');
    const holding = new Holding(stand.lab, ADDRESSES.a[0], 'local.test', '/1024.bin');
    const killedAtMs = await killing.killDuring(clients(), async () => {});
    const elsewhere = await holding.open(20);
    assert.ok(!elsewhere.includes('a') && elsewhere.includes('b') && elsewhere.includes('c'), `${elsewhere}`);
    await delay(Math.max(0, killedAtMs + REFUSED_LIMIT_MS + OBSERVED_MS - Date.now()));
    const leaving = new Holding(stand.lab, ADDRESSES.a[0], 'local.test', '/1024.bin');
    assert.equal(tally(await leaving.open(20, AGAIN_PORT)).a, undefined);
    await leaving.reset();
    await leaving.end();
    const startAtMs = Date.now();
    await stand.start('a');
    const before = await killing.elsewhere();
    const again = await holding.open(20, AGAIN_PORT);
    const seen = `${again}; ${before}, ${await killing.elsewhere()}`;
    assert.deepEqual(tally(again), { a: 20 }, `it takes its new connections back: ${seen}`);
    assert.deepEqual((await holding.ask()).nodes, [...elsewhere, ...again], 'those elsewhere go on');
    await holding.end();
    knocker.end();
    const knocks = JSON.parse(await knocker.ended) as Knock[];
    const failed = knocks.filter(({ node }) => node === null);
    const later = failed.filter(({ atMs, tookMs }) => atMs + tookMs > killedAtMs + REFUSED_LIMIT_MS);
    assert.deepEqual(later, [], `${failed.length} failed`);
    const meanwhile = knocks.filter(({ atMs }) => atMs > killedAtMs + REFUSED_LIMIT_MS && atMs < startAtMs);
    const by = tally(meanwhile.map(({ node }) => node));
    assert.ok(by.a === undefined && by.b > 0 && by.c > 0, JSON.stringify(by));
    await stand.nothingLeft();
  });

  test('it is started again at once: the next process ends what the one before left', async () => {
    await killing.killDuring(clients(), () => stand.start('a'));
    await stand.nothingLeft();
  });
});
