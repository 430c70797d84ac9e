/** What arrives is wrong, or the other node goes away in the middle: the client's connection lives on where it can. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RejectReason } from '../../../src/protocol/backplane/frames.ts';
import { checkRamp } from '../../../src/tools/lab/ramp.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job } from '../cluster/client.ts';
import { whetherOver } from '../cluster/faults.ts';
import { item, KIB, Stand } from '../cluster/support.ts';
import type { PeerJob, PeerReport } from './peer.ts';

const PEER = fileURLToPath(new URL('./peer.js', import.meta.url));
const LAB = 'mgfault';
const INVALID = `reject ${RejectReason.STATE_INVALID}`;
/** A connection in doubt is let go after 10 s. */
const DOUBT_TIMEOUT_MS = 20_000;

/** Until a peer has dialled, or has answered. */
const PEER_TIMEOUT_MS = 20_000;

interface Peer {
  says(what: string): Promise<void>;
  goOn(): void;
}

describe('migration faults', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: LAB,
      nodes: 2,
      sizes: [0, KIB, 64 * KIB],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  const counters = async (node: string) => (await stand.lab.admin(node, '/api/status')).counters;

  const job = (what: PeerJob['what']): PeerJob => ({
    node: 'b',
    address: '10.77.0.2',
    key: `the key of the lab ${LAB}`,
    what,
    theirs: '10.77.0.101',
    own: '10.77.0.102',
  });

  /** A peer that takes a client's connection, and gives it away when it is told to. */
  function spawnPeer(): Peer {
    const child = stand.lab.spawn('b', [process.execPath, PEER, JSON.stringify(job('lost'))], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let text = '';
    const exit = once(child, 'exit');
    child.stdout!.on('data', (bytes) => {
      text += bytes;
    });
    return {
      async says(what) {
        while (!text.includes(what)) {
          assert.equal(child.exitCode, null, text);
          const late = AbortSignal.timeout(PEER_TIMEOUT_MS);
          await Promise.race([once(child.stdout!, 'data', { signal: late }), exit]).catch(() =>
            assert.fail(`the peer did not say ${what}: ${text}`),
          );
        }
      },
      goOn: () => child.stdin!.write('go\n'),
    };
  }

  test('a target that is stopped, then killed: the connection goes on at the initiator', async () => {
    const items = [KIB, 0, 64 * KIB, KIB].map((size) => item('migrate.test', size));
    const clients: Job = { address: 'a', items, connections: 20, silenceMs: 15_000 };
    const resumes = async () => (await counters('a')).migrations_resumed;
    // A node that has given no sign of life for 1.25 s gets no connection any more: clients may come later than that.
    await stand.until(
      'connections go on here',
      async () => {
        stand.lab.signal('b', 'SIGCONT');
        await stand.until('the link is up', async () => {
          const { engines } = await stand.lab.admin('a', '/api/status');
          return engines[0].links.some(({ up }: { up: boolean }) => up);
        });
        stand.lab.signal('b', 'SIGSTOP');
        const before = await resumes();
        const running = stand.runRight(clients);
        const isOver = whetherOver(running);
        const haveGoneOn = async () => (await resumes()) - before >= 20;
        await stand.until(
          'connections go on, or none has moved',
          async () => isOver() || (await haveGoneOn()),
        );
        if (!isOver()) await stand.kill('b');
        assert.deepEqual((await running).byNode, { a: 80 });
        return haveGoneOn();
      },
      60_000,
    );
    await stand.kill('b');
    const { migrations_out: out } = await counters('a');
    assert.equal(out, 0);
    await stand.start('b');
    await stand.nothingLeft();
  });

  test('states that contradict themselves are refused, with a reason, and counted', async () => {
    await stand.kill('b');
    const before = await counters('a');
    const argv = [process.execPath, PEER, JSON.stringify(job('states'))];
    const { code, stdout, stderr } = await stand.lab.exec('b', argv, { timeoutMs: 60_000 });
    assert.equal(code, 0, stderr);
    const report = JSON.parse(stdout) as PeerReport;
    const {
      good,
      late,
      'late, in a drain': drained,
      'a response that nobody has': response,
      ...bad
    } = report;
    assert.deepEqual([good, drained], ['ok', 'ok']);
    assert.equal(late, `reject ${RejectReason.STALE}`);
    assert.equal(response, `reject ${RejectReason.DIFFERENT}`);
    for (const [name, answer] of Object.entries(bad)) assert.equal(answer, INVALID, name);
    const refused = (await counters('a')).migrations_refused - before.migrations_refused;
    assert.equal(refused, Object.keys(report).length - 2);
    await stand.start('b');
    await stand.nothingLeft();
  });

  test('the initiator falls silent after MIGRATE_OK: who gets the client’s segments has the connection', async () => {
    await stand.kill('b');
    const peer = spawnPeer();
    await peer.says('listening');
    const curl = stand.lab.exec(
      'client',
      ['curl', '-sS', '-m', '25', '-H', 'Host: local.test', `http://10.77.0.102/${KIB}.bin`],
      { timeoutMs: 30_000 },
    );
    await peer.says('accepted');
    // What the initiator's router would do if it had gone on to give the connection away.
    const { stdout: link } = await stand.lab.exec('a', ['ip', '-o', 'link', 'show', 'eth0']);
    const neighbour = (...argv: string[]) => stand.lab.exec('client', ['ip', 'neigh', ...argv]);
    const mac = /link\/ether (\S+)/.exec(link)![1];
    await neighbour('replace', '10.77.0.102', 'lladdr', mac, 'dev', 'eth0', 'nud', 'permanent');
    try {
      peer.goOn();
      await peer.says('"answer":"ok"');
      const { code, bytes, stderr } = await curl;
      assert.equal(code, 0, stderr);
      assert.equal(checkRamp(bytes, `/${KIB}.bin`, KIB), -1);
    } finally {
      await neighbour('del', '10.77.0.102', 'dev', 'eth0');
    }
    await stand.start('b');
    await stand.nothingLeft();
  });

  /** A client that the peer has accepted: one that comes sooner after the kill may be reset. */
  async function clientOf(peer: Peer): Promise<{ ends: Promise<{ code: number | null }> }> {
    for (let tries = 0; tries < 5; tries++) {
      const ends = stand.lab.exec('client', ['curl', '-s', '-m', '3', `http://10.77.0.102/${KIB}.bin`]);
      const isAccepted = peer.says('accepted').then(() => true);
      if (await Promise.race([isAccepted, ends.then(() => false)])) return { ends };
    }
    return assert.fail('the peer has accepted no client');
  }

  test('the initiator falls silent, and the client’s segments do not come: nothing is left', async () => {
    await stand.kill('b');
    const peer = spawnPeer();
    await peer.says('listening');
    const curl = await clientOf(peer);
    peer.goOn();
    await peer.says('"answer":"ok"');
    const flows = (await stand.lab.admin('a', '/api/flows')) as Array<{ role: string; state: string }>;
    assert.deepEqual(
      flows.map(({ role, state }) => [role, state]),
      [['arriving', 'in doubt']],
    );
    assert.notEqual((await curl.ends).code, 0);
    await stand.start('b');
    await stand.nothingLeft(DOUBT_TIMEOUT_MS);
  });
});
