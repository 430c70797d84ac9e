/**
 * The splitting paper's figures 4, 6 and 8: what two servers can do that split requests, against one that does not, by
 * the share that is delegated; one-way (a's clients, b sends data for it) and both ways (both have clients). The
 * paper: 12,000 to 8,000 requests/s one-way; both ways 14,428 at 25 %, 13,000 at 50 %. The same by the clock, with
 * links as the bottleneck; and where the processor time of a split request goes.
 */
import { cpuNs, userAndSystemNs } from './lib/processor.ts';
import type { Report, Target } from './lib/result.ts';
import { alternate, medianOf } from './lib/rounds.ts';
import { Site, type SizeName } from './lib/site.ts';
import { NODES, Splitting, type Way } from './lib/splitting.ts';
import { capacity, type Load } from './lib/wrk.ts';

const SECONDS = 1;
const ROUNDS = 2;
const PERCENTS = [0, 25, 50, 100];
const SIZES: readonly SizeName[] = ['4k', '32k'];
const ONE_SERVER = 8000;
const PUBLISHED_ONE_WAY = 12_000 / ONE_SERVER;
const PUBLISHED_BOTH_WAYS: Readonly<Record<number, number>> = {
  25: 14_428 / ONE_SERVER,
  50: 13_000 / ONE_SERVER,
};
const WALL_RATE = '20mbit';
const WALL: ReadonlyArray<readonly [Way, number, Target]> = [
  ['one-way', 50, '>= 1.5'],
  ['both-ways', 25, '>= 1.8'],
];
const US_PER_NS = 1e-3;

export async function splitScaleup(report: Report): Promise<void> {
  const site = new Site(NODES);
  const paths = new Map(SIZES.map((size) => [size, site.path(size, 'a')]));
  const systems: Splitting[] = [];
  for (const [index, percent] of PERCENTS.entries())
    systems.push(await Splitting.up(`b${index + 1}`, site.root, percent));
  // Both ways at 0 percent would be one server twice.
  const sides = systems.flatMap((system) =>
    (['one-way', 'both-ways'] as const)
      .filter((way) => way === 'one-way' || system.percent > 0)
      .map((way) => ({ system, way })),
  );
  for (const [size, path] of paths) {
    const rounds = await alternate(
      sides.map(
        ({ system, way }) =>
          () =>
            system.load(way, path, SECONDS),
      ),
      ROUNDS,
    );
    const one = medianOf(rounds[0], capacity);
    const figures = sides.map((side, index) => ({ ...side, value: medianOf(rounds[index], capacity) }));
    const unit = 'requests/s of processor time of the busiest node';
    for (const { system, way, value } of figures.slice(1)) {
      const published = way === 'both-ways' ? PUBLISHED_BOTH_WAYS[system.percent] : undefined;
      const target = way === 'both-ways' && system.percent === 25 ? '>= 1.8' : null;
      const name = `split-scaleup.${size}.${way}.${system.percent}`;
      report({ name, value, unit, baseline: one, target, ...(published === undefined ? {} : { published }) });
    }
    const best = Math.max(...figures.filter(({ way }) => way === 'one-way').map(({ value }) => value));
    const name = `split-scaleup.${size}.one-way.best`;
    report({ name, value: best, unit, baseline: one, target: '>= 1.5', published: PUBLISHED_ONE_WAY });
  }
  await breakdown(report, systems[0], systems.at(-1)!, paths.get('4k')!);
  for (const system of systems) system.down();
  await byTheClock(report, site.root, paths);
}

interface Spent {
  readonly user: number;
  readonly system: number;
}

/** Microseconds of each node for one request, over a round. */
async function spent({ baton }: Splitting, run: () => Promise<Load>): Promise<Map<string, Spent>> {
  const clocks = (node: string) => {
    const pid = baton.processes.get(node)!;
    return { ...userAndSystemNs(pid), all: cpuNs(pid) };
  };
  const before = NODES.map(clocks);
  const { requests } = await run();
  return new Map(
    NODES.map((node, index) => {
      const after = clocks(node);
      const since = (clock: keyof typeof after) => after[clock] - before[index][clock];
      // User and system are known in steps only: they share out what is known exactly.
      const ticks = Math.max(1, since('user') + since('system'));
      const us = (ns: number) => (ns * US_PER_NS) / requests;
      const user = us((since('all') * since('user')) / ticks);
      const system = us((since('all') * since('system')) / ticks);
      return [node, { user, system }];
    }),
  );
}

/** Of a request that one server answers, and of one that a (connection) and b (data) split. */
async function breakdown(report: Report, whole: Splitting, split: Splitting, path: string): Promise<void> {
  const alone = (await spent(whole, () => whole.load('one-way', path, 2 * SECONDS))).get('a')!;
  const shared = await spent(split, () => split.load('one-way', path, 2 * SECONDS));
  for (const [node, role] of [
    ['a', 'connection'],
    ['b', 'data'],
  ]) {
    for (const part of ['user', 'system'] as const) {
      const name = `split-scaleup.4k.cpu.${role}.${part}`;
      const value = shared.get(node)![part];
      report({ name, value, unit: 'us of a request', baseline: alone[part], target: null });
    }
  }
}

/** Requests a second, each node's link being what it has least of. */
async function byTheClock(report: Report, root: string, paths: Map<SizeName, string>): Promise<void> {
  const one = await Splitting.up('b1', root, 0, WALL_RATE);
  const systems: Splitting[] = [];
  for (const [index, [, percent]] of WALL.entries())
    systems.push(await Splitting.up(`b${index + 2}`, root, percent, WALL_RATE));
  for (const [size, path] of paths) {
    const rounds = await alternate(
      [
        () => one.load('one-way', path, SECONDS),
        ...WALL.map(
          ([way], index) =>
            () =>
              systems[index].load(way, path, SECONDS),
        ),
      ],
      1,
    );
    const perSecond = (index: number) =>
      medianOf(rounds[index], ({ requestsPerSecond }) => requestsPerSecond);
    for (const [index, [way, percent, target]] of WALL.entries()) {
      const name = `split-scaleup.${size}.${way}.${percent}.wall`;
      const value = perSecond(index + 1);
      report({ name, value, unit: `requests/s, ${WALL_RATE}/s links`, baseline: perSecond(0), target });
    }
  }
  for (const system of [one, ...systems]) system.down();
}
