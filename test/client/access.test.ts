/** The access log as engines make it: lines whatever clients send, batches, and what is reported of a request. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ACCESS_FIELDS,
  type AccessField,
  type ClusterConfig,
  MECHANISMS,
} from '../../src/base/config/config.ts';
import { Counters } from '../../src/base/counters.ts';
import { type AccessBatch, AccessBatches } from '../../src/client/access-batch.ts';
import { accessLine, moreMembers } from '../../src/client/access-line.ts';
import { AccessRecords, type Reported } from '../../src/client/access-records.ts';
import { Reporting } from '../../src/client/reporting.ts';
import type { DeliveryResult } from '../../src/handoff/request/delivery.ts';
import type { Site } from '../../src/serve/sites.ts';
import { request } from '../handoff/anchor/stand.ts';
import { record } from '../node/admin/stand.ts';
import { parsed } from '../protocol/http/support.ts';

const linesOf = ({ bytes }: AccessBatch): Array<Record<string, unknown>> =>
  Buffer.from(bytes)
    .toString()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line));

describe('a line', () => {
  test('has the time, and null where something does not apply or is not known', () => {
    const line = JSON.parse(accessLine(record({ handoffUs: -1, firstByteUs: 0, status: -1, method: null })));
    assert.equal(line.time, '2024-01-02T03:04:05.678Z');
    const { handoffUs, firstByteUs, status, method } = line;
    assert.deepEqual(
      { handoffUs, firstByteUs, status, method },
      { handoffUs: null, firstByteUs: 0, status: null, method: null },
    );
  });

  test('is one line of JSON without a key twice, whatever the client sent', () => {
    const text = fc.string({ unit: 'binary' });
    fc.assert(
      fc.property(text, text, text, (target, host, site) => {
        const line = accessLine(
          record({ target, host }),
          moreMembers(ACCESS_FIELDS, null, { site, tls: null, cache: null }),
        );
        assert.equal(line.indexOf('\n'), line.length - 1);
        const found = JSON.parse(line);
        assert.deepEqual([found.target, found.host, found.site], [target, host, site]);
      }),
    );
    const line = accessLine(
      record(),
      moreMembers(ACCESS_FIELDS, null, { site: null, tls: null, cache: null }),
    );
    const keys = [...line.matchAll(/"(\w+)":/g)].map(([, key]) => key);
    assert.equal(new Set(keys).size, keys.length);
    assert.equal(keys.length, Object.keys(record()).length + ACCESS_FIELDS.length);
  });

  test('has what the configuration adds', () => {
    const head = parsed(
      'GET / HTTP/1.0\r\nUser-Agent: a "b"\r\nReferer: http://c/\r\nX-Request-Id: 7\r\n\r\n',
    );
    const tls = { version: 'TLSv1.3', suite: 'TLS_AES_128_GCM_SHA256', resumed: true };
    const about = { site: 's', tls, cache: 'hit' as const };
    const members = JSON.parse(`{${moreMembers(ACCESS_FIELDS, head, about).substring(1)}}`);
    assert.deepEqual(members, {
      userAgent: 'a "b"',
      referer: 'http://c/',
      protocol: 'HTTP/1.0',
      site: 's',
      requestId: '7',
      cache: 'hit',
      tls: 'TLSv1.3',
      tlsCipher: 'TLS_AES_128_GCM_SHA256',
      tlsResumed: true,
    });
    assert.equal(moreMembers([], head, about), '');
  });
});

describe('batches', () => {
  test('hold every line once, in order, whole, however long', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: 'binary' }), fc.nat(40_000), fc.boolean())),
        (items) => {
          const batches: AccessBatch[] = [];
          const access = new AccessBatches((batch) => batches.push(batch));
          const written = items.map(
            ([text, pad], i) => `${i}${text.replaceAll('\n', '')}${'x'.repeat(pad)}\n`,
          );
          written.forEach((line, i) => {
            access.addLine(line);
            if (items[i][2]) access.flush();
          });
          access.flush();
          const got = batches.map(({ bytes }) => Buffer.from(bytes).toString()).join('');
          assert.equal(got, written.map((line) => Buffer.from(line).toString()).join(''));
          assert.equal(
            batches.reduce((sum, { lines }) => sum + lines, 0),
            written.length,
          );
        },
      ),
      { numRuns: 50 },
    );
  });

  test('wait for a main thread that takes none, up to a bound; what is dropped is counted', () => {
    const batches: AccessBatch[] = [];
    const access = new AccessBatches((batch) => batches.push(batch));
    for (let i = 0; i < 1000; i++) {
      access.addLine('x\n');
      access.flush();
    }
    assert.equal(batches.length, 256);
    Atomics.add(new Int32Array(batches[0].taken), 0, 1);
    access.addLine('y\n');
    access.flush();
    const { lines, dropped } = batches.at(-1)!;
    assert.deepEqual([batches.length, lines, dropped], [257, 1, 1000 - 256]);
  });
});

describe('what is reported', () => {
  const result: DeliveryResult = {
    ...{ node: 1, mechanism: 'anchor', status: 200, bytes: 1200, bodyBytes: 1024 },
    ...{ close: false, firstByteUs: 30, handoffUs: 20 },
  };
  const continuation = { headBytes: 176, lengthBytes: 1200, validator: 1n, offset: 700 };

  function stand(
    accessLog: string | null = '-',
    accessFields: readonly AccessField[] = [],
    boosters: readonly string[] = [],
  ) {
    const batches: AccessBatch[] = [];
    const counters = new Counters();
    const config = {
      nodes: ['a', 'b'].map((name) => ({ name, boost: { boosters } })),
      observe: { accessLog, accessFields },
    } as unknown as ClusterConfig;
    const access = new AccessRecords(config, 'a', counters, ({ batch }) => batches.push(batch));
    const from = { client: { text: '10.0.0.9:40000', tls: null } };
    const reporting = new Reporting({ access, clock: { wallMs: 0 }, boosted: null }, { ...from, fd: 0 });
    const lines = () => {
      access.flush();
      return batches.splice(0).flatMap(linesOf);
    };
    return { access, reporting, counters, batches, lines };
  }

  const site = { config: { name: 's' } } as Site;

  test('an answer, once, with its times', () => {
    const { reporting, lines, counters } = stand();
    reporting.begin(false);
    reporting.answered(request(), site, result);
    reporting.ended(request(), site, { node: 0, mechanism: 'local', status: 0, bytes: 5 }, false);
    const [line, ...more] = lines();
    assert.equal(more.length, 0, 'the end of the connection is not reported as well');
    const { client, node, status, bytes, handoffUs, firstByteUs, complete, continued } = line;
    assert.deepEqual(
      { client, node, status, bytes, handoffUs, firstByteUs, complete, continued },
      {
        ...{ client: '10.0.0.9:40000', node: 'b', status: 200, bytes: 1200 },
        ...{ handoffUs: 20, firstByteUs: 30, complete: true, continued: false },
      },
    );
    assert.ok((line.durationUs as number) > 0);
    assert.equal(counters.get('requests_anchor'), 1);
  });

  test('where there are boosters, how long clients wait for what this node answers', () => {
    const { access, reporting } = stand('-', [], ['x']);
    const head = parsed('GET / HTTP/1.1\r\nHost: h\r\n\r\n');
    const answered = { status: 200, bytes: 9, bodyBytes: 9, durationUs: 1, complete: true, cache: null };
    const answer = (node: number, firstByteUs: number) => {
      reporting.begin(false);
      reporting.answered(request(), site, { ...result, node, mechanism: 'local', firstByteUs });
    };
    for (let i = 0; i < 16; i++) {
      answer(1, 9_000_000);
      answer(0, i < 8 ? 3000 : -1);
      if (i < 8)
        access.boosted('-', { booster: 1, client: null, head }, 's', { ...answered, firstByteUs: 5000 }, 0);
    }
    assert.equal(access.firstByteMs, 5);
    assert.equal(stand().access.firstByteMs, 0);
  });

  test('a response that goes on says so; its beginning is not this node’s to time', () => {
    for (const arrived of [false, true]) {
      const { reporting, lines } = stand();
      reporting.begin(arrived);
      reporting.answered(request({ continuation }), site, { ...result, bytes: 500, bodyBytes: 500 });
      const [line] = lines();
      assert.deepEqual([line.bytes, line.bodyBytes, line.continued], [1200, 1024, true]);
      assert.deepEqual([line.firstByteUs, line.handoffUs], [null, null]);
      assert.equal(line.durationUs === null, arrived, 'when it came with its connection');
    }
  });

  test('what was answered in part, when the connection ends', () => {
    const { reporting, lines } = stand();
    reporting.begin(false);
    reporting.ended(request(), site, { node: 1, mechanism: 'clone', status: 0, bytes: 700 }, false);
    reporting.begin(false);
    reporting.ended(request({ continuation }), null, null, false);
    const [one, other] = lines();
    assert.deepEqual(
      [one.node, one.mechanism, one.status, one.bytes, one.complete],
      ['b', 'clone', null, 700, false],
    );
    assert.deepEqual([other.node, other.bytes, other.continued], ['a', 700, true]);
  });

  test('a booster’s client: who has it, and what the cache here had to do with its answer', () => {
    const { access, lines, counters } = stand('-', ['cache']);
    const answered = { status: 200, bytes: 1200, bodyBytes: 1024, firstByteUs: 30, durationUs: 40 };
    const { head } = request();
    const asked = { booster: 1, head, client: Buffer.alloc(16) };
    access.boosted('10.0.0.9', asked, 's', { ...answered, complete: true, cache: 'hit' }, 0);
    const [{ client, anchor, node, mechanism, cache }] = lines();
    assert.deepEqual([client, anchor, node, mechanism, cache], ['10.0.0.9', 'b', 'a', 'boost', 'hit']);
    assert.equal(counters.get('boosted_requests'), 1);
  });

  test('a refusal, with what is known of the request', () => {
    const { access, lines, counters } = stand();
    const client = { text: '10.0.0.9:1', tls: null };
    access.refused(client, null, 431, 150, 0);
    access.refused(client, request().head, 413, 150, 0);
    assert.deepEqual(
      lines().map(({ status, target, bytes, node }) => [status, target, bytes, node]),
      [
        [431, null, 150, 'a'],
        [413, '/1k.bin', 150, 'a'],
      ],
    );
    assert.equal(counters.get('responses_4xx'), 2);
  });

  test('nothing but some times, when the log is off', () => {
    const { access, batches } = stand(null);
    const reported: Reported = {
      client: { text: '', tls: null },
      request: request(),
      site: null,
      arrived: false,
      wallMs: 0,
    };
    for (let i = 0; i < 128; i++) access.answered(reported, result);
    access.refused({ text: '', tls: null }, null, 400, 1, 0);
    access.flush();
    assert.equal(batches.length, 1);
    assert.deepEqual([batches[0].lines, batches[0].bytes.length], [0, 0]);
    const anchor = MECHANISMS.indexOf('anchor');
    assert.deepEqual([...batches[0].timings], [anchor, 20, 30, anchor, 20, 30]);
  });
});
