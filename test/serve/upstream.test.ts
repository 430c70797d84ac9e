/** An upstream over loopback: connections that are closed already, silence, early answers, floods. No root needed. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, test } from 'node:test';
import { UpstreamConnection } from '../../src/serve/upstream-connection.ts';
import { MAX_UNREAD_BODY_BYTES } from '../../src/serve/upstream-request.ts';
import { ramp } from '../../src/tools/lab/ramp.ts';
import { Answer, UpstreamStand } from './stand.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const isOk = (bytes: Buffer) => bytes.toString().startsWith('HTTP/1.1 200 ');

/** Calls `respond` for every request without a body, or with a small one. */
function requests(socket: Socket, respond: () => void): void {
  socket.on('data', (bytes) => {
    if (/^[A-Z]+ /.test(bytes.toString('latin1'))) respond();
  });
}

const stands: UpstreamStand[] = [];
after(() => {
  for (const stand of stands) stand.down();
});
async function up(...given: Parameters<typeof UpstreamStand.up>): Promise<UpstreamStand> {
  const stand = await UpstreamStand.up(...given);
  stands.push(stand);
  return stand;
}

for (const [name, close] of [
  ['FIN', (socket: Socket) => socket.end(OK)],
  ['RST', (socket: Socket) => socket.write(OK, () => socket.resetAndDestroy())],
] as const) {
  test(`${name} right behind a response that does not say close`, async () => {
    const stand = await up((socket) => requests(socket, () => close(socket)));
    for (let i = 0; i < 50; i++) {
      const body = i % 4 === 0 ? ramp('/', 99) : Buffer.alloc(0);
      const answer = await stand.ask(i % 2 === 0 ? 'POST' : 'GET', { body });
      assert.ok(isOk(answer), answer.toString());
    }
    assert.equal(stand.counts.get('upstream_failures'), undefined);
  });
}

for (const [name, response] of [
  ['of known length', OK],
  ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'],
  ['without a body', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n'],
] as const) {
  test(`a response that came whole goes on in one piece: ${name}`, async () => {
    const stand = await up((socket) => requests(socket, () => socket.write(response)));
    const answer = new Answer(stand.request('GET'));
    await stand.until(() => answer.isOver);
    assert.equal(answer.pieces, 1);
  });
}

test('a head goes on when it has come, without waiting for the body', async () => {
  const stand = await up((socket) => requests(socket, () => socket.write(OK.slice(0, -2))));
  const answer = new Answer(stand.request('GET'));
  await stand.until(() => answer.pieces === 1);
  assert.match(answer.bytes.toString(), /^HTTP\/1.1 200 OK\r\n.*\r\n\r\n$/s);
  stand.sockets[0].write('ok');
  await stand.until(() => answer.isOver);
  assert.ok(answer.bytes.toString().endsWith('\r\n\r\nok'));
});

test('a connection is used again while it is open', async () => {
  const stand = await up((socket) => requests(socket, () => socket.write(OK)));
  for (const method of ['GET', 'GET', 'POST', 'GET', 'POST']) assert.ok(isOk(await stand.ask(method)));
  assert.equal(stand.sockets.length, 1);
});

test('a POST goes on a connection that was kept once, or for a while', async () => {
  const stand = await up((socket) => requests(socket, () => socket.write(OK)));
  await stand.ask('POST');
  await stand.ask('POST');
  assert.equal(stand.sockets.length, 2, 'a FIN right behind the first response may be under way');
  await stand.pass(99);
  await stand.ask('POST');
  assert.equal(stand.sockets.length, 3);
  await stand.pass(100);
  for (let i = 0; i < 3; i++) await stand.ask('POST');
  assert.equal(stand.sockets.length, 3);
});

test('what came behind a response is not taken for the next one', async () => {
  const stand = await up((socket) => requests(socket, () => socket.write(OK)));
  await stand.ask('GET');
  stand.sockets[0].write('HTTP/1.1 404 Poison\r\nContent-Length: 0\r\n\r\n');
  assert.ok(isOk(await stand.ask('GET')));
  assert.equal(stand.sockets.length, 2);
});

/** As if the upstream's FIN, or its RST, were still under way when the connection is looked at. */
async function unseen<T>(action: () => T): Promise<T> {
  const { prototype } = UpstreamConnection;
  const own = (['isAlive', 'isProven'] as const).map(
    (name) => [name, Object.getOwnPropertyDescriptor(prototype, name)!] as const,
  );
  for (const [name] of own) Object.defineProperty(prototype, name, { configurable: true, get: () => true });
  try {
    return action();
  } finally {
    for (const [name, property] of own) Object.defineProperty(prototype, name, property);
  }
}

for (const method of ['GET', 'POST']) {
  for (const close of ['destroy', 'resetAndDestroy'] as const) {
    test(`a ${method} that no byte of reached the upstream is sent again (${close})`, async () => {
      const got: Buffer[] = [];
      const stand = await up((socket, index) =>
        socket.on('data', (bytes) => {
          got.push(bytes);
          if (index === 1 && !Buffer.concat(got).subarray(-1000).equals(ramp('/', 1000))) return;
          socket.write(OK);
          if (index === 0) setTimeout(() => socket[close](), 0);
        }),
      );
      await stand.ask('GET');
      await new Promise((resolve) => stand.sockets[0].once('close', resolve));
      const body = ramp('/', 1000);
      const exchange = await unseen(() => stand.request(method, { body }));
      // A frame's bytes, as a target has them, are gone after its handler.
      body.fill(0);
      const answer = new Answer(exchange);
      await stand.until(() => answer.isOver);
      assert.ok(isOk(answer.bytes), answer.bytes.toString());
      assert.equal(stand.counts.get('upstream_repeats'), 1);
    });
  }
}

for (const close of ['destroy', 'resetAndDestroy'] as const) {
  test(`what the upstream may have read is sent again only when it may be sent twice, and once (${close})`, async () => {
    // Two requests of every connection are answered, the third is read, and the connection then closed.
    const stand = await up((socket) => {
      let count = 0;
      requests(socket, () => {
        if (++count < 3) socket.write(OK);
        else socket[close]();
      });
    });
    for (let i = 0; i < 4; i++) assert.ok(isOk(await stand.ask('GET')));
    assert.equal(stand.counts.get('upstream_repeats'), 1);
    const exchange = stand.request('POST');
    const answer = new Answer(exchange);
    await stand.until(() => answer.isOver);
    assert.match(answer.bytes.toString(), /^HTTP\/1\.1 502 /);
    assert.equal(exchange.elsewhere, false);
    assert.equal(stand.counts.get('upstream_repeats'), 1);
    assert.equal(stand.counts.get('upstream_failures'), 1);
  });
}

test('an upstream that always resets is asked twice, and another node may be asked for a GET', async () => {
  const stand = await up((socket) => requests(socket, () => socket.resetAndDestroy()));
  for (const [method, elsewhere] of [
    ['GET', true],
    ['POST', false],
  ] as const) {
    const exchange = stand.request(method);
    const answer = new Answer(exchange);
    await stand.until(() => answer.isOver);
    assert.match(answer.bytes.toString(), /^HTTP\/1\.1 502 /);
    assert.equal(exchange.elsewhere, elsewhere, method);
  }
  assert.equal(stand.sockets.length, 2);
});

test('a refused connect: another node may be asked for anything; said once, and that it answers again', async () => {
  const stand = await up(null);
  for (const method of ['GET', 'POST', 'GET']) {
    const exchange = stand.request(method);
    const answer = new Answer(exchange);
    await stand.until(() => answer.isOver);
    assert.match(answer.bytes.toString(), /^HTTP\/1\.1 502 /);
    assert.equal(exchange.elsewhere, true);
  }
  assert.deepEqual(stand.words, ['upstream fails']);
  assert.equal(stand.upstream.status().failure, 'connect: ECONNREFUSED');
  assert.equal(stand.upstream.status().failures, 3);
  stand.upstream.answered();
  assert.deepEqual(stand.words, ['upstream fails', 'upstream answers again']);
  assert.equal(stand.upstream.isFailing, false);
});

test('a body that follows goes on a new connection: it is here once', async () => {
  const stand = await up((socket) => {
    let bytes = 0;
    socket.on('data', (piece) => {
      bytes += piece.length;
      if (bytes < 200_000 && !piece.toString('latin1').startsWith('GET')) return;
      bytes = 0;
      socket.write(OK);
    });
  });
  await stand.ask('GET');
  const exchange = stand.request('PUT', { follows: true, fields: 'Content-Length: 200000\r\n' });
  const answer = new Answer(exchange);
  for (let at = 0; at < 200_000; at += 50_000) exchange.feed!.body(Buffer.alloc(50_000), at === 150_000);
  await stand.until(() => answer.isOver);
  assert.ok(isOk(answer.bytes));
  assert.equal(stand.sockets.length, 2);
});

test('an upstream that does not begin to answer: 504, and no other node is bothered', async () => {
  let asked = false;
  const stand = await up((socket) => socket.once('data', () => (asked = true)), { answerMs: 100 });
  const exchange = stand.request('GET');
  const answer = new Answer(exchange);
  await stand.until(() => asked);
  await stand.pass(99);
  assert.ok(!answer.isOver);
  await stand.pass(1);
  assert.match(answer.bytes.toString(), /^HTTP\/1\.1 504 /);
  assert.equal(exchange.elsewhere, false);
});

test('an event stream may pause for longer than an answer may take to begin, and not for ever', async () => {
  const stand = await up(
    (socket) =>
      requests(socket, () => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na\n\r\n');
      }),
    { answerMs: 100, pauseMs: 500 },
  );
  const exchange = stand.request('GET');
  const answer = new Answer(exchange);
  await stand.until(() => answer.bytes.toString().endsWith('2\r\na\n\r\n'));
  await stand.pass(499);
  stand.sockets[0].write('2\r\nb\n\r\n');
  await stand.until(() => answer.bytes.toString().endsWith('2\r\nb\n\r\n'));
  await stand.pass(499);
  assert.ok(!answer.isOver);
  await stand.pass(1);
  assert.ok(exchange.failed && !answer.isWhole);
});

test('while the client owes the body, the upstream is not waited for', async () => {
  let got = '';
  const stand = await up(
    (socket) => {
      socket.on('data', (piece) => {
        got += piece.toString('latin1');
        if (got.endsWith('end')) socket.write(OK);
      });
    },
    { answerMs: 100 },
  );
  const exchange = stand.request('PUT', { follows: true, fields: 'Content-Length: 8\r\n' });
  const answer = new Answer(exchange);
  exchange.feed!.body(Buffer.from('begin'), false);
  await stand.until(() => got.endsWith('begin'));
  await stand.pass(250);
  exchange.feed!.body(Buffer.from('end'), true);
  await stand.until(() => answer.isOver);
  assert.ok(isOk(answer.bytes), answer.bytes.toString());
});

for (const [name, length, close] of [
  ['little is to come: the connection stays', MAX_UNREAD_BODY_BYTES, false],
  ['much is to come: the response says that the connection ends', MAX_UNREAD_BODY_BYTES + 1, true],
  ['nobody knows how much: likewise', -1, true],
] as const) {
  test(`an answer before the body is through; ${name}`, async () => {
    const stand = await up((socket) =>
      socket.once('data', () => socket.write('HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno')),
    );
    const fields = length < 0 ? 'Transfer-Encoding: chunked\r\n' : `Content-Length: ${length}\r\n`;
    const exchange = stand.request('POST', { follows: true, fields });
    const answer = new Answer(exchange);
    await stand.until(() => answer.isOver);
    const text = answer.bytes.toString();
    assert.match(text, /^HTTP\/1\.1 401 No\r\n/);
    assert.equal(/\r\nConnection: close\r\n/.test(text), close);
    assert.equal(exchange.close, close);
    assert.equal(exchange.feed, null);
  });
}

test('an upstream that answers, and takes no more: the answer is read, the rest of the body dropped', async () => {
  const stand = await up((socket) =>
    socket.once('data', () => {
      socket.pause();
      socket.write('HTTP/1.1 413 Much\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmuch', () =>
        socket.resetAndDestroy(),
      );
    }),
  );
  const total = 8 * 1024 * 1024;
  const exchange = stand.request('POST', { follows: true, fields: `Content-Length: ${total}\r\n` });
  const answer = new Answer(exchange);
  const piece = Buffer.alloc(64 * 1024);
  for (let at = 0; at < total && !answer.isOver; at += piece.length) {
    await stand.until(() => exchange.feed?.wantsBody ?? true);
    exchange.feed?.body(piece, at + piece.length === total);
  }
  await stand.until(() => answer.isOver);
  assert.match(answer.bytes.toString(), /^HTTP\/1\.1 413 Much\r\n[\s\S]*much$/);
});

test('a large response that ends with the connection, to a client that takes it in steps', async () => {
  const size = 4 * 1024 * 1024;
  const body = ramp('/large', size);
  const stand = await up((socket) =>
    requests(socket, () => {
      socket.write('HTTP/1.0 200 OK\r\n\r\n');
      socket.end(body);
    }),
  );
  const exchange = stand.request('GET');
  let most = 0;
  exchange.onProgress = () => {
    most = Math.max(most, exchange.pump.queuedBytes);
  };
  await stand.until(() => most > 256 * 1024);
  await stand.lasting(50);
  assert.ok(most < 512 * 1024, `${most} bytes wait in memory`);
  const answer = new Answer(exchange);
  await stand.until(() => answer.isOver);
  const chunks = answer.bytes.toString('latin1').split('\r\n\r\n').slice(1).join('\r\n\r\n');
  const bytes: Buffer[] = [];
  for (let at = 0; ; ) {
    const line = chunks.indexOf('\r\n', at);
    const length = Number.parseInt(chunks.slice(at, line), 16);
    if (length === 0) break;
    bytes.push(Buffer.from(chunks.slice(line + 2, line + 2 + length), 'latin1'));
    at = line + 2 + length + 2;
  }
  assert.ok(Buffer.concat(bytes).equals(body));
});
