import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ClusterConfig } from '../../../src/base/config/config.ts';
import { ConfigError, type ConfigProblem } from '../../../src/base/config/error.ts';
import { loadConfig, parseConfig } from '../../../src/base/config/load.ts';
import { editDistance, nearest } from '../../../src/base/config/nearest.ts';
import { SiteTable } from '../../../src/base/config/sites.ts';

const VALID = `cluster:
  key: "a key of enough characters"
nodes:
  a: { address: 10.77.0.1, address6: "fd77::1", public: [10.77.0.101, "FD77:0::101"] }
  b: { address: 10.77.0.2, interface: eth1, public: [10.77.0.102], engines: 2, admin: "[::1]:9901" }
sites:
  - name: default
    root: www
    roots: { b: /srv/www-b }
  - name: app
    hosts: [app.example.org, "*.app.example.org"]
    upstream: 127.0.0.1:8080
    policy: hash
    mechanism: relay
    bodyBytes: 4294967296
    types: { part: "video/x-part; charset=utf-8" }
limits:
  idleSeconds: 5
observe: { accessLog: off }
timeouts:
`;

const parse = (text: string): ClusterConfig => parseConfig(text, '/etc/baton/cluster.yaml');

/** VALID with one piece of text replaced; the piece must be there. */
function changed(from: string, to: string): string {
  assert.ok(VALID.includes(from), from);
  return VALID.replace(from, to);
}

function problemsOf(text: string): readonly ConfigProblem[] {
  try {
    parse(text);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  throw new assert.AssertionError({ message: `no error for:\n${text}` });
}

test('a valid file is completed with defaults, and paths and addresses are canonical', () => {
  const config = parse(VALID);
  assert.deepEqual(config.nodes[0], {
    name: 'a',
    role: 'server',
    address: '10.77.0.1',
    address6: 'fd77::1',
    interface: 'eth0',
    public: ['10.77.0.101', 'fd77::101'],
    backplane: 7946,
    admin: { host: '127.0.0.1', port: 9900 },
    engines: 1,
    boost: {
      boosters: [],
      onPermille: 800,
      offPermille: 500,
      sharePermille: 1000,
      return: false,
      firstByteMs: 1000,
    },
  });
  assert.deepEqual(config.nodes[1].admin, { host: '::1', port: 9901 });
  assert.deepEqual(config.sites[0].content, {
    a: { kind: 'root', root: '/etc/baton/www' },
    b: { kind: 'root', root: '/srv/www-b' },
  });
  assert.deepEqual(config.sites[1].content.b, {
    kind: 'upstream',
    upstream: { host: '127.0.0.1', port: 8080 },
  });
  assert.deepEqual(
    config.sites.map(({ bodyBytes, types }) => [bodyBytes, types]),
    [
      [16 * 1024 * 1024, {}],
      [4 * 1024 ** 3, { part: 'video/x-part; charset=utf-8' }],
    ],
  );
  assert.equal(config.limits.idleSeconds, 5);
  assert.equal(config.limits.headBytes, 16384);
  assert.equal(config.timeouts.setupMs, 500);
  assert.equal(config.observe.accessLog, null);
  assert.equal(config.observe.serverTiming, false, 'nobody is told who does not ask for it');
  assert.deepEqual(
    config.sites.map(({ mechanism }) => mechanism),
    ['auto', 'relay'],
  );
  assert.deepEqual(structuredClone(config), config);
});

test('Server-Timing goes to all, to none, or to clients of some networks', () => {
  const timing = (value: string) =>
    parse(changed('accessLog: off', `serverTiming: ${value}`)).observe.serverTiming;
  assert.deepEqual([timing('true'), timing('false')], [true, false]);
  assert.deepEqual(timing('[10.0.0.0/8, "::1"]'), ['10.0.0.0/8', '::1']);
});

test('a cache is off unless it is asked for, and of an upstream', () => {
  const withCache = (cache: string) =>
    parse(VALID.replace('    mechanism: relay\n', `    mechanism: relay\n    cache: ${cache}\n`));
  assert.deepEqual(
    withCache('{ bytes: 1048576 }').sites.map(({ cache }) => cache),
    [null, { bytes: 1048576, objectBytes: 1048576, status: false }],
  );
  for (const [cache, message] of [
    ['{}', /missing key sites\.1\.cache\.bytes/],
    ['true', /map of bytes/],
    ['{ bytes: 1000 }', /whole number from 1048576/],
    ['{ bytes: 1048576, objectBytes: 1048577 }', /more than bytes/],
    ['{ bytes: 1048576, object: 1 }', /unknown key object/],
  ] as const)
    assert.throws(() => withCache(cache), message);
  const ofFiles = VALID.replace('    root: www\n', '    root: www\n    cache: { bytes: 1048576 }\n');
  assert.throws(() => parse(ofFiles), /the site has none/);
});

/** What is changed in the valid file, and the one problem that must come of it. */
const WRONG: ReadonlyArray<{
  from: string;
  to: string;
  at: [number, number];
  message: RegExp;
  hint: RegExp;
}> = [
  {
    from: 'accessLog: off',
    to: 'serverTiming: [10.0.0.0/33]',
    at: [19, 27],
    message: /must be (an address or a network|true, false or a list of networks)/,
    hint: /^$/,
  },
  { from: 'limits:', to: 'limts:', at: [17, 1], message: /unknown key limts/, hint: /limits/ },
  {
    from: 'idleSeconds',
    to: 'idelSeconds',
    at: [18, 3],
    message: /unknown key idelSeconds in limits/,
    hint: /idleSeconds/,
  },
  { from: 'part:', to: '.part:', at: [16, 14], message: /ending of a file name/, hint: /^$/ },
  { from: 'video/x-part;', to: 'video;', at: [16, 20], message: /media type/, hint: /^$/ },
  {
    from: 'policy: hash',
    to: 'polcy: hash',
    at: [13, 5],
    message: /unknown key polcy in sites.1/,
    hint: /policy/,
  },
  { from: 'interface:', to: 'iface:', at: [5, 28], message: /unknown key iface/, hint: /interface/ },
  { from: 'name: app', to: 'name: default', at: [10, 11], message: /duplicate site name/, hint: /^$/ },
  {
    from: 'address: 10.77.0.2',
    to: 'address: 10.77.0.1',
    at: [5, 17],
    message: /duplicate address 10.77.0.1: a.address/,
    hint: /one node/,
  },
  {
    from: '[10.77.0.102]',
    to: '["fd77::0:101"]',
    at: [5, 54],
    message: /duplicate address fd77::101/,
    hint: /one node/,
  },
  { from: 'address: 10.77.0.2, ', to: '', at: [5, 3], message: /missing key nodes.b.address/, hint: /^$/ },
  {
    from: 'key: "a key of enough characters"',
    to: 'key: short',
    at: [2, 8],
    message: /5 characters; at least 16/,
    hint: /openssl/,
  },
  {
    from: '  key: "a key of enough characters"\n',
    to: '',
    at: [1, 1],
    message: /missing key cluster/,
    hint: /^$/,
  },
  {
    from: '"a key of enough characters"',
    to: '12345678901234567',
    at: [2, 8],
    message: /cluster.key must be a text/,
    hint: /quotes/,
  },
  {
    from: '"a key of enough characters"',
    to: '"@file:/nonexistent/key"',
    at: [2, 8],
    message: /key file cannot be read/,
    hint: /openssl/,
  },
  {
    from: '"fd77::1"',
    to: '"fd77::1::2"',
    at: [4, 38],
    message: /address6 must be an IPv6 address/,
    hint: /^$/,
  },
  {
    from: '"fd77::1"',
    to: '10.77.0.9',
    at: [4, 38],
    message: /address6 must be an IPv6 address/,
    hint: /^$/,
  },
  {
    from: '10.77.0.101',
    to: '224.0.0.1',
    at: [4, 58],
    message: /public.0 must be an IPv4 or IPv6 address/,
    hint: /^$/,
  },
  { from: 'engines: 2', to: 'engines: 2.5', at: [5, 77], message: /whole number from 1 to 64/, hint: /^$/ },
  { from: 'engines: 2', to: 'engines: lots', at: [5, 77], message: /whole number from 1 to 64/, hint: /^$/ },
  {
    from: 'engines: 2',
    to: 'backplane: 80',
    at: [5, 79],
    message: /port 80 is listen.port/,
    hint: /another/,
  },
  {
    from: '"[::1]:9901"',
    to: '10.77.0.2:7946',
    at: [5, 87],
    message: /port 7946 is nodes.b.backplane/,
    hint: /another/,
  },
  { from: '"[::1]:9901"', to: '::1:9901', at: [5, 87], message: /ADDRESS:PORT/, hint: /^$/ },
  {
    from: 'roots: { b:',
    to: 'roots: { bb:',
    at: [9, 14],
    message: /unknown node bb/,
    hint: /nodes are a, b/,
  },
  {
    from: 'root: www',
    to: 'root: www\n    serve: [a, z]',
    at: [9, 16],
    message: /unknown node z/,
    hint: /nodes are a, b/,
  },
  {
    from: 'root: www',
    to: 'policy: local',
    at: [7, 5],
    message: /neither root nor upstream \(node a\)/,
    hint: /root: DIRECTORY/,
  },
  {
    from: 'root: www',
    to: 'root: www\n    upstream: 127.0.0.1:1',
    at: [9, 5],
    message: /not both/,
    hint: /remove one/,
  },
  {
    from: '[app.example.org, ',
    to: '["*", ',
    at: [11, 13],
    message: /site default has \* already/,
    hint: /other hosts/,
  },
  { from: 'app.example.org, ', to: '"app.example.org:80", ', at: [11, 13], message: /host name/, hint: /^$/ },
  {
    from: '127.0.0.1:8080',
    to: '127.0.0.1:9900',
    at: [12, 15],
    message: /admin API of node a/,
    hint: /another/,
  },
  {
    from: 'policy: hash',
    to: 'policy: rr',
    at: [13, 13],
    message: /one of round-robin, hash, local/,
    hint: /^$/,
  },
  {
    from: 'mechanism: relay',
    to: 'mechanism: copy',
    at: [14, 16],
    message: /one of auto, local, relay, anchor, clone, split/,
    hint: /^$/,
  },
  {
    from: 'idleSeconds: 5',
    to: 'idleSeconds: 5\n  idleSeconds: 6',
    at: [19, 3],
    message: /unique/,
    hint: /^$/,
  },
  { from: '  b: {', to: '  __proto__: {', at: [5, 3], message: /__proto__ is not allowed/, hint: /^$/ },
];

for (const { from, to, at, message, hint } of WRONG) {
  test(`${JSON.stringify(from)} -> ${JSON.stringify(to)} is found at ${at.join(':')}`, () => {
    const problems = problemsOf(changed(from, to));
    const found = problems.find((p) => message.test(p.message));
    assert.ok(found, JSON.stringify(problems));
    assert.deepEqual([found.line, found.column], at, JSON.stringify(found));
    assert.match(found.hint, hint);
  });
}

test('every problem of a file is reported, in its order', () => {
  const text = changed('engines: 2', 'engines: 0')
    .replace('roots: { b:', 'roots: { q:')
    .replace('limits:', 'limit:');
  const lines = problemsOf(text).map((p) => p.line);
  assert.deepEqual(lines, [5, 9, 17]);
});

test('a key file is read relative to the configuration, and a missing configuration is a problem', () => {
  const directory = mkdtempSync(join(tmpdir(), 'baton-config-'));
  try {
    const file = join(directory, 'cluster.yaml');
    assert.throws(() => loadConfig(file), ConfigError);
    writeFileSync(file, changed('"a key of enough characters"', '"@file:cluster.key"'));
    writeFileSync(join(directory, 'cluster.key'), '0123456789abcdef\n');
    assert.equal(loadConfig(file).key, '0123456789abcdef');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('nothing but a configuration or a ConfigError comes of any mutation of a valid file', () => {
  const scalar = fc.constantFrom(
    '',
    '~',
    '[]',
    '{}',
    '-1',
    '1e999',
    '"\\0"',
    '!!binary x',
    '&x',
    '*x',
    '{a: 1}',
    '<<',
    '- ',
    '? ',
  );
  const edit = fc.record({
    at: fc.nat(VALID.length),
    remove: fc.nat(24),
    insert: fc.oneof(scalar, fc.string({ maxLength: 6 }), fc.string({ unit: 'binary', maxLength: 3 })),
  });
  let rejected = 0;
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let text = VALID;
      for (const { at, remove, insert } of edits) text = text.slice(0, at) + insert + text.slice(at + remove);
      try {
        parse(text);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        assert.ok(error.problems.length > 0);
        for (const problem of error.problems)
          assert.ok(problem.line >= 1 && problem.column >= 1 && problem.message);
        rejected++;
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(rejected > 500, `only ${rejected} mutations were rejected`);
});

test('deep nesting and alias bombs are refused', () => {
  assert.ok(problemsOf('['.repeat(20_000)).length > 0);
  const bomb = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 12; i++)
    bomb.push(
      `a${i}: &a${i} [${Array(9)
        .fill(`*a${i - 1}`)
        .join(', ')}]`,
    );
  assert.match(problemsOf(bomb.join('\n'))[0].message, /alias/);
});

test('sites are found by exact name, longest suffix, then *', () => {
  const table = new SiteTable(parse(VALID).sites);
  const cases = {
    'APP.example.org:80': 'app',
    'app.example.org.': 'app',
    'x.y.app.example.org': 'app',
    'example.org': 'default',
  };
  for (const [host, name] of Object.entries(cases)) assert.equal(table.find(host)?.name, name, host);
  assert.equal(new SiteTable(parse(VALID).sites.slice(1)).find('example.org'), undefined);
});

test('edit distance is a metric, and the nearest key is the one with a letter swapped', () => {
  const word = fc.string({ maxLength: 8 });
  fc.assert(
    fc.property(word, word, (a, b) => {
      const distance = editDistance(a, b);
      assert.equal(distance, editDistance(b, a));
      assert.equal(distance === 0, a === b);
      assert.ok(distance <= Math.max(a.length, b.length) && distance >= Math.abs(a.length - b.length));
    }),
  );
  assert.equal(nearest('mehcanism', ['policy', 'mechanism', 'root']), 'mechanism');
  assert.equal(nearest('zzzz', ['policy', 'mechanism', 'root']), undefined);
});

test('a key that is not known is told wherever it stands, however it is written, with a value or without', () => {
  const node = 'nodes: { a: { address: 192.0.2.1 } }';
  const base = `cluster: { key: "a key of enough characters" }\n${node}\nsites: [{ name: s, root: /srv }]\n`;
  const rows: [string, string][] = [
    [`${base}foo:\n`, '4:1: unknown key foo'],
    [`${base}limits:\n  conections:\n`, '5:3: unknown key conections in limits'],
    [`${base}limits: !!set { conections }\n`, '4:17: unknown key conections in limits'],
    [`${base}limits: !!omap [conections: 5]\n`, '4:1: unknown key conections in limits'],
    [`${base}? [limits, connections]\n`, '4:3: unknown key "[ limits, connections ]"'],
    [`${base}? {limits: connections}\n: 5\n`, '4:3: unknown key "{ limits: connections }"'],
    [`${base}~: 1\n`, '4:1: unknown key ""'],
    [base.replace('192.0.2.1', '192.0.2.1, ? [public]'), '2:37: unknown key "[ public ]" in nodes.a'],
    [
      base.replace('root: /srv', 'root: /srv, policy: { name: hash, ? {a: 1} }'),
      '3:56: unknown key "{ a: 1 }" in sites.0.policy',
    ],
    [
      base.replace(node, 'nodes: { a: { address: 192.0.2.1 }, b: }'),
      '2:37: missing key nodes.b (it is empty)',
    ],
  ];
  for (const [text, expected] of rows) {
    assert.throws(
      () => parseConfig(text, 'f'),
      (error) => error instanceof ConfigError && error.message.split('\n')[0] === `f:${expected}`,
      text,
    );
  }
});
