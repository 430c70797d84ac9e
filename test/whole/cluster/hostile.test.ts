/** A node with the right key that says wild things: no process ends, and what does not depend on it goes on. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { HostileJob, HostileReport } from './hostile-peer.ts';
import { item, KIB, Stand } from './support.ts';

const PEER = fileURLToPath(new URL('./hostile-peer.js', import.meta.url));
const LAB = 'hostile';
const LONG = process.env.BATON_LONG === '1';
const FRAMES = LONG ? 1_000_000 : 6000;
/** Of so many frames. */
const MAX_ROUNDS = LONG ? 1 : 5;
const TIMEOUT_MS = LONG ? 900_000 : 60_000;
const SIZES = [0, KIB, 200 * KIB];
const HOSTS = ['anchor', 'relay', 'clone', 'split', 'migrate', 'drain', 'pre', 'keep', 'catalogue', 'cached'];
/** Of the clients: few, so that much of what is said is about connections that there are. */
const PORTS = { first: 20_000, count: 3000 };
/** Of a node: what it has after a start, and much more. */
const MAX_RESIDENT_KIB = 600 * 1024;

/** Counters that a round moves. */
const WILD = [
  'frames_refused',
  'setups_received',
  'half_pipes_opened',
  'migrations_in',
  'migrations_refused',
  'routes_refused',
  'handoffs_rejected',
  'handoffs_lost',
];

describe('a hostile node', { ...skipUnlessRoot(), timeout: MAX_ROUNDS * TIMEOUT_MS + 150_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: LAB,
      nodes: 3,
      sizes: SIZES,
      sites: (root) => [
        {
          name: 'keep',
          hosts: ['keep.test'],
          root,
          policy: 'hash',
          mechanism: 'clone',
          clone: { keep: true },
        },
        { name: 'catalogue', hosts: ['catalogue.test'], root, catalogue: true },
        { name: 'cached', hosts: ['cached.test'], root, policy: 'cached' },
      ],
      set: ['observe.accessLog=off', 'limits.idleSeconds=3', 'limits.headSeconds=3', 'limits.stallSeconds=3'],
    });
  });
  after(() => stand?.down());

  const resident = (node: string): number => {
    const status = readFileSync(`/proc/${stand.lab.processOf(node)!.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+)/.exec(status)![1]);
  };

  const counters = async (): Promise<Record<string, number>> => {
    const [a, c] = await Promise.all(['a', 'c'].map((node) => stand.lab.admin(node, '/api/status')));
    return Object.fromEntries(WILD.map((name) => [name, a.counters[name] + c.counters[name]]));
  };

  /** The hostile node says `FRAMES` frames, while the others answer clients. */
  async function round(seed: number): Promise<HostileReport> {
    const job: HostileJob = {
      node: 'b',
      address: '10.77.0.2',
      key: `the key of the lab ${LAB}`,
      dial: ['10.77.0.3'],
      frames: FRAMES,
      seed,
      world: {
        client: '10.77.0.200',
        ports: PORTS,
        publics: ['10.77.0.101', '10.77.0.102', '10.77.0.103'],
        nodes: ['10.77.0.1', '10.77.0.2', '10.77.0.3'],
        hosts: HOSTS.map((name) => `${name}.test`),
        paths: SIZES.map((size) => `/${size}.bin`),
        shutWindows: LONG,
      },
    };
    let running = true;
    const peer = stand.lab
      .exec('b', [process.execPath, PEER, JSON.stringify(job)], { timeoutMs: TIMEOUT_MS })
      .finally(() => {
        running = false;
      });
    // Requests of which some go to the hostile node; what becomes of those is its doing.
    const items = HOSTS.flatMap((name) => SIZES.map((size) => item(`${name}.test`, size)));
    const harried = ['10.77.0.101', '10.77.0.103'].map(async (address) => {
      while (running)
        await stand.run({ address, items, connections: 6, durationMs: 1500, silenceMs: 300, each: true });
    });
    while (running) {
      const local = [KIB, 200 * KIB, 0].map((size) => item('local.test', size));
      await stand.runRight({ address: '10.77.0.101', items: local, connections: 4, durationMs: 500 });
      await stand.runRight({ address: '10.77.0.103', items: local, connections: 4, durationMs: 500 });
    }
    const { code, stdout, stderr } = await peer;
    await Promise.all(harried);
    stand.assertAlive();
    assert.equal(code, 0, `seed ${seed}: ${stderr}`);
    return JSON.parse(stdout) as HostileReport;
  }

  test(`${FRAMES} frames end no process, and no request that is answered here`, async () => {
    await stand.kill('b');
    await stand.setClient('ip_local_port_range', `${PORTS.first} ${PORTS.first + PORTS.count - 1}`);
    await stand.setClient('tcp_tw_reuse', '1');
    const before = await counters();
    const seed = 1000 + Math.floor(Math.random() * 1000);
    let unseen: readonly string[] = WILD;
    // What a frame does depends on what else happens: whatever is to be provoked is, sooner or later.
    for (let rounds = 0; unseen.length > 0 && rounds < MAX_ROUNDS; rounds++) {
      const report = await round(seed + 10_000 * rounds);
      assert.ok(report.frames >= FRAMES);
      const now = await counters();
      unseen = WILD.filter((name) => now[name] === before[name]);
      if (LONG) console.log(JSON.stringify({ seed, ...report, before, now }));
    }
    assert.deepEqual(unseen, [], `seed ${seed}`);
    for (const node of ['a', 'c'])
      assert.ok(resident(node) < MAX_RESIDENT_KIB, `${node} has ${resident(node)} KiB`);
  });

  test('afterwards the node is taken back, and nothing is left', async () => {
    await stand.start('b');
    const items = ['anchor', 'relay', 'clone', 'migrate'].map((name) => item(`${name}.test`, 200 * KIB));
    await stand.runRight({ address: '10.77.0.101', items, connections: 10 });
    await stand.runRight({ address: '10.77.0.103', items, connections: 10 });
    // The end of a connection whose client is not there is waited for, a minute at most.
    await stand.nothingLeft(90_000);
  });
});
