/** Mechanism split: one request a connection, two messages a request; every byte, on all sorts of paths. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Item, Report } from './client.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const MSS = 1448;
const NEAR_ONE_SEGMENT = Array.from({ length: 12 }, (_, i) => 1166 + i);
const SMALL = [0, 1, MSS - 1, MSS, MSS + 1, ...NEAR_ONE_SEGMENT, 2 * MSS, KIB];
const MEDIUM = [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 16 * KIB];
const LARGE = 10 * MIB;
/** A delegate message of the paper. */
const PAPER_MESSAGE_BYTES = 168;

const items = (count: number, sizes: readonly number[]): Item[] =>
  Array.from({ length: count }, (_, i) => item('split.test', sizes[i % sizes.length]));

/** Of three nodes in turn one is the connection server itself. */
function assertSplit(report: Report, asked: number): void {
  const wanted = Math.floor((2 * asked) / 3) - 2;
  assert.ok((report.byMechanism.split ?? 0) >= wanted, `${wanted} of ${JSON.stringify(report.byMechanism)}`);
}

describe('split: bytes', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'cnsplit',
      sizes: [...SMALL, ...MEDIUM, LARGE],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  for (const http10 of [false, true]) {
    const name = http10 ? 'HTTP/1.0' : 'HTTP/1.1 with keep-alive, which the response takes away';
    test(`${name}: all sizes, both families`, async () => {
      const all = [...items(90, [...SMALL, ...MEDIUM]), ...items(3, [LARGE])];
      for (const address of ['a', 'fd77::102']) {
        assertSplit(await stand.runRight({ address, items: all, each: true, http10 }), all.length);
      }
      await stand.nothingLeft();
      await stand.noResets();
    });
  }

  test('exactly two messages a request, smaller than those of the paper', async () => {
    const counted = async () => ({
      requests: await stand.total('requests_split'),
      messages: await stand.total('flow_messages'),
      bytes: await stand.total('flow_message_bytes'),
    });
    const before = await counted();
    const all = items(60, [KIB, 64 * KIB + 1, MIB].slice(0, 2));
    assertSplit(await stand.runRight({ address: 'a', items: all, each: true, http10: true }), all.length);
    await stand.nothingLeft();
    const now = await counted();
    const messages = now.messages - before.messages;
    assert.equal(messages, 2 * (now.requests - before.requests));
    assert.ok((now.bytes - before.bytes) / messages <= PAPER_MESSAGE_BYTES);
  });

  test('both directions at once, eight connections to every node', async () => {
    const all = items(24, [0, KIB, 16 * KIB, 64 * KIB + 1]);
    const reports = await Promise.all(
      ['a', 'b', 'c'].map((address) =>
        stand.runRight({ address, items: all, connections: 8, each: true, http10: true }),
      ),
    );
    for (const report of reports) assertSplit(report, 8 * all.length);
    await stand.nothingLeft();
    await stand.noResets();
  });

  test('requests in segments of one byte', async () => {
    const all = items(12, [KIB, 64 * KIB]);
    assertSplit(await stand.runRight({ address: 'b', items: all, each: true, segmentBytes: 1 }), all.length);
    await stand.nothingLeft();
  });

  test('a client with a receive window of 4 KiB', () =>
    stand.withSmallWindow(async () => {
      const all = items(30, [...SMALL.slice(0, 6), ...MEDIUM]);
      const report = await stand.runRight({ address: 'a', items: all, each: true, http10: true });
      assertSplit(report, all.length);
      await stand.nothingLeft();
    }));

  test('pipelined requests: one is answered, and the connection ends in order', async () => {
    const report = await stand.run({ address: 'a', items: items(8, [64 * KIB]), pipeline: 8 });
    // The first goes to a node in turn; the anchor itself would answer on.
    assert.ok(report.answered >= 1 && report.answered < 8, `${report.answered}`);
    for (const failure of report.failures) assert.match(failure, /connection ended \(FIN\)/);
    await stand.nothingLeft();
  });
});
