/** Four nodes whose links carry 100 Mbit/s each way, all clients through node a: whose links are used? */
import { Baton } from './lib/baton.ts';
import { Peers } from './lib/peers.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';
import { type Load, load } from './lib/wrk.ts';

const RATE = '100mbit';
const SECONDS = 4;
const CONNECTIONS = 32;
const NODES = ['a', 'b', 'c', 'd'];

const megabits = (round: Load): number => (round.bytesPerSecond * 8) / 1e6;

export async function scaleOut(report: Report): Promise<void> {
  const site = new Site(NODES);
  const paths = [site.path('1m', 'a')];
  const shape = { nodes: NODES.length, rate: RATE, root: site.root };
  const baton = await Baton.up({ ...shape, name: 'b1', policy: 'round-robin' });
  const peers = await Peers.up({ ...shape, name: 'b2', servers: NODES, proxies: true });
  const options = { paths, connections: CONNECTIONS, seconds: SECONDS };
  const [ours, haproxy, nginx] = await alternate([
    () => load(baton, options),
    () => load(peers.haproxy, options),
    () => load(peers.nginxProxy, options),
  ]);
  const value = medianOf(ours, megabits);
  for (const [name, rounds] of [
    ['haproxy', haproxy],
    ['nginx', nginx],
  ] as const) {
    const baseline = medianOf(rounds, megabits);
    report({ name: `scale-out.${name}`, value, unit: 'Mbit/s', baseline, target: '>= 3.8' });
  }
  baton.down();
  peers.down();
}
