/** Catalogues: what nodes say of their documents arrives whole, in pieces, and is used: also by a node with none. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { Catalogue, documentNames } from '../../../src/cluster/catalogue.ts';
import { scanDocuments } from '../../../src/cluster/document-scan.ts';
import { newDocumentPlace, OwnDocuments } from '../../../src/cluster/own-documents.ts';
import type { Document } from '../../../src/protocol/backplane/frames.ts';
import { writeRamp } from '../../../src/tools/lab/sample-site.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { pieces } from './pieces.ts';
import { KIB, Stand } from './support.ts';

const SITE = 'site';
const NODE = 2;

const tree = fc
  .dictionary(fc.constantFrom(...'abcdefgh'), fc.record({ sizeBytes: fc.nat(), modifiedMs: fc.nat() }))
  .map((found) => new Map<string, Document>(Object.entries(found)));

describe('catalogue', () => {
  test('a peer knows what the node has, whenever it listens', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ documents: tree, listens: fc.boolean() }), { maxLength: 400 }),
        (looks) => {
          const own = new OwnDocuments(SITE);
          const known = new Catalogue([SITE]);
          const place = newDocumentPlace();
          for (const { documents, listens } of looks) {
            own.update({ documents, partial: false });
            if (!listens) continue;
            for (const piece of pieces(own, place)) known.apply(NODE, piece);
            for (const name of 'abcdefgh')
              assert.equal(known.holding(SITE, NODE, [name]), documents.has(name) ? 'yes' : 'no');
            assert.equal(known.size, documents.size);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test('many documents come in pieces; until the last nothing is known to be missing', () => {
    const own = new OwnDocuments(SITE);
    const documents = new Map<string, Document>();
    for (let i = 0; i < 5000; i++) documents.set(`directory/of/files/${i}`, { sizeBytes: i, modifiedMs: i });
    own.update({ documents, partial: false });
    const known = new Catalogue([SITE]);
    const all = pieces(own, newDocumentPlace());
    assert.ok(all.length > 10);
    for (const [i, piece] of all.entries()) {
      assert.equal(known.holding(SITE, NODE, ['nothing']), 'unknown');
      known.apply(NODE, piece);
      assert.equal(piece.restart, i === 0);
    }
    assert.equal(known.holding(SITE, NODE, ['nothing']), 'no');
    assert.equal(known.holding(SITE, NODE, ['directory/of/files/4999']), 'yes');
    assert.equal(known.holding(SITE, NODE + 1, ['nothing']), 'unknown');
    known.forget(NODE);
    assert.equal(known.holding(SITE, NODE, ['directory/of/files/4999']), 'unknown');
    assert.equal(known.size, 0);
  });

  test('before the first look nothing is known to be missing; a site that nobody has is not remembered', () => {
    const known = new Catalogue([SITE]);
    for (const piece of pieces(new OwnDocuments(SITE), newDocumentPlace())) known.apply(NODE, piece);
    assert.equal(known.holding(SITE, NODE, ['a']), 'unknown');
    const other = new OwnDocuments('other');
    other.update({ documents: new Map([['a', { sizeBytes: 1, modifiedMs: 1 }]]), partial: false });
    for (const piece of pieces(other, newDocumentPlace())) known.apply(NODE, piece);
    assert.equal(known.size, 0);
  });

  test('a partial list says yes, and never no', () => {
    const own = new OwnDocuments(SITE);
    own.update({ documents: new Map([['a', { sizeBytes: 1, modifiedMs: 1 }]]), partial: true });
    const known = new Catalogue([SITE]);
    const place = newDocumentPlace();
    for (const piece of pieces(own, place)) known.apply(NODE, piece);
    assert.deepEqual(
      [known.holding(SITE, NODE, ['a']), known.holding(SITE, NODE, ['b'])],
      ['yes', 'unknown'],
    );
    own.update({ documents: new Map(), partial: false });
    for (const piece of pieces(own, place)) assert.equal(piece.restart, false);
  });

  test('the names that a request path may lead to', () => {
    assert.deepEqual(documentNames('/'), ['index.html']);
    assert.deepEqual(documentNames('/a%20b/c'), ['a b/c', 'a b/c/index.html']);
    assert.deepEqual(documentNames('/a/'), ['a/index.html']);
    for (const path of ['/../a', '/.git/config', '*', '/%']) assert.equal(documentNames(path), null, path);
  });

  test('a look at a tree: what is served is listed, what is left out is admitted', () => {
    const root = mkdtempSync(join(tmpdir(), 'baton-catalogue-'));
    const look = () => {
      const scan = scanDocuments(root);
      for (;;) {
        const step = scan.next();
        if (step.done) return step.value;
      }
    };
    try {
      mkdirSync(join(root, 'deep/er'), { recursive: true });
      mkdirSync(join(root, '.well-known'));
      mkdirSync(join(root, '.git'));
      const files = ['index.html', 'deep/er/file', '.well-known/x', '.git/config', 'deep/.hidden'];
      for (const file of files) writeFileSync(join(root, file), 'word');
      symlinkSync('index.html', join(root, 'link.html'));
      const found = look();
      assert.deepEqual([...found.documents.keys()].sort(), [
        '.well-known/x',
        'deep/er/file',
        'index.html',
        'link.html',
      ]);
      assert.equal(found.documents.get('deep/er/file')!.sizeBytes, 4);
      assert.equal(found.partial, false);
      symlinkSync('deep', join(root, 'linked'));
      assert.equal(look().partial, true);
    } finally {
      rmSync(root, { recursive: true });
    }
    assert.equal(look().documents.size, 0);
  });
});

describe('data location anonymity', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-anonymity-'));
  const rootOf = (node: string) => join(directory, node);
  let stand: Stand;
  before(async () => {
    for (const node of ['a', 'b', 'c']) mkdirSync(rootOf(node));
    for (const [node, path] of [
      ['b', 'b.bin'],
      ['c', 'c.bin'],
      ['b', 'both.bin'],
      ['c', 'both.bin'],
    ])
      writeRamp(rootOf(node), path, 64 * KIB);
    const site = (name: string, fields: object) => ({
      name,
      hosts: [`${name}.test`],
      roots: { a: rootOf('a'), b: rootOf('b'), c: rootOf('c') },
      mechanism: 'split',
      catalogue: true,
      ...fields,
    });
    stand = await Stand.up({
      name: 'cnplace',
      sizes: [],
      set: ['observe.accessLog=off'],
      sites: [
        site('placed', { policy: 'round-robin' }),
        site('bare', { roots: { b: rootOf('b'), c: rootOf('c') }, serve: ['b', 'c'], policy: 'round-robin' }),
      ],
    });
  });
  after(() => {
    stand?.down();
    rmSync(directory, { recursive: true });
  });

  const get = async (host: string, path: string) => {
    const { stdout } = await stand.lab.exec('client', [
      ...['curl', '-s', '-o', '/dev/null', '-H', `Host: ${host}`],
      ...['-w', '%{http_code} %header{x-served-by} %{size_download}', `http://a${path}`],
    ]);
    return stdout.split(' ');
  };
  /** The catalogue has arrived: a's view of who has what. */
  const known = (count: number) =>
    stand.until(`a knows ${count} documents`, async () => {
      const { counters } = await stand.lab.admin('a', '/api/status');
      return counters.catalogue_documents_now === count;
    });

  for (const host of ['placed.test', 'bare.test']) {
    test(`${host}: the connection server has nothing, and every document is served by who has it`, async () => {
      await known(8);
      const items = Array.from({ length: 12 }, (_, i) => ({
        host,
        path: `/${['b', 'c', 'both'][i % 3]}.bin`,
        size: 64 * KIB,
      }));
      const report = await stand.runRight({ address: 'a', items, each: true, http10: true });
      assert.equal(report.byMechanism.split, items.length);
      assert.equal(report.byNode.b! + report.byNode.c!, items.length);
      assert.ok(report.byNode.b! >= 4 && report.byNode.c! >= 4);
      await stand.nothingLeft();
    });

    test(`${host}: what nobody has is answered at once, by the connection server`, async () => {
      const before = await stand.total('setups_sent');
      assert.deepEqual((await get(host, '/nothing.bin')).slice(0, 2), ['404', 'a']);
      assert.equal(await stand.total('setups_sent'), before);
    });
  }

  test('a document that comes is found, one that goes is missed', async () => {
    writeRamp(rootOf('c'), 'new.bin', KIB);
    await known(10);
    assert.deepEqual(await get('placed.test', '/new.bin'), ['200', 'c', String(KIB)]);
    rmSync(join(rootOf('c'), 'new.bin'));
    await known(8);
    assert.equal((await get('placed.test', '/new.bin'))[0], '404');
  });

  test('a node that is gone takes its documents with it, and brings them back', async () => {
    await stand.kill('c');
    await known(4);
    const answers = await Promise.all(
      ['/b.bin', '/both.bin', '/c.bin'].map((path) => get('placed.test', path)),
    );
    assert.deepEqual(
      answers.map(([status, node]) => `${status} ${node}`),
      ['200 b', '200 b', '404 a'],
    );
    await stand.start('c');
    await known(8);
    assert.deepEqual((await get('placed.test', '/c.bin')).slice(0, 2), ['200', 'c']);
  });
});
