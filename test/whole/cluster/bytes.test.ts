/** Every byte of every response, on one connection, over three nodes and all mechanisms, on all sorts of paths. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Report } from './client.ts';
import { item, KIB, MIB, mix, Stand } from './support.ts';

const HOSTS = ['anchor.test', 'relay.test', 'local.test'];
/** Payload of a full segment on the lab's links: 1500 - 20 - 20 - 12 (timestamps). */
const MSS = 1448;
/** Head and body together fill one segment somewhere in here, whatever the head's exact size is. */
const NEAR_ONE_SEGMENT = Array.from({ length: 24 }, (_, i) => 1160 + i);
const SMALL = [0, 1, MSS - 1, MSS, MSS + 1, ...NEAR_ONE_SEGMENT, 2 * MSS, KIB];
const MEDIUM = [64 * KIB - 1, 64 * KIB, 64 * KIB + 1];
const LARGE = 10 * MIB;
/** Segments that a busy machine lets come late. */
const BY_CHANCE = 4;
const ROUNDS = 7;
const SIZES = [...SMALL, ...MEDIUM, 16 * KIB, LARGE];

/**
 * Of three nodes in turn one is the anchor itself: two thirds of an anchor or relay site go to others. Pipelined
 * requests can follow so closely that a flow's ranges are full of bytes not acknowledged yet; then the anchor answers
 * itself, by design, so of those at least `anchorShare` must have been handed off.
 */
function assertMechanisms(report: Report, perHost: number, anchorShare = 1): void {
  const handedOff = Math.floor((2 * perHost) / 3) - 2;
  assert.ok(
    (report.byMechanism.anchor ?? 0) >= handedOff * anchorShare,
    `anchor: ${JSON.stringify(report.byMechanism)}`,
  );
  assert.ok((report.byMechanism.relay ?? 0) >= handedOff, `relay: ${JSON.stringify(report.byMechanism)}`);
  assert.ok((report.byMechanism.local ?? 0) >= perHost, `local: ${JSON.stringify(report.byMechanism)}`);
  assert.deepEqual(Object.keys(report.byNode).sort(), ['a', 'b', 'c']);
}

describe('bytes', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({ name: 't1', sizes: SIZES, set: ['observe.accessLog=off'] });
  });
  after(() => stand?.down());

  test('600 requests on one connection, 10 MiB among them, alternating over nodes and mechanisms', async () => {
    const items = [...mix(594, [...SMALL, ...MEDIUM], HOSTS), ...mix(9, [LARGE], HOSTS)];
    const report = await stand.runRight({ address: 'a', items });
    assertMechanisms(report, items.length / 3);
    await stand.nothingLeft();
    await stand.noResets();
  });

  test('over IPv6', async () => {
    const items = [...mix(120, [...SMALL, ...MEDIUM], HOSTS), ...mix(3, [LARGE], HOSTS)];
    const report = await stand.runRight({ address: 'fd77::102', items });
    assertMechanisms(report, items.length / 3);
    await stand.nothingLeft();
  });

  test('mechanism auto among the others, one request after the other and pipelined', async () => {
    const items = mix(256, [...SMALL, ...MEDIUM, 16 * KIB], ['auto.test', ...HOSTS]);
    const before = await stand.total('requests_relay');
    for (const pipeline of [1, 8]) await stand.runRight({ address: 'b', items, pipeline });
    // A third of relay.test's is answered at the anchor; of auto.test's nearly as many as are small are relayed.
    const relayed = (await stand.total('requests_relay')) - before;
    assert.ok(relayed > (2 * (2 * items.length)) / (3 * 4), `${relayed} relayed`);
    await stand.nothingLeft();
    await stand.noResets();
  });

  test('16 pipelined requests at a time', async () => {
    const items = mix(480, [...SMALL, ...MEDIUM], HOSTS);
    const report = await stand.runRight({ address: 'c', items, pipeline: 16 });
    assertMechanisms(report, items.length / 3, 0.5);
    await stand.nothingLeft();
  });

  test('pipelined requests of a client that reads nothing for a while: what is held back must come later', async () => {
    const items = Array.from({ length: 12 }, () => item('anchor.test', 16 * KIB)).concat(
      mix(12, MEDIUM, HOSTS),
    );
    const report = await stand.runRight({ address: 'a', items, pipeline: items.length, pauseMs: 1500 });
    assert.ok((report.byMechanism.anchor ?? 0) > 0);
    await stand.nothingLeft();
  });

  test('requests in segments of one byte', async () => {
    const items = mix(60, [...SMALL, ...MEDIUM], HOSTS);
    const report = await stand.runRight({ address: 'b', items, segmentBytes: 1 });
    assertMechanisms(report, items.length / 3);
    await stand.nothingLeft();
  });

  test('eight connections to every node at the same time', async () => {
    const items = mix(90, [0, 1, KIB, MSS, 16 * KIB, 64 * KIB + 1], HOSTS);
    const reports = await Promise.all(
      ['a', 'b', 'c'].map((address) => stand.runRight({ address, items, connections: 8 })),
    );
    for (const report of reports) assertMechanisms(report, (8 * items.length) / 3);
    await stand.nothingLeft();
    await stand.noResets();
  });

  interface Counts {
    /** Segments beyond the client's window, timeouts of nodes, segments that nodes have sent twice. */
    readonly beyond: number;
    readonly timeouts: number;
    readonly again: number;
  }

  async function pipelined(mechanism: 'local' | 'anchor'): Promise<Counts> {
    const counts = async () => ({
      beyond: await stand.beyondWindow(),
      timeouts: await stand.timeouts(),
      again: await stand.retransmitted(),
    });
    const items = Array.from({ length: 24 }, () => item(`${mechanism}.test`, 64 * KIB));
    const before = await counts();
    const report = await stand.runRight({ address: 'a', items, pipeline: items.length, connections: 4 });
    assert.ok((report.byMechanism[mechanism] ?? 0) >= items.length);
    const after = await counts();
    return {
      beyond: after.beyond - before.beyond,
      timeouts: after.timeouts - before.timeouts,
      again: after.again - before.again,
    };
  }

  test("pipelined responses that are larger than the client's window: no node sends beyond it", async () => {
    const before = await stand.setClient('tcp_rmem', '4096 32768 32768');
    try {
      // A machine that stands still for 200 ms has timers expire that have nothing to do with who sends: the same
      // requests without handoffs are the measure, and not one round.
      const counts = { local: [] as Counts[], anchor: [] as Counts[] };
      for (let round = 0; round < ROUNDS; round++) {
        counts.local.push(await pipelined('local'));
        counts.anchor.push(await pipelined('anchor'));
      }
      const median = (of: Counts[], what: keyof Counts) =>
        of.map((count) => count[what]).sort((a, b) => a - b)[(ROUNDS - 1) / 2];
      const text = JSON.stringify(counts);
      for (const what of ['beyond', 'timeouts'] as const)
        assert.ok(median(counts.anchor, what) <= median(counts.local, what), `${what}: ${text}`);
      // Processors that overtake each other have now and then a segment sent twice.
      assert.ok(median(counts.anchor, 'again') <= BY_CHANCE, `again: ${text}`);
      await stand.nothingLeft();
    } finally {
      await stand.setClient('tcp_rmem', before);
    }
  });

  test('a client with a receive window of 4 KiB', () =>
    stand.withSmallWindow(async () => {
      const items = mix(90, [...SMALL.slice(0, 6), ...MEDIUM], HOSTS);
      const report = await stand.runRight({ address: 'a', items });
      assertMechanisms(report, items.length / 3);
      await stand.nothingLeft();
    }));
});

describe('bytes on a slow, lossy path', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 't2',
      sizes: [KIB, 16 * KIB, 64 * KIB + 1, MIB],
      delayMs: 50,
      lossPercent: 4,
      seed: 7,
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  test('4 % loss and 50 ms delay: all mechanisms on one connection', async () => {
    const items = [...mix(60, [KIB, 16 * KIB, 64 * KIB + 1], HOSTS), ...mix(3, [MIB], HOSTS)];
    const report = await stand.runRight({ address: 'a', items });
    assertMechanisms(report, items.length / 3);
    await stand.nothingLeft();
  });

  test('a handoff costs no more under loss than a timeout of the path', async () => {
    const run = (host: string) =>
      stand.runRight({ address: 'a', items: mix(40, [16 * KIB], [host]), connections: 4 });
    const plain = await run('local.test');
    const anchored = await run('anchor.test');
    const at = (report: Report, share: number) => report.tookMs[Math.floor(share * (report.answered - 1))];
    const figures = [0.5, 0.9, 0.99].map((share) => [at(plain, share), at(anchored, share)]);
    const text = `local and anchor at p50, p90, p99 (ms): ${JSON.stringify(figures)}`;
    // 200 ms is the least timeout of Linux, to which the round trip and its variance add.
    const timeoutMs = 300;
    for (const [local, anchor] of figures) assert.ok(anchor <= local + timeoutMs, text);
    await stand.nothingLeft();
  });
});
