/**
 * What pre-cloning is for: six pipelined requests a connection, each to another node than the one before, plain cloning
 * (the next clone is set up when the whole response is acknowledged) against pre-cloning (when its end is known).
 * Lifetime of the connections.
 */
import { Baton } from './lib/baton.ts';
import { connectionsWithoutFailure } from './lib/connections.ts';
import type { ConnectionsReport } from './lib/connections-client.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site } from './lib/site.ts';

const NODES = ['a', 'b', 'c'];
const REQUESTS = 6;
const SECONDS = 1;
const WORKERS = 4;
const SIZES = ['1k', '64k'] as const;

export async function preCloning(report: Report): Promise<void> {
  const site = new Site(NODES);
  for (const size of SIZES) for (const node of ['b', 'c']) site.path(size, node);
  const up = (name: string, pre: boolean) =>
    Baton.up({
      name,
      nodes: NODES.length,
      root: site.root,
      mechanism: 'clone',
      set: [`sites.0.clone.pre=${pre}`],
    });
  const clusters = [await up('b1', true), await up('b2', false)];
  for (const size of SIZES) {
    const paths = Array.from({ length: REQUESTS }, (_, i) => site.path(size, i % 2 === 0 ? 'b' : 'c'));
    const job = { paths, seconds: SECONDS, workers: WORKERS, pipelined: true };
    const [pre, plain] = await alternate(
      clusters.map((cluster) => () => cluster.handingOff(() => connectionsWithoutFailure(cluster, job))),
    );
    const p50 = ({ lifetimeMs }: ConnectionsReport) => lifetimeMs.p50;
    report({
      name: `pre-cloning.${size}`,
      value: medianOf(pre, p50),
      unit: 'ms, lifetime of a connection',
      baseline: medianOf(plain, p50),
      target: '<= 1',
    });
  }
  for (const cluster of clusters) cluster.down();
}
