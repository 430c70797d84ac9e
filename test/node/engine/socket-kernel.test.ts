/** The first capture of a flow's socket: whether what comes in that moment is kept. */
import assert from 'node:assert';
import { before, test } from 'node:test';
import { tupleKey } from '../../../src/handoff/flow/four-tuple.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { socketKernel } from '../../../src/node/engine/socket-kernel.ts';
import { connected } from '../../kernel/tcp/live.ts';
import { privateNetwork, skipWithoutRoot } from '../../kernel/tcp/network.ts';

const skip = skipWithoutRoot();

before(() => {
  if (skip === false) privateNetwork();
});

function stand() {
  const log: string[] = [];
  const kernel = socketKernel({
    park: (ends) => {
      log.push(`park ${tupleKey(ends)}`);
      return true;
    },
    giveBack: (ends) => log.push(`give back ${tupleKey(ends)}`),
  });
  return { kernel, log };
}

test('a socket that holds nothing back hears all the time', { skip }, () => {
  const { kernel, log } = stand();
  const live = connected('127.0.0.1');
  kernel.capture(live.server);
  assert.deepEqual(log, []);
  for (const fd of [live.server, live.client]) sockets.abortClose(fd);
});

test('one that holds bytes back is deaf for a moment, and what comes then is kept until it hears', {
  skip,
}, () => {
  const { kernel, log } = stand();
  const live = connected('127.0.0.1');
  while (live.toClient.write(live.server, 65_536) === 65_536);
  assert.ok(sockets.unsentBytes(live.server) > 0);
  const captured = kernel.capture(live.server);
  const key = tupleKey({
    client: sockets.remoteEndpoint(live.server),
    public: sockets.localEndpoint(live.server),
  });
  assert.deepEqual(log.splice(0), [`park ${key}`, `give back ${key}`]);
  kernel.capture(live.server, captured);
  assert.deepEqual(log, [], 'later captures do without');
  for (const fd of [live.server, live.client]) sockets.abortClose(fd);
  assert.throws(() => kernel.capture(live.server), { name: 'SystemError' });
  assert.deepEqual(log, []);
});
