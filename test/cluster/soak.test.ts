/**
 * Handoffs by the thousand while targets are killed and started again at random moments, on a path that loses
 * packets: every response right, on connections that live on. 12 s; with BATON_LONG=1 five minutes.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../../src/lab/random.ts';
import { skipUnlessRoot } from '../lab/root.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const DURATION_MS = process.env.BATON_LONG === '1' ? 300_000 : 12_000;
const CONNECTIONS = 8;
const SIZES = [1, 1 * KIB, 30 * KIB, 64 * KIB + 1, 300 * KIB, 2 * MIB];
const HOSTS = ['anchor.test', 'clone.test'];
/** A client whose target dies with its first bytes waits for lease, probe and a retransmission. */
const SILENCE_MS = 15_000;
const MIN_HANDOFFS = 300;

describe('soak', { ...skipUnlessRoot(), timeout: DURATION_MS + 120_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'tsoak',
      nodes: 3,
      lossPercent: 1,
      delayMs: 4,
      sizes: SIZES,
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  test('targets come and go, nobody notices', async () => {
    const random = new Random(20_261_121);
    const items = Array.from({ length: 200 }, () =>
      item(HOSTS[random.below(HOSTS.length)], SIZES[random.below(SIZES.length)]),
    );
    const job = {
      address: 'a',
      items,
      connections: CONNECTIONS,
      durationMs: DURATION_MS,
      silenceMs: SILENCE_MS,
    };
    const running = stand.run(job, DURATION_MS + 60_000);
    const over = running.then(() => true);
    let kills = 0;
    while (!(await Promise.race([over, delay(500 + random.next() * 2500, false)]))) {
      const node = random.next() < 0.5 ? 'b' : 'c';
      await stand.kill(node);
      await stand.start(node);
      kills++;
    }
    const report = await running;
    stand.assertAlive();
    if (report.failures.length > 0) {
      const logs = stand.lab.nodes.map(({ name }) => `${name}: ${stand.lab.logTail(`${name}.log`)}`);
      assert.fail([...report.failures, 'left:', ...(await stand.left()), ...logs].join('\n'));
    }
    const handedOff = (report.byMechanism.anchor ?? 0) + (report.byMechanism.clone ?? 0);
    assert.ok(handedOff >= MIN_HANDOFFS && kills >= 2, `${handedOff} handoffs, ${kills} kills`);
    await stand.nothingLeft();
  });
});
