/** Sockets of a dead process are ended by their mark, and no others. */
import assert from 'node:assert';
import { before, test } from 'node:test';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import { destroyMarked, SocketStates } from '../../../src/kernel/linux/sock-diag.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { connected } from './live.ts';
import { privateNetwork, run, skipWithoutRoot } from './network.ts';

const SO_MARK = 36;
const MARK = 0x6261746f;
const skip = skipWithoutRoot();

before(() => {
  if (skip === false) privateNetwork();
});

for (const address of ['127.0.0.1', '::1']) {
  test(`${address}: marked sockets end, with a process or without; others go on`, { skip }, async () => {
    const [kept, held, left] = [connected(address), connected(address), connected(address)];
    for (const { server } of [held, left]) sockets.setOption(server, sockets.SOL_SOCKET, SO_MARK, MARK);
    sockets.setOption(kept.server, sockets.SOL_SOCKET, SO_MARK, MARK + 1);
    // More than its client's receive buffer takes: closed, it stays in FIN-WAIT-1.
    while (left.toClient.write(left.server, 1 << 20) > 0);
    const states = new SocketStates();
    const ends = [sockets.localEndpoint(left.server), sockets.remoteEndpoint(left.server)] as const;
    assert.equal(states.of(...ends), TcpState.ESTABLISHED);
    libc.close(left.server);
    assert.equal(states.of(...ends), TcpState.FIN_WAIT1, 'what was not delivered outlives the process');
    assert.match(run('ss', '-Htan', 'state', 'fin-wait-1'), /[1-9]/);
    assert.equal(destroyMarked(MARK), 2);
    assert.equal(run('ss', '-Htan', 'state', 'fin-wait-1'), '');
    assert.equal(destroyMarked(MARK), 0);
    assert.equal(states.of(...ends), TcpState.CLOSE);
    const [{ address: own }, client] = ends;
    const listener = sockets.listenOn({ address: own, port: 4242 }, 1);
    assert.equal(states.of({ address: own, port: 4242 }, client), TcpState.CLOSE, 'a listener is none');
    libc.close(listener);
    assert.notEqual(sockets.pendingError(held.server), 0, 'ended under its owner');
    kept.toClient.write(kept.server, 100_000);
    await kept.toClient.drain(kept.client);
    states.close();
    for (const fd of [kept.client, kept.server, held.client, held.server, left.client]) libc.close(fd);
  });
}
