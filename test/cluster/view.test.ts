/** Nodes whose files differ: what is told, and what is not handed over. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseConfig } from '../../src/base/config/load.ts';
import { Views } from '../../src/cluster/exchange-views.ts';
import { type Comparison, compareViews, siteDigest, viewOf } from '../../src/cluster/view.ts';

const FILE = `
cluster: { key: "a key of enough characters" }
nodes:
  a: { address: 10.0.0.1, public: [10.0.0.101, "fd00::101"] }
  b: { address: 10.0.0.2, public: [10.0.0.102] }
  c: { address: 10.0.0.3 }
sites:
  - { name: shop, hosts: [shop.test, www.shop.test], root: shop, serve: [b, c], policy: hash }
  - { name: rest, root: rest }
`;
const parse = (text: string) => parseConfig(text, '/etc/baton/cluster.yaml');

/** What node a finds of b, whose file is another one. */
function compared(...changes: [string, string][]): Comparison {
  const changed = changes.reduce((text, [from, to]) => {
    assert.ok(text.includes(from), from);
    return text.replace(from, to);
  }, FILE);
  const [own, theirs] = [parse(FILE), parse(changed)];
  const index = theirs.nodes.findIndex(({ name }) => name === 'b');
  return compareViews(
    viewOf(own, 0, own.sites),
    viewOf(theirs, index, theirs.sites),
    { own: 'a', peer: 'b' },
    (site, node) => own.sites.some(({ name, content }) => name === site && Object.hasOwn(content, node)),
  );
}

const NOTHING: Comparison = { differences: [], isApart: false, otherSites: new Set(), mayMove: true };

describe('views', () => {
  it('agree where the files do, and where they may differ by node', () => {
    assert.deepEqual(compared(), NOTHING);
    assert.deepEqual(
      compared(
        ['root: shop', 'root: elsewhere'],
        ['root: rest', 'roots: { a: x, b: y }, root: z'],
        ['10.0.0.2,', '10.0.0.2, interface: eth7, admin: "127.0.0.1:1",'],
        ['hosts: [shop.test, www.shop.test]', 'hosts: [www.shop.test, shop.test]'],
        ['"fd00::101"', '"fd00:0::101"'],
        ['sites:', 'observe: { logLevel: warn }\nsites:'],
      ),
      NOTHING,
    );
  });

  it('a site of other hosts, or that one does not know, is not handed over, and others are', () => {
    const other = compared(['shop.test, www.shop.test', 'shop.test']);
    assert.deepEqual(other.differences, ['site shop: differs']);
    assert.deepEqual([...other.otherSites], ['shop']);
    assert.deepEqual([other.isApart, other.mayMove], [false, false]);
    const unknown = compared([
      '  - { name: shop, hosts: [shop.test, www.shop.test], root: shop, serve: [b, c], policy: hash }\n',
      '',
    ]);
    assert.deepEqual(unknown.differences, ['site shop: only in the file of node a']);
    assert.deepEqual([...unknown.otherSites], ['shop']);
    const more = compared([
      '  - { name: rest',
      '  - { name: new, hosts: [new.test], root: n }\n  - { name: rest',
    ]);
    assert.deepEqual(more.differences, ['site new: only in the file of node b']);
    assert.ok(!more.otherSites.has('rest') && !more.otherSites.has('shop') && !more.isApart);
    assert.equal(more.mayMove, false, 'it would answer a request for that site otherwise');
  });

  it('a node that does not serve a site by its own file gets none of its requests', () => {
    const out = compared(['serve: [b, c]', 'serve: [a, c]']);
    assert.deepEqual([...out.otherSites], ['shop']);
    assert.deepEqual(out.differences, [
      'site shop: node b serves it by the file of node a, not by that of b',
    ]);
    assert.equal(out.mayMove, true);
  });

  it('policies, mechanisms and limits are told, and no more', () => {
    const told = compared(
      ['policy: hash', 'policy: round-robin'],
      ['root: rest', 'root: rest, mechanism: clone'],
      ['sites:', 'limits: { bodyBytes: 5 }\ntimeouts: { setupMs: 400 }\nforward: { xRealIp: true }\nsites:'],
    );
    assert.deepEqual(told, {
      ...NOTHING,
      differences: [
        'limits: differs',
        'timeouts: differs',
        'forward: differs',
        'site shop: policy, mechanism or options differ',
        'site rest: policy, mechanism or options differ',
      ],
    });
  });

  it('with other addresses of the two, or another port, nothing is handed over', () => {
    for (const change of [
      ['public: [10.0.0.102]', 'public: [10.0.0.112]'],
      ['10.0.0.2,', '10.0.0.2, engines: 2,'],
      ['"fd00::101"', '"fd00::111"'],
      ['sites:', 'listen: { port: 8080 }\nsites:'],
    ] as [string, string][])
      assert.equal(compared(change).isApart, true, change[1]);
  });

  it('a node that is new, or is another one, does not concern the two', () => {
    const added = compared(['sites:', '  d: { address: 10.0.0.4 }\nsites:']);
    assert.deepEqual(added, { ...NOTHING, differences: ['node d: only in the file of node b'] });
    const moved = compared(['address: 10.0.0.3', 'address: 10.0.0.9']);
    assert.deepEqual([moved.differences, moved.isApart, moved.mayMove], [['node c: differs'], false, false]);
    const turned = compared(
      ['  b: { address: 10.0.0.2, public: [10.0.0.102] }\n', ''],
      ['nodes:\n', 'nodes:\n  b: { address: 10.0.0.2, public: [10.0.0.102] }\n'],
    );
    assert.deepEqual(turned.differences, ['the order of nodes differs']);
  });

  it('a site is known in SETUP by its name and hosts', () => {
    const one = { name: 'shop', hosts: ['a.test', 'b.test'] };
    assert.equal(siteDigest(one), siteDigest({ ...one, hosts: ['b.test', 'a.test'] }));
    assert.notEqual(siteDigest(one), siteDigest({ ...one, hosts: ['a.test'] }));
    assert.notEqual(siteDigest(one), siteDigest({ ...one, name: 'x' }));
  });
});

describe('views of an engine', () => {
  it('hands nothing to a node that has not told; tells differences once, and that they are over', () => {
    const config = parse(FILE);
    const other = parse(FILE.replace('policy: hash', 'policy: local'));
    const lines: string[] = [];
    const views = new Views({
      config,
      self: 0,
      index: 0,
      log: (level, message) => lines.push(`${level} ${message}`),
    });
    assert.equal(views.mayHand(1, 'shop'), false);
    assert.equal(views.heard(1, viewOf(config, 1, config.sites)), true);
    assert.ok(views.mayHand(1, 'shop') && views.mayMove(1) && views.isTogether(1));
    assert.equal(views.heard(1, viewOf(config, 1, config.sites)), false);
    assert.deepEqual([lines, views.status()], [[], {}]);
    views.heard(1, viewOf(config, 1, other.sites));
    views.heard(1, viewOf(config, 1, other.sites));
    assert.deepEqual(views.status(), { b: ['site shop: policy, mechanism or options differ'] });
    assert.ok(views.mayHand(1, 'shop'));
    assert.equal(lines.length, 1);
    // This node takes the same policy over.
    const sent: unknown[] = [];
    views.renew(other.sites, [{ up: true, send: (frame: unknown) => sent.push(frame) } as never]);
    assert.equal(sent.length, 1);
    assert.deepEqual([views.status(), lines.length], [{}, 2]);
    assert.match(lines[1], /^info /);
    views.forget(1);
    assert.equal(views.mayHand(1, 'shop'), false);
  });
});
