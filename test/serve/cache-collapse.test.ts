/** Clients that want the same at once: one request to the upstream, and nobody is worse off for it. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { DEFAULT_HEAD_LIMITS } from '../../src/protocol/http/fields.ts';
import { parseResponseHead, type ResponseHead } from '../../src/protocol/http/response.ts';
import type { Exchange } from '../../src/serve/exchange.ts';
import { ResponseCache } from '../../src/serve/response-cache.ts';
import type { Tap } from '../../src/serve/upstream-response.ts';
import { parsed } from '../protocol/http/support.ts';
import { CacheStand, type Got, type Origin, ok, Reply } from './cache-stand.ts';
import { Answer } from './stand.ts';

const LIFE = 'Cache-Control: max-age=60\r\n';
const CLIENTS = 100;

const stands: CacheStand[] = [];
after(() => {
  for (const stand of stands) stand.down();
});

/** A stand whose origin holds its answers back. */
async function up(config = {}): Promise<CacheStand & { readonly held: Got[] }> {
  const held: Got[] = [];
  const origin: Origin = (got) => {
    held.push(got);
    return null;
  };
  const stand = await CacheStand.up(origin, config);
  stands.push(stand);
  return Object.assign(stand, { held });
}

/** Clients, each with its answer as it comes. */
class Clients {
  readonly exchanges: Exchange[] = [];
  readonly answers: Answer[] = [];
  readonly #stand: CacheStand;

  constructor(stand: CacheStand) {
    this.#stand = stand;
  }

  ask(count: number, wanted: Parameters<CacheStand['request']>[1] = {}): void {
    for (let i = 0; i < count; i++) {
      const exchange = this.#stand.request('/x', wanted);
      this.exchanges.push(exchange);
      this.answers.push(new Answer(exchange));
    }
  }

  async over(): Promise<Reply[]> {
    await this.#stand.stand.until(() => this.answers.every(({ isOver }) => isOver));
    return this.answers.map(({ bytes }, i) => new Reply(bytes.toString('latin1'), this.exchanges[i]));
  }
}

for (const [name, text] of [
  ['of known length', ok(LIFE, 'body')],
  ['in chunks', `HTTP/1.1 200 OK\r\n${LIFE}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n`],
  ['without a body', `HTTP/1.1 204 OK\r\n${LIFE}\r\n`],
  ['404', ok(LIFE, 'body', '404 No')],
] as const) {
  test(`one request for a hundred clients: ${name}`, async () => {
    const stand = await up();
    const clients = new Clients(stand);
    clients.ask(CLIENTS);
    await stand.stand.until(() => stand.held.length > 0);
    stand.held[0].send(text);
    const replies = await clients.over();
    assert.equal(stand.got.length, 1);
    const [status, body] = [Number(text.split(' ')[1]), name === 'without a body' ? '' : 'body'];
    for (const reply of replies) {
      assert.equal(reply.status, status);
      if (reply.cache === 'collapsed') assert.equal(reply.body, body);
    }
    assert.deepEqual([stand.count('misses'), stand.count('collapsed')], [1, CLIENTS - 1]);
  });
}

test('one validation for a hundred clients', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  const first = stand.ask('/x');
  await stand.stand.until(() => stand.held.length === 1);
  stand.held[0].send(ok(`${LIFE}ETag: "1"\r\n`, 'body'));
  await first;
  await stand.pass(61);
  clients.ask(CLIENTS);
  await stand.stand.until(() => stand.held.length === 2);
  stand.held[1].send('HTTP/1.1 304 Not Modified\r\n\r\n');
  for (const { body } of await clients.over()) assert.equal(body, 'body');
  assert.equal(stand.got.length, 2);
});

for (const [name, text] of [
  ['must not be stored', ok('Cache-Control: no-store\r\n', 'mine')],
  ['says nothing', ok('', 'mine')],
  ['has a cookie', ok(`${LIFE}Set-Cookie: a\r\n`, 'mine')],
  ['is to be validated each time', ok('Cache-Control: no-cache\r\nETag: "1"\r\n', 'mine')],
  ['is too large', ok(LIFE, 'x'.repeat(3000))],
] as const) {
  test(`a response that ${name} is nobody else's: the others ask at once, and from then on nobody waits`, async () => {
    const stand = await up({ objectBytes: 2048 });
    const clients = new Clients(stand);
    clients.ask(10);
    await stand.stand.until(() => stand.held.length === 1);
    // Its head is enough to know.
    stand.held[0].send(text.slice(0, -1));
    await stand.stand.until(() => stand.held.length === 10);
    stand.held[0].send(text.slice(-1));
    for (const got of stand.held.slice(1)) got.send(text);
    await clients.over();
    if (name.startsWith('is to be')) return;
    const later = new Clients(stand);
    later.ask(10);
    await stand.stand.until(() => stand.held.length === 20);
    for (const got of stand.held.slice(10)) got.send(text);
    assert.ok((await later.over()).every(({ cache }) => cache === 'miss'));
  });
}

for (const [name, wanted, text] of [
  ['an answer to one with Authorization', { fields: 'Authorization: x\r\n' }, ok(LIFE, 'mine')],
  ['a failure', {}, ok('', 'no', '503 No')],
] as const) {
  test(`${name} says nothing of what others may share`, async () => {
    const stand = await up();
    const first = stand.ask('/x', wanted);
    await stand.stand.until(() => stand.held.length === 1);
    stand.held[0].send(text);
    await first;
    const clients = new Clients(stand);
    clients.ask(10);
    await stand.stand.until(() => stand.held.length === 2);
    stand.held[1].send(ok(LIFE, 'body'));
    for (const { body } of await clients.over()) assert.equal(body, 'body');
    assert.equal(stand.got.length, 2);
  });
}

test('whoever waits has other selecting fields: it asks for itself', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  for (const language of ['de', 'fr', 'de', 'fr', 'fr'])
    clients.ask(1, { fields: `Accept-Language: ${language}\r\n` });
  const answer = (got: Got) =>
    got.send(ok(`${LIFE}Vary: Accept-Language\r\n`, got.fields.get('accept-language')!));
  await stand.stand.until(() => stand.held.length === 1);
  answer(stand.held[0]);
  await stand.stand.until(() => stand.held.length === 2);
  answer(stand.held[1]);
  const replies = await clients.over();
  assert.deepEqual(
    replies.map(({ body }) => body),
    ['de', 'fr', 'de', 'fr', 'fr'],
  );
  assert.equal(stand.got.length, 2, 'one for each language');
});

test('nobody waits for a request with Authorization, nor does it for another', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(1);
  clients.ask(2, { fields: 'Authorization: x\r\n' });
  clients.ask(1);
  await stand.stand.until(() => stand.held.length === 3);
  for (const got of stand.held) got.send(ok(LIFE, got.fields.get('authorization') ?? 'nobody'));
  assert.deepEqual(
    (await clients.over()).map(({ body }) => body),
    ['nobody', 'x', 'x', 'nobody'],
  );
});

test('the client whose request it is goes: another one asks, and the others wait for that', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(CLIENTS);
  await stand.stand.until(() => stand.held.length === 1);
  clients.exchanges.shift()!.end();
  clients.answers.shift();
  await stand.stand.until(() => stand.held.length === 2);
  stand.held[1].send(ok(LIFE, 'body'));
  for (const { body } of await clients.over()) assert.equal(body, 'body');
  assert.equal(stand.got.length, 2);
});

test('clients that go one after the other do not keep the others waiting', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(10);
  for (let i = 1; i <= 2; i++) {
    await stand.stand.until(() => stand.held.length === i);
    clients.exchanges.shift()!.end();
    clients.answers.shift();
  }
  await stand.stand.until(() => stand.held.length === 2 + 8);
  for (const got of stand.held.slice(2)) got.send(ok(LIFE, 'body'));
  await clients.over();
});

test('one that waits and goes is forgotten', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(3);
  await stand.stand.until(() => stand.held.length === 1);
  clients.exchanges.splice(1, 1)[0].end();
  clients.answers.splice(1, 1);
  stand.held[0].send(ok(LIFE, 'body'));
  assert.equal((await clients.over()).length, 2);
});

test('a body that is late: nobody waits for longer than 100 ms for it, and it is stored all the same', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(10);
  const text = ok(LIFE, 'body');
  await stand.stand.until(() => stand.held.length === 1);
  stand.held[0].send(text.slice(0, -1));
  await stand.stand.until(() => clients.answers[0].bytes.length > 0);
  await stand.pass(0.099);
  assert.equal(stand.held.length, 1);
  await stand.pass(0.001);
  await stand.stand.until(() => stand.held.length === 10);
  stand.held[0].send(text.slice(-1));
  for (const got of stand.held.slice(1)) got.send(text);
  await clients.over();
  assert.equal((await stand.ask('/x')).cache, 'hit');
});

test('a slow client does not hold back those who wait for its response', async () => {
  const body = 'x'.repeat(2 * 1024 * 1024);
  const stand = await up({ objectBytes: 4 * 1024 * 1024, bytes: 16 * 1024 * 1024 });
  const slow = stand.request('/x');
  const clients = new Clients(stand);
  clients.ask(3);
  await stand.stand.until(() => stand.held.length === 1);
  stand.held[0].send(ok(LIFE, body));
  for (const reply of await clients.over()) assert.equal(reply.body.length, body.length);
  assert.equal(stand.got.length, 1);
  slow.end();
});

test('a slow client alone holds the upstream back: no more than its share waits in memory', async () => {
  const stand = await up({ objectBytes: 4 * 1024 * 1024, bytes: 16 * 1024 * 1024 });
  const slow = stand.request('/x');
  await stand.stand.until(() => stand.held.length === 1);
  stand.held[0].send(ok(LIFE, 'x'.repeat(3 * 1024 * 1024)));
  await stand.stand.until(() => slow.pump.queuedBytes > 256 * 1024);
  await stand.stand.lasting(30);
  assert.ok(slow.pump.queuedBytes < 512 * 1024);
  const answer = new Answer(slow);
  await stand.stand.until(() => answer.isOver);
  assert.equal((await stand.ask('/x')).cache, 'hit');
});

test('an upstream that fails before its head: all are told, and another node may be asked', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(10);
  await stand.stand.until(() => stand.held.length === 1);
  stand.held[0].socket.destroy();
  for (const { status } of await clients.over()) assert.equal(status, 502);
  assert.ok(clients.exchanges.every(({ elsewhere }) => elsewhere));
  assert.equal(stand.got.length, 1);
});

test('an upstream that fails in the body: whoever waits asks for itself', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(10);
  await stand.stand.until(() => stand.held.length === 1);
  stand.held[0].send(ok(LIFE, 'body').slice(0, -1));
  await stand.stand.until(() => clients.answers[0].bytes.length > 0);
  stand.held[0].socket.destroy();
  await stand.stand.until(() => stand.held.length === 10);
  for (const got of stand.held.slice(1)) got.send(ok(LIFE, 'body'));
  await stand.stand.until(() => clients.answers.slice(1).every(({ isWhole }) => isWhole));
  assert.ok(clients.exchanges[0].failed);
});

test('a silent upstream: all are told in the time of the first', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(10);
  await stand.stand.until(() => stand.held.length === 1);
  await stand.pass(5);
  for (const { status } of await clients.over()) assert.equal(status, 504);
});

test("while a response is being read nobody else is called: what it is read into is all responses'", async () => {
  const stand = await up();
  const taps: Tap[] = [];
  const put: Array<() => void> = [];
  const cache = new ResponseCache(
    { bytes: 1024 * 1024, objectBytes: 1024, status: false },
    {
      clock: { nowMs: 0, wallMs: 0 },
      count: stand.counters,
      later: { defer: (action) => put.push(action) },
      upstream: {
        request: ({ tap }, exchange) => {
          taps.push(tap!);
          return exchange!;
        },
      },
    },
  );
  const head = parsed('GET /x HTTP/1.1\r\nHost: a\r\n\r\n');
  const ask = () => {
    const answer = { close: false, extraFields: '', nowMs: 0 };
    const asked = { head, isSecure: false, body: Buffer.alloc(0), bodyFollows: false, answer };
    return cache.request({ ...asked, forward: () => Buffer.alloc(0) });
  };
  ask();
  const [waits, goes] = [ask(), ask()];
  let called = 0;
  waits.onProgress = () => called++;
  const bytes = Buffer.from('HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 1\r\n\r\n');
  const response = parseResponseHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS, 'GET') as ResponseHead;
  assert.equal(taps[0].head(response), true);
  assert.deepEqual([taps.length, called], [1, 0]);
  goes.end();
  for (const action of put.splice(0)) action();
  assert.deepEqual([taps.length, called], [2, 0], 'the one that has not gone asks for itself');
});

test('no more than a thousand wait', async () => {
  const stand = await up();
  const clients = new Clients(stand);
  clients.ask(1002);
  await stand.stand.until(() => stand.held.length === 2);
  for (const got of stand.held) got.send(ok(LIFE, 'body'));
  await clients.over();
  assert.equal(stand.got.length, 2);
});
