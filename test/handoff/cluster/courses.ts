/** What clients ask for in a cluster of one process, and what befalls it meanwhile: every course by its seed. */
import assert from 'node:assert/strict';
import type { MechanismRow } from '../../../src/base/config/config.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import type { Random } from '../../../src/tools/lab/random.ts';
import { Cluster } from './cluster.ts';
import type { Course } from './course.ts';
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

/** More than travels with SETUP, too. */
const UPLOADS = [1, 1000, 30_000, 66_000, 120_000];

/** Every other one has a body. */
function withUploads(random: Random, requests: readonly Asked[]): Asked[] {
  return requests.map((asked) => {
    if (random.below(2) === 0) return asked;
    const bytes = UPLOADS[random.below(UPLOADS.length)];
    return { ...asked, upload: { bytes, isEarly: random.below(3) === 0, isChunked: random.below(3) === 0 } };
  });
}

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

/** What befalls a cluster, and whether a client's connection may end by it. */
export interface Faults
  extends Pick<
    Course,
    'hasPauses' | 'cutsPerMillion' | 'killsPerMillion' | 'stopsPerMillion' | 'peerMs' | 'anchors' | 'troubles'
  > {
  readonly mayReset?: boolean;
  /** Over TLS it may, for one of these reasons. */
  readonly mayEndSecure?: RegExp;
}

/** A node that stands still is silent for longer than those wait who have lent it keys, or given it a connection. */
const SILENT = /nobody knows whether its keys are in use|nobody else may use the numbers/;

export const NO_FAULTS: Faults = { hasPauses: false, cutsPerMillion: 0, killsPerMillion: 0 };
export const FAULTS: Faults = { hasPauses: true, cutsPerMillion: 6000, killsPerMillion: 300, mayReset: true };
export const STOPS: Faults = { ...FAULTS, stopsPerMillion: 1500 };

/** Clients connect to two nodes, each of which is the other's target. */
const CALM: Faults = { ...NO_FAULTS, anchors: [0, 1] };
const ROUGH: Faults = { ...FAULTS, anchors: [0, 1] };
/** Of nobody's clients a connection may end by these. */
export const TROUBLES = {
  'two anchors': CALM,
  slow: { ...CALM, troubles: { slowsPerMillion: 3000 } },
  stalls: { ...CALM, peerMs: 2000, mayEndSecure: SILENT, troubles: { stallsPerMillion: 1500 } },
  skews: { ...CALM, hasPauses: true, troubles: { skews: true } },
  drains: { ...CALM, troubles: { drainsPerMillion: 1000, arrivals: true } },
  'rolling restart': { ...CALM, troubles: { drainsPerMillion: 2000, arrivals: true, restarts: true } },
  pipelines: { ...CALM, troubles: { pipelines: true } },
  'half-closes': { ...CALM, troubles: { halfCloses: true, pipelines: true } },
  uploads: { ...CALM, troubles: { uploads: true } },
  together: {
    ...{ ...CALM, peerMs: 2000, mayEndSecure: SILENT },
    troubles: {
      ...{ slowsPerMillion: 1000, stallsPerMillion: 500, drainsPerMillion: 1000 },
      ...{ restarts: true, arrivals: true, skews: true, pipelines: true, halfCloses: true, uploads: true },
    },
  },
} satisfies Record<string, Faults>;
/** By these it may; but for nobody who is not concerned, and with no wrong byte. */
export const ROUGH_TROUBLES = {
  leaves: { ...CALM, mayReset: true, troubles: { leavesPerMillion: 1000 } },
  restarts: { ...ROUGH, killsPerMillion: 600, troubles: { restarts: true, arrivals: true } },
  all: {
    ...{ ...ROUGH, stopsPerMillion: 300 },
    troubles: {
      ...{ slowsPerMillion: 1000, stallsPerMillion: 300, drainsPerMillion: 500, leavesPerMillion: 200 },
      ...{ restarts: true, arrivals: true, skews: true, pipelines: true, halfCloses: true, uploads: true },
    },
  },
} satisfies Record<string, Faults>;

export function run(seed: number, faults: Faults): Cluster {
  return ran({ seed, ...faults, requestsOf: (random) => requestsOf(random, MECHANISMS, NODES, 5) });
}

/** Clones stay; every other seed has next requests handed off before they are asked for as well. */
export function runWithClones(seed: number, faults: Faults): Cluster {
  const clone = { keep: true, pre: seed % 2 === 0 };
  const requests = (random: Random) => requestsOf(random, WITH_CLONES, NODES_WITH_CLONES, 12);
  return ran({ seed, ...faults, clone, requestsOf: requests });
}

/** Over TLS, by every suite in turn; every other two of the seeds have a key for each node. */
export function runSecure(seed: number, faults: Faults): Cluster {
  const tls = { suite: SUITES[seed % SUITES.length], rekeys: seed % 4 < 2 };
  return ran({ seed, ...faults, tls, requestsOf: (random) => requestsOf(random, MECHANISMS, NODES, 5) });
}

function ran({ mayReset, mayEndSecure, ...asked }: Omit<Course, 'clients' | 'canMove'> & Faults): Cluster {
  const requests = (random: Random, client: number) => withUploads(random, asked.requestsOf(random, client));
  const course = asked.troubles?.uploads ? { ...asked, requestsOf: requests } : asked;
  const clients = 2 * (course.anchors?.length ?? 1);
  const cluster = new Cluster({ ...course, clients, canMove: true });
  try {
    cluster.run();
  } catch (error) {
    throw new Error(`seed ${course.seed}: ${(error as Error).message}`, { cause: error });
  }
  if (!mayReset) assertWhole(course.seed, cluster, course.tls ? mayEndSecure : undefined);
  return cluster;
}

/** Every client that has not left itself has all of its responses. */
function assertWhole(
  seed: number,
  { sessions, brokenByDrains, aborts }: Cluster,
  mayEnd: RegExp | undefined,
): void {
  let ends = aborts.filter((reason) => mayEnd?.test(reason)).length;
  assert.equal(brokenByDrains, 0, `seed ${seed}: connections that a drain has broken`);
  for (const { client, answered, requests, isTurnedAway } of sessions) {
    if (client.hasLeft || isTurnedAway || (client.isReset && ends-- > 0)) continue;
    assert.ok(
      !client.isReset,
      `seed ${seed}: client ${client.ends.client.port} is reset (${aborts.join('; ')})`,
    );
    assert.equal(answered, requests.length, `seed ${seed}`);
  }
}
