/** Boosters, and when servers give them their new clients. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/base/config/load.ts';

const FILE = `cluster: { key: "a key of enough characters" }
nodes:
  a: { address: 10.77.0.1, public: [10.77.0.101] }
  b: { address: 10.77.0.2, public: [10.77.0.102], boost: { boosters: [y], onPermille: 600 } }
  x: { address: 10.77.0.3, role: booster }
  y: { address: 10.77.0.4, role: booster }
sites: [{ name: s, root: www }]
boost: { offPermille: 400 }
`;
const parse = (text: string) => parseConfig(text, '/etc/baton/cluster.yaml');

test('a server has all boosters, unless it or the file says otherwise; a booster serves nothing', () => {
  const { nodes, sites } = parse(FILE);
  const rest = { offPermille: 400, sharePermille: 1000, return: false, firstByteMs: 1000 };
  assert.deepEqual(
    nodes.map(({ boost }) => boost),
    [
      { boosters: ['x', 'y'], onPermille: 800, ...rest },
      { boosters: ['y'], onPermille: 600, ...rest },
      { boosters: [], onPermille: 800, ...rest },
      { boosters: [], onPermille: 800, ...rest },
    ],
  );
  assert.deepEqual(Object.keys(sites[0].content), ['a', 'b']);
  const one = parse(FILE.replace('{ offPermille: 400 }', '{ boosters: [x] }'));
  assert.deepEqual(one.nodes[0].boost.boosters, ['x']);
  const none = parse(FILE.replace('{ offPermille: 400 }', '{ boosters: [] }'));
  assert.deepEqual(none.nodes[0].boost.boosters, []);
  const returns = parse(FILE.replace('onPermille: 600', 'return: true'));
  assert.deepEqual(
    returns.nodes.slice(0, 2).map(({ boost }) => boost.return),
    [false, true],
  );
  const waits = parse(
    FILE.replace('onPermille: 600', 'firstByteMs: off').replace('offPermille: 400', 'firstByteMs: 250'),
  );
  assert.deepEqual(
    waits.nodes.slice(0, 2).map(({ boost }) => boost.firstByteMs),
    [250, null],
  );
});

for (const [from, to, message] of [
  ['boosters: [y]', 'boosters: [a]', /:4:71: node a is no booster\n {2}hint: boosters are x, y/],
  ['offPermille: 400', 'offPermille: 800', /:8:8: offPermille \(800\) is not below onPermille \(800\)/],
  ['onPermille: 600', 'onPermille: 300', /:4:58: offPermille \(400\) is not below onPermille \(300\)/],
  ['onPermille: 600', 'return: soon', /:4:\d+: nodes.b.boost.return must be true or false/],
  ['onPermille: 600', 'on: 600', /unknown key on in nodes.b.boost/],
  ['offPermille: 400', 'firstByteMs: soon', /boost.firstByteMs must be a whole number from 1 to 60000 \(mil/],
  [
    'offPermille: 400',
    'firstByteMs: 0',
    /:8:\d+: boost.firstByteMs must be a whole number from 1 to 60000 \(milliseconds\), or off/,
  ],
  ['10.77.0.3, role', '10.77.0.3, public: [10.77.0.103], role', /booster x has a public address/],
  ['10.77.0.3, role', '10.77.0.3, boost: { onPermille: 900 }, role', /booster x cannot be boosted/],
  ['root: www', 'root: www, serve: [a, x]', /node x is a booster and serves nothing/],
] as const) {
  test(`refused: ${to}`, () => {
    assert.throws(() => parse(FILE.replace(from, to)), message);
  });
}
