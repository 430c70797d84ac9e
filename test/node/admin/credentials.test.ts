/** Whoever has the socket that every node wants. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { listenerOf, takenBy } from '../../../src/node/admin/credentials.ts';
import { abstractName } from '../../../src/node/admin/doors.ts';

const OWN = 998;
const STRANGER = 1000;

test('the process that listens is known by its number and its user', async () => {
  const path = abstractName(`baton-test-${process.pid}-holder`);
  const server = createServer().listen({ path });
  await once(server, 'listening');
  assert.deepEqual(await listenerOf(path), { process: process.pid, user: process.geteuid!() });
  server.close();
  await once(server, 'close');
  assert.equal(await listenerOf(path), null);
});

test("a node's is named as one, another user's as a process to end", () => {
  const holder = (user: number) => takenBy({ process: process.pid, user }, OWN);
  for (const user of [0, OWN])
    assert.match(holder(user), /^a node runs here already: process \d+ \(.+\) .* baton drain NODE ends it$/);
  assert.match(
    holder(STRANGER),
    new RegExp(`process ${process.pid} \\(.+\\) of user ${STRANGER}; .*\\(kill ${process.pid}\\)$`),
  );
  assert.match(takenBy({ process: 0, user: STRANGER }, OWN), /another PID namespace/);
  assert.match(takenBy(null, OWN), /try again/);
});
