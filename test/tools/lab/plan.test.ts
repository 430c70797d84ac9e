import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig } from '../../../src/base/config/load.ts';
import { parseCounters } from '../../../src/tools/lab/counters.ts';
import { LabError } from '../../../src/tools/lab/error.ts';
import { clientHosts, type LabOptions, labConfig, parseRate, planLab } from '../../../src/tools/lab/plan.ts';

function configOf(options: LabOptions) {
  const plan = planLab(options);
  return parseConfig(labConfig(plan, options, '/srv/www'), plan.configFile);
}

test('every size of lab has a valid configuration', () => {
  for (let nodes = 1; nodes <= 26; nodes++) assert.equal(configOf({ nodes }).nodes.length, nodes);
  const [, b] = configOf({}).nodes;
  assert.equal(b.address, '10.77.0.2');
  assert.deepEqual(b.public, ['10.77.0.102', 'fd77::102']);
});

test('boosters are the last letters, and own no public address', () => {
  const config = configOf({ nodes: 2, boosters: 2 });
  assert.deepEqual(
    config.nodes.map(({ name, role, public: pub }) => [name, role, pub.length]),
    [
      ['a', 'server', 2],
      ['b', 'server', 2],
      ['x', 'booster', 0],
      ['y', 'booster', 0],
    ],
  );
  assert.deepEqual(config.nodes[0].boost.boosters, ['x', 'y']);
  assert.deepEqual(Object.keys(config.sites[0].content), ['a', 'b']);
  assert.doesNotMatch(clientHosts(planLab({ boosters: 1 })), / x$/m);
});

test('--set reaches any key, lists included, and wrong values are configuration errors', () => {
  const set = ['limits.idleSeconds=5', 'observe.servedBy=false', 'sites.0.policy=hash', 'nodes.b.engines=2'];
  const config = configOf({ set, mechanism: 'relay' });
  assert.equal(config.limits.idleSeconds, 5);
  assert.deepEqual([config.observe.servedBy, config.observe.serverTiming], [false, true]);
  assert.deepEqual([config.sites[0].policy, config.sites[0].mechanism], ['hash', 'relay']);
  assert.equal(config.nodes[1].engines, 2);
  assert.throws(() => configOf({ set: ['limits.idelSeconds=5'] }), /did you mean idleSeconds/);
  assert.throws(() => configOf({ mechanism: 'teleport' }), /one of auto, local, relay/);
  const sites = 'sites=[{name: x, hosts: ["*"], root: /}]';
  assert.equal(configOf({ set: [sites, 'sites.0.policy=hash'] }).sites[0].policy, 'hash');
  assert.throws(() => configOf({ set: ['nonsense'] }), LabError);
  assert.throws(() => configOf({ set: ['limits.idleSeconds=[1'] }), LabError);
  assert.throws(() => configOf({ set: ['cluster.key.deeper=1'] }), LabError);
});

test('options out of range are refused', () => {
  for (const options of [
    { name: 'a-b' },
    { name: '' },
    { name: '../x' },
    { nodes: 0 },
    { nodes: 27 },
    { nodes: 1.5 },
    { boosters: 4 },
    { boosters: 0.5 },
    { nodes: 24, boosters: 1 },
  ]) {
    assert.throws(() => planLab(options), LabError, JSON.stringify(options));
  }
  for (const options of [
    { delayMs: -1 },
    { lossPercent: 101 },
    { delayMs: Number.NaN },
    { rate: 'fast' },
    { rate: '1bit' },
    { mtu: 1279 },
    { mtu: 1501 },
  ]) {
    assert.throws(() => planLab(options), LabError, JSON.stringify(options));
  }
  assert.equal(parseRate('100mbit'), 100_000_000);
  assert.equal(parseRate('1.5Gbit'), 1_500_000_000);
});

test('the client knows every node by name', () => {
  assert.match(clientHosts(planLab({ nodes: 2 })), /^10\.77\.0\.102 b\nfd77::102 b6$/m);
});

test('kernel counters are read by name', () => {
  const counters = parseCounters(
    'Tcp: RtoMin RetransSegs OutRsts\nTcp: 200 7 1\nTcpExt: PAWSEstab\nTcpExt: 3\nIcmp6InPktTooBigs     \t2\n',
  );
  assert.deepEqual(counters, {
    TcpRtoMin: 200,
    TcpRetransSegs: 7,
    TcpOutRsts: 1,
    TcpExtPAWSEstab: 3,
    Icmp6InPktTooBigs: 2,
  });
});
