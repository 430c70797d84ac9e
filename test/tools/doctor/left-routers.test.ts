/** What a killed node leaves on its interface: doctor says so, start-up takes its place, `--clean` removes it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Lab } from '../../../src/tools/lab/lab.ts';
import { skipUnlessRoot } from '../lab/root.ts';

const BATON = fileURLToPath(new URL('../../../../bin/baton', import.meta.url));
/** Classifiers of somebody else, before and after ours; both let every packet go on to the next filter. */
const FOREIGN_PRIORITIES = ['10', '60000'];
/** One connection: of two families tried in turn a busy machine would have one for each. */
const IDLE_CLIENT = `
  const to = { host: 'a', port: 80, family: 4 };
  const socket = require('node:net').connect(to, () => console.log('connected'));
  process.stdin.on('data', () => socket.resetAndDestroy());
  socket.on('close', () => process.exit());`;

describe('a router that a killed node left', { ...skipUnlessRoot(), timeout: 60_000 }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.up({ name: 'doctor', nodes: 2 });
  });
  after(() => lab?.down());

  const onA = async (...argv: string[]): Promise<string> => {
    const { code, stdout, stderr } = await lab.exec('a', argv, { timeoutMs: 20_000 });
    assert.equal(code, 0, `${argv.join(' ')}: ${stderr}`);
    return stdout;
  };
  const finding = async (): Promise<{ state: string; detail: string; remedy: string }> => {
    const { findings } = JSON.parse(await onA(BATON, 'doctor', '--json'));
    return findings.find(({ name }: { name: string }) => name === 'left-routers');
  };
  const clean = async (): Promise<string> => {
    const { code, stderr } = await lab.exec('a', [BATON, 'doctor', '--clean'], { timeoutMs: 20_000 });
    assert.equal(code, 0, stderr);
    return stderr;
  };
  const filters = async (): Promise<string[]> => {
    const sides = await Promise.all(
      ['ingress', 'egress'].map((side) => onA('tc', 'filter', 'show', 'dev', 'eth0', side)),
    );
    return sides.flatMap((text, i) =>
      [...text.matchAll(/pref (\d+) bpf chain 0 handle 0x1/g)].map(
        ([, pref]) => `${i ? 'out' : 'in'} ${pref}`,
      ),
    );
  };
  const publicAddresses = async (): Promise<string[]> => {
    const links = JSON.parse(await onA('ip', '-j', 'address', 'show')) as Array<{
      ifname: string;
      addr_info: Array<{ local: string }>;
    }>;
    const publics = new Set<string>(lab.nodes.flatMap((node) => node.public));
    return links
      .flatMap(({ ifname, addr_info }) => addr_info.map(({ local }) => ({ ifname, local })))
      .filter(({ local }) => publics.has(local))
      .map(({ ifname, local }) => `${ifname} ${local}`)
      .sort();
  };
  const get = async (): Promise<string> =>
    (
      await lab.exec('client', [
        'curl',
        '-sS',
        '-m',
        '5',
        'http://a/1k.bin',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
      ])
    ).stdout;

  /** With nobody to go on with its connections a stopping node takes its router along. */
  const stopAlone = async (): Promise<void> => {
    await lab.kill('b');
    while ((await lab.admin('a', '/api/status')).cluster[1].up) await delay(20);
    lab.signal('a', 'SIGTERM');
    await lab.ended('a');
    await lab.start('b');
  };

  const FOREIGN = FOREIGN_PRIORITIES.flatMap((priority) => [`in ${priority}`, `out ${priority}`]).sort();
  const OURS = ['in 47728', 'out 47728'];
  const PUBLIC = ['eth0 10.77.0.101', 'eth0 fd77::101', 'lo 10.77.0.102', 'lo fd77::102'];

  test("a stopped node leaves the clsact; a neighbour's filters are added to it", async () => {
    await stopAlone();
    assert.deepEqual(await filters(), []);
    assert.deepEqual(await publicAddresses(), []);
    for (const side of ['ingress', 'egress']) {
      for (const priority of FOREIGN_PRIORITIES) {
        const bytecode = ['bpf', 'bytecode', '1,6 0 0 4294967295,', 'direct-action'];
        await onA('tc', 'filter', 'add', 'dev', 'eth0', side, 'pref', priority, ...bytecode);
      }
    }
    assert.deepEqual((await filters()).sort(), FOREIGN);
    assert.deepEqual([(await finding()).state, (await finding()).detail], ['ok', 'none']);
  });

  test('a running node is no finding, and --clean leaves it alone', async () => {
    await lab.start('a');
    assert.deepEqual((await filters()).sort(), [...FOREIGN, ...OURS].sort());
    assert.equal((await finding()).detail, 'none');
    assert.doesNotMatch(await clean(), /removed/);
    assert.deepEqual((await filters()).sort(), [...FOREIGN, ...OURS].sort());
    assert.deepEqual(await publicAddresses(), PUBLIC);
    assert.equal(await get(), '200');
  });

  test('a killed node is one; started again it says whose place it takes, and serves', async () => {
    await lab.kill('a');
    const { state, detail, remedy } = await finding();
    assert.equal(state, 'warn');
    assert.match(detail, /^eth0 \(/);
    for (const line of PUBLIC) assert.ok(detail.includes(line.split(' ')[1]), `${line} in ${detail}`);
    assert.match(remedy, /baton doctor --clean/);
    await lab.start('a');
    assert.match(lab.logTail('a.log'), /taking the place of a router that was left/);
    assert.equal((await finding()).detail, 'none');
    assert.equal(await get(), '200');
  });

  test('stopped then, it also removes the addresses that the killed one left', async () => {
    assert.deepEqual(await publicAddresses(), PUBLIC);
    await stopAlone();
    assert.deepEqual(await publicAddresses(), []);
    assert.deepEqual((await filters()).sort(), FOREIGN);
    await lab.start('a');
  });

  test('--clean waits for connections that still close, then removes the router, its addresses and nothing else', async () => {
    const client = lab.spawn('client', [process.execPath, '-e', IDLE_CLIENT], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const ended = once(client, 'exit');
    await once(client.stdout!, 'data');
    // Only an accepted connection is closed, not reset, with its process.
    const isAccepted = async (): Promise<boolean> => {
      const { engines } = await lab.admin('a', '/api/status');
      return engines.some((engine: { connections: number }) => engine.connections > 0);
    };
    while (!(await isAccepted()));
    // Stopped, the client cannot answer the end of its connection by ending its own side.
    client.kill('SIGSTOP');
    await lab.kill('a');
    assert.match(await clean(), /^eth0: left alone, 1 connections/);
    assert.deepEqual((await filters()).sort(), [...FOREIGN, ...OURS].sort());
    assert.deepEqual(await publicAddresses(), PUBLIC);

    client.kill('SIGCONT');
    await ended;
    let said = await clean();
    while (/left alone/.test(said)) said = await clean();
    assert.match(said, /^eth0: removed the router, and .*10\.77\.0\.102/);
    assert.deepEqual((await filters()).sort(), FOREIGN);
    assert.deepEqual(await publicAddresses(), []);
    assert.equal((await finding()).detail, 'none');
    assert.equal(await clean(), '');
  });

  test('afterwards the node starts as on a new machine', async () => {
    await lab.start('a');
    assert.equal(await get(), '200');
    assert.doesNotMatch(lab.logTail('a.log').split('\n').slice(-2).join('\n'), /taking the place/);
  });
});
