/**
 * What clone's option `keep` is for: requests of one connection for one other node, one after the other, kept against
 * plain cloning. Time from a request to its whole answer with a single client, requests per second of processor time
 * of the busiest node with many, and frames a request.
 */
import { Baton } from './lib/baton.ts';
import type { Report } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site, type SizeName } from './lib/site.ts';
import { capacity, type Load, load } from './lib/wrk.ts';

const NODES = ['a', 'b'];
const SECONDS = 1;
const CONNECTIONS = 32;
const SIZES: readonly SizeName[] = ['1k', '16k', '64k'];

async function framesAndRequests(cluster: Baton): Promise<readonly [number, number]> {
  const { counters } = await cluster.lab.admin('a', '/api/status');
  return [counters.flow_messages, counters.requests_clone];
}

export async function keeping(report: Report): Promise<void> {
  const site = new Site(NODES);
  for (const size of SIZES) site.path(size, 'b');
  const up = (name: string, keep: boolean) =>
    Baton.up({
      name,
      nodes: NODES.length,
      root: site.root,
      mechanism: 'clone',
      set: [`sites.0.clone.keep=${keep}`],
    });
  const clusters = [await up('b1', true), await up('b2', false)];
  for (const size of SIZES) {
    const measure = (connections: number) => {
      const options = { paths: [site.path(size, 'b')], connections, seconds: SECONDS };
      return alternate(clusters.map((cluster) => () => cluster.handingOff(() => load(cluster, options))));
    };
    const p50 = ({ p50Us }: Load) => p50Us;
    const [one, plainOne] = await measure(1);
    report({
      name: `keeping.latency.${size}`,
      value: medianOf(one, p50),
      unit: 'us, p50 of a request, one client',
      baseline: medianOf(plainOne, p50),
      target: '<= 1',
    });
    const [many, plainMany] = await measure(CONNECTIONS);
    report({
      name: `keeping.throughput.${size}`,
      value: medianOf(many, capacity),
      unit: 'requests/s of processor time of the busiest node',
      baseline: medianOf(plainMany, capacity),
      target: null,
    });
  }
  const [frames, plainFrames] = await Promise.all(
    clusters.map(async (cluster) => {
      const [sent, requests] = await framesAndRequests(cluster);
      return sent / requests;
    }),
  );
  report({
    name: 'keeping.frames',
    value: frames,
    unit: 'frames a request',
    baseline: plainFrames,
    target: '<= 1',
  });
  for (const cluster of clusters) cluster.down();
}
