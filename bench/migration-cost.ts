/**
 * What the migration of a connection costs: every request of a kept-alive connection goes to another node than the
 * one before, and takes the connection with it, against the same requests answered where the connection is.
 *
 * Blackout: what is added to the time from a request to the first byte of its answer, which is as long as the
 * connection is at no node. Processor time: what all cores together do more for a request, kernel and client
 * included. Waiting: how many of the requests that come while their connection moves wait for being sent again.
 */
import { Baton } from './lib/baton.ts';
import { connectionsWithoutFailure } from './lib/connections.ts';
import type { ConnectionsReport } from './lib/connections-client.ts';
import { machineCpuNs } from './lib/processor.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';

const NODES = ['a', 'b'];
const SECONDS = 2;
const ROUNDS = 5;
/** Few at a time: the blackout of one must not be the work on another. */
const WORKERS = { alone: 1, together: 16 };
const REQUESTS = 50;
/** A request that comes so long after the one that makes the connection move comes while it does. */
const BEHIND_US = [100, 400] as const;
const BLACKOUT_LIMIT_US = 1000;
const PROCESSOR_LIMIT_US = 100;

interface Round extends ConnectionsReport {
  readonly processorUs: number;
}

export async function migrationCost(report: Report): Promise<void> {
  const site = new Site(NODES);
  const [onA, onB] = NODES.map((node) => site.path('1k', node));
  const moving = Array.from({ length: REQUESTS }, (_, i) => (i % 2 === 0 ? onB : onA));
  const staying = Array.from({ length: REQUESTS }, () => onA);
  const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, mechanism: 'migrate' });
  const round = async (paths: readonly string[], workers: number): Promise<Round> => {
    const before = machineCpuNs();
    const result = await connectionsWithoutFailure(baton, {
      paths,
      workers,
      seconds: SECONDS,
      pipelined: false,
    });
    return { ...result, processorUs: (machineCpuNs() - before) / 1000 / result.requests };
  };
  for (const [name, workers] of Object.entries(WORKERS)) {
    const [moved, stayed] = await alternate(
      [() => round(moving, workers), () => round(staying, workers)],
      ROUNDS,
    );
    const added = (of: (one: Round) => number): number => medianOf(moved, of) - medianOf(stayed, of);
    const p50 = added((one) => one.firstByteUs.p50);
    report({
      name: `migration-cost.blackout.${name}.p50`,
      value: p50,
      unit: 'us',
      baseline: BLACKOUT_LIMIT_US,
      target: '<= 1',
    });
    report({
      name: `migration-cost.blackout.${name}.p99`,
      value: added((one) => one.firstByteUs.p99),
      unit: 'us',
      baseline: null,
      target: null,
    });
    report({
      name: `migration-cost.processor.${name}`,
      value: added((one) => one.processorUs),
      unit: 'us, all cores',
      baseline: PROCESSOR_LIMIT_US,
      target: '<= 1',
    });
  }
  // Both of a pair go to the same node, so the first of each takes the connection there.
  const pairs = moving.flatMap((path) => [path, path]);
  const overlapping = { paths: pairs, workers: 1, seconds: SECONDS * ROUNDS, pipelined: false };
  const { waited, requests } = await connectionsWithoutFailure(baton, {
    ...overlapping,
    behindUs: BEHIND_US,
  });
  report({
    name: 'migration-cost.overlapping.waiting',
    value: waited,
    unit: `of ${requests / 2} that came while it moved, more than 50 ms`,
    baseline: null,
    target: null,
  });
  baton.down();
}
