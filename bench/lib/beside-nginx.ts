/** One engine beside nginx, which counts with whichever of its variants is fastest. */
import type { Report, Target } from './result.ts';
import { alternate, medianOf } from './rounds.ts';
import type { Server } from './server.ts';
import { type Load, type LoadOptions, load } from './wrk.ts';

interface Comparison {
  readonly name: string;
  readonly target: Target;
  readonly baton: Server;
  /** Its variants. */
  readonly nginx: readonly Server[];
  readonly options: LoadOptions;
  readonly rounds: number;
}

const throughput = (rounds: readonly Load[]): number => medianOf(rounds, (round) => round.requestsPerSecond);
const processorUs = (rounds: readonly Load[]): number =>
  medianOf(rounds, (round) => round.cpuNs.a / 1000 / round.requests);

/** Loads all in turn, and reports requests a second (to which `target` applies) and processor time a request. */
export async function besideNginx(report: Report, comparison: Comparison): Promise<void> {
  const { name, target, baton, nginx, options, rounds } = comparison;
  const [ours, ...theirs] = await alternate(
    [baton, ...nginx].map((server) => () => load(server, options)),
    rounds,
  );
  const best = theirs.reduce((one, other) => (throughput(other) > throughput(one) ? other : one));
  report({ name, value: throughput(ours), unit: 'requests/s', baseline: throughput(best), target });
  report({
    name: `${name}.cpu`,
    value: processorUs(ours),
    unit: 'us of processor time/request',
    baseline: processorUs(best),
    target: null,
  });
}
