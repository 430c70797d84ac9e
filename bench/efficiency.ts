/**
 * The Socket Cloning paper's normalized efficiency: the throughput of a cluster that hands off every request, over
 * the throughput of one plain engine.
 *
 * All nodes share this machine's cores, where machines of a cluster have their own. So a system's throughput is what
 * its busiest node could do with a core for itself: requests over the processor time of that node's process. The
 * throughput by the clock, with all nodes on one core, is reported beside it.
 */
import { Baton } from './lib/baton.ts';
import type { Report, Target } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site, type SizeName } from './lib/site.ts';
import { capacity, load } from './lib/wrk.ts';

const SECONDS = 1;
const CONNECTIONS = 32;
/** One anchor, one target that answers everything. */
const NODES = ['a', 'b'];

interface Mode {
  readonly name: string;
  readonly close: boolean;
  readonly targets: ReadonlyArray<readonly [SizeName, Target | null]>;
}

const MODES: readonly Mode[] = [
  {
    name: 'keep-alive',
    close: false,
    targets: [
      ['1k', '>= 0.5'],
      ['16k', null],
      ['64k', '>= 0.97'],
      ['1m', '>= 0.97'],
      ['10m', '>= 0.97'],
    ],
  },
  {
    name: 'new-connections',
    close: true,
    targets: [
      ['1k', '>= 0.6'],
      ['16k', null],
      ['64k', '>= 0.97'],
      ['1m', '>= 0.97'],
      ['10m', '>= 0.97'],
    ],
  },
];

export async function efficiency(report: Report, benchmark: 'efficiency' | 'tls-efficiency'): Promise<void> {
  const tls = benchmark === 'tls-efficiency';
  const site = new Site(NODES);
  const path = (size: SizeName) => site.path(size, 'b');
  for (const { targets } of MODES) for (const [size] of targets) path(size);
  const cluster = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, tls });
  const plain = await Baton.up({ name: 'b2', nodes: 1, root: site.root, tls });
  for (const { name, close, targets } of MODES) {
    for (const [size, target] of targets) {
      const options = { paths: [path(size)], connections: CONNECTIONS, seconds: SECONDS, close };
      const [handedOff, local] = await alternate([
        () => cluster.handingOff(() => load(cluster, options)),
        () => load(plain, options),
      ]);
      report({
        name: `${benchmark}.${name}.${size}`,
        value: medianOf(handedOff, capacity),
        unit: 'requests/s of processor time of the busiest node',
        baseline: medianOf(local, capacity),
        target,
      });
      report({
        name: `${benchmark}.${name}.${size}.wall`,
        value: medianOf(handedOff, (round) => round.requestsPerSecond),
        unit: 'requests/s',
        baseline: medianOf(local, (round) => round.requestsPerSecond),
        target: null,
      });
    }
  }
  cluster.down();
  plain.down();
}
