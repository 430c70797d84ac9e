/** Clone and split when things fail: before the first byte every request is answered; clients may leave as they like. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job, Report } from './client.ts';
import { item, KIB, MIB, MODEST_BUFFER_BYTES, Stand } from './support.ts';

const LOOP_MS = 3000;
const CLIENTS = 8;
const MECHANISMS = ['clone', 'split'] as const;
type Mechanism = (typeof MECHANISMS)[number];

describe('clone and split: failures before the first byte', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({ name: 'cnfail', sizes: [0, KIB, 16 * KIB], set: ['observe.accessLog=off'] });
  });
  after(() => stand?.down());

  const job = (mechanism: Mechanism): Job => {
    const host = `${mechanism}.test`;
    return {
      address: 'a',
      items: [item(host, KIB), item(host, 0), item(host, 16 * KIB)],
      connections: CLIENTS,
      durationMs: LOOP_MS,
      silenceMs: 15_000,
      each: mechanism === 'split',
      http10: mechanism === 'split',
    };
  };

  /** Clients in a loop at node a; `fault` in the middle. */
  async function during(mechanism: Mechanism, fault: () => Promise<unknown>): Promise<Report> {
    const running = stand.run(job(mechanism));
    running.catch(() => {});
    await stand.everyNodeSends();
    await fault();
    const report = await running;
    assert.deepEqual(report.failures, []);
    // Twice everything for every client, whatever else the machine does.
    assert.ok(report.answered >= CLIENTS * 6, `${report.answered} requests`);
    assert.ok(report.byNode.b > 0 && report.byNode.c > 0, JSON.stringify(report.byNode));
    return report;
  }

  async function servesAgain(node: string, mechanism: Mechanism): Promise<void> {
    await stand.until(`${node} answers for a`, async () => {
      const items = Array.from({ length: 3 }, () => item(`${mechanism}.test`, KIB));
      const report = await stand.runRight({ address: 'a', items, each: true });
      return (report.byNode[node] ?? 0) > 0 && (report.byMechanism[mechanism] ?? 0) > 0;
    });
  }

  for (const mechanism of MECHANISMS) {
    test(`${mechanism}: a target is killed`, async () => {
      await during(mechanism, () => stand.kill('b'));
      await stand.start('b');
      await servesAgain('b', mechanism);
      await stand.nothingLeft();
    });

    test(`${mechanism}: a target is stopped`, async () => {
      await during(mechanism, async () => stand.lab.signal('c', 'SIGSTOP'));
      stand.lab.signal('c', 'SIGCONT');
      await servesAgain('c', mechanism);
      await stand.nothingLeft();
    });

    test(`${mechanism}: the backplane is cut between two nodes`, async () => {
      // First here: what has been sent must be answered, or the client has a response that nobody vouches for.
      const route = async (verb: string) => {
        for (const [node, address] of [
          ['a', '10.77.0.3'],
          ['c', '10.77.0.1'],
        ]) {
          const result = await stand.lab.exec(node, ['ip', 'route', verb, 'blackhole', `${address}/32`]);
          assert.equal(result.code, 0, result.stderr);
        }
      };
      try {
        await during(mechanism, () => route('add'));
      } finally {
        await route('del');
      }
      await servesAgain('c', mechanism);
      await stand.nothingLeft();
    });
  }
});

describe('clone and split: the client goes away', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  // More than the client's and a node's kernel hold: a response that fits is no longer the node's concern.
  const SIZE = 24 * MIB;
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'cnleave',
      sizes: [SIZE],
      // Slow enough that a response is under way for a second and more.
      rate: '200mbit',
      set: ['observe.accessLog=off', 'limits.stallSeconds=2'],
    });
    await stand.setClient('tcp_rmem', MODEST_BUFFER_BYTES);
  });
  after(() => stand?.down());

  const job = (mechanism: Mechanism, how: 'fin' | 'rst' | 'stall'): Job => ({
    address: 'a',
    items: [item(`${mechanism}.test`, SIZE), item(`${mechanism}.test`, SIZE)],
    connections: 4,
    leave: { afterBytes: MIB, how },
  });

  for (const mechanism of MECHANISMS) {
    test(`${mechanism}: by reset`, async () => {
      await stand.run(job(mechanism, 'rst'));
      await stand.nothingLeft();
    });

    test(`${mechanism}: by FIN, reading on: it gets the rest of what it asked for`, async () => {
      const report = await stand.run(job(mechanism, 'fin'));
      assert.deepEqual(report.failures, []);
      assert.equal(report.answered, 4);
      await stand.nothingLeft();
    });

    test(`${mechanism}: by silence, and then by a crash`, async () => {
      const child = stand.lab.spawn('client', stand.clientArgv(job(mechanism, 'stall')), {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      try {
        let text = '';
        await new Promise<void>((done, failed) => {
          child.once('exit', () => failed(new Error(`the client ended: ${text}`)));
          child.stderr!.on('data', (bytes) => {
            text += bytes;
            if (text.split('stalled').length > 4) done();
          });
        });
        await stand.nothingLeft(25_000);
      } finally {
        child.kill('SIGKILL');
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
      await stand.nothingLeft();
    });
  }
});
