/**
 * Clone and split when the target fails or stops in the middle of a response: another node goes on from the last
 * acknowledged byte. The target had announced the whole response and says nothing more, so all that the anchor knows of
 * it is what the client has acknowledged.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Random } from '../../../src/tools/lab/random.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job } from './client.ts';
import { continued, killed, stopped, toldToStop } from './faults.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const BIG = 10 * MIB;
const ADDRESSES = ['a', 'fd77::101'];
/** One for each family. */
const ROUNDS = process.env.BATON_LONG === '1' ? 8 : 2;
const SEED = 4;

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

  for (const mechanism of ['clone', 'split']) {
    test(`${mechanism}: killed, each time at another byte`, async () => {
      const first = await continued(stand);
      const random = new Random(SEED);
      for (let round = 0; round < ROUNDS; round++) {
        const at = 2 * KIB + random.below(BIG - 256 * KIB);
        await killed(stand, job(mechanism, ADDRESSES[round % ADDRESSES.length], at));
      }
      const count = (await continued(stand)) - first;
      assert.ok(count >= ROUNDS, `${count} of ${ROUNDS}`);
      await stand.nothingLeft();
    });

    for (const address of ADDRESSES) {
      test(`${mechanism}: ${address}: stopped (alive, silent)`, async () => {
        const first = await continued(stand);
        await stopped(stand, job(mechanism, address, 3 * MIB));
        assert.equal((await continued(stand)) - first, 1);
        await stand.nothingLeft();
      });

      test(`${mechanism}: ${address}: told to stop`, async () => {
        const first = await continued(stand);
        await toldToStop(stand, job(mechanism, address, MIB));
        assert.equal((await continued(stand)) - first, 1);
        await stand.nothingLeft();
      });
    }
  }
});
