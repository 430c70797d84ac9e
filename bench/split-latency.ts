/**
 * The splitting paper's figure 3: the delay of a 4 KB response with and without splitting, one request a connection,
 * one at a time. The paper: 20 us without, 78 us with, so 58 us added. Beside it a bare round trip between two
 * namespaces, of which a split needs half before the data server can begin.
 */
import { Baton } from './lib/baton.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';
import { type Load, load } from './lib/wrk.ts';

const SECONDS = 1;
const ROUNDS = 5;
const NODES = ['a', 'b'];
const PAPER_ADDED_US = 58;

/** The fastest bare round trip from node a to node b, as the kernel has measured it on their backplane link. */
async function roundTripUs(baton: Baton): Promise<number> {
  const { stdout } = await baton.lab.exec('a', ['ss', '-Htin', 'dst', baton.lab.nodes[1].address]);
  const times = [...stdout.matchAll(/minrtt:([\d.]+)/g)].map(([, ms]) => 1000 * Number(ms));
  if (times.length === 0) throw new Error(`no link from a to b: ${stdout}`);
  return Math.min(...times);
}

export async function splitLatency(report: Report): Promise<void> {
  const site = new Site(NODES);
  const [onA, onB] = NODES.map((node) => site.path('4k', node));
  const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, mechanism: 'split' });
  const one = (path: string) => ({ paths: [path], connections: 1, seconds: SECONDS, close: true });
  const [whole, split] = await alternate(
    [() => load(baton, one(onA)), () => baton.handingOff(() => load(baton, one(onB)))],
    ROUNDS,
  );
  const p50 = ({ p50Us }: Load) => p50Us;
  const [wholeUs, splitUs] = [medianOf(whole, p50), medianOf(split, p50)];
  const added = splitUs - wholeUs;
  report({ name: 'split-latency.p50', value: splitUs, unit: 'us', baseline: wholeUs, target: null });
  report({ name: 'split-latency.added', value: added, unit: 'us', baseline: PAPER_ADDED_US, target: '<= 1' });
  const bare = await roundTripUs(baton);
  report({ name: 'split-latency.round-trips', value: added, unit: 'us', baseline: bare, target: null });
  baton.down();
}
