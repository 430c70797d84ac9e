/**
 * One engine with a cache before an upstream against nginx with one worker and proxy_cache, before the same upstream: a
 * hot set of responses of one size, over kept-alive connections. nginx is measured with tcp_nopush off and on, and counts
 * with whichever is faster for the size.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../src/tools/lab/lab.ts';
import { Baton } from './lib/baton.ts';
import { besideNginx } from './lib/beside-nginx.ts';
import { atExit } from './lib/cleanup.ts';
import { Peers } from './lib/peers.ts';
import type { Report } from './lib/result.ts';
import { Site } from './lib/site.ts';

const ORIGIN = fileURLToPath(new URL('./lib/cache-origin.js', import.meta.url));
const ORIGIN_PORT = 8090;
const SECONDS = 1;
const ROUNDS = 5;
const CONNECTIONS = 64;
/** Of a size. */
const DOCUMENTS = 16;
const CACHE_BYTES = 64 * 1024 * 1024;
const KB = 1024;
const SIZES = [
  ['1k', KB],
  ['10k', 10 * KB],
  ['100k', 100 * KB],
] as const;

async function startOrigin(lab: Lab): Promise<void> {
  const argv = [process.execPath, ORIGIN, String(ORIGIN_PORT)];
  const origin = lab.spawn('a', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  atExit(() => origin.kill('SIGKILL'));
  await once(origin.stdout!, 'data');
}

export async function accelerator(report: Report): Promise<void> {
  const upstream = `127.0.0.1:${ORIGIN_PORT}`;
  const site = { name: 'cached', hosts: ['*'], upstream, mechanism: 'local', cache: { bytes: CACHE_BYTES } };
  const { root } = new Site(['a']);
  const baton = await Baton.up({ name: 'b1', nodes: 1, root, set: [`sites=${JSON.stringify([site])}`] });
  const peers = await Peers.up({ name: 'b2', nodes: 1, root, servers: ['a'], proxies: false });
  await startOrigin(baton.lab);
  await startOrigin(peers.servers.get('a')!.lab);
  const nginx = await peers.caches('a', upstream);
  for (const [label, bytes] of SIZES) {
    const paths = Array.from({ length: DOCUMENTS }, (_, i) => `/${bytes}/${i}`);
    const options = { paths, connections: CONNECTIONS, seconds: SECONDS };
    const name = `accelerator.${label}`;
    await besideNginx(report, { name, target: '>= 1.2', baton, nginx, options, rounds: ROUNDS });
  }
  baton.down();
  peers.down();
}
