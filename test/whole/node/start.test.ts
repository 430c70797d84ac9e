/** What a node's process does to its machine: nothing where another runs, nothing that a failed start leaves behind. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lab } from '../../../src/tools/lab/lab.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';

const BATON = fileURLToPath(new URL('../../../../bin/baton', import.meta.url));
const OCCUPANT = `require('node:net').createServer().listen(80, '0.0.0.0', () => console.log('listens'))`;

describe('the process of a node', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.up({ name: 'start', nodes: 2 });
  });
  after(() => lab?.down());

  const on = async (host: string, ...argv: string[]): Promise<{ code: number | null; said: string }> => {
    const { code, stdout, stderr } = await lab.exec(host, argv, { timeoutMs: 30_000 });
    return { code, said: stdout + stderr };
  };
  const baton = (host: string, ...argv: string[]) =>
    on(host, BATON, ...argv, '--config', lab.plan.configFile);
  const addresses = async (): Promise<string[]> => {
    const { said } = await on('a', 'ip', '-j', 'address', 'show');
    const links = JSON.parse(said) as Array<{ ifname: string; addr_info: Array<{ local: string }> }>;
    return links
      .flatMap(({ ifname, addr_info }) => addr_info.map(({ local }) => `${ifname} ${local}`))
      .filter((line) => / (10\.77\.0\.1..|fd77::1..)$/.test(line))
      .sort();
  };
  /** All of the machine that a start changes. */
  const machine = async (): Promise<string> => {
    const side = async (name: string) => (await on('a', 'tc', 'filter', 'show', 'dev', 'eth0', name)).said;
    return [await side('ingress'), await side('egress'), ...(await addresses())].join('\n');
  };
  const answeredBy = async (): Promise<string[]> => {
    const urls = ['1k', '16k', '64k', '256k'].map((size) => `http://a/${size}.bin`);
    const { said } = await on(
      'client',
      'curl',
      '-sS',
      '-m',
      '5',
      '-D',
      '-',
      ...urls.flatMap((url) => [url, '-o', '/dev/null']),
    );
    return [...new Set([...said.matchAll(/^X-Served-By: (.*)\r$/gim)].map(([, name]) => name))].sort();
  };
  /** A start that fails: what it says. The machine is as it was before. */
  const failedStart = async (): Promise<string> => {
    const before = await machine();
    const { code, said } = await baton('a', 'serve', '--node', 'a');
    assert.equal(code, 1, said);
    assert.doesNotMatch(said, /^ {4}at /m, 'no stack trace');
    assert.equal(await machine(), before);
    return said;
  };
  /** A start while another program has port 80. */
  const startOccupied = async (): Promise<string> => {
    const occupant = lab.spawn('a', [process.execPath, '-e', OCCUPANT], { stdio: 'pipe' });
    const ended = once(occupant, 'exit');
    await once(occupant.stdout!, 'data');
    try {
      return await failedStart();
    } finally {
      occupant.kill();
      await ended;
    }
  };
  const withConfig = async (change: (text: string) => string, use: () => Promise<void>): Promise<void> => {
    const text = readFileSync(lab.plan.configFile, 'utf8');
    const changed = change(text);
    assert.notEqual(changed, text);
    writeFileSync(lab.plan.configFile, changed);
    try {
      await use();
    } finally {
      writeFileSync(lab.plan.configFile, text);
    }
  };

  test('a second process finds the first one and touches nothing, under whatever name', async () => {
    const before = await machine();
    assert.deepEqual(await answeredBy(), ['a', 'b']);
    for (const name of ['a', 'b']) {
      const { code, said } = await baton('a', 'serve', '--node', name);
      assert.equal(code, 1);
      assert.match(said, /^baton: NODE_RUNS: a node runs here already/);
    }
    assert.equal(await machine(), before);
    assert.deepEqual(await answeredBy(), ['a', 'b'], "the first one's router and half-pipes go on");
  });

  test('a command for another node does nothing here', async () => {
    const wrong = await baton('a', 'drain', 'b');
    assert.equal(wrong.code, 1);
    assert.match(wrong.said, /OTHER_NODE: this is node a, not b/);
    const nobody = await baton('client', 'drain', 'b');
    assert.equal(nobody.code, 1);
    assert.match(nobody.said, /node b does not run on this machine/);
    for (const path of ['/readyz', '/api/status']) assert.ok(await lab.admin('a', path));
    assert.ok(lab.processOf('a') && lab.processOf('b'));
  });

  test('a failed start says why and leaves a killed node its router', async () => {
    await lab.kill('a');
    const left = await machine();
    assert.match(left, /bpf/);
    assert.match(
      await startOccupied(),
      /^baton: PORT: 10\.77\.0\.101:80 cannot be had: bind: EADDRINUSE.*\n {2}hint: ss /,
    );
  });

  test('addresses that left the file are gone after the next start, moved ones are where they belong', async () => {
    await on('a', 'ip', 'address', 'add', '10.77.0.150/32', 'dev', 'eth0');
    const moved = (text: string) =>
      text
        .replace('10.77.0.102', '10.77.0.103')
        .replace('10.77.0.101', '10.77.0.111')
        .replace('10.77.0.103', '10.77.0.101');
    await withConfig(moved, async () => {
      await lab.start('a');
      const v4 = (await addresses()).filter((line) => line.includes(' 10.'));
      assert.deepEqual(v4, ['eth0 10.77.0.111', 'eth0 10.77.0.150', 'lo 10.77.0.101']);
      assert.match(
        lab.logTail('a.log'),
        /"removed":\["10\.77\.0\.10[12] on (eth0|lo)","10\.77\.0\.10[12] on /,
      );
      await lab.kill('a');
    });
    await lab.start('a');
    const v4 = (await addresses()).filter((line) => line.includes(' 10.'));
    assert.deepEqual(v4, ['eth0 10.77.0.101', 'eth0 10.77.0.150', 'lo 10.77.0.102']);
  });

  test('doctor finds addresses without a router, and --clean removes them, not those of a running node', async () => {
    const finding = async (): Promise<{ state: string; detail: string }> => {
      const { stdout } = await lab.exec('a', [BATON, 'doctor', '--json']);
      return JSON.parse(stdout).findings.find(({ name }: { name: string }) => name === 'left-addresses');
    };
    const running = await machine();
    assert.equal((await finding()).detail, 'none');
    await on('a', BATON, 'doctor', '--clean');
    assert.equal(await machine(), running);
    await lab.kill('a');
    assert.equal((await finding()).detail, 'none', 'a router guards them');
    for (const side of ['ingress', 'egress']) await on('a', 'tc', 'filter', 'del', 'dev', 'eth0', side);
    assert.equal((await finding()).state, 'warn');
    const { said } = await on('a', BATON, 'doctor', '--clean');
    for (const gone of ['10.77.0.101 on eth0', 'fd77::101 on eth0', '10.77.0.102 on lo', 'fd77::102 on lo'])
      assert.ok(said.includes(`removed ${gone}\n`), said);
    assert.deepEqual(await addresses(), ['eth0 10.77.0.150']);
  });

  test('a start that fails on a clean machine leaves it clean, and says what to do', async () => {
    const root = join(lab.plan.directory, 'root');
    await withConfig(
      (text) => text.replaceAll(root, `${root}/none`),
      async () => {
        const said = await failedStart();
        assert.match(
          said,
          /^baton: CONTENT: site default: there is no directory .*none\n {2}hint: baton check/,
        );
      },
    );
    await withConfig(
      (text) => text.replaceAll(root, `${root}/1k.bin`),
      async () => {
        assert.match(await failedStart(), /^baton: CONTENT: .*1k\.bin is not a directory\n {2}hint: /);
      },
    );
    await withConfig(
      (text) => text.replaceAll('interface: eth0', 'interface: eth9'),
      async () => {
        assert.match(await failedStart(), /^baton: INTERFACE: .*eth9.*\n {2}hint: /);
      },
    );
    assert.match(
      await startOccupied(),
      /^baton: PORT: 10\.77\.0\.101:80 cannot be had: bind: EADDRINUSE.*\n {2}hint: ss /,
    );
  });

  test('a drained process ends with a code of its own, another with 0', async () => {
    const serve = [
      process.execPath,
      fileURLToPath(new URL('../../../src/tools/cli/main.js', import.meta.url)),
      'serve',
    ];
    for (const how of ['drain', 'SIGTERM'] as const) {
      const node = lab.spawn('a', [...serve, '--config', lab.plan.configFile, '--node', 'a'], {
        stdio: 'ignore',
      });
      const ended = once(node, 'exit');
      const isReady = async () => (await on('a', 'curl', '-sf', 'http://127.0.0.1:9900/readyz')).code === 0;
      while (!(await isReady())) assert.equal(node.exitCode, null);
      if (how === 'drain')
        assert.match((await baton('a', 'drain', 'a')).said, /a: empty, its process has ended\n$/);
      else node.kill(how);
      assert.deepEqual(await ended, [how === 'drain' ? 80 : 0, null]);
    }
  });
});
