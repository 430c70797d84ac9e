/** The client goes on sending while its connection moves: nothing of that is lost, and nothing waits for being sent again. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Item, Job } from '../cluster/client.ts';
import { together, whetherOver } from '../cluster/faults.ts';
import { item, KIB, MIB, mix, Stand } from '../cluster/support.ts';
import type { ExpectJob, ExpectReport } from './expecting-client.ts';

const IS_LONG = process.env.BATON_LONG === '1';
const LONG = 'with BATON_LONG=1';
const EXPECTING = fileURLToPath(new URL('./expecting-client.js', import.meta.url));
const UPSTREAM = fileURLToPath(new URL('../cluster/upstream.js', import.meta.url));
const UPSTREAM_PORT = 8080;
const DOWNLOADS = [16 * MIB, 1300 * KIB] as const;
const MAX_BODY_BYTES = MIB;
const STALL_SECONDS = 3;
/** Half of the second download takes two and a half times as long as a client may stall. */
const SLOW_BYTES_PER_SECOND = DOWNLOADS[1] / 2 / (2.5 * STALL_SECONDS);
/** `tcp_rmem` of a client whose kernel does not take what it does not read. */
const CLIENT_BUFFER_BYTES = '4096 131072 400000';
const SIZES = [0, 1, 1448, KIB, 16 * KIB];
/** A move takes some 300 us on a machine that is otherwise idle, and longer on others. */
const BEHIND_US = 800;
/** How often clients may try to send something just while they move: on a busy machine they come late. */
const MAX_ROUNDS = 10;

describe('clients that send while their connection moves', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  const servers: ChildProcess[] = [];
  before(async () => {
    const upstream = `127.0.0.1:${UPSTREAM_PORT}`;
    stand = await Stand.up({
      name: 'mgover',
      sizes: [...SIZES, ...DOWNLOADS],
      sites: [
        { name: 'upstream', hosts: ['upstream.test'], upstream, policy: 'round-robin', mechanism: 'migrate' },
      ],
      set: [
        'observe.accessLog=off',
        `limits.bodyBytes=${MAX_BODY_BYTES}`,
        `limits.stallSeconds=${STALL_SECONDS}`,
      ],
    });
    for (const { name } of stand.lab.nodes) {
      const server = stand.lab.spawn(name, [process.execPath, UPSTREAM, String(UPSTREAM_PORT)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      servers.push(server);
      await once(server.stdout!, 'data');
    }
  });
  after(() => {
    for (const server of servers) server.kill('SIGKILL');
    stand?.down();
  });

  /**
   * Segments that the client has sent twice, without those that had come the first time (RFC 2883). Those are counted by
   * segments, too: one block tells of all that came at once. And without its probes (RFC 8985 section 7): on a busy
   * machine it sends them in vain, and the word of that may come behind the next owner's first, and be too old for it.
   */
  async function lostOnce(): Promise<number> {
    const {
      TcpRetransSegs: again,
      TcpExtTCPDSACKRecvSegs: had,
      TcpExtTCPLossProbes: probes,
    } = await stand.lab.counters('client');
    return again - had - probes;
  }

  /** Segments that routers have dropped: sent to and fro until they had no hop left, or for nobody. */
  async function dropped(): Promise<number> {
    let sum = 0;
    for (const { name } of stand.lab.nodes) {
      const { router } = await stand.lab.admin(name, '/api/status');
      sum += router.divert_failed + router.stray + router.park_failed;
    }
    return sum;
  }

  /** Every byte is right, something did come while connections moved, and nothing of it was lost. */
  async function losesNothing(
    job: Job,
    { moves, parked }: { moves: number; parked: number },
    meanwhile: (isOver: () => boolean) => Promise<void> = async () => {},
  ): Promise<void> {
    const before = {
      lost: await lostOnce(),
      dropped: await dropped(),
      resets: await stand.noResetsLeft(),
      replayed: await stand.total('segments_replayed'),
      out: await stand.total('migrations_out'),
    };
    const replayed = async () => (await stand.total('segments_replayed')) - before.replayed;
    let rounds = 0;
    do {
      const running = stand.runRight(job);
      await Promise.all([running, meanwhile(whetherOver(running))]);
      rounds++;
    } while ((await replayed()) < parked && rounds < MAX_ROUNDS);
    assert.ok((await stand.total('migrations_out')) - before.out >= rounds * moves, 'connections have moved');
    assert.ok((await replayed()) >= parked, `${await replayed()} segments came meanwhile`);
    assert.equal(await stand.total('segments_lost'), 0);
    assert.equal((await dropped()) - before.dropped, 0, 'segments that routers have dropped');
    const lost = (await lostOnce()) - before.lost;
    assert.ok(lost <= 0, `${lost} segments lost`);
    await stand.noResetsLeft(before.resets);
  }

  for (const address of ['a', 'fd77::102'])
    test(`${address}: the next request comes while the connection goes to and from its home, and between others`, async () => {
      const items = mix(300, SIZES, ['migrate.test']);
      await losesNothing({ address, items, pipeline: 2, behindUs: BEHIND_US }, { moves: 150, parked: 20 });
    });

  test('bodies of requests, the next request among them', async () => {
    const post = (size: number): Item => ({
      host: 'upstream.test',
      path: `/post/${size}`,
      size,
      bodyBytes: size,
    });
    const sizes = [1, 1448, 16 * KIB, 64 * KIB, 200 * KIB];
    const items = Array.from({ length: 60 }, (_, i) => [item('migrate.test', 1), post(sizes[i % 5])]).flat();
    await losesNothing({ address: 'b', items, pipeline: 2, behindUs: BEHIND_US }, { moves: 60, parked: 20 });
  });

  /** Four connections, so that most of them move; a socket that comes with a full queue takes nothing for a while. */
  async function expecting(bodyBytes: number, more: Partial<ExpectJob> = {}): Promise<ExpectReport[]> {
    const job: ExpectJob = {
      address: 'a',
      hosts: ['local.test', 'upstream.test'],
      sizes: DOWNLOADS,
      path: `/post/${bodyBytes}`,
      bodyBytes,
      ...more,
    };
    const before = await stand.total('migrations_out');
    const reports = await Promise.all(
      [1, 2, 3, 4].map(async () => {
        const argv = [process.execPath, EXPECTING, JSON.stringify(job)];
        const { code, stdout, stderr } = await stand.lab.exec('client', argv, { timeoutMs: 30_000 });
        assert.equal(code, 0, stderr);
        return JSON.parse(stdout) as ExpectReport;
      }),
    );
    assert.ok((await stand.total('migrations_out')) - before >= 2, 'connections have moved');
    return reports;
  }

  test('100 (Continue) behind a full send queue is heard', async () => {
    for (const { statuses } of await expecting(KIB)) assert.deepEqual(statuses, [200, 200, 100, 200]);
  });

  test('a slow client is given time for what is in front of that', {
    skip: IS_LONG ? false : LONG,
  }, async () => {
    const buffer = await stand.setClient('tcp_rmem', CLIENT_BUFFER_BYTES);
    try {
      const reports = await expecting(KIB, { bytesPerSecond: SLOW_BYTES_PER_SECOND });
      for (const { statuses } of reports) assert.deepEqual(statuses, [200, 200, 100, 200]);
    } finally {
      await stand.setClient('tcp_rmem', buffer);
    }
  });

  test('a refusal behind a full send queue is heard, and the connection ends in order', async () => {
    const resets = await stand.noResetsLeft();
    for (const { statuses, ended } of await expecting(2 * MAX_BODY_BYTES))
      assert.deepEqual([statuses, ended], [[200, 200, 413], true]);
    await stand.noResetsLeft(resets);
  });

  test('a connection that does not get away after all has what came meanwhile', async () => {
    const resumed = async () => (await stand.lab.admin('a', '/api/status')).counters.migrations_resumed;
    const before = await resumed();
    const items = mix(6, [KIB], ['migrate.test']);
    const job: Job = { address: 'a', items, connections: 10, pipeline: 2, behindUs: 20_000 };
    await losesNothing(job, { moves: 0, parked: 5 }, async (isOver) => {
      await together(stand);
      const now = await resumed();
      stand.lab.signal('b', 'SIGSTOP');
      try {
        // Nothing moves to a node that has been silent for 1.25 s: clients that come later than that stay without trying.
        const stay = async () => isOver() || (await resumed()) >= now + 3;
        await stand.until('connections stay', stay);
      } finally {
        stand.lab.signal('b', 'SIGCONT');
      }
    });
    assert.ok((await resumed()) >= before + 3, 'connections have tried to move');
    await stand.nothingLeft();
  });
});
