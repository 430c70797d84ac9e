/**
 * Any interleaving of frames, segments, acknowledgements and turns, with cuts and kills: every byte that every client
 * gets is looked at. A failure names its seed; `BATON_SEED=SEED` runs that one alone. Sockets, routers, network and clock are
 * models (wire.ts, node.ts); the rest is what an engine runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MechanismRow } from '../../../src/base/config/config.ts';
import type { Random } from '../../../src/tools/lab/random.ts';
import { Cluster, type Course } from './cluster.ts';
import type { Asked } from './site.ts';

const MECHANISMS: readonly MechanismRow[] = [
  'anchor',
  'anchor',
  'clone',
  'relay',
  'local',
  'migrate',
  'migrate',
  'drain',
];
const SIZES = [0, 1, 100, 1000, 1448, 5000, 20_000, 40_000];
const RUNS = process.env.BATON_LONG === '1' ? 3000 : 25;
const FIRST_SEED = 1;
/** That have found something once. */
const FOUND = [91, 261, 10_276];
/** No response begins later than 0.6 s after it was asked for, and none is lost. */
const SLOWEST_MS = 3000;

function requestsOf(random: Random): Asked[] {
  const count = 1 + random.below(6);
  const requests = Array.from(
    { length: count },
    (_, index): Asked => ({
      index,
      bytes: SIZES[random.below(SIZES.length)],
      node: random.below(3),
      mechanism: MECHANISMS[random.below(MECHANISMS.length)],
      isSlow: random.below(5) === 0,
    }),
  );
  if (random.below(4) === 0) requests[count - 1] = { ...requests[count - 1], mechanism: 'split', node: 1 };
  return requests;
}

function run(course: Omit<Course, 'requestsOf' | 'clients' | 'canMove'>): Cluster {
  const cluster = new Cluster({ ...course, clients: 2, requestsOf, canMove: true });
  try {
    cluster.run();
  } catch (error) {
    throw new Error(`seed ${course.seed}: ${(error as Error).message}`, { cause: error });
  }
  return cluster;
}

const seeds = process.env.BATON_SEED
  ? [Number(process.env.BATON_SEED)]
  : [...Array.from({ length: RUNS }, (_, i) => FIRST_SEED + i), ...FOUND];

test('without faults every client gets every response, in time, wherever its connection is by then', () => {
  let moves = 0;
  for (const seed of seeds) {
    const { nodes, sessions } = run({ seed, hasPauses: false, cutsPerMillion: 0, killsPerMillion: 0 });
    for (const { client, slowestMs } of sessions) {
      assert.equal(client.isReset, false, `seed ${seed}`);
      assert.ok(slowestMs < SLOWEST_MS, `seed ${seed}: ${slowestMs} ms`);
    }
    for (const { counters } of nodes) moves += counters.get('migrations_in');
  }
  if (seeds.length > 1) assert.ok(moves > seeds.length / 2, `${moves} moves`);
});

test('with cuts and kills no client gets a byte that is not its response’s', () => {
  let faults = 0;
  for (const seed of seeds)
    faults += run({ seed, hasPauses: true, cutsPerMillion: 6000, killsPerMillion: 300 }).faults;
  if (seeds.length > 1) assert.ok(faults > RUNS / 4, `${faults} faults`);
});
