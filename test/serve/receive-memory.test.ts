/** What upstreams send is used where it was received: none of it may be another response's by the time it is taken. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { after, test } from 'node:test';
import type { Exchange } from '../../src/serve/exchange.ts';
import { ramp } from '../../src/tools/lab/ramp.ts';
import { Answer, UpstreamStand } from './stand.ts';

const KIB = 1024;
/** More than an exchange holds before the upstream is read no further. */
const LARGE_BYTES = 2048 * KIB;

const stands: UpstreamStand[] = [];
after(() => {
  for (const stand of stands) stand.down();
});

/** An upstream whose connections answer with bodies of their own, each with the next of these sizes. */
async function answering(...sizes: readonly number[]): Promise<UpstreamStand> {
  const stand = await UpstreamStand.up((socket: Socket, index) =>
    socket.on('data', () => {
      const body = ramp(`/${index}`, sizes[index]);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      socket.write(body);
    }),
  );
  stands.push(stand);
  return stand;
}

const bodyOf = (answer: Buffer): Buffer => answer.subarray(answer.indexOf('\r\n\r\n') + 4);

/** Takes up to `most` bytes at a time, and nothing until it is asked to. */
class SlowClient {
  readonly #exchange: Exchange;
  readonly #pieces: Buffer[] = [];
  isOver = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  take(most: number): void {
    let left = most;
    const state = this.#exchange.pump.run({
      send: (bytes, from) => {
        const some = Math.min(left, bytes.length - from);
        left -= some;
        this.#pieces.push(Buffer.from(bytes.subarray(from, from + some)));
        return some > 0 ? some : -1;
      },
      sendFile: () => -2,
      flush: () => 0,
    });
    this.isOver = state === 'done';
    if (!this.isOver) this.#exchange.feed?.resume();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}

test('what a client takes later, and in part, is what came', async () => {
  const sizes = [10, 1000, 3 * KIB, 70 * KIB, 600 * KIB, 64 * KIB - 7];
  const stand = await answering(...sizes);
  const clients = sizes.map(() => {
    const exchange = stand.request('GET');
    const client = new SlowClient(exchange);
    exchange.onProgress = () => client.take(700);
    return client;
  });
  await stand.until(() => {
    for (const client of clients) if (!client.isOver) client.take(9000);
    return clients.every(({ isOver }) => isOver);
  });
  // Connections are made in the order of the requests, and accepted in it.
  for (const [i, client] of clients.entries())
    assert.ok(bodyOf(client.bytes).equals(ramp(`/${i}`, sizes[i])), `response ${i}`);
});

test('while bytes of a response are given away nothing else is received in their place', async () => {
  const stand = await answering(LARGE_BYTES, 20 * KIB);
  const large = stand.request('GET');
  await stand.until(() => large.pump.queuedBytes > 256 * KIB);
  const slow = new SlowClient(large);
  const exchange = stand.request('GET');
  const other = new SlowClient(exchange);
  let turns = 0;
  exchange.onProgress = () => {
    // Taking so much of the large one lets its connection be read.
    if (turns++ === 0) slow.take(LARGE_BYTES);
    other.take(LARGE_BYTES);
  };
  await stand.until(() => other.isOver);
  large.onProgress = () => slow.take(LARGE_BYTES);
  await stand.until(() => {
    if (!slow.isOver) slow.take(LARGE_BYTES);
    return slow.isOver;
  });
  assert.ok(bodyOf(other.bytes).equals(ramp('/1', 20 * KIB)));
  assert.ok(bodyOf(slow.bytes).equals(ramp('/0', LARGE_BYTES)));
});

test('a head that comes in pieces goes in front of what was received with its end', async () => {
  const head = `HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x\r\nDate: D\r\n\r\n`;
  for (let cut = 1; cut < head.length; cut += 7) {
    const stand = await UpstreamStand.up((socket) =>
      socket.on('data', () => {
        socket.write(head.slice(0, cut));
        setTimeout(() => socket.write(`${head.slice(cut)}hello`), 2);
      }),
    );
    stands.push(stand);
    const answer = new Answer(stand.request('GET', { fields: 'X: y\r\n' }));
    await stand.until(() => answer.isOver);
    assert.equal(answer.bytes.toString(), `HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 5\r\n\r\nhello`);
  }
});
