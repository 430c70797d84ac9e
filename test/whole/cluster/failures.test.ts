/** A target or its link fails before the first byte: every request is answered all the same, every byte right. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { FlowStatus } from '../../../src/handoff/flow/flow-status.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job, Report } from './client.ts';
import { withFaults } from './faults.ts';
import { item, KIB, Stand } from './support.ts';

const LOOP_MS = 3000;
const CLIENTS = 8;

describe('failures before the first byte', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 't4',
      sizes: [0, KIB, 16 * KIB, 128 * KIB],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  const job = (host: string, durationMs: number): Job => ({
    address: 'a',
    items: [item(host, KIB), item(host, 0), item(host, 16 * KIB)],
    connections: CLIENTS,
    durationMs,
    silenceMs: 15_000,
  });

  /** Clients in a loop at node a; `fault` in the middle. */
  async function during(host: string, fault: () => Promise<unknown>): Promise<Report> {
    const running = stand.run(job(host, LOOP_MS));
    running.catch(() => {});
    await stand.everyNodeSends();
    await fault();
    const report = await running;
    assert.deepEqual(report.failures, []);
    // Twice everything for every client, whatever else the machine does.
    assert.ok(report.answered >= CLIENTS * 6, `${report.answered} requests`);
    return report;
  }

  /** The node answers again: what was broken is whole. */
  async function servesAgain(node: string, host: string): Promise<void> {
    await stand.until(`${node} answers for a`, async () => {
      const report = await stand.runRight({ address: 'a', items: [KIB, KIB, KIB].map((n) => item(host, n)) });
      return (report.byNode[node] ?? 0) > 0 && (report.byMechanism[host.split('.')[0]] ?? 0) > 0;
    });
  }

  for (const mechanism of ['anchor', 'relay']) {
    const host = `${mechanism}.test`;

    test(`${mechanism}: a target is killed`, async () => {
      const report = await during(host, () => stand.kill('b'));
      assert.ok(report.byNode.b > 0 && report.byNode.c > 0, JSON.stringify(report.byNode));
      await stand.start('b');
      await servesAgain('b', host);
      await stand.nothingLeft();
    });

    test(`${mechanism}: a target is stopped`, async () => {
      const report = await during(host, async () => stand.lab.signal('c', 'SIGSTOP'));
      stand.lab.signal('c', 'SIGCONT');
      assert.ok(report.byNode.b > 0 && report.byNode.c > 0, JSON.stringify(report.byNode));
      await servesAgain('c', host);
      await stand.nothingLeft();
    });

    test(`${mechanism}: the backplane is cut between two nodes`, async () => {
      const ways = [
        ['a', '10.77.0.3'],
        ['c', '10.77.0.1'],
      ] as const;
      const route = async (verb: string, [node, address]: (typeof ways)[number]) => {
        const { code, stderr } = await stand.lab.exec(node, [
          'ip',
          'route',
          verb,
          'blackhole',
          `${address}/32`,
        ]);
        assert.equal(code, 0, stderr);
      };
      const received = async () => (await stand.lab.admin('c', '/api/status')).counters.setups_received;
      let report: Report;
      try {
        // First no request comes to c any more, then none of its answers leaves: a response that has begun, and of
        // which the anchor does not know, could be given up only with the connection.
        report = await during(host, async () => {
          await route('add', ways[0]);
          let before = -1;
          await stand.until('c has answered what came', async () => {
            const last = before;
            before = await received();
            return before === last;
          });
          await route('add', ways[1]);
        });
      } finally {
        for (const way of ways) await route('del', way);
      }
      assert.ok(report.byNode.b > 0 && report.byNode.c > 0, JSON.stringify(report.byNode));
      await servesAgain('c', host);
      await stand.nothingLeft();
    });
  }

  test('a target whose link is full answers late, with its first bytes behind the answer: it is waited for', async () => {
    const link = async (...how: string[]) => {
      const { code, stderr } = await stand.lab.exec('b', ['tc', 'qdisc', ...how]);
      assert.equal(code, 0, stderr);
    };
    const [waited, timedOut] = ['handoffs_waited', 'handoffs_timed_out'].map(
      (name) => async () => (await stand.lab.admin('a', '/api/status')).counters[name],
    );
    const before = [await waited(), await timedOut()];
    // More than timeouts.setupMs of a queue, and less than what makes a node a silent one.
    await link('replace', 'dev', 'eth0', 'root', 'tbf', 'rate', '2mbit', 'burst', '16kb', 'latency', '800ms');
    try {
      const running = stand.run({ ...job('anchor.test', LOOP_MS), connections: 4 * CLIENTS });
      running.catch(() => {});
      await stand.until('an answer is late', async () => (await waited()) > before[0]);
      const report = await running;
      assert.deepEqual(report.failures, []);
      assert.ok(report.byNode.b > 0 && report.byNode.c > 0, JSON.stringify(report.byNode));
      assert.equal(await timedOut(), before[1]);
    } finally {
      await link('del', 'dev', 'eth0', 'root');
    }
    await stand.nothingLeft();
  });

  test('a target is lost that owes bytes of a connection which is closed already: its client is reset', () =>
    stand.withSmallWindow(async () => {
      let lost = '';
      await stand.until('it is another node’s turn', async () => {
        const { byNode } = await stand.runRight({ address: 'a', items: [item('anchor.test', KIB)] });
        return byNode.a === 1;
      });
      const last = { address: 'a', items: [item('anchor.test', 128 * KIB)], http10: true, marks: [1] };
      const report = await withFaults(stand, last, async () => {
        await stand.until('the anchor has closed it', async () => {
          const flows = (await stand.lab.admin('a', '/api/flows')) as FlowStatus[];
          const closing = flows.find(({ role, state }) => role === 'anchor' && state === 'closing');
          lost = closing?.ranges.find(({ node }) => node !== 'a')?.node ?? '';
          return lost !== '';
        });
        await stand.kill(lost);
        // Until then the kernel of a process that has just been killed may have sent the rest.
        await stand.until('the anchor has heard of it', async () => {
          const { engines } = await stand.lab.admin('a', '/api/status');
          return engines[0].links.filter(({ up }: { up: boolean }) => up).length === 1;
        });
      });
      assert.equal(report.failures.length, 1, JSON.stringify(report));
      // A reset behind bytes that were not read is an end to some programs.
      assert.match(report.failures[0], /connection ended \((FIN|.*ECONNRESET)\)/);
      await stand.start(lost);
      await servesAgain(lost, 'anchor.test');
      await stand.nothingLeft();
    }));

  test('every other node is gone: the anchor answers alone', async () => {
    await stand.kill('b');
    await stand.kill('c');
    const report = await stand.runRight({
      address: 'a',
      items: Array.from({ length: 30 }, () => item('anchor.test', KIB)),
    });
    assert.deepEqual(report.byNode, { a: 30 });
  });
});
