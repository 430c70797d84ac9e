import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Lab, type LabStatus } from '../../../src/tools/lab/lab.ts';
import { skipUnlessRoot } from './root.ts';
import { standIn } from './stand-in.ts';

const BATON = fileURLToPath(new URL('../../../../bin/baton', import.meta.url));
const EXAMPLE = fileURLToPath(new URL('../../../../examples/cluster.yaml', import.meta.url));

function baton(argv: readonly string[], input = ''): { code: number | null; out: string; err: string } {
  const result = spawnSync(BATON, argv, { input, encoding: 'utf8', timeout: 60_000 });
  return { code: result.status, out: result.stdout, err: result.stderr };
}

test('help, versions and wrong commands', () => {
  assert.deepEqual([baton(['--help']).code, baton(['--version']).out], [0, '0.1.0\n']);
  for (const command of ['serve', 'check', 'doctor', 'lab']) assert.equal(baton([command, '--help']).code, 0);
  assert.equal(baton(['chek']).code, 1);
  assert.match(baton(['chek']).err, /Did you mean check/);
  assert.match(baton(['lab', 'up', '--nodes', 'many']).err, /Not a number/);
});

test('check: exit 0 for the example, exit 1 with place and hint for all that is wrong', () => {
  assert.deepEqual([baton(['check', '--config', EXAMPLE]).code], [0]);
  const directory = mkdtempSync(join(tmpdir(), 'baton-cli-'));
  try {
    const file = join(directory, 'wrong.yaml');
    writeFileSync(file, 'cluster: {key: short}\nnodes: {a: {adress: 10.0.0.1}}\nsites: []\n');
    const { code, out, err } = baton(['check', '--config', file]);
    assert.deepEqual([code, out], [1, '']);
    assert.ok(err.includes(`${file}:1:16: the cluster key has 5 characters`), err);
    assert.ok(
      err.includes(`${file}:2:13: unknown key adress in nodes.a\n  hint: did you mean address?`),
      err,
    );
    assert.ok(err.includes(`${file}:3:8: sites must have at least one site`), err);
    assert.match(
      baton(['check', '--config', join(directory, 'none.yaml')]).err,
      /none.yaml:1:1: cannot be read/,
    );
    assert.match(baton(['serve', '-c', EXAMPLE, '-n', 'z']).err, /no node z; nodes are a, b/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('check: what of the file this machine lacks, as an error where it is known to be the node, else as a warning', () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-check-'));
  const file = join(directory, 'cluster.yaml');
  const check = (root: string, ...flags: string[]) => {
    writeFileSync(
      file,
      `cluster: { key: "@file:key" }
nodes: { a: { address: 203.0.113.1, interface: none0 }, b: { address: 203.0.113.2, interface: lo } }
sites: [{ name: default, root: ${root}, serve: [a], roots: { b: none } }]
`,
    );
    return baton(['check', '--config', file, ...flags]);
  };
  try {
    writeFileSync(join(directory, 'key'), 'a key of enough characters', { mode: 0o640 });
    const elsewhere = check('./none');
    assert.equal(elsewhere.code, 0, elsewhere.err);
    assert.ok(
      elsewhere.err.includes(`${file}:3:32: warning: there is no directory ${directory}/none\n  hint: `),
    );
    assert.ok(elsewhere.out.startsWith(`${file}: ok (nodes: a, b;`));
    const here = check('./none', '--node', 'a');
    assert.equal(here.code, 1);
    assert.ok(here.err.includes(`${file}:3:32: there is no directory ${directory}/none\n  hint: `), here.err);
    assert.ok(
      here.err.includes(`${file}:2:48: warning: there is no interface none0 on this machine\n  hint: `),
    );
    const other = check('./none', '--node', 'b');
    assert.deepEqual([other.code, other.err], [0, ''], 'b answers nothing');
    for (const flags of [[], ['--node', 'a']]) {
      const { code, err } = check('./key', ...flags);
      assert.equal(code, 1);
      assert.ok(err.includes(`${file}:3:32: ${directory}/key is not a directory\n  hint: `), err);
    }
    assert.match(check('.', '--node', 'z').err, /there is no node z/);
    chmodSync(join(directory, 'key'), 0o644);
    const open = check('.');
    assert.equal(open.code, 1);
    assert.ok(
      open.err.includes(`${file}:1:17: everybody on this machine can read the cluster key`),
      open.err,
    );
    assert.ok(open.err.includes(`\n  hint: chmod o= ${directory}/key`));
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('check: a machine with the own address of a node is that node; a module is named where the file names it', () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-check-'));
  const file = join(directory, 'cluster.yaml');
  try {
    writeFileSync(join(directory, 'p.mjs'), 'for (;;);');
    writeFileSync(
      file,
      `cluster: { key: a key of enough characters }
nodes: { a: { address: 127.0.0.1, interface: lo } }
sites: [{ name: default, root: none, policy: { module: ./p.mjs } }]
`,
    );
    const { code, err } = baton(['check', '--config', file]);
    assert.equal(code, 1);
    assert.ok(err.startsWith(`${file}:3:32: there is no directory ${directory}/none\n  hint: `), err);
    assert.ok(err.includes(`${file}:3:56: policy module ${directory}/p.mjs: does not return`), err);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('doctor --json says of everything what it is for and how to get it, and the exit code follows', () => {
  const { code, out } = baton(['doctor', '--json']);
  const { canServe, findings } = JSON.parse(out) as {
    canServe: boolean;
    findings: Array<Record<string, string>>;
  };
  assert.equal(code, canServe ? 0 : 1);
  assert.equal(canServe, !findings.some((finding) => finding.state === 'missing'));
  const names = findings.map((finding) => finding.name);
  for (const name of [
    'kernel',
    'node',
    'tcp-repair',
    'bpf',
    'cls_bpf',
    'btf',
    'cgroup2',
    'netem',
    'stale-labs',
  ]) {
    assert.ok(names.includes(name), name);
  }
  for (const finding of findings) assert.ok(finding.detail && finding.purpose, JSON.stringify(finding));
});

test('doctor without capabilities finds what is missing', skipUnlessRoot(), () => {
  const bare = spawnSync(
    'setpriv',
    ['--bounding-set=-all', '--inh-caps=-all', '--', BATON, 'doctor', '--json'],
    {
      encoding: 'utf8',
    },
  );
  assert.equal(bare.status, 1, bare.stderr);
  const { findings } = JSON.parse(bare.stdout) as { findings: Array<Record<string, string>> };
  const missing = findings.filter((finding) => finding.state === 'missing');
  const names = missing.map((finding) => finding.name);
  for (const name of ['tcp-repair', 'raw-sockets']) assert.ok(names.includes(name), `${name} in ${names}`);
  for (const finding of missing) assert.ok(finding.remedy, JSON.stringify(finding));
});

describe('baton lab', { ...skipUnlessRoot(), timeout: 60_000 }, () => {
  const name = `c${process.pid}`;
  const flags = ['--name', name];
  after(() => Lab.remove(name));

  test('exec, kill, start, status and down work on a lab from another process', async () => {
    await Lab.up({ name, nodes: 2, delayMs: 2, command: standIn });
    const inLab = (host: string, ...command: string[]) =>
      baton(['lab', 'exec', ...flags, host, '--', ...command]);
    const page = inLab('client', 'curl', '-si', 'http://10.77.0.1/x/5');
    assert.match(page.out, /^HTTP\/1\.1 200 OK\r\n.*X-Served-By: a\r\n/s);
    assert.equal(inLab('a', 'sh', '-c', 'exit 9').code, 9);
    assert.equal(inLab('b', 'sh', '-c', 'kill -TERM $$').code, 143);
    assert.equal(baton(['lab', 'exec', ...flags, 'client', '--', 'cat'], 'through').out, 'through');
    assert.equal(baton(['lab', 'exec', ...flags, 'client', '--', 'echo', '--name', '-x']).out, '--name -x\n');
    assert.match(inLab('nobody', 'true').err, /no node "nobody" in lab/);

    assert.equal(baton(['lab', 'kill', ...flags, 'a']).code, 0);
    const status = (): LabStatus => JSON.parse(baton(['lab', 'status', ...flags, '--json']).out);
    assert.deepEqual(
      status().nodes.map((node) => node.ready),
      [false, true],
    );
    assert.match(baton(['lab', 'status', ...flags]).out, /^a +down +- +10\.77\.0\.1/m);
    const staleLabs = (): string => {
      const { findings } = JSON.parse(baton(['doctor', '--json']).out) as {
        findings: Array<Record<string, string>>;
      };
      return findings.find((finding) => finding.name === 'stale-labs')!.detail;
    };
    assert.ok(!staleLabs().includes(name));
    assert.equal(baton(['lab', 'kill', ...flags, 'b']).code, 0);
    assert.ok(staleLabs().includes(name), 'doctor names a lab in which nothing runs any more');
    assert.equal(baton(['lab', 'start', ...flags, 'b']).code, 0);
    assert.equal(baton(['lab', 'start', ...flags, 'a']).code, 0);
    assert.deepEqual(
      status().nodes.map((node) => node.ready),
      [true, true],
    );
    assert.equal(baton(['lab', 'down', ...flags]).code, 0);
    assert.equal(baton(['lab', 'down', ...flags]).code, 0);
    assert.equal(baton(['lab', 'status', ...flags]).code, 1);
  });
});
