/** Nodes that stop, and start again, under load: no client notices. `BATON_LONG=1` takes more clients, and longer. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { collect } from '../../../src/tools/lab/exec.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { metric } from '../cluster/faults.ts';
import { item, KIB, MIB, Stand } from '../cluster/support.ts';
import type { RestJob } from './idle-client.ts';
import { rest } from './resting.ts';

const IS_LONG = process.env.BATON_LONG === '1';
const MAIN = fileURLToPath(new URL('../../../src/tools/cli/main.js', import.meta.url));
const LAB = 'mgdrain';
const DOWNLOAD = 4 * MIB;
/** Eight of them take 8 s by the client's link: a busy machine takes seconds to run another client meanwhile. */
const LONG_DOWNLOAD = 12 * MIB;
const STOP_SECONDS = 20;
const WRK_LIMIT_SECONDS = 90;
const NODES = ['a', 'b', 'c'];

describe('draining and restarting nodes', { ...skipUnlessRoot(), timeout: 290_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: LAB,
      sizes: [KIB, 16 * KIB, DOWNLOAD, LONG_DOWNLOAD],
      rate: '100mbit',
      // A connection may rest for longer than a new one may take to ask.
      set: [
        'observe.accessLog=off',
        `timeouts.stopSeconds=${STOP_SECONDS}`,
        'limits.idleSeconds=120',
        'limits.headSeconds=2',
      ],
    });
  });
  after(() => stand?.down());

  const clientResets = async () => (await stand.lab.counters('client')).TcpEstabResets;
  let resets = 0;
  beforeEach(async () => {
    resets = await clientResets();
  });
  afterEach(async () => assert.equal(await clientResets(), resets, 'connections reset'));

  /** SIGTERM, and wait for the end: well before the deadline, so nothing was cut off. */
  async function stop(node: string): Promise<void> {
    const startedMs = performance.now();
    stand.leaves(node);
    stand.lab.signal(node, 'SIGTERM');
    await stand.lab.ended(node, STOP_SECONDS * 1000);
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs < (STOP_SECONDS - 5) * 1000, `${node} took ${Math.round(tookMs)} ms to stop`);
  }

  /** Of nodes b and c. */
  const atOthers = async (name: string) =>
    (await metric(stand, name, 'b')) + (await metric(stand, name, 'c'));

  /** Waits until so many clients are there, at these nodes together. */
  const clientsAt = (nodes: readonly string[], connections: number) =>
    stand.until(`${connections} clients at ${nodes}`, async () => {
      const states = await Promise.all(nodes.map((node) => stand.lab.admin(node, '/api/status')));
      const counts = states.map(({ engines }) => engines[0].connections as number);
      return counts.reduce((sum, count) => sum + count) >= connections;
    });

  async function rollingRestart(): Promise<void> {
    for (const node of NODES) {
      await stop(node);
      await stand.start(node);
    }
  }

  for (const mechanism of ['local', 'anchor', 'migrate', ...(IS_LONG ? ['clone'] : [])])
    test(`rolling restart under slow downloads, ${mechanism}`, async () => {
      const connections = IS_LONG ? 100 : 40;
      const items = [item(`${mechanism}.test`, DOWNLOAD), item(`${mechanism}.test`, KIB)];
      const running = stand.run({ address: 'a', items, connections, silenceMs: 20_000 });
      running.catch(() => {});
      await clientsAt(NODES, connections);
      await rollingRestart();
      const report = await running;
      assert.deepEqual(report.failures, []);
      assert.equal(report.answered, connections * items.length);
      await stand.nothingLeft();
    });

  test('a response in progress moves by its own request, whatever was read since', async () => {
    const moved = () => atOthers('migrations_in');
    const refused = () => atOthers('migrations_refused');
    const before = { moved: await moved(), refused: await refused() };
    const items = [item('local.test', LONG_DOWNLOAD)];
    const running = stand.run({ address: 'a', items, connections: 8, silenceMs: 20_000 });
    running.catch(() => {});
    await clientsAt(['a'], 8);
    await stand.runRight({ address: 'a', items: [item('local.test', KIB)], connections: 5 });
    await stop('a');
    assert.equal(await moved(), before.moved + 8);
    assert.equal(await refused(), before.refused);
    const report = await running;
    assert.deepEqual(report.failures, []);
    assert.equal(report.answered, 8);
    await stand.start('a');
    await stand.nothingLeft();
  });

  test('rolling restart under wrk', async () => {
    // Told to stop when the nodes are back, it says what it has seen.
    const wrk = ['wrk', '-t1', '-c20', `-d${WRK_LIMIT_SECONDS}s`, '-H', 'Host: local.test'];
    const children = NODES.map((node) =>
      stand.lab.spawn('client', [...wrk, `http://${node}/${KIB}.bin`], { stdio: 'pipe' }),
    );
    const running = Promise.all(
      children.map((child) => collect(child, { timeoutMs: 2 * WRK_LIMIT_SECONDS * 1000 })),
    );
    running.catch(() => {});
    await stand.everyNodeSends();
    for (let round = 0; round < (IS_LONG ? 4 : 1); round++) await rollingRestart();
    for (const child of children) {
      assert.equal(child.exitCode, null, 'wrk ran all the time');
      child.kill('SIGINT');
    }
    for (const { code, stdout, stderr } of await running) {
      assert.equal(code, 0, stderr);
      assert.match(stdout, /Requests\/sec/);
      assert.doesNotMatch(stdout, /Socket errors|Non-2xx/, stdout);
    }
    await stand.nothingLeft();
    // wrk ends its own connections by resets.
    resets = await clientResets();
  });

  test('1,000 connections at rest move by `baton drain`, and are used again; once more when the node is back', async () => {
    const job: RestJob = {
      address: 'b',
      connections: 1000,
      item: item('local.test', KIB),
      again: 2,
    };
    const clients = await rest(stand, job);
    stand.leaves('b');
    const argv = [MAIN, 'drain', 'b', '--name', LAB];
    const drained = await collect(spawn(process.execPath, argv, { stdio: 'pipe' }), { timeoutMs: 60_000 });
    assert.equal(drained.code, 0, drained.stderr);
    assert.match(drained.stdout, /b: \d+ connections.*\nb: empty, its process has ended\n$/s, drained.stdout);
    const report = await clients.askAgain();
    assert.deepEqual(report.failures, []);
    assert.deepEqual(report.before, { b: 1000 });
    assert.equal(report.after.a + report.after.c, 2000);
    assert.ok(report.after.a > 500 && report.after.c > 500, JSON.stringify(report.after));
    // New connections to the address of a node that is away are served by the others.
    const fresh = await stand.runRight({ address: 'b', items: [item('local.test', KIB)], connections: 20 });
    assert.equal(fresh.byNode.b, undefined);
    await stand.start('b');
    await stand.until('b serves its own', async () => {
      const { byNode } = await stand.runRight({ address: 'b', items: [item('local.test', KIB)] });
      return byNode.b === 1;
    });
    await stand.nothingLeft();
  });

  test('a connection that rests through two restarts of its home', async () => {
    const job: RestJob = { address: 'fd77::101', connections: 50, item: item('local.test', KIB), again: 1 };
    const clients = await rest(stand, job);
    await stop('a');
    await stand.start('a');
    await rollingRestart();
    const report = await clients.askAgain();
    assert.deepEqual(report.failures, []);
    assert.deepEqual(report.before, { a: 50 });
    await stand.nothingLeft();
  });
});
