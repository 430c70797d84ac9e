/** What is in memory: what a look finds, that peers know it, and that policy cached sends requests there. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { documentHash } from '../../../src/base/text-hash.ts';
import { newPlace } from '../../../src/cluster/change-log.ts';
import { scanMemory } from '../../../src/cluster/memory-scan.ts';
import { MAX_CACHED_DOCUMENTS, MemoryTable } from '../../../src/cluster/memory-table.ts';
import { OwnMemory } from '../../../src/cluster/own-memory.ts';
import { Hash } from '../../../src/cluster/policy/hash.ts';
import { isInPageCache } from '../../../src/kernel/linux/page-cache.ts';
import type { Cached } from '../../../src/protocol/backplane/frames.ts';
import { FileCache } from '../../../src/protocol/http/file-cache.ts';
import { Entry } from '../../../src/protocol/http/file-entry.ts';
import { SMALL_FILE_BYTES } from '../../../src/protocol/http/open-file.ts';
import type { RequestHead } from '../../../src/protocol/http/request.ts';
import { writeRamp } from '../../../src/tools/lab/sample-site.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import type { Item, Report } from './client.ts';
import { IN_TIME_ROUNDS, inTime } from './faults.ts';
import { pieces } from './pieces.ts';
import { KIB, MIB, Stand } from './support.ts';

const SITE = 'site';
const NODE = 2;
const TMPFS_MAGIC = 0x01021994;

/** Has the kernel forget a file's pages. */
function dropPages(file: string): void {
  const argv = [`of=${file}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'];
  execFileSync('dd', ['if=/dev/null', ...argv]);
}

/** Files of a tmpfs are nowhere but in memory. */
const skipOnTmpfs = () =>
  statfsSync(tmpdir()).type === TMPFS_MAGIC ? { skip: 'temporary files are in memory for good' } : {};

describe('what peers know of memories', () => {
  const documents = Array.from({ length: 8 }, (_, i) => i * 0x1fffffff);
  const memory = fc.subarray(documents).map((some) => new Set(some));

  test('a peer knows what two engines of a node have, whenever it listens, and forgets one that is gone', () => {
    const step = fc.record({ engine: fc.nat(1), memory, listens: fc.boolean(), isGone: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const known = new MemoryTable([SITE]);
        const engines = [0, 1].map(() => ({ own: new OwnMemory(SITE), place: newPlace(), told: new Set() }));
        for (const { engine, memory, listens, isGone } of steps) {
          const one = engines[engine];
          one.own.update(memory);
          if (isGone === 0) {
            known.forget(NODE, engine);
            one.place = newPlace();
            one.told = new Set();
          }
          if (listens) {
            for (const piece of pieces(one.own, one.place)) known.apply(NODE, engine, piece);
            one.told = memory;
          }
          const told = documents.filter((document) => engines.some((each) => each.told.has(document)));
          const heard = documents.filter((document) => known.has(SITE, NODE, document));
          assert.deepEqual(heard, told);
          assert.deepEqual([known.sizeOf(NODE), known.size], [told.length, told.length]);
        }
      }),
      { numRuns: 60 },
    );
  });

  test('many documents come in pieces, and go in pieces', () => {
    const own = new OwnMemory(SITE);
    const known = new MemoryTable([SITE]);
    const place = newPlace();
    own.update(new Set(Array.from({ length: 10_000 }, (_, i) => i)));
    const all = pieces(own, place);
    assert.ok(all.length > 5);
    for (const piece of all) known.apply(NODE, 0, piece);
    assert.equal(known.sizeOf(NODE), 10_000);
    own.update(new Set());
    for (const piece of pieces(own, place)) known.apply(NODE, 0, piece);
    assert.equal(known.sizeOf(NODE), 0);
  });

  test('nothing is told while there is nothing', () => {
    assert.deepEqual(pieces(new OwnMemory(SITE), newPlace()), []);
  });

  test('a site that nobody has is not remembered, nor what is too much', () => {
    const known = new MemoryTable([SITE]);
    const say = (site: string, document: number) =>
      known.apply(NODE, 0, {
        ...{ type: 25, site, restart: false },
        entries: [{ document, held: true }],
      } as Cached);
    say('other', 1);
    assert.equal(known.size, 0);
    for (let document = 0; document < MAX_CACHED_DOCUMENTS + 2; document++) say(SITE, document);
    assert.equal(known.sizeOf(NODE), MAX_CACHED_DOCUMENTS);
  });
});

describe('a look at the memory', () => {
  const root = mkdtempSync(join(tmpdir(), 'baton-memory-'));
  const LARGE_BYTES = 4 * SMALL_FILE_BYTES;
  for (const [name, size] of [
    ['small', KIB],
    ['large', LARGE_BYTES],
    ['index.html', 1],
  ] as const)
    writeRamp(root, name, size);
  const cache = new FileCache({
    root,
    memoryBytes: MIB,
    openFiles: 8,
    entries: 64,
    types: {},
    digest: null,
  });
  after(() => {
    cache.close();
    rmSync(root, { recursive: true });
  });

  const look = (all = true): { found: Set<number>; steps: number } => {
    const scan = scanMemory(cache.all, all);
    for (let steps = 0; ; steps++) {
      const step = scan.next();
      if (step.done) return { found: step.value, steps };
    }
  };
  const found = (...names: string[]) => new Set(names.map(documentHash));
  const ask = (path: string): Entry => {
    const entry = cache.lookup(path, Date.now());
    assert.ok(entry instanceof Entry, path);
    return entry;
  };

  test('finds small files that were asked for, by their names, whatever the path', () => {
    assert.deepEqual(look().found, new Set());
    ask('/');
    ask('/%73mall');
    assert.deepEqual(look(), { found: found('index.html', 'small'), steps: 0 });
  });

  test('finds a large file while its pages are there, asked for or not', skipOnTmpfs(), () => {
    ask('/large');
    assert.deepEqual(look(), { found: found('index.html', 'small', 'large'), steps: 1 });
    // Nobody has asked: what was found last time holds, until a look is at everything.
    dropPages(join(root, 'large'));
    assert.deepEqual(look(false), { found: found('index.html', 'small', 'large'), steps: 0 });
    assert.deepEqual(look(), { found: found('index.html', 'small'), steps: 1 });
    // It is not looked at again, which would read it page by page.
    assert.equal(look().steps, 0);
    // Until somebody asks.
    const entry = ask('/large');
    assert.deepEqual(look(false), { found: found('index.html', 'small'), steps: 1 });
    const [{ fd }] = entry.representations;
    for (let offset = 0; offset < LARGE_BYTES; offset += KIB) isInPageCache(fd, offset);
  });

  test('looks again at a file that is being sent: it comes into memory meanwhile', skipOnTmpfs(), () => {
    dropPages(join(root, 'large'));
    const [sent] = ask('/large').representations;
    sent.retain();
    assert.equal(look(false).found.has(documentHash('large')), false);
    execFileSync('cat', [join(root, 'large')], { maxBuffer: 2 * LARGE_BYTES });
    assert.equal(look(false).found.has(documentHash('large')), true);
    sent.release();
    assert.equal(look(false).steps, 1);
    assert.equal(look(false).steps, 0);
  });

  test('of a file system that cannot tell, everything counts as there', () => {
    const directory = mkdtempSync('/dev/shm/baton-memory-');
    try {
      writeRamp(directory, 'file', KIB);
      const fd = openSync(join(directory, 'file'), 'r');
      assert.equal(isInPageCache(fd, 0), true);
      closeSync(fd);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe('policy cached in a cluster', { ...skipUnlessRoot(), timeout: 150_000 }, () => {
  const MECHANISMS = ['anchor', 'clone', 'split', 'migrate', 'relay'];
  const NODES = ['a', 'b', 'c'];
  const LARGE_BYTES = 256 * KIB;
  /** The node of `among` that the consistent hash gives a path. */
  const homeOf = (path: string, among = NODES) => {
    const candidates = among.map((name) => ({ name, index: NODES.indexOf(name) }));
    return NODES[new Hash().choose({ path } as RequestHead, candidates)];
  };
  /** Names of documents that are c's by hash and, while c is away, half a's, half b's. */
  const namesOfC = (prefix: string, count: number) => {
    const names = Array.from({ length: 300 }, (_, i) => `${prefix}${i}.bin`);
    const ofC = names.filter((name) => homeOf(`/${name}`) === 'c');
    const half = (node: string) =>
      ofC.filter((name) => homeOf(`/${name}`, ['a', 'b']) === node).slice(0, count / 2);
    return [...half('a'), ...half('b')];
  };
  const small = namesOfC('small', 8);
  const large = namesOfC('large', 2);
  /** Fills a cache alone: a's by hash. */
  const wide = Array.from({ length: 100 }, (_, i) => `wide${i}.bin`).find(
    (name) => homeOf(`/${name}`) === 'a',
  )!;

  const hostOf = (site: string) => `${site}.memory.test`;
  const items = (host: string, names: readonly string[], size: number): Item[] =>
    names.map((name) => ({ host, path: `/${name}`, size }));
  const smallItems = (host: string) => items(host, small, KIB);

  /** Every node has its own copy of every document. */
  function writeSites(directory: string): object[] {
    const roots = Object.fromEntries(NODES.map((node) => [node, join(directory, node)]));
    for (const root of Object.values(roots)) {
      mkdirSync(root);
      for (const name of small) writeRamp(root, name, KIB);
      for (const name of large) writeRamp(root, name, LARGE_BYTES);
      writeRamp(root, wide, SMALL_FILE_BYTES);
    }
    const site = (name: string, fields: object) => ({
      name: `memory-${name}`,
      hosts: [hostOf(name)],
      roots,
      policy: 'cached',
      mechanism: 'anchor',
      ...fields,
    });
    const { b, c } = roots;
    return [
      ...MECHANISMS.map((mechanism) => site(mechanism, { mechanism })),
      site('bare', { roots: { b, c }, serve: ['b', 'c'] }),
    ];
  }

  let stand: Stand;
  before(async () => {
    stand = await Stand.up({
      name: 'clmemory',
      sizes: [],
      set: ['observe.accessLog=off', 'nodes.b.engines=2', 'limits.cacheBytes=262144'],
      sites: writeSites,
    });
  });
  after(() => stand?.down());

  const fetch = (address: string, items: readonly Item[]): Promise<Report> =>
    stand.runRight({ address, items, each: true });
  /** What a node's first engine knows: documents in memory by node. */
  const known = async (node: string): Promise<Record<string, number>> =>
    (await stand.lab.admin(node, '/api/status')).engines[0].cached;
  const knows = (node: string, of: Record<string, number>) =>
    stand.until(`${node} knows ${JSON.stringify(of)}`, async () => {
      const all = await known(node);
      return Object.entries(of).every(([name, count]) => all[name] === count);
    });
  const chosen = async () => [await stand.total('requests_cached'), await stand.total('requests_not_cached')];

  /** Documents of a and b in memory once each was asked for while c was away: four small ones a site, one large. */
  const A_HAS = MECHANISMS.length * (small.length / 2) + large.length / 2;
  const B_HAS = A_HAS + small.length;

  test('a document that was asked for is known to be in memory where it was served from', async () => {
    await stand.kill('c');
    await stand.until('a knows that c is gone', async () => {
      const { cluster } = await stand.lab.admin('a', '/api/status');
      return cluster.some((node: { node: string; up: boolean }) => node.node === 'c' && !node.up);
    });
    for (const site of [...MECHANISMS, 'bare']) {
      const { byNode } = await fetch('a', smallItems(hostOf(site)));
      assert.deepEqual(byNode, site === 'bare' ? { b: 8 } : { a: 4, b: 4 }, site);
    }
    assert.deepEqual((await fetch('a', items(hostOf('anchor'), large, LARGE_BYTES))).byNode, { a: 1, b: 1 });
    await knows('a', { a: A_HAS, b: B_HAS, c: 0 });
    // Gauges are set ten times a second.
    await stand.until('the gauge says so', async () => {
      const { counters } = await stand.lab.admin('a', '/api/status');
      return counters.cached_documents_now === A_HAS + B_HAS;
    });
    await stand.start('c');
    await knows('c', { a: A_HAS, b: B_HAS, c: 0 });
  });

  for (const site of [...MECHANISMS, 'bare']) {
    test(`${site}: requests through another node go to who has the document, not to its home`, async () => {
      const [held, not] = await chosen();
      for (const address of ['c', 'a']) {
        const { byNode, byMechanism } = await fetch(address, smallItems(hostOf(site)));
        assert.deepEqual(byNode, site === 'bare' ? { b: 8 } : { a: 4, b: 4 }, address);
        const away = byMechanism[site === 'bare' ? 'anchor' : site];
        assert.equal(away, site === 'bare' || address === 'c' ? 8 : 4, address);
      }
      assert.deepEqual(await chosen(), [held + 16, not]);
      await stand.nothingLeft();
    });
  }

  test('a large document whose pages have left the memory goes to its home', skipOnTmpfs(), async () => {
    const wanted = items(hostOf('anchor'), large, LARGE_BYTES);
    assert.deepEqual((await fetch('c', wanted)).byNode, { a: 1, b: 1 });
    for (const name of large) dropPages(join(stand.root, 'a', name));
    await knows('c', { a: A_HAS - 1, b: B_HAS });
    const [held, not] = await chosen();
    assert.deepEqual((await fetch('c', wanted)).byNode, { b: 1, c: 1 });
    assert.deepEqual(await chosen(), [held + 1, not + 1]);
    // And that is who has it now.
    await knows('a', { c: 1 });
    assert.deepEqual((await fetch('a', wanted)).byNode, { b: 1, c: 1 });
  });

  test('small documents that another pushes out of the memory go to their home', async () => {
    assert.deepEqual((await fetch('c', items(hostOf('anchor'), [wide], SMALL_FILE_BYTES))).byNode, { a: 1 });
    await knows('c', { a: A_HAS - 1 - 4 + 1 });
    assert.deepEqual((await fetch('c', smallItems(hostOf('anchor')))).byNode, { b: 4, c: 4 });
  });

  test('what a killed node had is forgotten, and served by others', async () => {
    await stand.kill('b');
    await knows('a', { b: 0 });
    await knows('c', { b: 0 });
    // Who has answered has the document from then on: each round is another site's.
    const sites = ['clone', 'split', 'relay'];
    assert.equal(sites.length, IN_TIME_ROUNDS);
    const { byNode } = await inTime(stand, ['a'], (round) => fetch('a', smallItems(hostOf(sites[round]))));
    assert.deepEqual(byNode, { a: 4, c: 4 });
    await stand.start('b');
    await knows('b', { b: 0 });
    await stand.nothingLeft();
  });
});
