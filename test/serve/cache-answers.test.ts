/** What is made of a stored response, and what becomes of it: conditions, ranges, validation, staleness, changes. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { CacheStand, type Got, type Origin, ok } from './cache-stand.ts';

const LIFE = 'Cache-Control: max-age=60\r\n';
const DATED = 'Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n';

const stands: CacheStand[] = [];
after(() => {
  for (const stand of stands) stand.down();
});
async function up(origin: Origin, config = {}): Promise<CacheStand> {
  const stand = await CacheStand.up(origin, config);
  stands.push(stand);
  return stand;
}

test('a stored response has the fields of the first, its length and its age', async () => {
  const stand = await up(() =>
    [
      'HTTP/1.1 200 Fine',
      'X-A: 1',
      'Date: Thu, 01 Jan 2026 00:00:00 GMT',
      'Connection: x-hop',
      'X-Hop: 1',
      'Link: </a>',
      'Link: </b>',
      'Cache-Control: max-age=60',
      'Transfer-Encoding: chunked',
      '',
      '2;ext=1\r\nab\r\n1\r\nc\r\n0\r\n\r\n',
    ].join('\r\n'),
  );
  await stand.ask('/x');
  await stand.pass(7);
  const { text } = await stand.ask('/x');
  const fields =
    'X-A: 1\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nLink: </a>\r\nLink: </b>\r\nCache-Control: max-age=60\r\n';
  assert.equal(text, `HTTP/1.1 200 Fine\r\n${fields}Content-Length: 3\r\nAge: 7\r\n\r\nabc`);
  await stand.pass(1);
  assert.match((await stand.ask('/x')).text, /\r\nAge: 8\r\n/);
  assert.match((await stand.ask('/x', { minor: 0 })).text, /\r\nConnection: keep-alive\r\nAge: 8\r\n/);
  assert.equal(stand.got.length, 1);
});

test('what is asked for again and again is one part, whatever its size, and right in every second', async () => {
  const body = 'x'.repeat(100_000);
  const stand = await up(() => ok(LIFE, body), { objectBytes: 200_000 });
  await stand.ask('/x');
  for (let second = 0; second < 3; second++) {
    for (let i = 0; i < 3; i++) {
      const { pump } = stand.request('/x');
      const sizes: number[] = [];
      pump.run({
        send: (bytes) => sizes.push(bytes.length) && bytes.length,
        sendFile: () => -2,
        flush: () => 0,
      });
      assert.equal(sizes.length, i === 0 ? 2 : 1);
      const reply = await stand.ask('/x');
      assert.deepEqual([reply.body.length, reply.field('age')], [body.length, String(second)]);
    }
    await stand.pass(1);
  }
});

test('a Date is added when it came without', async () => {
  const stand = await up(() => ok(LIFE, 'x'));
  await stand.ask('/x');
  const { date } = stand;
  await stand.pass(7);
  assert.equal((await stand.ask('/x')).field('date'), date);
});

test('conditions of clients are answered from the store', async () => {
  const stand = await up(() => ok(`${LIFE}ETag: "1"\r\n${DATED}X-A: 1\r\nVary: X\r\n`, 'body'));
  await stand.ask('/x');
  for (const [fields, status] of [
    ['If-None-Match: "0", W/"1"\r\n', 304],
    ['If-None-Match: *\r\n', 304],
    ['If-None-Match: "2"\r\n', 200],
    ['If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n', 304],
    ['If-Modified-Since: Thu, 01 Jan 2014 00:00:00 GMT\r\n', 200],
    ['If-None-Match: "2"\r\nIf-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n', 200],
  ] as const) {
    const reply = await stand.ask('/x', { fields });
    assert.equal(reply.status, status, fields);
    if (status === 200) continue;
    assert.equal(reply.body, '');
    assert.deepEqual(
      ['etag', 'last-modified', 'vary', 'cache-control', 'age', 'x-a', 'content-length'].map((name) =>
        reply.field(name),
      ),
      ['"1"', 'Thu, 01 Jan 2015 00:00:00 GMT', 'X', 'max-age=60', '0', undefined, undefined],
    );
  }
  assert.equal(stand.got.length, 1);
});

test('ranges of a stored response', async () => {
  const stand = await up(() => ok(`${LIFE}ETag: "1"\r\n`, '0123456789'));
  await stand.ask('/x');
  for (const [fields, status, body, range] of [
    ['Range: bytes=2-4\r\n', 206, '234', 'bytes 2-4/10'],
    ['Range: bytes=-3\r\n', 206, '789', 'bytes 7-9/10'],
    ['Range: bytes=8-\r\nIf-Range: "1"\r\n', 206, '89', 'bytes 8-9/10'],
    ['Range: bytes=8-\r\nIf-Range: "2"\r\n', 200, '0123456789', undefined],
    ['Range: bytes=10-\r\n', 416, undefined, 'bytes */10'],
    ['Range: bytes=1-1,3-3\r\n', 200, '0123456789', undefined],
    ['Range: lines=1-1\r\n', 200, '0123456789', undefined],
  ] as const) {
    const reply = await stand.ask('/x', { fields });
    assert.deepEqual([reply.status, reply.field('content-range')], [status, range], fields);
    if (body !== undefined) assert.equal(reply.body, body);
    assert.equal(reply.field('content-length'), String(reply.body.length));
  }
  assert.equal(stand.got.length, 1);
});

test('a range and a condition that nothing stored answers go by, as they are', async () => {
  const stand = await up(() => ok(LIFE, 'x'));
  for (const fields of ['Range: bytes=0-0\r\n', 'If-None-Match: "1"\r\n', 'If-Modified-Since: x\r\n']) {
    const reply = await stand.ask('/x', { fields });
    assert.equal(reply.cache, 'pass');
    const [name, value] = fields.trim().split(': ');
    assert.equal(stand.got.at(-1)!.fields.get(name.toLowerCase()), value);
  }
});

test('what is not a response of known end goes by unbuffered, and as it is', async () => {
  const stand = await up((got) => {
    got.send(
      'HTTP/1.1 200 OK\r\nDate: D\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\n\n\r\n',
    );
    return null;
  });
  const exchange = stand.request('/x');
  let text = '';
  exchange.onProgress = () =>
    exchange.pump.run({
      send: (bytes, from) => {
        text += bytes.toString('latin1', from);
        return bytes.length - from;
      },
      sendFile: () => -2,
      flush: () => 0,
    });
  await stand.stand.until(() => text.endsWith('3\r\na\n\n\r\n'));
  stand.got[0].send('3\r\nb\n\n\r\n');
  await stand.stand.until(() => text.endsWith('3\r\nb\n\n\r\n'));
  exchange.end();
});

test('a body that ends with its connection may be cut off: it is not stored', async () => {
  const stand = await up((got) => {
    got.socket.end(`HTTP/1.1 200 OK\r\n${LIFE}\r\nha`);
    return null;
  });
  for (let i = 1; i <= 2; i++) {
    assert.match((await stand.ask('/x')).body, /ha/);
    assert.equal(stand.got.length, i);
  }
});

test('trailers go by, and their response is not stored', async () => {
  const stand = await up(
    () =>
      `HTTP/1.1 200 OK\r\nDate: D\r\n${LIFE}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\n\r\n`,
  );
  for (let i = 1; i <= 2; i++) {
    assert.match((await stand.ask('/x')).text, /1\r\na\r\n0\r\nX-T: 1\r\n\r\n$/);
    assert.equal(stand.got.length, i);
  }
});

test('a 304 renews the fields and the lifetime, and keeps the body', async () => {
  const stand = await up((got) =>
    got.fields.has('if-none-match')
      ? 'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nCache-Control: max-age=100\r\nX-A: 2\r\nX-B: 2\r\n\r\n'
      : ok(`${LIFE}ETag: "1"\r\nX-A: 1\r\nX-C: 1\r\nContent-Type: text/x\r\n`, 'body'),
  );
  await stand.ask('/x');
  await stand.pass(60);
  const renewed = await stand.ask('/x', { fields: 'If-None-Match: "7"\r\n' });
  assert.equal(stand.got[1].fields.get('if-none-match'), '"1"');
  assert.equal(renewed.cache, 'revalidated');
  for (const reply of [renewed, await stand.ask('/x')]) {
    assert.equal(reply.body, 'body');
    assert.deepEqual(
      ['x-a', 'x-b', 'x-c', 'content-type', 'cache-control', 'content-length'].map((name) =>
        reply.field(name),
      ),
      ['2', '2', '1', 'text/x', 'max-age=100', '4'],
    );
  }
  await stand.pass(99);
  assert.equal((await stand.ask('/x')).field('age'), '99');
  assert.equal(stand.got.length, 2);
});

test('a 304 with a cookie is for its client alone', async () => {
  const stand = await up((got) =>
    got.fields.has('if-none-match')
      ? `HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n${LIFE}Set-Cookie: mine\r\n\r\n`
      : ok(`${LIFE}ETag: "1"\r\n`, 'body'),
  );
  await stand.ask('/x');
  await stand.pass(60);
  assert.equal((await stand.ask('/x')).field('set-cookie'), 'mine');
  const other = await stand.ask('/x');
  assert.deepEqual([other.field('set-cookie'), other.body, stand.got.length], [undefined, 'body', 3]);
});

test('a 304 for another version: the whole is asked for', async () => {
  const stand = await up((got) =>
    got.fields.has('if-none-match')
      ? 'HTTP/1.1 304 Not Modified\r\nETag: "2"\r\n\r\n'
      : ok(`${LIFE}ETag: "1"\r\n`, `body ${stand.got.length}`),
  );
  await stand.ask('/x');
  await stand.pass(60);
  assert.equal((await stand.ask('/x')).body, 'body 3');
  assert.equal((await stand.ask('/x')).body, 'body 3');
});

test('a stale response is used while it is validated, once, and not for longer than it says', async () => {
  const life = 'Cache-Control: max-age=10, stale-while-revalidate=20\r\n';
  const held: Got[] = [];
  const stand = await up((got) => {
    if (stand.got.length === 1) return ok(life, 'old');
    held.push(got);
    return null;
  });
  await stand.ask('/x');
  await stand.pass(29);
  for (let i = 0; i < 3; i++) {
    const { body, cache } = await stand.ask('/x');
    assert.deepEqual([body, cache], ['old', 'stale']);
  }
  await stand.stand.until(() => held.length === 1);
  assert.equal(stand.got.length, 2);
  held[0].send(ok(life, 'new'));
  await stand.stand.until(() => stand.cache.usage.resources === 1 && stand.request('/x').cache === 'hit');
  assert.equal((await stand.ask('/x')).body, 'new');
  await stand.pass(31);
  const exchange = stand.request('/x');
  await stand.stand.until(() => held.length === 2);
  assert.ok(!exchange.complete, 'it waits for the origin');
  exchange.end();
});

for (const [name, fail] of [
  ['503', () => 'HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno'],
  ['a 500 without end', () => 'HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n'],
  [
    'nobody there',
    (got: Got) => {
      got.socket.destroy();
      return null;
    },
  ],
] as const) {
  test(`a stale response stands in for an origin that fails, as long as it says: ${name}`, async () => {
    const stand = await up((got) =>
      stand.got.length === 1 ? ok('Cache-Control: max-age=10, stale-if-error=20\r\n', 'old') : fail(got),
    );
    await stand.ask('/x');
    await stand.pass(29);
    for (let i = 0; i < 3; i++) {
      const { status, body, cache } = await stand.ask('/x');
      assert.deepEqual([status, body, cache], [200, 'old', 'stale']);
    }
    await stand.pass(2);
    const exchange = stand.request('/x');
    await stand.stand.until(() => exchange.status !== 0);
    assert.ok(exchange.status >= 500);
    exchange.end();
  });
}

test('what a request may have changed is forgotten, and what it names', async () => {
  let version = 0;
  const origin: Origin = (got) => {
    if (got.method === 'GET') return ok(LIFE, String(++version));
    if (got.target === '/fails') return 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n';
    return 'HTTP/1.1 201 Made\r\nLocation: /y\r\nContent-Location: http://b/z\r\nContent-Length: 0\r\n\r\n';
  };
  const stand = await up(origin);
  const bodies = async () => [
    (await stand.ask('/x')).body,
    (await stand.ask('/y')).body,
    (await stand.ask('/z', { host: 'b' })).body,
  ];
  assert.deepEqual(await bodies(), ['1', '2', '3']);
  for (const method of ['OPTIONS', 'PROPFIND']) await stand.ask('/x', { method });
  await stand.ask('/fails', { method: 'POST' });
  assert.deepEqual(await bodies(), ['1', '2', '3']);
  await stand.ask('/x', { method: 'POST' });
  assert.deepEqual(await bodies(), ['4', '5', '3'], 'nothing of another host');
  await stand.ask('/x', { method: 'FROB' });
  assert.deepEqual(await bodies(), ['6', '7', '3'], 'a method that nobody knows');
});

test('a response that was asked for before a change is not stored behind it', async () => {
  const held: Got[] = [];
  const stand = await up((got) => {
    if (got.method === 'POST') return 'HTTP/1.1 204 Done\r\n\r\n';
    held.push(got);
    return null;
  });
  for (const change of [
    () => stand.ask('/x', { method: 'POST' }),
    async () => void stand.cache.purge(() => true),
  ]) {
    held.length = 0;
    stand.cache.purge(() => true);
    const before = stand.ask('/x');
    await stand.stand.until(() => held.length === 1);
    await change();
    const behind = stand.ask('/x');
    await stand.stand.until(() => held.length === 2);
    held[0].send(ok(LIFE, 'old'));
    assert.equal((await before).body, 'old');
    held[1].send(ok(LIFE, 'new'));
    assert.equal((await behind).body, 'new');
    assert.equal((await stand.ask('/x')).body, 'new');
  }
});

test('bodies above the limit, and of which nobody knows, go by', async () => {
  const body = 'x'.repeat(5000);
  const stand = await up(
    (got) =>
      got.target === '/length'
        ? ok(LIFE, body)
        : `HTTP/1.1 200 OK\r\n${LIFE}Transfer-Encoding: chunked\r\n\r\n1388\r\n${body}\r\n0\r\n\r\n`,
    { objectBytes: 4999 },
  );
  for (const target of ['/length', '/chunked']) {
    for (let i = 0; i < 2; i++) assert.ok((await stand.ask(target)).text.includes(body));
  }
  assert.equal(stand.got.length, 4);
  assert.equal(stand.cache.usage.resources, 0);
});

test('it holds no more bytes than it may, and forgets what was not asked for longest', async () => {
  const bytes = 100_000;
  const stand = await up((got) => ok(LIFE, got.target.padEnd(20_000, '.')), { bytes });
  for (let i = 0; i < 20; i++) {
    await stand.ask(`/${i}`);
    await stand.ask('/0');
    assert.ok(stand.cache.usage.bytes <= bytes);
  }
  assert.equal(stand.got.filter(({ target }) => target === '/0').length, 1);
  assert.ok(stand.cache.usage.evictions >= 15);
  await stand.ask('/1');
  assert.equal(stand.got.filter(({ target }) => target === '/1').length, 2);
});

test('responses for many selections of one resource: the oldest go', async () => {
  const stand = await up((got) => ok(`${LIFE}Vary: X\r\n`, got.fields.get('x')!));
  for (let i = 0; i < 40; i++)
    assert.equal((await stand.ask('/x', { fields: `X: ${i}\r\n` })).body, String(i));
  for (let i = 39; i > 30; i--) assert.equal((await stand.ask('/x', { fields: `X: ${i}\r\n` })).cache, 'hit');
  assert.equal((await stand.ask('/x', { fields: 'X: 0\r\n' })).cache, 'miss');
});

test('Cache-Status says what was done, when it is to', async () => {
  const stand = await up(() => ok(LIFE, 'x'), { status: true });
  const status = async (wanted = {}) => (await stand.ask('/x', wanted)).field('cache-status');
  assert.equal(await status(), 'baton; fwd=uri-miss');
  await stand.pass(10);
  assert.equal(await status(), 'baton; hit; ttl=50');
  assert.equal(await status({ method: 'POST' }), 'baton; fwd=method');
  assert.equal(await status({ fields: 'Range: bytes=0-0\r\n' }), 'baton; fwd=request');
});

test('another node goes on with a stored response when it has the same body', async () => {
  const [one, other] = [await up(() => ok(LIFE, 'body')), await up(() => ok(`${LIFE}X: 1\r\n`, 'body'))];
  const exchanges = [];
  for (const stand of [one, other]) {
    await stand.ask('/x');
    exchanges.push(stand.request('/x'));
  }
  const identity = exchanges[0].identity()!;
  assert.equal(exchanges[1].goOnFrom({ ...identity, offset: identity.headBytes + 1 }), true);
  assert.equal(exchanges[1].lengthBytes, 3);
});
