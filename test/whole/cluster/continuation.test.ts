/**
 * A target fails or stops in the middle of a response: another node goes on from the last acknowledged byte. Every
 * byte right, no reset, the connection answers further requests, nothing is left. `BATON_LONG=1` kills more often.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { Random } from '../../../src/tools/lab/random.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job } from './client.ts';
import {
  assertRight,
  continued,
  killed,
  metric,
  sender,
  stopped,
  together,
  toldToStop,
  withFaults,
} from './faults.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const BIG = 10 * MIB;
/** Long enough for a node to be started again three times meanwhile. */
const LONG = 40 * MIB;
const isLong = process.env.BATON_LONG === '1';
const KILLS = isLong ? 40 : 4;
/** Under loss, four connections at a time and two kills in each. */
const ROUNDS = isLong ? 8 : 2;
const SEED = 20;
/** Two nodes serve it, neither is the anchor: what one leaves the other goes on with. */
const PAIR = {
  name: 'pair',
  hosts: ['pair.test'],
  serve: ['b', 'c'],
  policy: 'round-robin',
  mechanism: 'anchor',
};

describe('a response goes on at another node', { ...skipUnlessRoot(), timeout: 280_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'ct1',
      sizes: [KIB, BIG, LONG],
      rate: '50mbit',
      // The second: the anchor is the only one to go on.
      sites: (root) => [
        { ...PAIR, root },
        { ...PAIR, name: 'own', hosts: ['own.test'], serve: ['a', 'b'], root },
      ],
      set: ['observe.accessLog=off', 'timeouts.peerMs=1000', 'timeouts.stopSeconds=20'],
    });
  });
  after(() => stand?.down());

  const job = (marks: readonly number[], address = 'a', host = 'pair.test'): Job => ({
    address,
    items: [item(host, KIB), item(host, BIG), item(host, KIB), item(host, KIB)],
    marks,
    silenceMs: 15_000,
  });

  test('targets killed, each at another byte', async () => {
    const first = await continued(stand);
    const random = new Random(SEED);
    for (let round = 0; round < KILLS; round++) {
      const at = 2 * KIB + random.below(BIG - 256 * KIB);
      await killed(stand, job([at], round % 2 === 0 ? 'a' : 'fd77::101'));
    }
    assert.ok((await continued(stand)) - first >= KILLS, `${await continued(stand)} of ${KILLS}`);
    await stand.nothingLeft();
  });

  for (const address of ['a', 'fd77::101']) {
    test(`${address}: killed, back, and its successor killed: one response of four parts`, async () => {
      const first = await continued(stand);
      const one: Job = {
        ...job([2 * MIB, 14 * MIB, 26 * MIB], address),
        items: [item('pair.test', LONG), item('pair.test', KIB)],
      };
      const report = await withFaults(stand, one, async () => {
        const killed = await sender(stand);
        await stand.kill(killed);
        await stand.start(killed);
        await together(stand);
      });
      assertRight(report, one);
      assert.equal((await continued(stand)) - first, 3);
      await stand.nothingLeft();
    });

    test(`${address}: stopped (alive, silent)`, async () => {
      const first = await continued(stand);
      await stopped(stand, job([3 * MIB], address));
      assert.equal((await continued(stand)) - first, 1);
      await stand.nothingLeft();
    });

    test(`${address}: told to stop: gone while the client is still being served`, async () => {
      const first = await continued(stand);
      const lost = await metric(stand, 'handoffs_lost');
      await toldToStop(stand, job([MIB], address));
      assert.equal((await continued(stand)) - first, 1);
      assert.equal(await metric(stand, 'handoffs_lost'), lost, 'nothing was lost: it was handed over');
      await stand.nothingLeft();
    });

    test(`${address}: its backplane is cut`, async () => {
      const one = job([3 * MIB], address);
      const first = await continued(stand);
      let cut = '';
      const route = async (verb: string) => {
        for (const [node, peer] of [
          ['a', cut],
          [cut, 'a'],
        ]) {
          const argv = ['ip', 'route', verb, 'blackhole', `${stand.lab.node(peer).address}/32`];
          const { code, stderr } = await stand.lab.exec(node, argv);
          assert.equal(code, 0, stderr);
        }
      };
      try {
        const report = await withFaults(stand, one, async () => {
          cut = await sender(stand);
          await route('add');
        });
        assertRight(report, one);
      } finally {
        if (cut !== '') await route('del');
      }
      assert.equal((await continued(stand)) - first, 1);
      await together(stand);
      await stand.nothingLeft();
    });

    test(`${address}: the anchor itself goes on`, async () => {
      const first = await continued(stand);
      const one: Job = { ...job([3 * MIB], address, 'own.test'), connections: 1 };
      // Nodes in turn: of two connections' big responses one is b's.
      let report = await withFaults(stand, one, async () => {});
      assertRight(report, one);
      const big: Job = {
        ...one,
        items: [item('own.test', BIG), item('own.test', BIG), item('own.test', KIB)],
      };
      let killed = '';
      report = await withFaults(stand, { ...big, marks: [3 * MIB, BIG + 3 * MIB] }, async () => {
        if (killed !== '' || (await sender(stand, true)) !== 'b') return;
        killed = 'b';
        await stand.kill('b');
      });
      assertRight(report, big);
      assert.equal((await continued(stand)) - first, 1);
      await stand.start('b');
      await together(stand);
      await stand.nothingLeft();
    });
  }
});

describe('a response goes on under loss', { ...skipUnlessRoot(), timeout: 280_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'ct2',
      sizes: [KIB, 2 * MIB],
      rate: '20mbit',
      delayMs: 20,
      lossPercent: 2,
      sites: (root) => [{ ...PAIR, root }],
      set: ['observe.accessLog=off', 'timeouts.peerMs=1000'],
    });
  });
  after(() => stand?.down());

  for (const address of ['a', 'fd77::101']) {
    test(`${address}: killed and killed again, four connections`, async () => {
      const first = await continued(stand);
      for (let round = 0; round < ROUNDS; round++) {
        const one: Job = {
          address,
          items: [item('pair.test', KIB), item('pair.test', 2 * MIB), item('pair.test', KIB)],
          connections: 4,
          marks: [200 * KIB, 1200 * KIB],
          silenceMs: 20_000,
        };
        const report = await withFaults(stand, one, async () => {
          const killed = await sender(stand);
          await stand.kill(killed);
          await stand.start(killed);
          await together(stand);
        });
        assertRight(report, one);
      }
      const times = (await continued(stand)) - first;
      assert.ok(times >= 2 * ROUNDS, `${times} of ${2 * ROUNDS} and more`);
      await stand.nothingLeft();
    });
  }
});

describe('another file under the same name', { ...skipUnlessRoot(), timeout: 100_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'ct3',
      sizes: [BIG],
      rate: '50mbit',
      sites: (root) => {
        // The same ramp but for one byte, and of the same time, as a build with fixed times makes it.
        const bytes = readFileSync(join(root, `${BIG}.bin`));
        bytes[BIG - MIB] ^= 1;
        mkdirSync(join(root, 'other'));
        writeFileSync(join(root, 'other', `${BIG}.bin`), bytes);
        for (const directory of [root, join(root, 'other')]) utimesSync(join(directory, `${BIG}.bin`), 1, 1);
        return [{ ...PAIR, roots: { b: root, c: join(root, 'other') } }];
      },
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  test('the connection is reset, and no other byte sent', async () => {
    const one: Job = { address: 'a', items: [item('pair.test', BIG)], marks: [3 * MIB] };
    let killed = '';
    const report = await withFaults(stand, one, async () => {
      killed = await sender(stand);
      await stand.kill(killed);
    });
    assert.equal(report.answered, 0);
    assert.doesNotMatch(report.failures.join(), /wrong/);
    assert.match(report.failures.join(), /connection ended \(read ECONNRESET\)/);
    await stand.start(killed);
    await stand.nothingLeft();
  });
});
