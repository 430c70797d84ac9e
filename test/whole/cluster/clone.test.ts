/** Mechanism clone: every byte, on all sorts of paths, plain and with pre-cloning; and how few messages it takes. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Item, Report } from './client.ts';
import { item, KIB, MIB, mix, Stand } from './support.ts';

const MSS = 1448;
/** Head and body together fill one segment somewhere in here. */
const NEAR_ONE_SEGMENT = Array.from({ length: 24 }, (_, i) => 1160 + i);
const SMALL = [0, 1, MSS - 1, MSS, MSS + 1, ...NEAR_ONE_SEGMENT, 2 * MSS, KIB];
const MEDIUM = [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 16 * KIB];
const LARGE = 10 * MIB;
/** Where the next request has to wait for the whole response, and where it does not. */
const FORMS = ['clone.test', 'pre.test'];
/** With other mechanisms on the same connection. */
const MIXED = ['clone.test', 'anchor.test', 'pre.test', 'relay.test', 'clone.test', 'local.test'];

/** Of three nodes in turn one is the anchor itself. */
function assertCloned(report: Report, asked: number): void {
  const wanted = Math.floor((2 * asked) / 3) - 2;
  assert.ok((report.byMechanism.clone ?? 0) >= wanted, `${wanted} of ${JSON.stringify(report.byMechanism)}`);
}

describe('clone: bytes', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'cnbytes',
      sizes: [...SMALL, ...MEDIUM, LARGE],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  test('300 requests on one connection, 10 MiB among them, mixed with all other mechanisms', async () => {
    const items = [...mix(294, [...SMALL, ...MEDIUM], MIXED), ...mix(6, [LARGE], MIXED)];
    const report = await stand.runRight({ address: 'a', items });
    assertCloned(report, items.length / 2);
    await stand.nothingLeft();
    await stand.noResets();
  });

  for (const host of FORMS) {
    test(`${host}: on one connection`, async () => {
      const items = [...mix(150, [...SMALL, ...MEDIUM], [host]), ...mix(3, [LARGE], [host])];
      const report = await stand.runRight({ address: 'a', items });
      assertCloned(report, items.length);
      await stand.nothingLeft();
      await stand.noResets();
    });

    test(`${host}: over IPv6`, async () => {
      const items = [...mix(60, [...SMALL, ...MEDIUM], [host]), ...mix(3, [LARGE], [host])];
      assertCloned(await stand.runRight({ address: 'fd77::102', items }), items.length);
      await stand.nothingLeft();
    });

    test(`${host}: 16 pipelined requests at a time`, async () => {
      const items = mix(240, [...SMALL, ...MEDIUM], [host]);
      assertCloned(await stand.runRight({ address: 'c', items, pipeline: 16 }), items.length);
      await stand.nothingLeft();
    });
  }

  test('requests in segments of one byte', async () => {
    const items = mix(60, [...SMALL, ...MEDIUM], FORMS);
    assertCloned(await stand.runRight({ address: 'b', items, segmentBytes: 1 }), items.length);
    await stand.nothingLeft();
  });

  test('requests with bodies, small and following', async () => {
    const items: Item[] = [0, 1, KIB, 64 * KIB].map((bodyBytes) => ({
      ...item('clone.test', KIB),
      bodyBytes,
    }));
    const report = await stand.run({ address: 'a', items });
    assert.ok(
      report.failures.every((failure) => failure.includes('405')),
      report.failures.join(),
    );
    await stand.nothingLeft();
  });

  test('eight connections to every node at the same time', async () => {
    const items = mix(60, [0, 1, KIB, MSS, 16 * KIB, 64 * KIB + 1], FORMS);
    const reports = await Promise.all(
      ['a', 'b', 'c'].map((address) => stand.runRight({ address, items, connections: 8 })),
    );
    for (const report of reports) assertCloned(report, 8 * items.length);
    await stand.nothingLeft();
    await stand.noResets();
  });

  test('a client with a receive window of 4 KiB', () =>
    stand.withSmallWindow(async () => {
      const items = mix(60, [...SMALL.slice(0, 6), ...MEDIUM], FORMS);
      assertCloned(await stand.runRight({ address: 'a', items }), items.length);
      await stand.nothingLeft();
    }));

  test('two messages a request, and none when the connection ends', async () => {
    const before = await stand.total('flow_messages');
    const cloned = await stand.total('requests_clone');
    const items = mix(90, [KIB, 64 * KIB, MIB].slice(0, 2), ['clone.test']);
    await stand.runRight({ address: 'a', items });
    await stand.nothingLeft();
    const requests = (await stand.total('requests_clone')) - cloned;
    assert.equal((await stand.total('flow_messages')) - before, 2 * requests);
  });

  for (const host of FORMS) {
    test(`${host}: the client wants the connection closed after the response`, async () => {
      for (const http10 of [true, false]) {
        const items = mix(12, [0, KIB, 64 * KIB + 1, LARGE], [host]);
        const report = await stand.runRight({ address: 'a', items, each: true, http10 });
        assertCloned(report, items.length);
      }
      await stand.nothingLeft();
      await stand.noResets();
    });
  }
});

describe('clone: a slow, lossy path', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'cnlossy',
      sizes: [KIB, 16 * KIB, 64 * KIB + 1, MIB],
      delayMs: 50,
      lossPercent: 4,
      seed: 11,
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  test('4 % loss and 50 ms: the acknowledgement that all waits for is lost as well', async () => {
    const items = [...mix(40, [KIB, 16 * KIB, 64 * KIB + 1], FORMS), ...mix(3, [MIB], ['clone.test'])];
    assertCloned(await stand.runRight({ address: 'a', items, connections: 2 }), 2 * items.length);
    await stand.nothingLeft();
  });

  test('pipelined, under loss', async () => {
    for (const host of FORMS) {
      const items = mix(24, [KIB, 16 * KIB, 64 * KIB + 1], [host]);
      assertCloned(await stand.runRight({ address: 'a', items, pipeline: 8 }), items.length);
    }
    await stand.nothingLeft();
  });

  test('a connection a request, under loss', async () => {
    const items = mix(24, [KIB, 16 * KIB, 64 * KIB + 1], ['clone.test', 'split.test']);
    const report = await stand.runRight({ address: 'a', items, each: true, http10: true });
    assert.ok(
      report.byMechanism.clone > 4 && report.byMechanism.split > 4,
      JSON.stringify(report.byMechanism),
    );
    await stand.nothingLeft();
  });
});
