/** Segments in a client's name from somebody who knows only its address disturb nothing, wherever its responses come from. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Job } from './client.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const ATTACKER = fileURLToPath(new URL('./attacker.js', import.meta.url));
/** Long enough for some sweeps over all ports. */
const DURATION_MS = process.env.BATON_LONG === '1' ? 60_000 : 4000;
const MIN_SWEEPS = 3;
const MAX_ROUNDS = 6;
const MIN_ANSWERS = 20;
/** Few ports, so that each gets many. */
const FIRST_PORT = 40_000;
const LAST_PORT = 40_399;
const SIZES = [KIB, 64 * KIB, MIB];
const HOSTS = ['anchor.test', 'clone.test', 'kept.test', 'pre.test', 'migrate.test', 'local.test'];

describe('spoofed segments', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'clspoof',
      sizes: SIZES,
      set: ['observe.accessLog=off'],
      sites: (root) => [
        {
          name: 'kept',
          hosts: ['kept.test'],
          root,
          policy: 'hash',
          mechanism: 'clone',
          clone: { keep: true },
        },
      ],
    });
    await stand.setClient('ip_local_port_range', `${FIRST_PORT} ${LAST_PORT}`);
  });
  after(() => stand?.down());

  const refused = async (): Promise<number> => {
    let sum = 0;
    for (const { name } of stand.lab.nodes)
      sum += (await stand.lab.admin(name, '/api/status')).router.unacceptable;
    return sum;
  };

  /** Sweeps in the client's name: how many there have been, and what ends them. */
  const attack = (six: boolean) => {
    const { client, nodes } = stand.lab.plan;
    const ends = six ? [client.address6, nodes[0].public[1]] : [client.address, nodes[0].public[0]];
    const argv = [process.execPath, ATTACKER, ...ends, `${FIRST_PORT}`, `${LAST_PORT}`];
    const child = stand.lab.spawn('client', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    let sweeps = 0;
    child.stdout!.on('data', (text: Buffer) => {
      sweeps += text.length;
    });
    const end = async () => {
      child.stdin!.end();
      await once(child, 'exit');
    };
    return { end, sweeps: () => sweeps };
  };

  const each = (host: string) => SIZES.map((size) => item(host, size));
  const jobs = (address: string, more: Partial<Job> = {}): Job[] => [
    ...HOSTS.map((host) => ({ address, items: each(host), connections: 3, ...more })),
    { address, items: each('split.test'), connections: 3, each: true, ...more },
  ];

  test('no segment of a client is refused', async () => {
    const sentAgain = async () => (await stand.lab.counters('client')).TcpRetransSegs;
    const before = await sentAgain();
    await Promise.all(['a', 'a6'].flatMap((address) => jobs(address)).map((job) => stand.runRight(job)));
    await stand.nothingLeft();
    // What the client says again on a busy machine, because an acknowledgement was late, may be old when it comes.
    const again = (await sentAgain()) - before;
    assert.ok((await refused()) <= again, `${await refused()} refused, ${again} sent again`);
  });

  for (const [family, address] of [
    ['IPv4', 'a'],
    ['IPv6', 'a6'],
  ]) {
    test(`${family}: every response goes on, every byte right`, async () => {
      const before = await refused();
      const { end, sweeps } = attack(family === 'IPv6');
      const job = { durationMs: DURATION_MS, atLeast: MIN_ANSWERS, silenceMs: 4000 };
      // A machine with much else to do needs longer for a sweep.
      let rounds = 0;
      do {
        const reports = await Promise.all(jobs(address, job).map((one) => stand.run(one)));
        for (const [i, { answered, failures }] of reports.entries()) {
          assert.deepEqual(failures, []);
          assert.ok(answered >= MIN_ANSWERS, `${i}: ${answered} answered`);
        }
      } while (sweeps() < MIN_SWEEPS && ++rounds < MAX_ROUNDS);
      await end();
      assert.ok(sweeps() >= MIN_SWEEPS, `${sweeps()} sweeps`);
      assert.ok((await refused()) > before, 'segments reached flows, and were refused');
      stand.assertAlive();
      await stand.nothingLeft();
    });
  }
});
