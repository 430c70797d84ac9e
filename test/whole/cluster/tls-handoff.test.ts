/**
 * Responses of TLS connections that other nodes send: every byte right, whatever the mechanism, the path and what
 * becomes of the nodes; and over all that all nodes ever sent, no place of a connection had two ciphertexts.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job, Report } from './client.ts';
import { assertRight, continued, killed, metric, together, toldToStop, withFaults } from './faults.ts';
import { item, KIB, MIB, mix, Stand } from './support.ts';
import { WireRecord } from './wire-record.ts';

const HOSTS = ['anchor.test', 'clone.test', 'relay.test', 'local.test'];
const MECHANISMS = ['anchor', 'clone', 'relay', 'local'];
const PIECE = 16 * KIB;
const SIZES = [0, 1, KIB, PIECE - 1, PIECE, PIECE + 1, 64 * KIB, 300 * KIB];
const BIG = 20 * MIB;
const [AES_128, AES_256, CHACHA] = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
];
/** Of TLS 1.2. */
const OLD = 'ECDHE-ECDSA-AES256-GCM-SHA384';
const OLD_CHACHA = 'ECDHE-ECDSA-CHACHA20-POLY1305';
/** Two nodes serve it, neither is the anchor: what one leaves the other goes on with. */
const PAIR = {
  name: 'pair',
  hosts: ['pair.test'],
  serve: ['b', 'c'],
  policy: 'round-robin',
  mechanism: 'anchor',
};

/** Each mechanism has its share: nobody fell back. */
function assertMechanisms({ byMechanism }: Report, perHost: number): void {
  const handedOff = Math.floor((2 * perHost) / 3) - 2;
  for (const name of MECHANISMS)
    assert.ok((byMechanism[name] ?? 0) >= handedOff, `${name}: ${JSON.stringify(byMechanism)}`);
}

describe('TLS, by other nodes', { ...skipUnlessRoot(), timeout: 240_000 }, () => {
  let stand: Stand;
  let wire: WireRecord;
  /** Of all connections below. */
  const secrets: string[] = [];

  async function right(job: Job): Promise<Report> {
    const report = await stand.runRight(job);
    secrets.push(...report.secrets);
    return report;
  }

  before(async () => {
    stand = await Stand.up({
      name: 'th1',
      tls: true,
      sizes: [...SIZES, BIG],
      rate: '50mbit',
      lossPercent: 0.2,
      sites: (root) => [{ ...PAIR, root }],
      set: ['observe.accessLog=off', 'timeouts.peerMs=10000', 'timeouts.stopSeconds=20'],
    });
    wire = await WireRecord.start(stand.lab);
  });
  after(() => {
    wire?.end();
    stand?.down();
  });

  for (const suite of [AES_128, AES_256, CHACHA, OLD, OLD_CHACHA]) {
    test(`${suite}: sizes around a record's, all mechanisms on one connection`, async () => {
      const items = mix(96, SIZES, HOSTS);
      assertMechanisms(await right({ address: 'a', items, suite }), 24);
    });
  }

  test('over IPv6, pipelined', async () => {
    const items = mix(96, SIZES, HOSTS);
    await right({ address: 'fd77::102', items, suite: AES_128, pipeline: 8 });
  });

  test('mechanism auto: small ones by relay, large ones from the target', async () => {
    const items = mix(24, [KIB, 300 * KIB], ['auto.test']);
    const { byMechanism } = await right({ address: 'b', items, suite: AES_128 });
    const { relay = 0, anchor = 0 } = byMechanism;
    assert.ok(relay >= 6 && anchor >= 6, JSON.stringify(byMechanism));
  });

  test('split: one response a connection', async () => {
    const items = [PIECE + 1, 300 * KIB, KIB].map((size) => item('split.test', size));
    const report = await right({ address: 'a', items, suite: AES_128, each: true });
    assert.ok((report.byMechanism.split ?? 0) >= 1);
  });

  test('a client with a window of 4 KiB, whose requests come byte by byte', async () => {
    await stand.withSmallWindow(async () => {
      const items = mix(8, [PIECE + 1, 64 * KIB], HOSTS);
      await right({ address: 'a', items, suite: AES_128, segmentBytes: 1 });
    });
  });

  for (const suite of [AES_256, OLD]) {
    test(`${suite}: a connection that moves with almost every request, and is handed off in between`, async () => {
      const items = mix(30, [KIB, 64 * KIB], ['migrate.test', 'anchor.test', 'hash.test']);
      const before = await stand.total('migrations_in');
      const report = await right({ address: 'a', items, suite });
      assert.ok((await stand.total('migrations_in')) - before >= 3, JSON.stringify(report.byMechanism));
    });
  }

  test('its node is told to stop: it goes on at another', async () => {
    const items = mix(8, [KIB], ['local.test']);
    const one = { address: 'c', items, suite: AES_128, thinkMs: 250, marks: [2 * KIB] };
    const report = await withFaults(stand, one, () => stand.terminate('c'));
    assertRight(report, one);
    await stand.start('c');
    await together(stand);
  });

  for (const suite of [AES_128, OLD]) {
    test(`${suite}: its nodes are told to stop in the middle of a response, one after the other: it goes on`, async () => {
      const items = [item('local.test', BIG), item('local.test', KIB)];
      const job = { address: 'c', suite, items, marks: [2 * MIB + 12_345, 8 * MIB], silenceMs: 15_000 };
      const arrivals = () => Promise.all(['a', 'b', 'c'].map((node) => metric(stand, 'migrations_in', node)));
      let owner = 'c';
      const report = await withFaults(stand, job, async () => {
        const earlier = await arrivals();
        const stopped = owner;
        await stand.terminate(stopped);
        const later = await Promise.all(
          ['a', 'b', 'c'].map((node) => (node === stopped ? 0 : metric(stand, 'migrations_in', node))),
        );
        owner = ['a', 'b', 'c'].find((_, i) => later[i] > earlier[i]) ?? 'nobody';
        assert.notEqual(owner, 'nobody', 'it has moved while the client took nothing');
        await stand.start(stopped);
        await together(stand);
      });
      secrets.push(...report.secrets);
      assertRight(report, job);
    });
  }

  test('clients that come to a node whose process was killed are served by others', async () => {
    await stand.kill('b');
    await right({ address: 'b', items: mix(4, [KIB], ['local.test']), suite: AES_128 });
    await stand.start('b');
    await together(stand);
  });

  const job = (marks: readonly number[], address: string, suite = AES_128): Job => ({
    address,
    suite,
    items: [item('pair.test', KIB), item('pair.test', BIG), item('pair.test', KIB), item('pair.test', KIB)],
    marks,
    silenceMs: 15_000,
  });

  test('a target that is silent for a while: what it was asked is waited for, and it is lent no key meanwhile', async () => {
    const waited = () => metric(stand, 'handoffs_waited');
    const items = Array.from({ length: 6 }, () => item('pair.test', KIB));
    const one = { address: 'a', suite: AES_128, items, silenceMs: 20_000 };
    let woken: Promise<void> = Promise.resolve();
    const report = await withFaults(stand, { ...one, marks: [KIB] }, async () => {
      const before = await waited();
      stand.lab.signal('b', 'SIGSTOP');
      woken = (async () => {
        // Every 100 ms: so often that signs of life of it are missing.
        await stand.until('it is waited for', async () => (await waited()) >= before + 16);
        const others = await right({ ...one, items: items.slice(0, 2) });
        assert.equal(others.byNode.b, undefined);
      })().finally(() => stand.lab.signal('b', 'SIGCONT'));
    });
    await woken;
    secrets.push(...report.secrets);
    assertRight(report, one);
  });

  test('all nodes are restarted, one after the other, under requests and downloads', async () => {
    const small = mix(24, [KIB, 300 * KIB], HOSTS);
    const jobs = [
      { address: 'a', suite: AES_128, items: [item('local.test', BIG), item('local.test', KIB)] },
      { address: 'a', suite: OLD, items: small, thinkMs: 100 },
      { address: 'b', suite: AES_256, items: small, connections: 2, thinkMs: 100 },
    ].map((job) => ({ ...job, silenceMs: 20_000 }));
    const running = jobs.map((job) => right(job));
    for (const one of running) one.catch(() => {});
    await stand.everyNodeSends();
    for (const { name } of stand.lab.nodes) {
      await stand.terminate(name);
      await stand.start(name);
    }
    await Promise.all(running);
    await together(stand);
  });

  for (const suite of [AES_128, OLD]) {
    test(`${suite}: a target killed in the middle of a record`, async () => {
      const first = await continued(stand);
      await killed(stand, job([2 * MIB + 12_345], 'a', suite));
      assert.equal((await continued(stand)) - first, 1);
    });
  }

  test('over IPv6, one that is told to stop', async () => {
    const first = await continued(stand);
    await toldToStop(stand, job([MIB], 'fd77::101'));
    assert.equal((await continued(stand)) - first, 1);
  });

  test('no node says a secret: not in its log, its status, its metrics', async () => {
    assert.ok(secrets.length > 10);
    for (const { name } of stand.lab.nodes) {
      const texts = ['/metrics', '/api/status', '/api/flows'].map((path) => stand.lab.adminText(name, path));
      const log = readFileSync(join(stand.lab.plan.directory, `${name}.log`), 'utf8');
      for (const text of [log, ...(await Promise.all(texts))]) {
        for (const secret of secrets) {
          const bytes = Buffer.from(secret, 'hex');
          for (const form of ['hex', 'base64', 'base64url'] as const)
            assert.ok(!text.includes(bytes.toString(form)), `${name} says a secret`);
        }
      }
    }
  });

  test('nothing is left, and no place of a connection ever had two ciphertexts', async () => {
    await stand.nothingLeft();
    const { bytes, again } = await wire.check();
    assert.ok(bytes > 2 * BIG, `${bytes} bytes`);
    assert.ok(again > 0, 'something was sent twice, by whomever');
  });
});
