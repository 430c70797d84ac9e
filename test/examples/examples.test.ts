/** The files in examples/ are right: clusters pass the check, defaults are the defaults, the service's rights suffice. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { loadConfig, parseConfig } from '../../src/base/config/load.ts';
import { Lab } from '../../src/tools/lab/lab.ts';
import type { LabNode, LabPlan } from '../../src/tools/lab/plan.ts';
import { skipUnlessRoot } from '../tools/lab/root.ts';

const EXAMPLES = fileURLToPath(new URL('../../../examples/', import.meta.url));
const MAIN = fileURLToPath(new URL('../../src/tools/cli/main.js', import.meta.url));
const NOBODY = '65534';
const SHORTEST = `cluster: { key: "a key of enough characters" }
nodes: { a: { address: 192.0.2.1 } }
sites: [{ name: default, root: /srv/www }]`;

for (const file of readdirSync(EXAMPLES).filter((name) => name.endsWith('.yaml'))) {
  test(`${file} passes the check`, () => {
    assert.ok(loadConfig(join(EXAMPLES, file)).nodes.length > 1);
  });
}

test('cluster.yaml has every limit, timeout, observation, and redirection, with its default', () => {
  const defaults = parseConfig(SHORTEST, '/etc/baton/cluster.yaml');
  const example = loadConfig(join(EXAMPLES, 'cluster.yaml'));
  const written = parse(readFileSync(join(EXAMPLES, 'cluster.yaml'), 'utf8'));
  for (const section of ['limits', 'timeouts', 'redirect', 'observe'] as const) {
    assert.deepEqual(example[section], defaults[section]);
    assert.deepEqual(Object.keys(written[section]).sort(), Object.keys(defaults[section]).sort());
  }
});

const AS_NOBODY = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--no-new-privs'];

function skipUnlessReadable(): { skip: string | false } {
  const root = skipUnlessRoot();
  if (root.skip !== false) return root;
  const isReadable = spawnSync(AS_NOBODY[0], [...AS_NOBODY.slice(1), 'test', '-r', MAIN]).status === 0;
  return { skip: isReadable ? false : 'SKIPPED: other users cannot read this copy of Baton' };
}

/** The lower-case names of a unit's capabilities, as setpriv(1) has them. */
function capabilities(unit: string, key: string): string[] {
  const line = new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1] ?? '';
  return line.split(' ').map((name) => name.toLowerCase().replace('cap_', ''));
}

test('a node runs as an ordinary user with the capabilities of baton.service, and hands off', {
  ...skipUnlessReadable(),
  timeout: 60_000,
}, async () => {
  const unit = readFileSync(join(EXAMPLES, 'baton.service'), 'utf8');
  const ambient = capabilities(unit, 'AmbientCapabilities');
  assert.deepEqual(ambient, capabilities(unit, 'CapabilityBoundingSet'));
  const only = ambient.map((name) => `+${name}`).join(',');
  const command = (node: LabNode, plan: LabPlan): string[] => [
    ...AS_NOBODY,
    ...[`--inh-caps=-all,${only}`, `--ambient-caps=-all,${only}`, `--bounding-set=-all,${only}`],
    ...[process.execPath, MAIN, 'serve', '--config', plan.configFile, '--node', node.name],
  ];
  const lab = await Lab.up({ name: 'service', nodes: 2, command });
  try {
    const status = readFileSync(`/proc/${lab.processOf('a')!.pid}/status`, 'utf8');
    assert.match(status, new RegExp(`^Uid:\\t${NOBODY}\\t${NOBODY}\\t`, 'm'));
    assert.doesNotMatch(lab.logTail('a.log'), /cgroup2/, 'congestion windows travel too');
    const answered = new Set<string>();
    for (let i = 0; i < 4; i++) {
      const { stdout } = await lab.exec('client', [
        'curl',
        '-sS',
        '-D',
        '-',
        '-o',
        '/dev/null',
        'http://a/64k.bin',
      ]);
      answered.add(String(/^X-Served-By: (.*)\r$/im.exec(stdout)?.[1]));
    }
    assert.deepEqual([...answered].sort(), ['a', 'b']);
    const { counters } = await lab.admin('a', '/api/status');
    assert.ok(counters.requests_anchor > 0, 'requests went by anchor');
    // The last one leaves its machine as it was.
    for (const node of ['b', 'a']) {
      lab.signal(node, 'SIGTERM');
      await lab.ended(node);
    }
    const addresses = await lab.exec('a', ['ip', '-o', 'address', 'show']);
    assert.doesNotMatch(addresses.stdout, /10\.77\.0\.10[12]/);
    const filters = await lab.exec('a', ['tc', 'filter', 'show', 'dev', 'eth0', 'ingress']);
    assert.equal(filters.stdout, '');
  } finally {
    lab.down();
  }
});
