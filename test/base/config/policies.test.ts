/** Fronts, redirection and policies in the configuration, and what of it a running node takes over. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { changedPolicies, needRestart } from '../../../src/base/config/changes.ts';
import { ConfigError } from '../../../src/base/config/error.ts';
import { parseConfig } from '../../../src/base/config/load.ts';
import { importsTypeScript } from '../../../src/base/config/typescript.ts';

const BASE = `cluster: { key: "a key of enough characters" }
nodes:
  f: { role: front, address: 10.77.0.1, public: [10.77.0.101] }
  a: { address: 10.77.0.2 }
  b: { address: 10.77.0.3, public: [10.77.0.103] }
redirect: { enabled: true, highPermille: 700, lowPermille: 400 }
sites:
  - name: default
    root: www
    policy:
      name: class
      rules:
        - { path: "/img/**", nodes: [b], mechanism: relay }
        - { minBytes: 10, maxBytes: 20, popularPermille: 5, nodes: [a, b] }
      fallback: least-load
  - { name: module, hosts: [m.test], root: www, policy: { module: ./p.mjs, options: { of: [1, 2] } } }
  - { name: plain, hosts: [p.test], root: www, policy: hash }
`;

describe('fronts, redirection, policies', () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-config-'));
  after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, 'p.mjs'), 'export default () => ({ choose: () => 0 });');
  writeFileSync(join(directory, 'p.ts'), 'export default () => ({ choose: (): number => 0 });');
  const file = join(directory, 'cluster.yaml');
  const parse = (text: string) => parseConfig(text, file);
  const changed = (from: string, to: string) => {
    assert.ok(BASE.includes(from), from);
    return BASE.replace(from, to);
  };

  it('are complete values, and a front serves nothing', () => {
    const config = parse(BASE);
    assert.deepEqual(
      config.nodes.map((node) => node.role),
      ['front', 'server', 'server'],
    );
    assert.deepEqual(Object.keys(config.sites[0].content), ['a', 'b']);
    assert.deepEqual(config.redirect, { enabled: true, highPermille: 700, lowPermille: 400 });
    const none = { regex: null, path: null, minBytes: null, maxBytes: null, popularPermille: null };
    assert.deepEqual(config.sites[0].policy, {
      kind: 'class',
      rules: [
        { ...none, path: '/img/**', nodes: ['b'], mechanism: 'relay' },
        { ...none, minBytes: 10, maxBytes: 20, popularPermille: 5, nodes: ['a', 'b'], mechanism: null },
      ],
      fallback: 'least-load',
    });
    assert.deepEqual(config.sites[1].policy, {
      kind: 'module',
      file: join(directory, 'p.mjs'),
      options: { of: [1, 2] },
    });
    assert.equal(config.sites[2].policy, 'hash');
    assert.deepEqual(structuredClone(config), config);
  });

  it('need nothing said', () => {
    const config = parse(
      'cluster: { key: "a key of enough characters" }\nnodes: { a: { address: 10.0.0.1 } }\nsites: [{ name: x, root: w }]\n',
    );
    assert.equal(config.nodes[0].role, 'server');
    assert.equal(config.sites[0].policy, 'round-robin');
    assert.equal(config.redirect.enabled, false);
  });

  const wrong: [string, string, RegExp][] = [
    ['role: front', 'role: fornt', /:3:14: nodes.f.role must be one of server, front, booster/],
    [', public: [10.77.0.101]', '', /:3:14: front f has no public address\n {2}hint: add public/],
    ['a: { address', 'a: { role: front, public: [10.77.0.102], address', /^$/],
    [
      '    root: www\n',
      '    root: www\n    serve: [f, a, b]\n',
      /:10:13: node f is a front and serves nothing/,
    ],
    ['    root: www\n', '    root: www\n    roots: { f: x }\n', /:10:14: node f is a front/],
    ['lowPermille: 400', 'lowPermille: 600', /:6:60: redirect.lowPermille \(600\) is not 150 below/],
    [
      'highPermille',
      'hihgPermille',
      /:6:28: unknown key hihgPermille in redirect\n {2}hint: did you mean high/,
    ],
    ['name: class', 'name: clas', /:11:13: sites.0.policy.name must be one of .*class/],
    ['      name: class\n', '', /:10:5: the policy has neither name nor module/],
    ['name: class', 'name: hash', /only policy class has rules[\s\S]*only policy class has a fallback/],
    ['module: ./p.mjs', 'name: hash', /only a module has options/],
    ['module: ./p.mjs', 'name: hash, module: ./p.mjs', /the policy has a name already/],
    ['module: ./p.mjs', 'module: ./q.mjs', /:16:67: there is no policy module .*q\.mjs/],
    ['module: ./p.mjs', 'module: ./p.txt', /:16:67: policy module .\/p.txt is neither .js nor .ts/],
    ['nodes: [b]', 'nodes: [f]', /:13:38: node f does not serve site default/],
    [
      'nodes: [b]',
      'nodes: [bb]',
      /:13:38: node bb does not serve site default\n {2}hint: nodes that do are a, b/,
    ],
    ['nodes: [b]', 'nodes: []', /:13:37: sites.0.policy.rules.0.nodes must name at least one node/],
    ['path: "/img/**"', 'regex: "(["', /:13:20: sites.0.policy.rules.0.regex must be a regular expression/],
    ['path: "/img/**"', 'path: /, regex: x', /:13:22: a rule has a path or a regex, not both/],
    ['path:', 'paht:', /unknown key paht in sites.0.policy.rules.0\n {2}hint: did you mean path\?/],
    ['minBytes: 10', 'minBytes: 30', /:14:23: minBytes is more than maxBytes/],
    ['mechanism: relay', 'mechanism: local', /mechanism must be one of auto, relay, anchor/],
    ['    root: www\n', '    root: www\n    mechanism: local\n', /has mechanism local, which asks no policy/],
    [
      'root: www, policy: hash',
      'root: www, policy: cached, mechanism: local',
      /:17:\d+: site plain has mechanism local, which asks no policy\n {2}hint: choose another mechanism/,
    ],
    [
      'root: www, policy: hash',
      'root: www, policy: cachd',
      /sites.2.policy must be one of .*cached|did you mean cached/,
    ],
    ['fallback:', 'fallbak:', /unknown key fallbak in sites.0.policy\n {2}hint: did you mean fallback\?/],
  ];
  for (const [from, to, message] of wrong) {
    it(`${JSON.stringify(from)} -> ${JSON.stringify(to)}`, () => {
      if (message.source === '^$') {
        // Two fronts are fine while a server is left.
        assert.throws(() => parse(changed(from, to)), /node a does not serve site default/);
        return;
      }
      assert.throws(
        () => parse(changed(from, to)),
        (error: Error) => {
          assert.ok(error instanceof ConfigError);
          assert.match(error.message, message);
          return true;
        },
      );
    });
  }

  it('may be cached, with any mechanism, and as the fallback of classes', () => {
    for (const mechanism of ['relay', 'anchor', 'clone', 'split', 'migrate', 'drain']) {
      const { policy } = parse(changed('policy: hash', `policy: cached, mechanism: ${mechanism}`)).sites[2];
      assert.equal(policy, 'cached');
    }
    const { policy } = parse(changed('fallback: least-load', 'fallback: cached')).sites[0];
    assert.ok(typeof policy === 'object' && policy.kind === 'class');
    assert.equal(policy.fallback, 'cached');
  });

  it('refuses a cluster of fronts alone', () => {
    const text =
      'cluster: { key: "a key of enough characters" }\nnodes: { a: { role: front, address: 10.0.0.1, public: [10.0.0.2] } }\nsites: [{ name: x, root: w }]\n';
    assert.throws(() => parse(text), /:2:1: every node is a front or a booster; none is left to serve/);
  });

  it('refuses a TypeScript module where Node cannot import one', { skip: importsTypeScript() }, () => {
    assert.throws(
      () => parse(changed('p.mjs', 'p.ts')),
      /Node\.js v.* cannot import TypeScript: .\/p.ts\n {2}hint: give a .js file/,
    );
  });

  it('takes policies over at a reload, and says what else has changed', () => {
    const before = parse(BASE);
    assert.deepEqual(needRestart(before, parse(BASE)), []);
    const policies = parse(changed('policy: hash', 'policy: local').replace('maxBytes: 20', 'maxBytes: 21'));
    assert.deepEqual(needRestart(before, policies), []);
    assert.deepEqual(changedPolicies(before.sites, policies.sites), ['default', 'plain']);
    const rows: [string, string, string[]][] = [
      ['highPermille: 700', 'highPermille: 710', ['redirect.highPermille']],
      ['10.77.0.2', '10.77.0.9', ['nodes.a.address']],
      ['key: "a key', 'key: "another key', ['cluster.key']],
      ['hosts: [p.test]', 'hosts: [q.test]', ['sites.plain.hosts']],
      ['root: www, policy: hash', 'root: ww, policy: hash', ['sites.plain.root']],
      ['root: www, policy: hash', 'root: www, roots: { b: ww }, policy: hash', ['sites.plain.roots.b']],
      ['root: www, policy: hash', 'upstream: "127.0.0.1:8080", policy: hash', ['sites.plain.upstream']],
      ['root: www, policy: hash', 'root: www, serve: [a], policy: hash', ['sites.plain.serve']],
      ['root: www, policy: hash', 'root: www, clone: { pre: true }, policy: hash', ['sites.plain.clone.pre']],
      ['address: 10.77.0.2', 'admin: "127.0.0.1:1", address: 10.77.0.2', ['nodes.a.admin']],
      ['redirect: {', '  c: { address: 10.77.0.33 }\nredirect: {', ['nodes.c']],
      ['sites:\n', 'forward: { xRealIp: true }\nsites:\n', ['forward.xRealIp']],
      ['name: plain', 'name: other', ['sites.other', 'sites.plain']],
      ['role: front, address', 'role: server, address', ['nodes.f.role']],
      ['sites:\n', 'limits: { flows: 9 }\nsites:\n', ['limits.flows']],
    ];
    for (const [from, to, places] of rows)
      assert.deepEqual(needRestart(before, parse(changed(from, to))), places);
    const fewer = parse(BASE.slice(0, BASE.indexOf('  - { name: plain')));
    assert.deepEqual(needRestart(before, fewer), ['sites.plain']);
  });

  describe('clone.keep', () => {
    const keep = (fields: string, mechanism = 'clone') =>
      BASE.replace(
        'root: www, policy: hash }',
        `root: www, mechanism: ${mechanism}, clone: { keep: true }, ${fields} }`,
      );

    it('goes with choices that every node makes alike', () => {
      for (const fields of [
        'policy: hash',
        'policy: { name: class, fallback: hash, rules: [{ path: "/img/**", nodes: [b] }, { regex: "x", nodes: [a] }] }',
      ])
        assert.deepEqual(parse(keep(fields)).sites[2].clone, { pre: false, keep: true });
      assert.deepEqual(parse(BASE).sites[2].clone, { pre: false, keep: false });
    });

    for (const [fields, message, mechanism] of [
      ['policy: round-robin', /policy round-robin chooses here another node cannot repeat/],
      ['policy: least-load', /cannot repeat/],
      ['policy: local', /cannot repeat/],
      ['policy: cached', /policy cached chooses here another node cannot repeat/],
      ['policy: { name: class, fallback: cached, rules: [{ path: "/x", nodes: [b] }] }', /cannot repeat/],
      ['policy: { name: delegate, percent: 5 }', /cannot repeat/],
      ['policy: { module: ./p.mjs }', /policy module chooses here/],
      ['policy: { name: class, rules: [{ path: "/x", nodes: [b] }] }', /cannot repeat/],
      ['policy: { name: class, fallback: hash, rules: [{ minBytes: 1, nodes: [b] }] }', /cannot repeat/],
      [
        'policy: { name: class, fallback: hash, rules: [{ popularPermille: 1, nodes: [b] }] }',
        /cannot repeat/,
      ],
      ['policy: hash, catalogue: true', /catalogues/],
      ['policy: hash', /mechanism anchor/, 'anchor'],
    ] as const) {
      it(`is refused with ${mechanism ?? 'clone'}, ${fields}`, () => {
        assert.throws(
          () => parse(keep(fields, mechanism)),
          (error) => error instanceof ConfigError && message.test(error.message),
        );
      });
    }
  });
});
