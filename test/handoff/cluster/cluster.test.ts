/**
 * Any interleaving of frames, segments, acknowledgements and turns, with cuts and kills: every byte that every client gets
 * is looked at, and over TLS every record that a node seals. A failure names its seed: `BATON_SEED=SEED` runs that one
 * alone, `BATON_SEEDS=COUNT` so many from it on (10,000 are 400,000 requests). Sockets, routers, network and clock are
 * models (wire.ts, node.ts); the rest is what an engine runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MechanismRow } from '../../../src/base/config/config.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
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
/** Of connections whose clones may stay for the next request: most of it is one node's. */
const WITH_CLONES: readonly MechanismRow[] = ['clone', 'clone', 'clone', 'clone', 'clone', 'anchor', 'relay'];
const NODES = [0, 1, 2];
const NODES_WITH_CLONES = [1, 1, 1, 1, 2, 0];
const SIZES = [0, 1, 100, 1000, 1448, 5000, 20_000, 40_000];
const { BATON_LONG, BATON_SEED, BATON_SEEDS } = process.env;
const SHORT_RUNS = 60;
const RUNS = Number(BATON_SEEDS ?? (BATON_SEED ? 1 : BATON_LONG === '1' ? 10_000 : SHORT_RUNS));
const FIRST_SEED = Number(BATON_SEED ?? 1);
/** That have found something once. */
const FOUND = [91, 261, 10_276, 100_888, 101_186, 101_784, 101_844, 106_508, 300_250, 301_042];
/** No response begins later than 0.6 s after it was asked for, and none is lost. */
const SLOWEST_MS = 3000;

function requestsOf(
  random: Random,
  mechanisms: readonly MechanismRow[],
  nodes: readonly number[],
  slowOneIn: number,
): Asked[] {
  const count = 1 + random.below(6);
  const requests = Array.from(
    { length: count },
    (_, index): Asked => ({
      index,
      bytes: SIZES[random.below(SIZES.length)],
      node: nodes[random.below(nodes.length)],
      mechanism: mechanisms[random.below(mechanisms.length)],
      isSlow: random.below(slowOneIn) === 0,
    }),
  );
  if (random.below(4) === 0) requests[count - 1] = { ...requests[count - 1], mechanism: 'split', node: 1 };
  return requests;
}

type Faults = Pick<Course, 'hasPauses' | 'cutsPerMillion' | 'killsPerMillion' | 'stopsPerMillion'>;

const NO_FAULTS: Faults = { hasPauses: false, cutsPerMillion: 0, killsPerMillion: 0 };
const FAULTS: Faults = { hasPauses: true, cutsPerMillion: 6000, killsPerMillion: 300 };
const STOPS: Faults = { ...FAULTS, stopsPerMillion: 1500 };

function run(seed: number, faults: Faults): Cluster {
  return ran({ seed, ...faults, requestsOf: (random) => requestsOf(random, MECHANISMS, NODES, 5) });
}

/** Clones stay; every other seed has next requests handed off before they are asked for as well. */
function runWithClones(seed: number, faults: Faults): Cluster {
  const clone = { keep: true, pre: seed % 2 === 0 };
  const requests = (random: Random) => requestsOf(random, WITH_CLONES, NODES_WITH_CLONES, 12);
  return ran({ seed, ...faults, clone, requestsOf: requests });
}

/** Over TLS, by every suite in turn; every other two of the seeds have a key for each node. */
function runSecure(seed: number, faults: Faults): Cluster {
  const tls = { suite: SUITES[seed % SUITES.length], rekeys: seed % 4 < 2 };
  return ran({ seed, ...faults, tls, requestsOf: (random) => requestsOf(random, MECHANISMS, NODES, 5) });
}

function ran(course: Omit<Course, 'clients' | 'canMove'>): Cluster {
  const cluster = new Cluster({ ...course, clients: 2, canMove: true });
  try {
    cluster.run();
  } catch (error) {
    throw new Error(`seed ${course.seed}: ${(error as Error).message}`, { cause: error });
  }
  return cluster;
}

const firstSeeds = Array.from({ length: RUNS }, (_, i) => FIRST_SEED + i);
const found = BATON_SEED ? [] : FOUND;
const seeds = [...firstSeeds, ...found];

function assertInTime(seed: number, sessions: Cluster['sessions']): void {
  for (const { client, slowestMs } of sessions) {
    assert.equal(client.isReset, false, `seed ${seed}`);
    assert.ok(slowestMs < SLOWEST_MS, `seed ${seed}: ${slowestMs} ms`);
  }
}

test('without faults every client gets every response, in time, wherever its connection is by then', () => {
  let moves = 0;
  for (const seed of seeds) {
    const { nodes, sessions } = run(seed, NO_FAULTS);
    assertInTime(seed, sessions);
    for (const { counters } of nodes) moves += counters.get('migrations_in');
  }
  if (seeds.length > 1) assert.ok(moves > seeds.length / 2, `${moves} moves`);
});

test('with cuts and kills no client gets a byte that is not its response’s', () => {
  let faults = 0;
  for (const seed of seeds) faults += run(seed, FAULTS).faults;
  if (seeds.length > 1) assert.ok(faults > RUNS / 4, `${faults} faults`);
});

/** They take as long again: the short form has half of the seeds. */
const fewerSeeds = RUNS === SHORT_RUNS ? [...firstSeeds.slice(0, RUNS / 2), ...found] : seeds;

test('clones that stay take next requests without being asked, and nobody gets a byte twice or from two', () => {
  let kept = 0;
  for (const seed of fewerSeeds) {
    const { nodes, sessions } = runWithClones(seed, NO_FAULTS);
    assertInTime(seed, sessions);
    for (const { counters } of nodes) kept += counters.get('requests_kept');
  }
  if (seeds.length > 1) assert.ok(kept > fewerSeeds.length / 8, `${kept} requests`);
});

test('clones that stay, with cuts and kills: no client gets a byte that is not its response’s', () => {
  for (const seed of fewerSeeds) runWithClones(seed, FAULTS);
});

test('over TLS: the same, and no number of a key seals two contents, whoever seals', () => {
  const all = { migrations_in: 0, tls_key_updates: 0, handoffs: 0 };
  for (const seed of fewerSeeds) {
    const { nodes, sessions } = runSecure(seed, NO_FAULTS);
    assertInTime(seed, sessions);
    for (const { counters } of nodes) {
      all.migrations_in += counters.get('migrations_in');
      all.tls_key_updates += counters.get('tls_key_updates');
      all.handoffs += counters.get('setups_sent');
    }
  }
  if (seeds.length > 1) for (const [what, count] of Object.entries(all)) assert.ok(count > 0, what);
});

test('over TLS with cuts and kills: no client gets what is not its record’s, and no number seals two contents', () => {
  for (const seed of fewerSeeds) runSecure(seed, FAULTS);
});

test('the same with nodes that are stopped, and go on when others have given them up', () => {
  const kinds = [run, runWithClones, runSecure];
  for (const seed of firstSeeds) kinds[seed % kinds.length](seed, STOPS);
  for (const seed of found) for (const kind of kinds) kind(seed, STOPS);
});
