/** Who reaches a node's backplane port and is none of ours, and nodes whose keys or files differ. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { StrangersJob, StrangersReport } from './strangers.ts';
import { item, KIB, Stand } from './support.ts';

const STRANGERS = fileURLToPath(new URL('./strangers.js', import.meta.url));
const LAB = 'strangers';
const KEY = `the key of the lab ${LAB}`;

describe('at the backplane port', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: LAB,
      nodes: 3,
      sizes: [KIB],
      sites: (root) => [{ name: 'rest', hosts: ['*'], root, policy: 'round-robin' }],
      set: ['observe.accessLog=off'],
    });
  });
  after(() => stand?.down());

  const status = (node: string) => stand.lab.admin(node, '/api/status');
  const counter = async (node: string, name: string): Promise<number> => (await status(node)).counters[name];
  const failures = async (node: string) => (await status(node)).engines[0].linkFailures;
  const linksUp = (node: string) => counter(node, 'links_up_now');
  const logOf = (node: string) => readFileSync(join(stand.lab.plan.directory, `${node}.log`), 'utf8');
  const residentKib = (node: string): number => {
    const { pid } = stand.lab.processOf(node)!;
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
  };

  async function strangers(host: string, job: Partial<StrangersJob>): Promise<StrangersReport> {
    const whole: StrangersJob = {
      address: '10.77.0.2',
      connections: 400,
      greets: false,
      holdMs: 800,
      ...job,
    };
    const argv = [process.execPath, STRANGERS, JSON.stringify(whole)];
    const { code, stdout, stderr } = await stand.lab.exec(host, argv, { timeoutMs: 30_000 });
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout);
  }

  test('strangers get nothing, hold nothing, and fill no log', async () => {
    const items = [item('local.test', KIB)];
    await stand.runRight({ address: '10.77.0.102', items, connections: 4, durationMs: 300 });
    const before = residentKib('b');
    const [report] = await Promise.all([
      strangers('client', { greets: true }),
      stand.runRight({ address: '10.77.0.102', items, connections: 4, durationMs: 800 }),
    ]);
    assert.deepEqual(report, { open: 0, answered: 0 });
    assert.ok((await counter('b', 'strangers_refused')) >= 100);
    assert.ok(residentKib('b') - before < 48 * KIB, `${residentKib('b') - before} KiB more`);
    const lines = logOf('b').match(/an address that is no other node/g)?.length ?? 0;
    assert.ok(lines >= 1 && lines <= 20, `${lines} lines`);
  });

  test('whoever sits at a node’s address has two handshakes at once, and few in a second', async () => {
    const before = residentKib('b');
    const silent = await strangers('a', { connections: 200 });
    assert.ok(silent.open <= 2, `${silent.open} open`);
    await delay(1000);
    const greeting = await strangers('a', { connections: 200, greets: true });
    assert.ok(greeting.answered <= 30, `${greeting.answered} answered`);
    assert.ok(residentKib('b') - before < 48 * KIB, `${residentKib('b') - before} KiB more`);
    assert.equal(await linksUp('b'), 2, 'the links that are there stay');
  });

  test('strangers do not keep a node out', async () => {
    await stand.kill('a');
    let running = true;
    const flood = (async () => {
      while (running) await strangers('client', { connections: 300, holdMs: 200 });
    })();
    await stand.start('a');
    await stand.until('the links of a are up', async () => (await linksUp('a')) === 2, 10_000);
    running = false;
    await flood;
  });

  /** Starts c anew with another file than the others have. */
  async function startOtherwise(text: string): Promise<void> {
    const { configFile } = stand.lab.plan;
    const config = readFileSync(configFile, 'utf8');
    await stand.kill('c');
    writeFileSync(configFile, text);
    try {
      await stand.lab.start('c');
    } finally {
      writeFileSync(configFile, config);
    }
  }

  test('both ends say that their keys differ, and who', async () => {
    const { configFile } = stand.lab.plan;
    const config = readFileSync(configFile, 'utf8');
    assert.ok(config.includes(KEY));
    await startOtherwise(config.replace(KEY, 'quite another key than that'));
    const says = async (node: string, of: string) =>
      (await failures(node)).some((one: { node: string; advice: string }) => {
        return one.node === of && /different cluster keys/.test(one.advice);
      });
    await stand.until('a says it of c', () => says('a', 'c'));
    await stand.until('c says it of a', () => says('c', 'a'));
    for (const node of ['a', 'c']) {
      assert.ok((await counter(node, 'links_wrong_key')) >= 1);
      assert.match(logOf(node), /different cluster keys/);
    }
    assert.match(JSON.stringify(await failures('a')), /10\.77\.0\.3/);
    const lines = logOf('c').match(/different cluster keys/g)!.length;
    assert.ok(lines <= 4, `${lines} lines`);
    await stand.lab.kill('c');
    await stand.start('c');
    await stand.until('the link is up', async () => (await linksUp('a')) === 2);
    assert.deepEqual(await failures('a'), []);
  });

  test('a node that has a site more: it answers for it alone, the others go on with the rest', async () => {
    const config = parse(readFileSync(stand.lab.plan.configFile, 'utf8'));
    config.sites.push({ name: 'only', hosts: ['only.test'], root: stand.root });
    await startOtherwise(stringify(config));
    const differences = async (node: string) => (await status(node)).engines[0].differences;
    await stand.until('a says what differs', async () =>
      ((await differences('a')).c ?? []).includes('site only: only in the file of node c'),
    );
    await stand.until('and c does', async () => (await differences('c')).a !== undefined);
    assert.deepEqual(Object.keys(await differences('a')), ['c']);
    assert.equal(await counter('a', 'views_differ_now'), 1);
    assert.match(logOf('a'), /the configuration of a node differs/);
    const byNode = async (node: 'a' | 'c', host: string) => {
      const address = node === 'a' ? '10.77.0.101' : '10.77.0.103';
      const items = Array.from({ length: 12 }, () => item(host, KIB));
      return (await stand.runRight({ address, items, each: true })).byNode;
    };
    assert.equal((await byNode('a', 'only.test')).c, undefined, 'a takes it for the site of all hosts');
    assert.deepEqual(await byNode('c', 'only.test'), { c: 12 });
    assert.ok((await byNode('a', 'anchor.test')).c > 0, 'other sites go on');
    assert.equal((await byNode('a', 'migrate.test')).c, undefined, 'a connection may bear any host');
    await stand.lab.kill('c');
    await stand.start('c');
    await stand.until('they agree', async () => Object.keys(await differences('a')).length === 0);
    await stand.until('c takes connections again', async () => (await byNode('a', 'migrate.test')).c > 0);
  });

  test('policies may differ; a reload tells', async () => {
    const { configFile } = stand.lab.plan;
    const text = readFileSync(configFile, 'utf8');
    const config = parse(text);
    config.sites[0].policy = 'hash';
    const told = async () => (await status('b')).engines[0].differences.a ?? [];
    try {
      writeFileSync(configFile, stringify(config));
      stand.lab.signal('a', 'SIGHUP');
      await stand.until('b hears of it', async () => /policy, mechanism or options/.test((await told())[0]));
    } finally {
      writeFileSync(configFile, text);
      stand.lab.signal('a', 'SIGHUP');
    }
    await stand.until('they agree again', async () => (await told()).length === 0);
    await stand.nothingLeft();
  });
});
