/**
 * Handoffs by the thousand while targets are killed and started again, or nodes stand still for a while, at random
 * moments, on a path that loses packets: every response right, on connections that live on. 12 s each; with
 * BATON_LONG=1 five minutes.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Random } from '../../../src/tools/lab/random.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const DURATION_MS = process.env.BATON_LONG === '1' ? 300_000 : 12_000;
const CONNECTIONS = 8;
const SIZES = [1, 1 * KIB, 30 * KIB, 64 * KIB + 1, 300 * KIB, 2 * MIB];
/** Their answers are announced, and travel fast. */
const SMALL = SIZES.slice(0, 3);
const ITEMS = 200;
/** A client whose target dies with its first bytes waits for lease, probe and a retransmission. */
const SILENCE_MS = 15_000;
const MIN_HANDOFFS = 300;
/** Of which so many are handed off, wherever the hash puts a third of them. */
const MIN_ANSWERS = 2 * MIN_HANDOFFS;
/** Shorter than the silence after which a link is given up, and longer than SETUP and MIGRATE are waited for. */
const MAX_STOP_MS = 1400;
const HANDED_OFF = ['anchor', 'clone', 'migrate', 'relay'];

describe('soak', { ...skipUnlessRoot(), timeout: 4 * DURATION_MS + 240_000 }, () => {
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

  /** Clients that go on while one thing after the other happens; returns how many did. */
  async function during(
    random: Random,
    what: { hosts: readonly string[]; sizes: readonly number[]; connections: number },
    happens: () => Promise<void>,
  ): Promise<number> {
    const { hosts, sizes, connections } = what;
    const any = <T>(values: readonly T[]): T => values[random.below(values.length)];
    const items = Array.from({ length: ITEMS }, () => item(any(hosts), any(sizes)));
    const job = {
      address: 'a',
      items,
      connections,
      durationMs: DURATION_MS,
      atLeast: MIN_ANSWERS,
      silenceMs: SILENCE_MS,
    };
    const running = stand.run(job, 2 * DURATION_MS + 90_000);
    const over = running.then(() => true);
    let count = 0;
    while (!(await Promise.race([over, delay(500 + random.next() * 2500, false)]))) {
      await happens();
      count++;
    }
    const report = await running;
    stand.assertAlive();
    if (report.failures.length > 0) {
      const logs = stand.lab.nodes.map(({ name }) => `${name}: ${stand.lab.logTail(`${name}.log`)}`);
      assert.fail([...report.failures, 'left:', ...(await stand.left()), ...logs].join('\n'));
    }
    const handedOff = HANDED_OFF.reduce((sum, mechanism) => sum + (report.byMechanism[mechanism] ?? 0), 0);
    assert.ok(handedOff >= MIN_HANDOFFS, `${handedOff} handoffs`);
    await stand.nothingLeft();
    return count;
  }

  test('targets come and go, nobody notices', async () => {
    const random = new Random(20_261_121);
    const what = { hosts: ['anchor.test', 'clone.test'], sizes: SIZES, connections: CONNECTIONS };
    const kills = await during(random, what, async () => {
      const node = random.next() < 0.5 ? 'b' : 'c';
      await stand.kill(node);
      await stand.start(node);
    });
    assert.ok(kills >= 2, `${kills} kills`);
  });

  test('nodes stand still, the one with the connection among them', async () => {
    const random = new Random(20_261_122);
    const hosts = [...HANDED_OFF, 'hash'].map((name) => `${name}.test`);
    const stops = await during(random, { hosts, sizes: SMALL, connections: 3 * CONNECTIONS }, async () => {
      const node = 'abc'[random.below(3)];
      stand.lab.signal(node, 'SIGSTOP');
      await delay(100 + random.next() * (MAX_STOP_MS - 100));
      stand.lab.signal(node, 'SIGCONT');
    });
    assert.ok(stops >= 3, `${stops} stops`);
  });
});
