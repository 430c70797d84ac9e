import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { LabError } from '../../../src/tools/lab/error.ts';
import { Lab } from '../../../src/tools/lab/lab.ts';
import { namespacesOf } from '../../../src/tools/lab/network.ts';
import { labDirectory, namespacePrefix } from '../../../src/tools/lab/plan.ts';
import { checkRamp, ramp } from '../../../src/tools/lab/ramp.ts';
import { labNames, readState } from '../../../src/tools/lab/state.ts';
import { isAlive, type ProcessId, processesWith } from '../../../src/tools/lab/system.ts';
import { skipUnlessRoot } from './root.ts';
import { standIn } from './stand-in.ts';

const MIB = 1024 * 1024;

/** Own names, so that test files that run at the same time do not meet. */
const used = new Set<string>();
function labName(suffix: string): string {
  const name = `t${process.pid}${suffix}`;
  used.add(name);
  return name;
}

function assertGone(name: string, processes: readonly ProcessId[]): void {
  assert.ok(!existsSync(labDirectory(name)), 'the directory is gone');
  const left = existsSync('/run/netns') ? readdirSync('/run/netns') : [];
  assert.deepEqual(
    left.filter((entry) => entry.startsWith(namespacePrefix(name))),
    [],
  );
  assert.ok(!existsSync(`/etc/netns/${namespacePrefix(name)}client`));
  assert.deepEqual(processes.filter(isAlive), []);
  assert.ok(!labNames().includes(name));
}

function processesOf(name: string): ProcessId[] {
  const state = readState(name);
  assert.ok(state);
  return [...Object.values(state.processes), ...(state.hop === null ? [] : [state.hop])];
}

/** GET of a ramp by curl; returns what was wrong with it. */
async function fetchRamp(lab: Lab, url: string): Promise<string> {
  const result = await lab.exec('client', ['curl', '-sS', '-g', '-m', '60', url], { timeoutMs: 70_000 });
  if (result.code !== 0) return result.stderr;
  const path = new URL(url).pathname;
  const wrongAt = checkRamp(result.bytes, path, Number(path.split('/')[2]));
  return wrongAt < 0 ? 'right' : `wrong at ${wrongAt}`;
}

/** The interfaces of this machine, without what changes by itself. */
function hostLinks(): string {
  return spawnSync('ip', ['-o', 'link', 'show'], { encoding: 'utf8' }).stdout.replace(/\\.*/g, '');
}

describe('lab', { ...skipUnlessRoot(), timeout: 180_000 }, () => {
  after(() => {
    for (const name of used) Lab.remove(name);
  });

  test('hosts reach each other by both families, commands keep bytes and exit codes, nodes die and start', async () => {
    const before = hostLinks();
    const name = labName('a');
    const lab = await Lab.up({ name, nodes: 2, command: standIn });
    assert.equal(hostLinks(), before, 'nothing is added to the namespace of the machine');
    for (const host of ['a', 'client']) {
      const { stdout } = await lab.exec(host, ['ip', '-6', 'address', 'show', 'tentative']);
      assert.equal(
        stdout,
        '',
        'an address that changes later interrupts clients that watch (ERR_NETWORK_CHANGED)',
      );
    }
    assert.equal(await fetchRamp(lab, `http://10.77.0.1/x/${MIB}`), 'right');
    assert.equal(await fetchRamp(lab, `http://[fd77::2]/x/${MIB}`), 'right');
    const hosts = await lab.exec('client', ['getent', 'ahostsv4', 'b']);
    assert.match(hosts.stdout, /^10\.77\.0\.102 /);
    assert.equal((await lab.exec('a', ['sh', '-c', 'cat; exit 7'], { input: 'x' })).code, 7);
    assert.equal((await lab.exec('a', ['sh', '-c', 'kill -9 $$'])).code, 137);
    await assert.rejects(lab.exec('client', ['x']).then((r) => assert.equal(r.code, 0)));
    await assert.rejects(lab.admin('a', '/missing'), LabError);
    await assert.rejects(async () => lab.exec('q', ['true']), /nodes are a, b/);

    const { pid } = await lab.admin('b', '/anything');
    assert.equal(pid, lab.processOf('b')?.pid);
    await lab.kill('b');
    assert.equal(lab.processOf('b'), undefined);
    const down = (await lab.status()).nodes.map((node) => [node.name, node.pid !== null, node.ready]);
    assert.deepEqual(down, [
      ['a', true, true],
      ['b', false, false],
    ]);
    await Lab.attach(name).start('b');
    const again = Lab.attach(name);
    assert.notEqual(again.processOf('b')?.pid, pid);
    assert.equal((await again.admin('b', '/')).node, 'b');

    const counters = await lab.counters('a');
    assert.ok(counters.TcpInSegs > 0 && counters.TcpExtPAWSEstab === 0, 'kernel counters of the namespace');
    const processes = processesOf(name);
    lab.down();
    assertGone(name, processes);
    lab.down();
    assert.equal(Lab.remove(name), false);
    assert.throws(() => Lab.attach(name), LabError);
  });

  test('two labs run side by side with the same addresses', async () => {
    const [x, y] = [labName('x'), labName('y')];
    const [labX, labY] = await Promise.all([
      Lab.up({ name: x, nodes: 1, command: standIn }),
      Lab.up({ name: y, nodes: 1, command: standIn, delayMs: 20 }),
    ]);
    assert.notEqual((await labX.admin('a', '/')).pid, (await labY.admin('a', '/')).pid);
    const processes = processesOf(x);
    labX.down();
    assertGone(x, processes);
    assert.equal(await fetchRamp(labY, `http://10.77.0.1/y/${MIB}`), 'right');
    labY.down();
  });

  test('a node that ends at once fails the start with its log, and leaves nothing', async () => {
    const name = labName('f');
    const command = (): string[] => ['sh', '-c', 'echo the reason >&2; exit 3'];
    await assert.rejects(Lab.up({ name, nodes: 1, command }), (error: LabError) => {
      assert.equal(error.code, 'LAB_NOT_READY');
      assert.match(error.message, /node a ended.*the reason/s);
      return true;
    });
    assertGone(name, []);
  });

  test('--rate limits each link in both directions', async () => {
    const lab = await Lab.up({ name: labName('r'), nodes: 2, command: standIn, rate: '40mbit' });
    const startMs = performance.now();
    assert.equal(await fetchRamp(lab, `http://10.77.0.1/r/${5 * MIB}`), 'right');
    const mbit = (5 * MIB * 8) / 1e3 / (performance.now() - startMs);
    assert.ok(mbit > 25 && mbit < 42, `${mbit.toFixed(1)} Mbit/s down`);
    const upload = ['curl', '-sS', '-w', '%{speed_upload}', '-T', '-', `http://10.77.0.2/r/${5 * MIB}`];
    const sent = await lab.exec('client', upload, { input: ramp(`/r/${5 * MIB}`, 5 * MIB) });
    assert.match(sent.stdout, /^right/);
    const up = (Number(sent.stdout.slice('right'.length)) * 8) / 1e6;
    assert.ok(up > 25 && up < 42, `${up.toFixed(1)} Mbit/s up`);
    lab.down();
  });

  test('the slow link adds its delay, once, and carries TCP in both directions with right checksums', async () => {
    const lab = await Lab.up({ name: labName('d'), nodes: 1, command: standIn, delayMs: 100 });
    const connectMs = async (): Promise<number> => {
      const argv = ['curl', '-s', '-o', '/dev/null', '-w', '%{time_connect}', 'http://10.77.0.1/x/1'];
      return Number((await lab.exec('client', argv)).stdout) * 1000;
    };
    await connectMs();
    const samples = [
      await connectMs(),
      await connectMs(),
      await connectMs(),
      await connectMs(),
      await connectMs(),
    ];
    const best = Math.min(...samples);
    assert.ok(best >= 100 && best < 104, `round-trip times ${samples.join(', ')} ms`);
    assert.equal(await fetchRamp(lab, `http://10.77.0.1/d/${20 * MIB}`), 'right');
    assert.equal(await fetchRamp(lab, `http://[fd77::1]/d/${MIB}`), 'right');
    const upload = ['curl', '-sS', '-T', '-', `http://10.77.0.1/u/${5 * MIB}`];
    assert.equal(
      (await lab.exec('client', upload, { input: ramp(`/u/${5 * MIB}`, 5 * MIB) })).stdout,
      'right',
    );
    for (const host of ['client', 'a']) {
      const counters = await lab.counters(host);
      assert.deepEqual([counters.TcpInErrs, counters.TcpRetransSegs], [0, 0], `${host}: checksums and order`);
    }
    if ((await lab.status()).shaper === 'hop') {
      const hop = lab.hopCounters();
      assert.deepEqual([hop?.back.oversized, hop?.back.overflows, hop?.back.lost], [0, 0, 0]);
      assert.ok(hop!.back.forwarded > (20 * MIB) / 1500, 'single frames, not superframes');
    }
    lab.down();
  });

  test('at 175 ms and 4 % loss the link itself carries more than 20 Mbit/s, and loses what it should', async () => {
    const lab = await Lab.up({
      name: labName('w'),
      nodes: 1,
      command: standIn,
      delayMs: 175,
      lossPercent: 4,
    });
    // One connection under such loss is slow by TCP's own rules: many together show what the link carries.
    const urls = Array.from({ length: 60 }, (_, i) => `http://10.77.0.1/w${i}/${512 * 1024}`);
    const fetches = urls.map((url) => fetchRamp(lab, url));
    const startMs = performance.now();
    const results = await Promise.all(fetches);
    const seconds = (performance.now() - startMs) / 1000;
    assert.deepEqual(
      results.filter((result) => result !== 'right'),
      [],
    );
    const mbit = (urls.length * 0.5 * MIB * 8) / 1e6 / seconds;
    assert.ok(mbit > 20, `${mbit.toFixed(1)} Mbit/s`);
    const hop = lab.hopCounters();
    if (hop !== null) {
      const share = hop.back.lost / (hop.back.lost + hop.back.forwarded);
      assert.ok(share > 0.033 && share < 0.047, `${(share * 100).toFixed(2)} % lost`);
      assert.deepEqual([hop.back.oversized, hop.back.overflows, hop.forth.overflows], [0, 0, 0]);
    }
    lab.down();
  });

  test('a lab whose builder was killed at any moment is removed completely, and its name can be used again', async () => {
    const lab = new URL('../../../src/tools/lab/lab.js', import.meta.url).href;
    const fixture = new URL('./stand-in.js', import.meta.url).href;
    const name = labName('k');
    const script = `
      const { Lab } = await import(${JSON.stringify(lab)});
      const { standIn } = await import(${JSON.stringify(fixture)});
      console.log('go');
      await Lab.up({ name: ${JSON.stringify(name)}, nodes: 3, delayMs: 10, command: standIn });
      console.log('up');
      setInterval(() => {}, 1000);
    `;
    for (const afterMs of [5, 30, 60, 100, 150, 250, 400, 600, Number.POSITIVE_INFINITY]) {
      const builder = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const word = afterMs === Number.POSITIVE_INFINITY ? 'up' : 'go';
      await new Promise<void>((done) => {
        builder.stdout.on('data', (text: Buffer) => {
          if (text.toString().includes(word)) done();
        });
      });
      if (word === 'go') await delay(afterMs);
      const closed = new Promise((done) => builder.once('close', done));
      builder.kill('SIGKILL');
      await closed;
      const state = readState(name);
      const processes = state === undefined ? [] : processesOf(name);
      Lab.remove(name);
      assertGone(name, processes);
    }
    const again = await Lab.up({ name, nodes: 1, command: standIn });
    again.spawn('client', ['sleep', '1000'], { detached: true, stdio: 'ignore' }).unref();
    assert.equal(readState(name)?.phase, 'up');
    again.down();
    assertGone(name, []);
  });

  test('a process is found by its arguments while it goes from program to program', async () => {
    const name = labName('x');
    const again = `exec sh -c "$0" "$0" ${name}`;
    const child = spawn('sh', ['-c', again, again, name], { stdio: 'ignore' });
    const ended = once(child, 'close');
    try {
      for (let looks = 0; looks < 200; looks++)
        assert.ok(
          processesWith([name]).some(({ pid }) => pid === child.pid),
          `look ${looks}`,
        );
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  });

  test('a command that its killed builder was waiting for leaves nothing behind', async () => {
    const lab = new URL('../../../src/tools/lab/lab.js', import.meta.url).href;
    const name = labName('w');
    const directory = mkdtempSync(join(tmpdir(), 'baton-slow-ip-'));
    const begun = join(directory, 'begun');
    // Every namespace is added some time after the builder asked for it.
    const slow = `#!/bin/sh\n[ "$1" = netns ] && touch ${begun} && sleep 0.3\nPATH=\${PATH#*:} exec ip "$@"\n`;
    writeFileSync(join(directory, 'ip'), slow, { mode: 0o755 });
    const script = `
      const { Lab } = await import(${JSON.stringify(lab)});
      await Lab.up({ name: ${JSON.stringify(name)}, nodes: 1, command: null });
    `;
    const builder = spawn(process.execPath, ['--input-type=module', '-e', script], {
      env: { ...process.env, PATH: `${directory}:${process.env.PATH}` },
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const closed = once(builder, 'close');
    while (!existsSync(begun)) await delay(5);
    builder.kill('SIGKILL');
    await closed;
    const namespaces = namespacesOf(readState(name)!.plan);
    let commands = processesWith(namespaces);
    // A shell that is just beginning another program is there twice for a moment.
    while (commands.length > 1) {
      await delay(5);
      commands = processesWith(namespaces);
    }
    assert.equal(commands.length, 1, 'the command goes on without its builder');
    assert.equal(Lab.remove(name), true);
    while (commands.some(isAlive)) await delay(5);
    assertGone(name, []);
    rmSync(directory, { recursive: true });
  });
});
