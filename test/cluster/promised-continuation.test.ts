/**
 * Clone and split when the target fails or stops in the middle of a response: another node goes on from the last
 * acknowledged byte. The target had promised the whole response and says nothing more, so all that the anchor knows of
 * it is what the client has acknowledged.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../lab/root.ts';
import type { Job } from './client.ts';
import { assertRight, continued, sender, together, withFaults } from './faults.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const BIG = 10 * MIB;
const ADDRESSES = ['a', 'fd77::101'];
const ROUNDS = 4;

/** Two nodes serve it, neither is the anchor: what one leaves the other goes on with. */
const site = (mechanism: string) => ({
  name: `pair-${mechanism}`,
  hosts: [`pair-${mechanism}.test`],
  serve: ['b', 'c'],
  policy: 'round-robin',
  mechanism,
});

describe('clone and split: a response goes on', { ...skipUnlessRoot(), timeout: 280_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'cncont',
      sizes: [KIB, BIG],
      rate: '50mbit',
      sites: (root) => ['clone', 'split'].map((mechanism) => ({ ...site(mechanism), root })),
      set: ['observe.accessLog=off', 'timeouts.peerMs=1000', 'timeouts.stopSeconds=20'],
    });
  });
  after(() => stand?.down());

  /** With split one request a connection; with clone the connection answers the requests after it as well. */
  const job = (mechanism: string, address: string, mark: number): Job => {
    const host = `pair-${mechanism}.test`;
    const each = mechanism === 'split';
    const items = each ? [item(host, BIG)] : [KIB, BIG, KIB, KIB].map((size) => item(host, size));
    return { address, items, each, http10: each, marks: [mark], silenceMs: 15_000 };
  };
  const somewhere = () => 2 * KIB + Math.floor(Math.random() * (BIG - 256 * KIB));

  for (const mechanism of ['clone', 'split']) {
    test(`${mechanism}: killed, each time at another byte`, async () => {
      const first = await continued(stand);
      for (let round = 0; round < ROUNDS; round++) {
        const one = job(mechanism, ADDRESSES[round % ADDRESSES.length], somewhere());
        let killed = '';
        const report = await withFaults(stand, one, async () => {
          killed = await sender(stand);
          await stand.kill(killed);
        });
        assertRight(report, one);
        await stand.start(killed);
        await together(stand);
      }
      assert.ok(
        (await continued(stand)) - first >= ROUNDS,
        `${(await continued(stand)) - first} of ${ROUNDS}`,
      );
      await stand.nothingLeft();
    });

    for (const address of ADDRESSES) {
      test(`${mechanism}: ${address}: stopped (alive, silent)`, async () => {
        const one = job(mechanism, address, 3 * MIB);
        const first = await continued(stand);
        let stopped = '';
        const report = await withFaults(stand, one, async () => {
          stopped = await sender(stand);
          stand.lab.signal(stopped, 'SIGSTOP');
        });
        stand.lab.signal(stopped, 'SIGCONT');
        assertRight(report, one);
        assert.equal((await continued(stand)) - first, 1);
        await together(stand);
        await stand.nothingLeft();
      });

      test(`${mechanism}: ${address}: told to stop`, async () => {
        const one = job(mechanism, address, 3 * MIB);
        const first = await continued(stand);
        const resets = (await stand.lab.counters('client')).TcpEstabResets;
        let told = '';
        const report = await withFaults(stand, one, async () => {
          told = await sender(stand);
          await stand.terminate(told);
        });
        assertRight(report, one);
        assert.equal(
          (await stand.lab.counters('client')).TcpEstabResets,
          resets,
          'the client heard no reset',
        );
        assert.equal((await continued(stand)) - first, 1);
        await stand.start(told);
        await together(stand);
        await stand.nothingLeft();
      });
    }
  }
});
