/** Policies of a running cluster: classes, modules, and their change without a restart. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Report } from './client.ts';
import { item, KIB, Stand } from './support.ts';

const MAIN = fileURLToPath(new URL('../../../src/tools/cli/main.js', import.meta.url));
const NODES = ['a', 'b', 'c'];
const BY_NAME = `export default (options) => ({
  choose(head, candidates, self) {
    if (head.path === '/0.bin') throw new Error('zero');
    return candidates.find((candidate) => candidate.name === options.node).index;
  },
});
`;
const CLASSES = {
  name: 'class',
  rules: [
    { maxBytes: KIB, nodes: ['b'], mechanism: 'relay' },
    { path: '/*.bin', minBytes: 16 * KIB, nodes: ['c'] },
  ],
  fallback: 'local',
};

const AT_B = {
  name: 'class',
  rules: [
    { path: '/0.bin', nodes: ['b'], mechanism: 'clone' },
    { path: '/**', nodes: ['b'] },
  ],
  fallback: 'local',
};

/** The cluster file as far as it is changed here. */
interface ClusterFile {
  readonly sites: { readonly name: string; policy: unknown }[];
  limits?: object;
}

describe('policies of a running cluster', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'clpolicy',
      sizes: [0, 1, KIB, 4 * KIB, 16 * KIB, 256 * KIB],
      sites: (root) => [
        {
          name: 'listed',
          hosts: ['listed.test'],
          root,
          serve: ['b', 'c'],
          catalogue: true,
          policy: { name: 'class', rules: [{ maxBytes: KIB, nodes: ['b'] }], fallback: 'round-robin' },
          mechanism: 'anchor',
        },
        { name: 'at-b', hosts: ['at-b.test'], root, policy: AT_B },
        { name: 'learnt', hosts: ['learnt.test'], root, serve: ['b'] },
      ],
      set: ['observe.accessLog=off', 'nodes.a.engines=2', 'nodes.b.engines=2'],
    });
  });
  after(() => stand?.down());

  interface ReloadCounts {
    readonly done: number;
    readonly failed: number;
    readonly error: string | null;
  }
  const reloads = async (node: string): Promise<ReloadCounts> =>
    (await stand.lab.admin(node, '/api/status')).reload;

  /** Changes the cluster file, and has every node read it again. Returns the error of each, null for none. */
  async function reload(change: (config: ClusterFile) => void): Promise<(string | null)[]> {
    const { configFile } = stand.lab.plan;
    const config = parse(readFileSync(configFile, 'utf8')) as ClusterFile;
    change(config);
    writeFileSync(configFile, stringify(config));
    return hangUp();
  }

  async function hangUp(): Promise<(string | null)[]> {
    return Promise.all(
      NODES.map(async (node) => {
        const before = await reloads(node);
        stand.lab.signal(node, 'SIGHUP');
        let now = before;
        await stand.until(`${node} has reloaded`, async () => {
          now = await reloads(node);
          return now.done + now.failed > before.done + before.failed;
        });
        return now.error;
      }),
    );
  }

  const done = [null, null, null];
  const file = () => join(stand.root, 'policy.mjs');
  const anchorSite = (config: ClusterFile) => config.sites.find((site) => site.name === 'anchor')!;
  const setPolicy = (policy: unknown) =>
    reload((config) => {
      anchorSite(config).policy = policy;
    });
  const fetch = (...sizes: number[]): Promise<Report> =>
    stand.runRight({ address: 'a', items: sizes.map((size) => item('anchor.test', size)) });

  test('classes by path and size, each with its nodes and mechanism', async () => {
    assert.deepEqual(await setPolicy(CLASSES), done);
    const small = await fetch(1, 1, KIB, KIB);
    assert.deepEqual([small.byNode, small.byMechanism], [{ b: 4 }, { relay: 4 }]);
    const large = await fetch(16 * KIB, 16 * KIB);
    assert.deepEqual([large.byNode, large.byMechanism], [{ c: 2 }, { anchor: 2 }]);
    const other = await fetch(4 * KIB);
    assert.deepEqual([other.byNode, other.byMechanism], [{ a: 1 }, { local: 1 }]);
  });

  const fetchOf = (host: string, ...sizes: number[]): Promise<Report> =>
    stand.runRight({ address: 'a', items: sizes.map((size) => item(host, size)) });

  test('mechanism auto: by size, from the first request on; what a policy names is not changed', async () => {
    const sizes = [KIB, KIB, 256 * KIB, 256 * KIB, KIB, 0, 1, 256 * KIB];
    const { byNode, byMechanism } = await fetchOf('at-b.test', ...sizes);
    assert.deepEqual([byNode, byMechanism], [{ b: 8 }, { relay: 4, anchor: 3, clone: 1 }]);
    // What lies between is relayed, until a half-pipe would have paid: that depends on what the nodes have to do.
    const between = (await fetchOf('at-b.test', ...Array(20).fill(16 * KIB))).byMechanism;
    assert.equal((between.relay ?? 0) + (between.anchor ?? 0), 20, JSON.stringify(between));
  });

  test('mechanism auto: what a node has no files of it learns', async () => {
    const { byMechanism } = await fetchOf('learnt.test', ...Array(12).fill(KIB));
    assert.deepEqual(byMechanism, { anchor: 1, relay: 11 });
    const large = await fetchOf('learnt.test', ...Array(12).fill(256 * KIB));
    assert.ok(large.byMechanism.anchor >= 10, JSON.stringify(large.byMechanism));
  });

  test('mechanism auto explains itself', async () => {
    const explained = await stand.lab.exec('a', [
      process.execPath,
      MAIN,
      ...['explain', 'http://at-b.test/262144.bin', '--config', stand.lab.plan.configFile],
    ]);
    assert.equal(explained.code, 0, explained.stderr);
    assert.match(explained.stdout, /node b \(site at-b, policy class\); mechanism auto/);
    assert.match(explained.stdout, /262144 bytes, as the file has/);
    assert.match(explained.stdout, /kept, a half-pipe there .* anchor\n/);
    const url = `http://${stand.lab.node('a').public[0]}/262144.bin`;
    const { stdout } = await stand.lab.exec('client', [
      ...['curl', '-s', '-o', '/dev/null', '-D', '-', '-H', 'Host: at-b.test', url],
    ]);
    assert.match(stdout, /X-Served-By: b\r\n/, 'another node has made the head');
    assert.match(stdout, /Server-Timing: .*;dur=[\d.]+, auto-relay;dur=[\d.]+, auto-anchor;dur=[\d.]+\r\n/);
    const { engines } = await stand.lab.admin('a', '/api/status');
    const chosen = engines.map(({ auto }: { auto: { chosen: Record<string, number> } }) => auto.chosen);
    assert.ok(
      chosen.some(({ anchor }: Record<string, number>) => anchor > 0),
      JSON.stringify(chosen),
    );
  });

  test('classes by the size that another node tells, at a node without the file', async () => {
    const fetchListed = (size: number) =>
      stand.runRight({ address: 'a', items: Array.from({ length: 4 }, () => item('listed.test', size)) });
    await stand.until('a knows what b has', async () => {
      const { byNode } = await fetchListed(KIB);
      return byNode.b === 4;
    });
    assert.deepEqual((await fetchListed(4 * KIB)).byNode, { b: 2, c: 2 });
  });

  test('a class whose node is gone falls back', async () => {
    await stand.kill('c');
    await stand.until('a knows', async () => {
      const { cluster } = await stand.lab.admin('a', '/api/status');
      return cluster.some((node: { node: string; up: boolean }) => node.node === 'c' && !node.up);
    });
    assert.deepEqual((await fetch(16 * KIB)).byNode, { a: 1 });
    await stand.start('c');
  });

  test('cached: memories are told while the policy goes by them, and forgotten when it does no more', async () => {
    const known = async (node: string) =>
      (await stand.lab.admin(node, '/api/status')).counters.cached_documents_now;
    const sizes = [0, 1, KIB, 4 * KIB, 16 * KIB];
    await fetch(...sizes);
    assert.deepEqual(await Promise.all(NODES.map(known)), [0, 0, 0]);
    assert.deepEqual(await setPolicy('cached'), done);
    await fetch(...sizes);
    for (const node of NODES) await stand.until(`${node} knows`, async () => (await known(node)) > 0);
    const before = await stand.total('requests_cached');
    await fetch(...sizes);
    assert.ok((await stand.total('requests_cached')) > before);
    assert.deepEqual(await setPolicy('hash'), done);
    for (const node of NODES)
      await stand.until(`${node} has forgotten`, async () => (await known(node)) === 0);
  });

  test('a module, its options, and the next version of it', async () => {
    writeFileSync(file(), BY_NAME);
    assert.deepEqual(await setPolicy({ module: file(), options: { node: 'b' } }), done);
    assert.deepEqual((await fetch(1, KIB, 4 * KIB)).byNode, { b: 3 });
    assert.deepEqual(await setPolicy({ module: file(), options: { node: 'c' } }), done);
    assert.deepEqual((await fetch(1, KIB, 4 * KIB)).byNode, { c: 3 });
    const { engines } = await stand.lab.admin('a', '/api/status');
    assert.equal(engines[0].policies.anchor, file());
    writeFileSync(file(), BY_NAME.replace('options.node', "'b'"));
    assert.deepEqual(await hangUp(), done);
    assert.deepEqual((await fetch(1, KIB, 4 * KIB)).byNode, { b: 3 });
  });

  test('a module that throws costs no request: local serves it, and it is counted', async () => {
    const before = (await stand.lab.admin('a', '/api/status')).counters.policy_failures;
    const report = await fetch(0, 0, 0, 1);
    assert.deepEqual(report.byNode, { a: 3, b: 1 });
    const { counters } = await stand.lab.admin('a', '/api/status');
    assert.equal(counters.policy_failures - before, 3);
    const logged = readFileSync(join(stand.lab.plan.directory, 'a.log'), 'utf8').match(/policy\.mjs: zero/g);
    assert.equal(logged?.length, 1);
  });

  test('what is broken leaves the old policy in force, and says why', async () => {
    const good = readFileSync(file(), 'utf8');
    const rows: [() => Promise<(string | null)[]>, RegExp][] = [
      [
        () => {
          writeFileSync(file(), 'export default (');
          return hangUp();
        },
        /policy module .*policy\.mjs: cannot be imported: /,
      ],
      [
        () => {
          writeFileSync(file(), good);
          return setPolicy('fastest');
        },
        /config\.yaml:\d+:\d+: sites\.\d+\.policy must be one of/,
      ],
      [
        () =>
          reload((config) => {
            anchorSite(config).policy = 'local';
            config.limits = { idleSeconds: 7 };
          }),
        /limits\.idleSeconds needs a restart of every node/,
      ],
    ];
    for (const [change, reason] of rows) {
      for (const error of await change()) assert.match(error ?? 'no error', reason);
      assert.deepEqual((await fetch(1, KIB)).byNode, { b: 2 });
    }
    assert.deepEqual(
      await reload((config) => {
        delete config.limits;
        anchorSite(config).policy = 'hash';
      }),
      done,
    );
  });

  test('changes under load fail no request', async () => {
    const items = [1, KIB, 16 * KIB].map((size) => item('anchor.test', size));
    // A node that was down has refused the others' links.
    await stand.markResets();
    const running = stand.run({ address: 'a', items, connections: 16, durationMs: 4000 });
    running.catch(() => {});
    for (const node of ['b', 'c', 'a', 'b']) {
      await delay(300);
      assert.deepEqual(await setPolicy({ module: file(), options: { node } }), done);
    }
    const report = await running;
    assert.deepEqual(report.failures, []);
    assert.ok(report.answered > 500, `${report.answered}`);
    await stand.nothingLeft();
    await stand.noResets();
  });
});
