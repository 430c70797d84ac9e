/** A received FIN that cannot be given to the restored socket, because loopback loses it. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { check } from '../../../src/kernel/linux/errors.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { closeRawSockets } from '../../../src/kernel/linux/raw.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { capture, restore, silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import { connected, ignoreResets, until } from './live.ts';
import { privateNetwork, run, skipWithoutRoot } from './network.ts';

const skip = skipWithoutRoot();

before(() => {
  if (skip === false) privateNetwork();
});
after(() => closeRawSockets());

for (const address of ['127.0.0.1', '::1'])
  test(`${address}: the connection does not move, and does later`, {
    skip,
  }, async () => {
    const live = connected(address);
    ignoreResets(live.client);
    check('shutdown', libc.shutdown(live.client, sockets.SHUT_WR));
    await until(() => capture(live.server).finReceived);
    const state = capture(live.server, { freeze: true });
    silentClose(live.server);
    // Loopback loses everything that is larger than this bucket.
    run('tc', 'qdisc', 'add', 'dev', 'lo', 'root', 'tbf', 'rate', '8kbit', 'burst', '20', 'latency', '1ms');
    assert.throws(() => restore(state), { name: 'SystemError', code: 'EAGAIN' });
    run('tc', 'qdisc', 'del', 'dev', 'lo', 'root');
    live.server = restore(state);
    assert.equal(live.toServer.read(live.server), -1, 'the end');
    libc.close(live.server);
    await until(() => live.toClient.read(live.client) === -1);
    libc.close(live.client);
  });
