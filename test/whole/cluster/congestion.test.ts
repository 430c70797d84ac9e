/** Rule congestion: a half-pipe starts with the congestion window that the flow's last sender had. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findCgroup2 } from '../../../src/kernel/router/router.ts';
import type { LabNode, LabPlan } from '../../../src/tools/lab/plan.ts';
import { skipUnlessRoot } from '../../tools/lab/root.ts';
import { KIB, MIB, Stand } from './support.ts';

const MAIN = fileURLToPath(new URL('../../../src/tools/cli/main.js', import.meta.url));
/** TCP_INIT_CWND (include/net/tcp.h). */
const INITIAL_WINDOW = 10;
/** Runs a command where no cgroup2 is mounted. */
const WITHOUT_CGROUP2 = [
  ...['unshare', '--mount', 'sh', '-ec'],
  'awk \'$3 == "cgroup2" { print $2 }\' /proc/self/mounts | xargs -r umount -l; exec "$@"',
  'sh',
];
/** Gets a large file from node a, then a small one that node b answers, and keeps the connection. */
const CLIENT = `
  const { Agent, get } = require('node:http');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const fetch = (Host, path) => new Promise((done, failed) => {
    const request = get({ agent, host: process.argv[1], path, headers: { Host } }, (response) => {
      let bytes = 0;
      response.on('data', (chunk) => { bytes += chunk.length; });
      response.on('end', () => done([response.headers['x-served-by'], bytes, request.reusedSocket]));
    });
    request.on('error', failed);
  });
  process.stdin.resume();
  (async () => {
    const first = await fetch('local.test', '/${MIB}.bin');
    const second = await fetch('anchor.test', '/${KIB}.bin');
    console.log(JSON.stringify([first, second]));
  })();`;

/** The congestion window, in segments, of a node's socket to the client. */
async function windowAt(stand: Stand, node: string): Promise<number> {
  const { stdout } = await stand.lab.exec(node, [
    'ss',
    '-Htin',
    'state',
    'established',
    'dst',
    '10.77.0.200',
  ]);
  const windows = [...stdout.matchAll(/ cwnd:(\d+)/g)].map(([, window]) => Number(window));
  assert.equal(windows.length, 1, `one socket of ${node} to the client: ${stdout}`);
  return windows[0];
}

describe('congestion window of a half-pipe', { ...skipUnlessRoot(), timeout: 60_000 }, () => {
  for (const travels of [true, false]) {
    const title = travels ? 'is the one that travelled' : "is the kernel's own where there is no cgroup2";
    test(title, async () => {
      assert.ok(findCgroup2(), 'needs cgroup2: mount -t cgroup2 none /sys/fs/cgroup');
      const command = (node: LabNode, plan: LabPlan): string[] => [
        ...(travels ? [] : WITHOUT_CGROUP2),
        ...[process.execPath, MAIN, 'serve', '--config', plan.configFile, '--node', node.name],
      ];
      const stand = await Stand.up({
        name: 'window',
        nodes: 2,
        delayMs: 20,
        sizes: [KIB, MIB],
        set: ['observe.accessLog=off', 'sites.0.serve=[b]'],
        command,
      });
      try {
        // New sockets of b: a window that only grows when all of it was needed, so one segment leaves it alone.
        await stand.lab.exec('b', ['sh', '-c', 'echo reno > /proc/sys/net/ipv4/tcp_congestion_control']);
        const client = stand.lab.spawn('client', [process.execPath, '-e', CLIENT, 'a'], {
          stdio: ['pipe', 'pipe', 'inherit'],
        });
        const [line] = await once(client.stdout!, 'data');
        assert.deepEqual(JSON.parse(String(line)), [
          ['a', MIB, false],
          ['b', KIB, true],
        ]);
        const sender = await windowAt(stand, 'a');
        const halfPipe = await windowAt(stand, 'b');
        assert.ok(sender > 2 * INITIAL_WINDOW, `a's window has grown to ${sender}`);
        assert.equal(halfPipe, travels ? sender : INITIAL_WINDOW);
        client.kill('SIGKILL');
        await once(client, 'exit');
        await stand.nothingLeft();
      } finally {
        stand.down();
      }
    });
  }
});
