/**
 * From the decision to hand a request off to the word that the other node can send, one request at a time: for a clone
 * (a socket is made for every request), against anchor on a kept-alive connection (the socket is there). Taken from
 * the access log of the anchor. The Socket Cloning paper: 46 us (Pentium III 733), 134 us (Pentium II 300), and 194 us
 * for LARD's handoff.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Baton } from './lib/baton.ts';
import type { Report } from './lib/result.ts';
import { alternate, median } from './lib/rounds.ts';
import { Site } from './lib/site.ts';
import { load } from './lib/wrk.ts';

const SECONDS = 1;
const ROUNDS = 3;
const NODES = ['a', 'b'];
const P99 = 0.99;

/** Microseconds of every handoff in the anchor's log, in order. */
function handoffs(baton: Baton): number[] {
  const log = readFileSync(join(baton.lab.plan.directory, 'a.log'), 'utf8');
  const records = log.split('\n').filter((line) => line.includes('"handoffUs"'));
  return records.map((line) => JSON.parse(line).handoffUs).filter((us) => us !== null);
}

export async function setup(report: Report): Promise<void> {
  const site = new Site(NODES);
  const path = site.path('4k', 'b');
  const set = ['observe.accessLog="-"'];
  const [clone, anchor] = [
    await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, set, mechanism: 'clone' }),
    await Baton.up({ name: 'b2', nodes: NODES.length, root: site.root, set, mechanism: 'anchor' }),
  ];
  const options = { paths: [path], connections: 1, seconds: SECONDS };
  await alternate(
    [clone, anchor].map((baton) => () => baton.handingOff(() => load(baton, options))),
    ROUNDS,
  );
  const [cloned, anchored] = [clone, anchor].map((baton) => handoffs(baton).sort((a, b) => a - b));
  const at = (sorted: readonly number[]) => sorted[Math.floor(P99 * (sorted.length - 1))];
  report({ name: 'setup.p50', value: median(cloned), unit: 'us', baseline: median(anchored), target: null });
  report({ name: 'setup.p99', value: at(cloned), unit: 'us', baseline: at(anchored), target: null });
  clone.down();
  anchor.down();
}
