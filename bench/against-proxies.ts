/**
 * What a request costs, and how long it takes, by each mechanism, by mechanism auto, and through HAProxy and nginx as
 * proxies in front of an nginx: clients connect to node a, node b has the files. One engine, one thread, one worker
 * each; all in one run, in turn.
 *
 *   kept    connections stay
 *   new     a connection for each request
 *   mixed   one request in eight is its connection's last
 */
import { execFileSync } from 'node:child_process';
import { Baton } from './lib/baton.ts';
import { type BenchOptions, named } from './lib/options.ts';
import { Peers } from './lib/peers.ts';
import {
  addResults,
  betterProxy,
  type Figures,
  KINDS,
  type Kind,
  type Point,
  SYSTEMS,
  type System,
} from './lib/proxy-results.ts';
import { machine, type Report, type Target } from './lib/result.ts';
import { alternate, medianOf, ROUNDS } from './lib/rounds.ts';
import type { Server } from './lib/server.ts';
import { SIZES, Site, type SizeName } from './lib/site.ts';
import { times } from './lib/times.ts';
import type { TimesReport } from './lib/times-client.ts';
import { type Load, load } from './lib/wrk.ts';

const NODES = ['a', 'b'];
const CONNECTIONS = 32;
const LAST_OF = 8;
const SECONDS = 1;
/** Of the client that times every request. */
const TIMED_SECONDS = 0.5;
const USUAL_SIZES: readonly SizeName[] = ['0b', '1k', '16k', '64k', '1m'];
/** What else `--sizes` knows. */
const MORE_SIZES: readonly SizeName[] = ['4k', '32k', '256k', '10m'];
/** Processor time of auto's request by the better proxy's. */
const AIM: Target = '<= 0.95';
const AIM_LARGE_KEPT: Target = '<= 0.5';
const LARGE_BYTES = 64 * 1024;

type Systems = ReadonlyMap<System, Server & { measure<T>(run: () => Promise<T>): Promise<T> }>;

export async function againstProxies(report: Report, options: BenchOptions = {}): Promise<void> {
  const kinds = named('kind', KINDS, options.kinds);
  const sizes =
    options.sizes === undefined ? USUAL_SIZES : named('size', [...USUAL_SIZES, ...MORE_SIZES], options.sizes);
  const site = new Site(NODES);
  for (const size of sizes) site.path(size, 'b');
  const { systems, down } = await start(named('system', SYSTEMS, options.systems), site.root);
  for (const kind of kinds) {
    for (const size of sizes) {
      const point = await measure(systems, kind, size, site.path(size, 'b'), options);
      tell(report, point);
      if (options.out !== undefined) addResults(options.out, part(point));
    }
  }
  down();
}

const part = (point: Point) => ({
  machine: machine(),
  versions: versions(),
  date: new Date().toISOString().slice(0, 10),
  points: [point],
});

function versions(): Record<string, string> {
  const first = (argv: readonly string[], pattern: RegExp): string => {
    const [file, ...rest] = argv;
    // nginx says it on standard error.
    const text = execFileSync('sh', ['-c', `${[file, ...rest].join(' ')} 2>&1 || true`], {
      encoding: 'utf8',
    });
    return pattern.exec(text)?.[1] ?? 'unknown';
  };
  return {
    haproxy: first(['haproxy', '-v'], /version (\S+)/),
    nginx: first(['nginx', '-v'], /nginx\/(\S+)/),
    wrk: first(['wrk', '-v'], /wrk (\S+)/),
    baton: first(['git', 'rev-parse', '--short', 'HEAD'], /(\S+)/),
  };
}

async function start(
  names: readonly System[],
  root: string,
): Promise<{ systems: Systems; down: () => void }> {
  const systems = new Map<System, Server & { measure<T>(run: () => Promise<T>): Promise<T> }>();
  const ends: Array<() => void> = [];
  for (const [index, name] of names.entries()) {
    if (name === 'haproxy' || name === 'nginx') continue;
    const nodes = name === 'local' ? 1 : NODES.length;
    const baton = await Baton.up({ name: `b${index}`, nodes, root, mechanism: name });
    const handsOff = <T>(run: () => Promise<T>) => (name === 'local' ? run() : baton.handingOff(run));
    systems.set(name, Object.assign(baton, { measure: handsOff }));
    ends.push(baton.down);
  }
  if (names.includes('haproxy') || names.includes('nginx')) {
    const peers = await Peers.up({ name: 'bp', nodes: NODES.length, root, servers: ['b'], proxies: true });
    const behind = peers.servers.get('b')!.processes;
    for (const [name, proxy] of [['haproxy', peers.haproxy] as const, ['nginx', peers.nginxProxy] as const]) {
      if (!names.includes(name)) continue;
      const processes = new Map([...proxy.processes, ...behind]);
      systems.set(name, { ...proxy, processes, measure: (run) => run() });
    }
    ends.push(() => peers.down());
  }
  return {
    systems,
    down: () => {
      for (const end of ends) end();
    },
  };
}

async function measure(
  systems: Systems,
  kind: Kind,
  size: SizeName,
  path: string,
  { rounds = ROUNDS, seconds = SECONDS }: BenchOptions,
): Promise<Point> {
  const requests = { kept: {}, new: { requests: 1 }, mixed: { requests: LAST_OF } }[kind];
  const timed = { path, seconds: TIMED_SECONDS, connections: CONNECTIONS, ...requests };
  const loaded = {
    paths: [path],
    connections: CONNECTIONS,
    seconds,
    close: kind === 'new',
    ...(kind === 'mixed' ? { closeEvery: LAST_OF } : {}),
  };
  const all = await alternate(
    [...systems.values()].map((server) => async () => ({
      load: await server.measure(() => load(server, loaded)),
      timed: await times(server, timed),
    })),
    rounds,
  );
  const figures = [...systems.keys()].map((name, i) => [name, figuresOf(all[i])] as const);
  return { kind, size, bytes: SIZES[size], rounds, seconds, systems: Object.fromEntries(figures) };
}

interface Round {
  readonly load: Load;
  readonly timed: TimesReport;
}

function figuresOf(rounds: readonly Round[]): Figures {
  const each = (ns: (load: Load) => number) =>
    rounded(medianOf(rounds, ({ load }) => ns(load) / 1000 / load.requests));
  const nodes = ({ cpuNs }: Load) => Object.values(cpuNs).reduce((sum, ns) => sum + ns, 0);
  const of = (pick: (round: Round) => number) => rounded(medianOf(rounds, pick));
  return {
    us: each((load) => load.clientCpuNs + nodes(load)),
    machineUs: each(({ machineCpuNs }) => machineCpuNs),
    anchorUs: each(({ cpuNs }) => cpuNs.a ?? 0),
    targetUs: each(({ cpuNs }) => cpuNs.b ?? 0),
    requestsPerSecond: of(({ load }) => load.requestsPerSecond),
    wrkUs: {
      p50: of(({ load }) => load.p50Us),
      p99: of(({ load }) => load.p99Us),
      p999: of(({ load }) => load.p999Us),
    },
    timedUs: {
      p50: of(({ timed }) => timed.p50Us),
      p99: of(({ timed }) => timed.p99Us),
      p999: of(({ timed }) => timed.p999Us),
    },
  };
}

const rounded = (value: number): number => Number(value.toPrecision(4));

function tell(report: Report, point: Point): void {
  const { kind, size, bytes, systems } = point;
  const unit = 'us of processor time/request';
  for (const [name, { us }] of Object.entries(systems)) {
    if (name === 'haproxy' || name === 'nginx') continue;
    const aim = kind === 'kept' && bytes >= LARGE_BYTES ? AIM_LARGE_KEPT : AIM;
    const baseline = betterProxy(point, (figures) => figures.us);
    const target = name === 'auto' ? aim : null;
    report({ name: `against-proxies.${kind}.${size}.${name}`, value: us, unit, baseline, target });
  }
  const { auto, relay, anchor, clone } = systems;
  if (auto === undefined) return;
  const own = [relay, anchor, clone].filter((one) => one !== undefined).map(({ us }) => us);
  const name = `against-proxies.${kind}.${size}`;
  if (own.length > 0)
    report({
      name: `${name}.over-best-row`,
      value: auto.us,
      unit,
      baseline: Math.min(...own),
      target: '<= 1.05',
    });
  for (const [what, of] of [
    ['wrk', ({ wrkUs }: Figures) => wrkUs.p99],
    ['timed', ({ timedUs }: Figures) => timedUs.p99],
  ] as const) {
    const baseline = betterProxy(point, of);
    report({ name: `${name}.p99-${what}`, value: of(auto), unit: 'us', baseline, target: '<= 1' });
  }
}
