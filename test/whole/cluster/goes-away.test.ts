/** The client goes away in the middle of a 10 MiB response from a target: nothing is left anywhere. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job } from './client.ts';
import { item, MIB, MODEST_BUFFER_BYTES, Stand } from './support.ts';

const SIZE = 10 * MIB;
const STALL_SECONDS = 2;
const CLIENTS = 4;
/** The deadline, then what the kernel takes to give a silent client up, then the linger of flows. */
const SILENCE_TIMEOUT_MS = 25_000;

describe('the client goes away', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 't5',
      sizes: [SIZE],
      // Slow enough that a response is under way for a second and more.
      rate: '200mbit',
      set: ['observe.accessLog=off', `limits.stallSeconds=${STALL_SECONDS}`, 'limits.headSeconds=1'],
    });
    await stand.setClient('tcp_rmem', MODEST_BUFFER_BYTES);
  });
  after(() => stand?.down());

  const job = (how: 'fin' | 'rst' | 'stall'): Job => ({
    address: 'a',
    items: [item('anchor.test', SIZE), item('anchor.test', SIZE)],
    connections: CLIENTS,
    leave: { afterBytes: MIB, how },
  });

  /** Starts clients that stop reading, and waits until all of them have. */
  async function stalled(): Promise<ChildProcess> {
    const child = stand.lab.spawn('client', stand.clientArgv(job('stall')), {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let text = '';
    await new Promise<void>((done, failed) => {
      child.once('exit', () => failed(new Error(`the client ended: ${text}`)));
      child.stderr!.on('data', (bytes) => {
        text += bytes;
        if (text.split('stalled').length > CLIENTS) done();
      });
    });
    return child;
  }

  async function end(child: ChildProcess): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  test('by reset', async () => {
    await stand.run(job('rst'));
    await stand.nothingLeft();
  });

  test('by FIN, reading on: it gets the rest of what it asked for', async () => {
    const report = await stand.run(job('fin'));
    assert.deepEqual(report.failures, []);
    assert.equal(report.answered, CLIENTS);
    await stand.nothingLeft();
  });

  test('by silence: it stops reading', async () => {
    const child = await stalled();
    try {
      await stand.nothingLeft(SILENCE_TIMEOUT_MS);
    } finally {
      await end(child);
    }
    await stand.nothingLeft();
  });

  test('by never coming to an end: a head has its time as a whole', async () => {
    const address = stand.lab.node('a').public[0];
    const drip = "trap '' PIPE; for i in {1..400}; do printf G >&3; sleep 0.1; done";
    // It never pauses; the answer comes while it is still at it.
    const script = `exec 3<>/dev/tcp/${address}/80; (${drip}) 2>/dev/null & head -n 1 <&3; kill $! && echo still dripping`;
    const { stdout } = await stand.lab.exec('client', ['bash', '-c', script]);
    assert.match(stdout, /^HTTP\/1.1 408 .*\r\nstill dripping\n$/);
    await stand.nothingLeft();
  });

  for (const seconds of [0.5, 6])
    test(`by FIN, ${seconds} s after the node's: it has its answer at once`, async () => {
      const address = stand.lab.node('a').public[0];
      const request = `GET ${item('anchor.test', SIZE).path} HTTP/1.1\r\nHost: anchor.test\r\nConnection: close\r\n\r\n`;
      const script = `exec 3<>/dev/tcp/${address}/80; printf '${request}' >&3; cat <&3 | wc -c; sleep ${seconds}; exec 3>&-`;
      const { stdout } = await stand.lab.exec('client', ['bash', '-c', script]);
      assert.ok(Number(stdout) > SIZE);
      await stand.until('the client waits for no acknowledgement of its FIN', async () => {
        const { stdout } = await stand.lab.exec('client', ['ss', '-tnH', 'state', 'last-ack']);
        return stdout === '';
      });
      await stand.nothingLeft();
    });

  test('by a crash of its process', async () => {
    const child = await stalled();
    await end(child);
    await stand.nothingLeft();
  });

  test('by silence: its link is gone', async () => {
    const link = (state: string) => stand.lab.exec('client', ['ip', 'link', 'set', 'eth0', state]);
    const child = await stalled();
    try {
      assert.equal((await link('down')).code, 0);
      await stand.nothingLeft(SILENCE_TIMEOUT_MS);
    } finally {
      await link('up');
      await end(child);
    }
  });
});
