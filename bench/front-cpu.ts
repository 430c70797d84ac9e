/**
 * What the front node spends on a gigabyte that others deliver: the processor time of node a's process, files of 1 MB.
 * The router's work on clients' packets is done in the kernel, in nobody's process, as is the kernel's share of a
 * proxy's receiving; the figures for the whole machine (servers and client included) have all of it.
 */
import { Baton } from './lib/baton.ts';
import { Peers } from './lib/peers.ts';
import type { Report, Target } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';
import { type Load, load } from './lib/wrk.ts';

/** Over TLS a round begins with as many handshakes, which are no part of what a gigabyte costs: it is longer. */
const SECONDS = { 'front-cpu': 2, 'tls-front-cpu': 6 };
/**
 * Before the first round: what a front does for a smaller file is the same, several times as often. By then its code is
 * compiled, which costs a process that has just started more than all of its requests in a round.
 */
const WARM_UP_SECONDS = 6;
const CONNECTIONS = 32;
const NODES = ['a', 'b', 'c'];
/** Over TLS a front has less to do than proxies by what it does not encrypt. */
const TARGETS: Readonly<Record<'front-cpu' | 'tls-front-cpu', Target>> = {
  'front-cpu': '<= 0.05',
  'tls-front-cpu': '<= 0.04',
};

/** ns of processor time a byte are seconds a gigabyte. */
const front = ({ cpuNs, bytes }: Load): number => cpuNs.a / bytes;
const whole = ({ machineCpuNs, bytes }: Load): number => machineCpuNs / bytes;

export async function frontCpu(report: Report, benchmark: 'front-cpu' | 'tls-front-cpu'): Promise<void> {
  const tls = benchmark === 'tls-front-cpu';
  const site = new Site(NODES);
  const behind = NODES.slice(1);
  const paths = behind.map((node) => site.path('1m', node));
  const smaller = behind.map((node) => site.path('256k', node));
  const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, tls });
  const peers = await Peers.up({
    name: 'b2',
    nodes: NODES.length,
    root: site.root,
    servers: behind,
    proxies: true,
    certificates: baton.lab.plan.certificates,
  });
  const options = { paths, connections: CONNECTIONS, seconds: SECONDS[benchmark] };
  const warmUp = { paths: smaller, connections: CONNECTIONS, seconds: WARM_UP_SECONDS };
  await baton.handingOff(() => load(baton, warmUp));
  const [ours, haproxy, nginx] = await alternate([
    () => baton.handingOff(() => load(baton, options)),
    () => load(peers.haproxy, options),
    () => load(peers.nginxProxy, options),
  ]);
  for (const [name, rounds] of [
    ['haproxy', haproxy],
    ['nginx', nginx],
  ] as const) {
    report({
      name: `${benchmark}.${name}`,
      value: medianOf(ours, front),
      unit: 's/GB',
      baseline: medianOf(rounds, front),
      target: TARGETS[benchmark],
    });
    report({
      name: `${benchmark}.${name}.machine`,
      value: medianOf(ours, whole),
      unit: 's/GB',
      baseline: medianOf(rounds, whole),
      target: null,
    });
  }
  baton.down();
  peers.down();
}
