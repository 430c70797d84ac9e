/**
 * Clients that use the port of a connection anew as soon as it is over, while its flow lingers at the nodes: each new
 * connection is a new one, for the router as for the kernel, and no client is reset. And clients of which nothing but
 * resets is heard.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { KIB, Stand } from './support.ts';

const CONNECTIONS = 64;
/** Each port is used some twenty times in a run, often within a few milliseconds. */
const PORTS = [40_000, 40_255];
const SECONDS = 3;
const LOSSY_SECONDS = 6;
/** wrk ends what it still has by a reset. A lost one leaves the node waiting for a FIN, as any kernel: 70 s at most. */
const LOST_RESET_MS = 80_000;
const MECHANISMS = ['local', 'relay', 'anchor', 'clone', 'split', 'migrate'];

describe('clients that have left before their request is read', {
  ...skipUnlessRoot(),
  timeout: 90_000,
}, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({ name: 'early', sizes: [100, 64 * KIB], set: ['observe.accessLog=off'] });
  });
  after(() => stand?.down());

  for (const mechanism of ['anchor', 'clone', 'split'])
    for (const size of [100, 64 * KIB])
      test(`${mechanism}: ${size} bytes`, async () => {
        const before = await stand.total('setups_sent');
        const a = stand.lab.node('a').public[0];
        const request = `GET /${size}.bin HTTP/1.1\r\nHost: ${mechanism}.test\r\n\r\n`;
        const leave = `exec 3<>/dev/tcp/${a}/80; printf '${request}' >&3; exec 3>&-`;
        // The kernel accepts and acknowledges; the node finds request and FIN when it goes on.
        stand.lab.signal('a', 'SIGSTOP');
        try {
          // In one go: a node that stands still for longer has lost its links.
          const six = Array(6).fill(leave).join('\n');
          const { code, stderr } = await stand.lab.exec('client', ['bash', '-e', '-c', six]);
          assert.equal(code, 0, stderr);
        } finally {
          stand.lab.signal('a', 'SIGCONT');
        }
        await stand.nothingLeft();
        assert.ok((await stand.total('setups_sent')) - before >= 2, 'requests were handed off');
      });
});

/** The client's ports, few, and used again after a millisecond, not a minute, where it closed first. */
async function useFewPorts(stand: Stand): Promise<void> {
  await stand.setClient('ip_local_port_range', PORTS.join(' '));
  await stand.setClient('tcp_tw_reuse', '1');
  await stand.setClient('tcp_tw_reuse_delay', '1');
}

/** A connection a request, for some seconds; none may be refused or reset. Returns how many requests there were. */
async function connectionsInTurn(stand: Stand, mechanism: string, seconds: number): Promise<number> {
  const before = await stand.total('requests');
  const argv = ['wrk', '-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '-H', `Host: ${mechanism}.test`];
  argv.push('--timeout', '20s', '-H', 'Connection: close', 'http://a/100.bin');
  const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
  assert.equal(code, 0, stderr);
  assert.doesNotMatch(stdout, /Socket errors|Non-2xx/, stdout);
  return (await stand.total('requests')) - before;
}

describe('ports that are used anew at once', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({ name: 'ports', sizes: [100, KIB], set: ['observe.accessLog=off'] });
    await useFewPorts(stand);
  });
  after(() => stand?.down());

  for (const mechanism of MECHANISMS) {
    test(mechanism, async () => {
      const before = await stand.lab.counters('client');
      const requests = await connectionsInTurn(stand, mechanism, SECONDS);
      assert.ok(requests > 4 * (PORTS[1] - PORTS[0]), `ports were used anew: ${requests} requests`);
      const refused = (await stand.lab.counters('client')).TcpAttemptFails - before.TcpAttemptFails;
      assert.equal(refused, 0, 'handshakes that were answered with a reset');
      await stand.nothingLeft();
    });
  }
});

describe('ports that are used anew while segments are lost', {
  ...skipUnlessRoot(),
  timeout: 240_000,
}, () => {
  let stand: Stand;
  before(async () => {
    const path = { delayMs: 20, lossPercent: 4 };
    stand = await Stand.up({ name: 'portsloss', sizes: [100], set: ['observe.accessLog=off'], ...path });
    await useFewPorts(stand);
  });
  after(() => stand?.down());

  for (const mechanism of ['anchor', 'migrate']) {
    test(mechanism, async () => {
      // A handshake that loses a segment takes a second or more: as long as the connection before it lingers.
      const requests = await connectionsInTurn(stand, mechanism, LOSSY_SECONDS);
      assert.ok(requests > 4 * (PORTS[1] - PORTS[0]), `ports were used anew: ${requests} requests`);
      await stand.nothingLeft(LOST_RESET_MS);
    });
  }
});
