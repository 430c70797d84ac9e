/** How a connection ends: what waits is said first, then the socket is shut, and closed when the client has ended too. */
import assert from 'node:assert';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { parseAddress } from '../../src/base/address.ts';
import { SocketChannel } from '../../src/client/channel.ts';
import { Ending } from '../../src/client/ending.ts';
import { OwnOutput } from '../../src/client/own-output.ts';
import * as libc from '../../src/kernel/linux/libc.ts';
import { connectTo, tcpSocket } from '../../src/kernel/linux/socket.ts';
import { CLIENT_SOCKETS } from '../../src/node/engine/client-sockets.ts';
import { BLOCKED } from '../../src/serve/byte-sink.ts';

const LINGER_MS = 30_000;

/** A connection of the kernel's whose other end says when it hears FIN; its deadlines are noted, and the clock stands. */
async function stand(answers: number[]) {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const fd = tcpSocket(parseAddress('127.0.0.1'));
  connectTo(fd, { address: parseAddress('127.0.0.1'), port });
  const [other] = await accepted;
  other.resume();
  const log: string[] = [];
  const clock = { nowMs: 1000 };
  const note = (what: string) => {
    log.push(what);
  };
  const time = { start: note, clear: (what: string) => note(`no ${what}`) };
  const connection = { close: () => note('close') };
  const output = new OwnOutput(() => ({
    send: (bytes) => answers.shift() ?? bytes.length,
    sendFile: () => assert.fail('it sends no file'),
    flush: () => 0,
  }));
  output.say(Buffer.from('refused'));
  const ending = new Ending(connection, new SocketChannel(fd, CLIENT_SOCKETS), output, time, clock);
  ending.said();
  const said = () => {
    output.flush();
    ending.said();
  };
  return {
    ending,
    said,
    clock,
    log,
    fin: once(other, 'end'),
    hasEnded: () => other.readableEnded,
    async down() {
      libc.close(fd);
      other.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

test('with nothing that waits it is shut at once', async () => {
  const { log, fin, ending, clock, down } = await stand([]);
  await fin;
  assert.deepEqual(log.splice(0), ['no stall', 'drain']);
  clock.nowMs += LINGER_MS - 1;
  ending.drained();
  clock.nowMs++;
  ending.drained();
  assert.deepEqual(log.splice(0), ['drain'], 'not for ever');
  ending.clientEnded();
  assert.deepEqual(log, ['close']);
  await down();
});

test('what waits is said first; the client is given time for as long as it takes some', async () => {
  const { log, said, fin, hasEnded, ending, down } = await stand([BLOCKED, BLOCKED, 2, BLOCKED]);
  said();
  said();
  ending.drained();
  assert.deepEqual(log.splice(0), ['stall', 'stall', 'stall']);
  assert.equal(hasEnded(), false);
  said();
  await fin;
  assert.deepEqual(log.splice(0), ['no stall', 'drain']);
  said();
  assert.deepEqual(log, [], 'once');
  await down();
});

test('a client that has closed its half still gets what waits', async () => {
  const { log, said, ending, down } = await stand([BLOCKED]);
  ending.clientEnded();
  assert.deepEqual(log.splice(0), ['stall']);
  said();
  assert.deepEqual(log, ['no stall', 'close']);
  await down();
});
