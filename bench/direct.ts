/**
 * One plain engine against nginx with one worker: static files over kept-alive connections. nginx is measured with
 * tcp_nopush off and on, and counts with whichever is faster for the size.
 */
import { Baton } from './lib/baton.ts';
import { besideNginx } from './lib/beside-nginx.ts';
import { Peers } from './lib/peers.ts';
import type { Report, Target } from './lib/result.ts';
import { Site, type SizeName } from './lib/site.ts';

const SECONDS = 1;
const ROUNDS = 5;
const CONNECTIONS = 64;
const TARGETS: ReadonlyArray<readonly [SizeName, Target]> = [
  ['1k', '>= 1.2'],
  ['16k', '>= 1'],
  ['256k', '>= 1'],
  ['10m', '>= 1'],
];

export async function direct(report: Report): Promise<void> {
  const site = new Site(['a']);
  const paths = TARGETS.map(([size]) => site.path(size, 'a'));
  const baton = await Baton.up({ name: 'b1', nodes: 1, root: site.root });
  const peers = await Peers.up({ name: 'b2', nodes: 1, root: site.root, servers: ['a'], proxies: false });
  const nginx = [peers.servers.get('a')!, peers.noPushServers.get('a')!];
  for (const [index, [size, target]] of TARGETS.entries()) {
    const options = { paths: [paths[index]], connections: CONNECTIONS, seconds: SECONDS };
    await besideNginx(report, { name: `direct.${size}`, target, baton, nginx, options, rounds: ROUNDS });
  }
  baton.down();
  peers.down();
}
