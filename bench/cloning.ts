/**
 * The Socket Cloning paper's figure 8: normalized efficiency against file size, for clone and what it is compared
 * with. A new connection for each request, as ab makes them; every request goes to another node. The peer of each
 * figure is one plain engine; by processor time of the busiest node, as in efficiency.ts. The paper: nearly 1 for
 * large files, handoff below 0.8, cooperative caching (relay here) about 0.5.
 */
import { Baton } from './lib/baton.ts';
import type { Report, Target } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site, type SizeName } from './lib/site.ts';
import { capacity, load } from './lib/wrk.ts';

const SECONDS = 1;
const CONNECTIONS = 32;
const NODES = ['a', 'b'];
const MECHANISMS = ['clone', 'anchor', 'migrate', 'relay'] as const;
const CLONE_TARGETS: ReadonlyArray<readonly [SizeName, Target | null]> = [
  ['100b', null],
  ['1k', null],
  ['4k', null],
  ['16k', null],
  ['64k', '>= 0.97'],
  ['256k', '>= 0.97'],
  ['1m', '>= 0.97'],
];

export async function cloning(report: Report): Promise<void> {
  const site = new Site(NODES);
  for (const [size] of CLONE_TARGETS) site.path(size, 'b');
  const plain = await Baton.up({ name: 'b1', nodes: 1, root: site.root });
  const clusters = [];
  for (const [index, mechanism] of MECHANISMS.entries())
    clusters.push(await Baton.up({ name: `b${index + 2}`, nodes: NODES.length, root: site.root, mechanism }));
  for (const [size, target] of CLONE_TARGETS) {
    const options = {
      paths: [site.path(size, 'b')],
      connections: CONNECTIONS,
      seconds: SECONDS,
      close: true,
    };
    const [local, ...remote] = await alternate([
      () => load(plain, options),
      // A connection that migrates is answered where it is then: node a knows nothing of the request.
      ...clusters.map((cluster, index) => () => {
        const measure = () => load(cluster, options);
        return MECHANISMS[index] === 'migrate' ? measure() : cluster.handingOff(measure);
      }),
    ]);
    const of = (index: number) => medianOf(remote[index], capacity);
    for (const [index, mechanism] of MECHANISMS.entries()) {
      report({
        name: `cloning.${mechanism}.${size}`,
        value: of(index),
        unit: 'requests/s of processor time of the busiest node',
        baseline: medianOf(local, capacity),
        target: mechanism === 'clone' ? target : null,
      });
    }
    report({
      name: `cloning.over-relay.${size}`,
      value: of(MECHANISMS.indexOf('clone')),
      unit: 'requests/s of processor time of the busiest node',
      baseline: of(MECHANISMS.indexOf('relay')),
      target: size === '100b' || size === '1k' ? null : '>= 1',
    });
  }
  plain.down();
  for (const cluster of clusters) cluster.down();
}
