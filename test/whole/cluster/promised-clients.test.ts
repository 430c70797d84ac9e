/** Clone and split with clients that people use, many at a time, and with clients on another network. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { inNamespace } from '../../../src/tools/lab/network.ts';
import { namespacePrefix } from '../../../src/tools/lab/plan.ts';
import { ramp } from '../../../src/tools/lab/ramp.ts';
import { run } from '../../../src/tools/lab/system.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { item, KIB, MIB, Stand } from './support.ts';

const HOSTS = ['clone.test', 'pre.test', 'split.test'];
const SIZES = [0, KIB, 64 * KIB, MIB];
/** The network behind the client, which routes for it. */
const FAR_NETWORK = '10.88.0.0/24';
const FAR_ROUTER = '10.88.0.1';
const FAR_CLIENT = '10.88.0.2';

describe('clone and split: real clients', { ...skipUnlessRoot(), timeout: 170_000 }, () => {
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({ name: 'cnclients', sizes: SIZES, set: ['observe.accessLog=off'] });
  });
  after(() => stand?.down());

  const inClient = async (...argv: string[]) => {
    const result = await stand.lab.exec('client', argv, { timeoutMs: 40_000 });
    assert.equal(result.code, 0, `${argv.join(' ')}: ${result.stderr}`);
    return result;
  };
  const failed = async () =>
    (await stand.total('responses_5xx')) + (await stand.total('connections_aborted'));

  for (const host of HOSTS) {
    const mechanism = host === 'pre.test' ? 'clone' : host.slice(0, -'.test'.length);

    test(`${host}: curl, several files`, async () => {
      const sizes = [KIB, MIB, 0, 64 * KIB, MIB, KIB];
      const { bytes } = await inClient(
        ...['curl', '-sS', '-H', `Host: ${host}`, ...sizes.map((size) => `http://a/${size}.bin`)],
      );
      assert.ok(bytes.equals(Buffer.concat(sizes.map((size) => ramp(`/${size}.bin`, size)))));
    });

    for (const keepAlive of [false, true]) {
      test(`${host}: ab ${keepAlive ? 'with' : 'without'} keep-alive`, async () => {
        for (const size of [KIB, 64 * KIB]) {
          const argv = ['ab', '-q', '-n', '300', '-c', '8', '-s', '10', ...(keepAlive ? ['-k'] : [])];
          const { stdout } = await inClient(...argv, '-H', `Host: ${host}`, `http://a/${size}.bin`);
          assert.match(stdout, /Complete requests: +300\n/, stdout);
          assert.match(stdout, /Failed requests: +0\n/, stdout);
          assert.doesNotMatch(stdout, /Non-2xx/, stdout);
          assert.match(stdout, new RegExp(`HTML transferred: +${300 * size} bytes`), stdout);
        }
      });
    }

    test(`${host}: wrk, 96 connections over all nodes`, async () => {
      const before = { failed: await failed(), handedOff: await stand.total(`requests_${mechanism}`) };
      const runs = await Promise.all(
        stand.lab.nodes.map(({ name }) =>
          inClient('wrk', '-t1', '-c32', '-d2s', '-H', `Host: ${host}`, `http://${name}/${KIB}.bin`),
        ),
      );
      for (const { stdout } of runs) assert.doesNotMatch(stdout, /Socket errors|Non-2xx/, stdout);
      assert.ok((await stand.total(`requests_${mechanism}`)) > before.handedOff + 300);
      assert.equal(await failed(), before.failed);
      await stand.nothingLeft();
    });
  }
});

describe('clone and split: a client on another network', { ...skipUnlessRoot(), timeout: 120_000 }, () => {
  const LAB = 'cnfar';
  const namespace = `${namespacePrefix(LAB)}far`;
  let stand: Stand;
  before(async () => {
    stand = await Stand.up({ name: LAB, sizes: SIZES, set: ['observe.accessLog=off'] });
    const { client, nodes } = stand.lab.plan;
    run(['ip', 'netns', 'add', namespace]);
    run([
      'ip',
      '-n',
      namespace,
      'link',
      'add',
      'eth0',
      'type',
      'veth',
      'peer',
      'name',
      'far0',
      'netns',
      client.namespace,
    ]);
    for (const [where, name, address] of [
      [client.namespace, 'far0', FAR_ROUTER],
      [namespace, 'eth0', FAR_CLIENT],
    ]) {
      run(['ip', '-n', where, 'address', 'add', `${address}/24`, 'dev', name]);
      run(['ip', '-n', where, 'link', 'set', name, 'up']);
    }
    run(['ip', '-n', namespace, 'route', 'add', 'default', 'via', FAR_ROUTER]);
    run(inNamespace(client.namespace, ['sh', '-ec', 'echo 1 > /proc/sys/net/ipv4/ip_forward']));
    for (const node of nodes)
      run(['ip', '-n', node.namespace, 'route', 'add', FAR_NETWORK, 'via', client.address]);
  });
  after(() => stand?.down());

  for (const mechanism of ['clone', 'split', 'anchor']) {
    test(`${mechanism}: every byte, through a router`, async () => {
      const items = Array.from({ length: 24 }, (_, i) => item(`${mechanism}.test`, SIZES[i % SIZES.length]));
      const each = mechanism === 'split';
      const argv = stand.clientArgv({ address: '10.77.0.101', items, each, http10: each });
      const { code, stdout, stderr } = await stand.lab.exec('client', inNamespace(namespace, argv));
      assert.equal(code, 0, stderr);
      const report = JSON.parse(stdout);
      assert.deepEqual(report.failures, []);
      assert.equal(report.answered, items.length);
      assert.ok(report.byMechanism[mechanism] >= 14, JSON.stringify(report.byMechanism));
      await stand.nothingLeft();
      await stand.noResets();
    });
  }
});
