/**
 * Any interleaving of frames, segments, acknowledgements and turns, with cuts and kills: every byte that every client gets
 * is looked at, and over TLS every record that a node seals. A failure names its seed: `BATON_SEED=SEED` runs that one
 * alone, `BATON_SEEDS=COUNT` so many from it on (10,000 are 400,000 requests). Sockets, routers, network and clock are
 * models (wire.ts, node.ts); the rest is what an engine runs.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from './cluster.ts';
import {
  FAULTS,
  NO_FAULTS,
  ROUGH_TROUBLES,
  run,
  runSecure,
  runWithClones,
  STOPS,
  TROUBLES,
} from './courses.ts';

const { BATON_LONG, BATON_SEED, BATON_SEEDS } = process.env;
const SHORT_RUNS = 60;
const RUNS = Number(BATON_SEEDS ?? (BATON_SEED ? 1 : BATON_LONG === '1' ? 10_000 : SHORT_RUNS));
const FIRST_SEED = Number(BATON_SEED ?? 1);
/** That have found something once. */
const FOUND = [91, 261, 10_276, 100_888, 101_186, 101_784, 101_844, 106_508, 300_250, 301_042, 709_126];
/** No response begins later than 0.6 s after it was asked for, and none is lost. */
const SLOWEST_MS = 3000;

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

/** By a third of the seeds each is done, in the short form; by a seed that is named all are. */
const kindsOf = (seed: number) => {
  const kinds = [run, runWithClones, runSecure];
  return BATON_SEED ? kinds : [kinds[seed % kinds.length]];
};
const fewestSeeds = RUNS === SHORT_RUNS ? firstSeeds.slice(0, RUNS / 3) : firstSeeds;

for (const [name, trouble] of Object.entries(TROUBLES))
  test(`${name}: no connection ends by it, and every client gets every response`, () => {
    for (const seed of fewestSeeds) for (const kind of kindsOf(seed)) kind(seed, trouble);
  });

for (const [name, trouble] of Object.entries(ROUGH_TROUBLES))
  test(`${name}: no client gets a byte that is not its response’s, and nothing is left of it`, () => {
    let faults = 0;
    for (const seed of fewestSeeds) for (const kind of kindsOf(seed)) faults += kind(seed, trouble).faults;
    if (seeds.length > 1) assert.ok(faults > fewestSeeds.length, `${faults} faults`);
  });
