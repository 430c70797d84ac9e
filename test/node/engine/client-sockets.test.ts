/** What connections do to their clients' sockets, by the real kernel, over loopback. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import {
  acceptFrom,
  listenOn,
  localEndpoint,
  receiveQueueBytes,
  unsentBytes,
} from '../../../src/kernel/linux/socket.ts';
import { CLIENT_SOCKETS } from '../../../src/node/engine/client-sockets.ts';

const TEXT = 'the last of it';

/** A client, and the socket of its connection here. */
async function connected() {
  const listener = listenOn({ address: parseAddress('127.0.0.1'), port: 0 }, 1);
  const client = connect(localEndpoint(listener).port, '127.0.0.1');
  await once(client, 'connect');
  const fd = acceptFrom(listener);
  libc.close(listener);
  return { client, fd };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

test('what FIN follows goes with it; everything else goes at once', async () => {
  for (const [behind, last, unsent] of [
    ['end', true, TEXT.length],
    ['end', false, 0],
    ['own', true, 0],
    ['anyone', true, 0],
  ] as const) {
    const { client, fd } = await connected();
    assert.equal(CLIENT_SOCKETS.out(fd, behind).send(Buffer.from(TEXT), 0, false, last), TEXT.length);
    assert.equal(unsentBytes(fd), unsent, `${behind} ${last}`);
    CLIENT_SOCKETS.finish(fd);
    let heard = '';
    for await (const bytes of client) heard += bytes;
    assert.equal(heard, TEXT);
  }
});

test('and arrives although the client has sent what nobody reads', async () => {
  const { client, fd } = await connected();
  let heard = '';
  client.on('data', (bytes: Buffer) => {
    heard += bytes;
  });
  // FIN, and RST behind it for what was not read.
  client.on('error', () => {});
  client.write('more');
  await until(() => receiveQueueBytes(fd) > 0);
  CLIENT_SOCKETS.out(fd, 'end').send(Buffer.from(TEXT), 0, false, true);
  const closed = once(client, 'close');
  CLIENT_SOCKETS.finish(fd);
  await closed;
  assert.equal(heard, TEXT);
});
