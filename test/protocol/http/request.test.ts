import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeadCache } from '../../../src/protocol/http/head-cache.ts';
import { DEFAULT_HEAD_LIMITS, HeadError, parseRequestHead } from '../../../src/protocol/http/request.ts';
import { bytesOf, parse, parsed, refused } from './support.ts';

const BROWSER =
  'GET /a/b.html?x=1&y=%20 HTTP/1.1\r\nHost: Example.org:8080\r\nUser-Agent: Mozilla/5.0 (X11)\r\n' +
  'Accept: text/html,*/*;q=0.8\r\nAccept-Encoding: gzip, br\r\nConnection: keep-alive\r\nCookie: a=b; c=\xe9\r\n' +
  'If-None-Match: "1"\r\nRange: bytes=0-1\r\nIf-Range: "1"\r\n\r\n';

test('a browser head is taken apart', () => {
  const head = parsed(`\r\n${BROWSER}`);
  assert.equal(head.method, 'GET');
  assert.equal(head.target, '/a/b.html?x=1&y=%20');
  assert.equal(head.path, '/a/b.html');
  assert.equal(head.query, 'x=1&y=%20');
  assert.equal(head.host, 'example.org');
  assert.equal(head.headLength, BROWSER.length + 2);
  assert.equal(head.acceptEncoding, 'gzip, br');
  assert.equal(head.ifNoneMatch, '"1"');
  assert.equal(head.range, 'bytes=0-1');
  assert.equal(head.ifRange, '"1"');
  assert.equal(head.plain, false);
  assert.equal(head.keepAlive, true);
  assert.equal(head.fields.get('cookie'), 'a=b; c=\xe9');
  assert.equal(head.fields.get('absent'), undefined);
  assert.equal(head.fields.size, 9);
});

const ok = (line: string, fields = 'Host: a\r\n') => `${line}\r\n${fields}\r\n`;

test('connection persistence follows version and Connection', () => {
  const rows: [string, string, boolean][] = [
    ['HTTP/1.1', '', true],
    ['HTTP/1.1', 'Connection: close\r\n', false],
    ['HTTP/1.1', 'Connection: foo, Close\r\n', false],
    ['HTTP/1.1', 'Connection: keep-alive\r\nConnection: close\r\n', false],
    ['HTTP/1.0', '', false],
    ['HTTP/1.0', 'Connection: Keep-Alive\r\n', true],
    ['HTTP/1.0', 'Connection: keep-alive, close\r\n', false],
  ];
  for (const [version, fields, keepAlive] of rows) {
    assert.equal(
      parsed(ok(`GET / ${version}`, `Host: a\r\n${fields}`)).keepAlive,
      keepAlive,
      version + fields,
    );
  }
});

test('target forms', () => {
  assert.equal(parsed(ok('GET http://a HTTP/1.1')).target, '/');
  assert.equal(parsed(ok('GET HTTP://A:80?q HTTP/1.1')).target, '/?q');
  assert.equal(refused(ok('GET https://a:443/x HTTP/1.1')), 421);
  assert.equal(parsed(ok('GET http://b/x HTTP/1.0', '')).host, 'b');
  assert.equal(parsed(ok('OPTIONS * HTTP/1.1')).path, '*');
  assert.equal(parsed(ok('GET / HTTP/1.1', 'Host: [::1]:80\r\n')).host, '[::1]');
  assert.equal(refused(ok('GET * HTTP/1.1')), 400);
  assert.equal(refused(ok('GET a HTTP/1.1')), 400);
  assert.equal(refused(ok('CONNECT a:443 HTTP/1.1')), 501);
  assert.equal(refused(ok('GET ftp://a/ HTTP/1.1')), 400);
  assert.equal(refused(ok('GET http://u@a/ HTTP/1.1')), 400);
  assert.equal(refused(ok('GET /#f HTTP/1.1')), 400);
});

test('bodies and expectations', () => {
  assert.equal(parsed(ok('GET / HTTP/1.1')).contentLength, -1);
  const post = parsed(ok('POST / HTTP/1.1', 'Host: a\r\nContent-Length: 7\r\nExpect: 100-Continue\r\n'));
  assert.deepEqual([post.contentLength, post.chunked, post.expectContinue], [7, false, true]);
  assert.equal(parsed(ok('PUT / HTTP/1.1', 'Host: a\r\nTransfer-Encoding: Chunked\r\n')).chunked, true);
  assert.equal(refused(ok('PUT / HTTP/1.1', 'Host: a\r\nExpect: tea\r\n')), 417);
  assert.equal(refused(ok('PUT / HTTP/1.1', 'Host: a\r\nExpect: 100-continue, tea\r\n')), 417);
});

test('statuses and limits', () => {
  assert.equal(parsed(ok('BREW / HTTP/1.1')).method, 'BREW');
  for (const method of ['brew', 'head', 'hEAD', 'CONNECT']) {
    assert.equal(refused(ok(`${method} / HTTP/1.1`)), 501, method);
  }
  assert.equal(refused(ok('TRACE / HTTP/1.1')), 501);
  assert.equal(refused(`${'A'.repeat(25)} `), 501);
  assert.equal(refused('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), 505);
  assert.equal(refused(ok('GET / HTTP/1.2')), 505);
  const room = DEFAULT_HEAD_LIMITS.targetBytes - 1;
  assert.equal(parsed(ok(`GET /${'x'.repeat(room)} HTTP/1.1`)).target.length, room + 1);
  assert.equal(refused(ok(`GET /${'x'.repeat(room + 1)} HTTP/1.1`)), 414);
  assert.equal(parsed(ok('GET / HTTP/1.1', `Host: a\r\n${'a: b\r\n'.repeat(99)}`)).fields.size, 100);
  assert.equal(refused(ok('GET / HTTP/1.1', `Host: a\r\n${'a: b\r\n'.repeat(100)}`)), 431);
  const start = 'GET / HTTP/1.1\r\nHost: a\r\nx: ';
  const fill = DEFAULT_HEAD_LIMITS.headBytes - start.length - 4;
  assert.equal(parsed(`${start}${'y'.repeat(fill)}\r\n\r\n`).headLength, DEFAULT_HEAD_LIMITS.headBytes);
  assert.equal(refused(`${start}${'y'.repeat(fill + 1)}\r\n\r\n`), 431);
});

const SAMPLES = [
  BROWSER,
  `\r\n\r\n${BROWSER}`,
  'GET / HTTP/1.1\nHost: a\n\n',
  'GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n',
  'GET / HTTP/1.1\r\nHost : a\r\n\r\n',
  'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n',
  'BREW / HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET / HTTP/3.1\r\nHost: a\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\r\nx: \0\r\n\r\n',
  ok('GET / HTTP/1.1', `Host: a\r\n${'a: b\r\n'.repeat(101)}`),
];

/** Feeds `bytes` cut at `cuts` as a connection would, and gives the first result that isn't null. */
function feed(bytes: Buffer, cuts: readonly number[], withHint: boolean) {
  let scanned = 0;
  for (const cut of [...cuts, bytes.length]) {
    const result = withHint
      ? parseRequestHead(bytes, 0, cut, DEFAULT_HEAD_LIMITS, scanned)
      : parseRequestHead(bytes, 0, cut, DEFAULT_HEAD_LIMITS);
    if (result !== null) return result;
    scanned = cut;
  }
  return null;
}

test('every split point, and byte by byte, gives the result of the whole', () => {
  for (const sample of SAMPLES) {
    const bytes = bytesOf(sample);
    const whole = parse(sample);
    assert.notEqual(whole, null, JSON.stringify(sample));
    for (const hint of [true, false]) {
      for (let cut = 0; cut <= bytes.length; cut++) {
        assert.deepEqual(feed(bytes, [cut], hint), whole, `${JSON.stringify(sample)} at ${cut}`);
      }
      const all = Array.from(bytes.keys());
      assert.deepEqual(feed(bytes, all, hint), whole);
    }
  }
});

test('oversized heads give the same error however they are split', () => {
  for (const sample of [`GET /${'x'.repeat(20_000)}`, ok('GET / HTTP/1.1', `x: ${'y'.repeat(20_000)}`)]) {
    const bytes = bytesOf(sample);
    const whole = parse(sample);
    assert.ok(whole instanceof HeadError);
    for (let cut = 1; cut < bytes.length; cut += 997) assert.deepEqual(feed(bytes, [cut], true), whole);
  }
});

test('a head that comes byte by byte costs no quadratic work', () => {
  const limits = { headBytes: 1 << 20, targetBytes: 8192, fields: 100 };
  const bytes = bytesOf(ok('GET / HTTP/1.1', `Host: a\r\nx: ${'y'.repeat(500_000)}\r\n`));
  let reads = 0;
  const counted = new Proxy(bytes, {
    get(target, key) {
      if (typeof key === 'string' && /^\d+$/.test(key)) reads++;
      const value = Reflect.get(target, key, target) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  for (let end = 1; end < 20_000; end++) {
    assert.equal(parseRequestHead(counted, 0, end, limits, end - 1), null);
  }
  assert.ok(reads < 5 * 20_000, `${reads} reads`);
});

const token = fc
  .string({ unit: fc.constantFrom(..."!#$%&'*+-.^_`|~09azAZ"), minLength: 1, maxLength: 12 })
  .map((name) => `x-${name}`);
const value = fc
  .string({ unit: fc.constantFrom(...'aZ09 \t"(),/:;<=>?@[]{}\x80\xff'), maxLength: 30 })
  .map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ''));
const target = fc
  .string({ unit: fc.constantFrom(...'/ab%.-_~?&=;:@!$+,[]{}|^'), maxLength: 30 })
  .map((text) => `/${text}`);

test('generated heads come out as they went in', () => {
  fc.assert(
    fc.property(target, fc.array(fc.tuple(token, value)), (path, fields) => {
      const lines = fields.map(([name, text]) => `${name}:${text}\r\n`).join('');
      const head = parsed(ok(`GET ${path} HTTP/1.1`, `Host: a\r\n${lines}`));
      assert.equal(head.target, path);
      assert.equal(head.fields.size, fields.length + 1);
      fields.forEach(([name, text], i) => {
        assert.equal(head.fields.name(i + 1), name);
        assert.equal(head.fields.value(i + 1), text);
      });
    }),
  );
});

test('mutations of a head never throw, and the cache agrees with the parser', () => {
  const cache = new HeadCache(DEFAULT_HEAD_LIMITS);
  const mutation = fc.tuple(fc.nat(BROWSER.length - 1), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(fc.array(mutation, { maxLength: 4 }), fc.nat(BROWSER.length), (mutations, cut) => {
      const bytes = bytesOf(BROWSER).subarray(0, BROWSER.length - Math.floor(cut / 20));
      for (const [at, byte] of mutations) if (at < bytes.length) bytes[at] = byte;
      const plain = parseRequestHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS);
      for (let i = 0; i < 3; i++) assert.deepEqual(cache.parse(bytes, 0, bytes.length), plain);
    }),
    { numRuns: 2000 },
  );
});

test('the cache gives the same head again, and never that of other bytes', () => {
  const cache = new HeadCache(DEFAULT_HEAD_LIMITS);
  const bytes = bytesOf(BROWSER);
  cache.parse(bytes, 0, bytes.length);
  const second = cache.parse(bytes, 0, bytes.length);
  assert.equal(cache.parse(bytes, 0, bytes.length), second);
  for (let at = 0; at < bytes.length; at++) {
    const other = Buffer.from(bytes);
    other[at] ^= 1;
    assert.notEqual(cache.parse(other, 0, other.length), second);
  }
  const two = Buffer.concat([bytes, bytes]);
  const first = cache.parse(two, 0, two.length);
  assert.ok(first !== null && !(first instanceof HeadError) && first.headLength === bytes.length);
});
