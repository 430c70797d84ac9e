/**
 * Mechanism boost: how long a booster has a server's clients after the boost has ended, when they stay there until they
 * leave, and when they come back (`boost.return`); and what clients notice of it.
 */
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Baton } from './lib/baton.ts';
import type { Asked } from './lib/boost-return-client.ts';
import { Boosting } from './lib/boosting.ts';
import type { Report } from './lib/result.ts';

const CLIENT = fileURLToPath(new URL('./lib/boost-return-client.js', import.meta.url));
const CONNECTIONS = 400;

export async function boostReturn(report: Report): Promise<void> {
  const stayMs = await measure(report, false, null);
  await measure(report, true, stayMs);
}

/** Returns after how long the booster had no client any more. */
async function measure(report: Report, returns: boolean, baseline: number | null): Promise<number> {
  const set = [`limits.connections=${2 * CONNECTIONS}`, `boost={ return: ${returns} }`];
  const baton = await Baton.up({ name: 'b1', nodes: 1, boosters: 1, mechanism: 'local', set });
  const { lab } = baton;
  const boosting = new Boosting(lab);
  await boosting.put('on');
  const clients = async () => (await lab.admin('x', '/api/status')).engines[0].connections as number;
  const client = lab.spawn('client', [process.execPath, CLIENT, baton.endpoint, String(CONNECTIONS)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: client.stdout! })[Symbol.asyncIterator]();
  // All of them are connected.
  await lines.next();
  if ((await clients()) !== CONNECTIONS) throw new Error('the booster has not got all clients');
  await boosting.put('off');
  const endedMs = performance.now();
  while ((await clients()) > 0);
  const tookMs = performance.now() - endedMs;
  const { requests, failed, slowestMs } = JSON.parse((await lines.next()).value as string) as Asked;
  const name = `boost-return.${returns ? 'return' : 'stay'}`;
  const figure = (what: string, value: number, unit: string, peer: number | null = null) =>
    report({ name: `${name}.${what}`, value, unit, baseline: peer, target: null });
  figure('until-empty', tookMs, 'ms', baseline);
  figure('failed', failed, `of ${requests} requests`);
  figure('slowest', slowestMs, 'ms');
  boosting.end();
  baton.down();
  return tookMs;
}
