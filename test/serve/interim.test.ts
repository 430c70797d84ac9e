/** Interim responses of an upstream (RFC 9110 15.2), on their way to the client ahead of the answer. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, test } from 'node:test';
import { Answer, UpstreamStand } from './stand.ts';

const HINTS =
  'HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nLink: </a.css>; rel=preload\r\n\r\n';
const FORWARDED = 'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 2\r\n\r\nok';

const stands: UpstreamStand[] = [];
after(() => {
  for (const stand of stands) stand.down();
});

/** An upstream that says `pieces`, one after the other, each when the one before has been looked at. */
async function saying(...pieces: (string | ((socket: Socket) => void))[]): Promise<UpstreamStand> {
  const stand = await UpstreamStand.up((socket) =>
    socket.on('data', async () => {
      for (const piece of pieces) {
        if (typeof piece === 'string') socket.write(piece);
        else piece(socket);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }),
  );
  stands.push(stand);
  return stand;
}

for (const [name, pieces] of [
  ['with it', [HINTS + OK]],
  ['alone', [HINTS, OK]],
  ['in pieces', [HINTS.slice(0, 20), HINTS.slice(20) + OK.slice(0, 9), OK.slice(9)]],
] as const) {
  test(`103 goes on before the response: ${name}`, async () => {
    const stand = await saying(...pieces);
    const exchange = stand.request('GET');
    const answer = new Answer(exchange);
    await stand.until(() => answer.isOver);
    assert.equal(answer.bytes.toString(), FORWARDED + OK);
    // What is announced, counted and logged is the whole, and the status the last one.
    assert.deepEqual(
      [exchange.status, exchange.lengthBytes, exchange.bodyBytes, exchange.identity()],
      [200, FORWARDED.length + OK.length, 2, null],
    );
    await stand.ask('GET');
    assert.equal(stand.sockets.length, 1, 'the connection is kept');
  });
}

test('103 does not wait for the response', async () => {
  const stand = await saying(HINTS);
  const answer = new Answer(stand.request('GET'));
  await stand.until(() => answer.bytes.toString() === FORWARDED);
  assert.ok(!answer.isOver);
});

test('several, and those that nobody knows', async () => {
  const others = 'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 \r\n\r\nHTTP/1.1 199 X\r\n\r\n';
  const stand = await saying(HINTS + others + HINTS, OK);
  assert.equal((await stand.ask('HEAD')).toString(), FORWARDED + others + FORWARDED + OK.slice(0, -2));
});

test('lengths and codings of an interim response are nobody’s', async () => {
  const stand = await saying(HINTS.replace('Link', 'Content-Length: 9\r\nLink') + OK);
  assert.equal((await stand.ask('GET')).toString(), FORWARDED + OK);
});

test('HTTP/1.0 knows none', async () => {
  const stand = await saying(HINTS, OK);
  const text = (await stand.ask('GET', { http10: true, fields: 'Connection: keep-alive\r\n' })).toString();
  assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
  assert.doesNotMatch(text, /103/);
});

for (const minor of [0, 1]) {
  test(`what fails behind an interim response is answered behind it (HTTP/1.${minor})`, async () => {
    const stand = await saying(HINTS, (socket) => socket.destroy());
    const exchange = stand.request('GET', { http10: minor === 0 });
    const answer = new Answer(exchange);
    await stand.until(() => answer.isOver);
    const text = answer.bytes.toString();
    const [before, after] = text.split(/(?=HTTP\/1\.1 502 )/);
    assert.equal(after === undefined ? '' : before, minor === 1 ? FORWARDED : '', text);
    assert.match(text, /HTTP\/1\.1 502 [\s\S]*\r\n\r\n502 Bad Gateway\n$/);
    assert.deepEqual([exchange.status, exchange.lengthBytes], [502, text.length]);
    assert.equal(exchange.elsewhere, false);
    assert.equal(exchange.identity() === null, minor === 1, 'another node begins with something else');
    assert.equal(stand.sockets.length, 1, 'it is not asked again');
  });
}

test('a connection is not asked to change its protocol', async () => {
  const stand = await saying('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n');
  assert.match((await stand.ask('GET')).toString(), /^HTTP\/1\.1 502 /);
});

test('an upstream that says that it works is waited for', async () => {
  const stand = await saying('HTTP/1.1 102 Processing\r\n\r\n');
  const answer = new Answer(stand.request('GET'));
  for (let i = 0; i < 5; i++) {
    const before = answer.bytes.length;
    await stand.until(() => answer.bytes.length > before);
    await stand.pass(4999);
    assert.ok(!answer.isOver);
    stand.sockets[0].write('HTTP/1.1 102 Processing\r\n\r\n');
  }
});

test('a client that takes nothing of them holds the upstream back', async () => {
  const flood = HINTS.repeat(20_000);
  const stand = await saying(flood + OK);
  const exchange = stand.request('GET');
  let most = 0;
  exchange.onProgress = () => {
    most = Math.max(most, exchange.pump.queuedBytes);
  };
  await stand.until(() => most > 256 * 1024);
  await stand.lasting(30);
  assert.ok(most < 512 * 1024, `${most} bytes wait in memory`);
  const answer = new Answer(exchange);
  await stand.until(() => answer.isOver);
  assert.equal(answer.bytes.length, 20_000 * FORWARDED.length + OK.length);
});
