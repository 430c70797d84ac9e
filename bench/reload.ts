/**
 * A rolling restart at 2,000 new connections a second, one request each: how many fail? Baton: every node in turn is
 * drained, its process ends and starts again, the node that clients connect to among them. HAProxy and nginx: as many
 * of their own reloads, which replace one process by another that has the listening sockets.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Lab } from '../src/tools/lab/lab.ts';
import { Baton } from './lib/baton.ts';
import { connections } from './lib/connections.ts';
import type { ConnectionsReport } from './lib/connections-client.ts';
import { Peers } from './lib/peers.ts';
import type { Report } from './lib/result.ts';
import type { Server } from './lib/server.ts';
import { Site } from './lib/site.ts';

const NODES = ['a', 'b', 'c'];
const PER_SECOND = 2000;
const SECONDS = 12;
const FIRST_RESTART_MS = 1000;
const BETWEEN_RESTARTS_MS = 2000;
const END_TIMEOUT_MS = 20_000;

const failed = ({ failures }: ConnectionsReport): number =>
  Object.values(failures).reduce((sum, count) => sum + count, 0);

/** Has a node give its connections away (SIGTERM), waits until its process has ended, and starts it again. */
async function restart(lab: Lab, node: string): Promise<void> {
  lab.signal(node, 'SIGTERM');
  await lab.ended(node, END_TIMEOUT_MS);
  await lab.start(node);
}

/** The load, and `step` for each node during it. */
async function during(
  server: Server,
  path: string,
  step: (node: string) => Promise<void>,
): Promise<ConnectionsReport> {
  const job = { paths: [path], seconds: SECONDS, perSecond: PER_SECOND, pipelined: false };
  const steps = async (): Promise<void> => {
    await delay(FIRST_RESTART_MS);
    for (const node of NODES) {
      await step(node);
      await delay(BETWEEN_RESTARTS_MS);
    }
  };
  const [report] = await Promise.all([connections(server, job), steps()]);
  return report;
}

export async function reload(report: Report): Promise<void> {
  const site = new Site(NODES);
  const path = site.path('1k', 'a');
  const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, policy: 'local' });
  const ours = await during(baton, path, (node) => restart(baton.lab, node));
  baton.down();
  const peers = await Peers.up({
    name: 'b2',
    nodes: NODES.length,
    root: site.root,
    servers: NODES,
    proxies: true,
  });
  const signal = (server: Server, name: NodeJS.Signals) => async () => {
    process.kill(server.processes.get('a')!, name);
  };
  const haproxy = await during(peers.haproxy, path, signal(peers.haproxy, 'SIGUSR2'));
  const nginx = await during(peers.nginxProxy, path, signal(peers.nginxProxy, 'SIGHUP'));
  peers.down();
  for (const [name, peer] of [
    ['haproxy', haproxy],
    ['nginx', nginx],
  ] as const) {
    report({
      name: `reload.${name}.failed`,
      value: failed(ours),
      unit: `connections of ${ours.connections + failed(ours)}`,
      baseline: failed(peer),
      target: null,
    });
    report({
      name: `reload.${name}.lifetime.p99`,
      value: ours.lifetimeMs.p99,
      unit: 'ms',
      baseline: peer.lifetimeMs.p99,
      target: null,
    });
  }
  if (failed(ours) > 0) throw new Error(`baton: failed connections: ${JSON.stringify(ours.failures)}`);
}
