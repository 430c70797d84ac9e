/**
 * Four nodes of which something has an end, all clients through node a: whose is used?
 *
 * Links: they carry 100 Mbit/s each way. Processors: clients come over TLS, and what a system could do with a core for
 * each of its processes goes by the busiest one: the proxy, which does all the encryption, or one of four nodes.
 */
import { Baton } from './lib/baton.ts';
import { Peers } from './lib/peers.ts';
import type { Report, Target } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import type { Server } from './lib/server.ts';
import { Site } from './lib/site.ts';
import { busiestNs, type Load, load } from './lib/wrk.ts';

const SECONDS = 4;
const CONNECTIONS = 32;
const NODES = ['a', 'b', 'c', 'd'];

interface Limit {
  readonly name: string;
  readonly tls: boolean;
  /** Of links; empty: none. */
  readonly shape: { readonly rate?: string };
  readonly unit: string;
  readonly figure: (round: Load) => number;
  readonly target: Target;
}

export const LINKS: Limit = {
  name: 'scale-out',
  tls: false,
  shape: { rate: '100mbit' },
  unit: 'Mbit/s',
  figure: ({ bytesPerSecond }) => (bytesPerSecond * 8) / 1e6,
  target: '>= 3.8',
};

export const PROCESSORS: Limit = {
  name: 'tls-scale-out',
  tls: true,
  shape: {},
  unit: 'MB/s of processor time of the busiest process',
  figure: (round) => (round.bytes * 1e3) / busiestNs(round),
  target: '>= 3',
};

export async function scaleOut(report: Report, limit: Limit): Promise<void> {
  const site = new Site(NODES);
  const paths = [site.path('1m', 'a')];
  const shape = { nodes: NODES.length, root: site.root, ...limit.shape };
  const baton = await Baton.up({ ...shape, name: 'b1', policy: 'round-robin', tls: limit.tls });
  const { certificates } = baton.lab.plan;
  const peers = await Peers.up({ ...shape, name: 'b2', servers: NODES, proxies: true, certificates });
  const behind = [...peers.servers].flatMap(([node, { processes }]) => [
    [`nginx at ${node}`, processes.get(node)!] as const,
  ]);
  const whole = (proxy: Server): Server => ({
    ...proxy,
    processes: new Map([...proxy.processes, ...behind]),
  });
  const options = { paths, connections: CONNECTIONS, seconds: SECONDS };
  const [ours, haproxy, nginx] = await alternate([
    () => load(baton, options),
    () => load(whole(peers.haproxy), options),
    () => load(whole(peers.nginxProxy), options),
  ]);
  const value = medianOf(ours, limit.figure);
  for (const [name, rounds] of [
    ['haproxy', haproxy],
    ['nginx', nginx],
  ] as const) {
    const baseline = medianOf(rounds, limit.figure);
    report({ name: `${limit.name}.${name}`, value, unit: limit.unit, baseline, target: limit.target });
  }
  baton.down();
  peers.down();
}
