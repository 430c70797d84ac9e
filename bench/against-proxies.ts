/**
 * What a request costs, and how long it takes, by each mechanism, by mechanism auto, and through HAProxy and nginx as
 * proxies in front of an nginx: clients connect to node a, node b has the files. One engine, one thread, one worker
 * each; all in one run, in turn. With more nodes than two, all but a have them, and are asked in turn; with upstreams, an
 * HTTP server (node:http) behind each of these has them.
 *
 *   kept    connections stay
 *   new     a connection for each request
 *   mixed   one request in eight is its connection's last
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Baton } from './lib/baton.ts';
import { scratchDirectory } from './lib/cleanup.ts';
import { type BenchOptions, named } from './lib/options.ts';
import { ORIGIN_PORT, startOrigins } from './lib/origins.ts';
import { Peers } from './lib/peers.ts';
import {
  addResults,
  betterProxy,
  type Figures,
  KINDS,
  type Kind,
  type Percentiles,
  type Point,
  SYSTEMS,
  type System,
} from './lib/proxy-results.ts';
import { machine, type Report, type Target } from './lib/result.ts';
import { alternate, medianOf, ROUNDS } from './lib/rounds.ts';
import type { Server } from './lib/server.ts';
import { SIZES, Site, type SizeName } from './lib/site.ts';
import { times } from './lib/times.ts';
import type { Times, TimesReport } from './lib/times-client.ts';
import { type Load, load } from './lib/wrk.ts';

const NODES = 2;
const nameOf = (index: number): string => String.fromCharCode('a'.charCodeAt(0) + index);
const UPSTREAM = `127.0.0.1:${ORIGIN_PORT}`;
const CONNECTIONS = 32;
const LAST_OF = 8;
const SECONDS = 1;
/** Of the client that times every request. */
const TIMED_SECONDS = 0.5;
/** Of both, for responses of which a second has too few. */
const LARGEST_SECONDS = 4;
const LARGEST_BYTES = 10 * 1024 * 1024;
const USUAL_SIZES: readonly SizeName[] = ['0b', '1k', '16k', '64k', '1m'];
/** What else `--sizes` knows. */
const MORE_SIZES: readonly SizeName[] = ['4k', '32k', '256k', '10m'];
/** Processor time of auto's request by the better proxy's. */
const AIM: Target = '<= 0.95';
const AIM_LARGE_KEPT: Target = '<= 0.5';
const LARGE_BYTES = 64 * 1024;
const PERCENT = 100;

type Systems = ReadonlyMap<System, Server & { measure<T>(run: () => Promise<T>): Promise<T> }>;

export async function againstProxies(report: Report, options: BenchOptions = {}): Promise<void> {
  const kinds = named('kind', KINDS, options.kinds);
  const sizes =
    options.sizes === undefined ? USUAL_SIZES : named('size', [...USUAL_SIZES, ...MORE_SIZES], options.sizes);
  const nodes = Array.from({ length: options.nodes ?? NODES }, (_, index) => nameOf(index));
  const site = new Site(nodes);
  const pathsOf = (size: SizeName) => nodes.slice(1).map((node) => site.path(size, node));
  for (const size of sizes) pathsOf(size);
  const names = named('system', SYSTEMS, options.systems);
  const { systems, down } = await start(names, nodes, site.root, options);
  for (const kind of kinds) {
    for (const size of sizes) {
      const point = await measure(systems, kind, size, pathsOf(size), options);
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
  nodes: readonly string[],
  root: string,
  { upstream: hasUpstream = false, accessLog: logs = false }: BenchOptions,
): Promise<{ systems: Systems; down: () => void }> {
  const systems = new Map<System, Server & { measure<T>(run: () => Promise<T>): Promise<T> }>();
  const ends: Array<() => void> = [];
  const servers = nodes.slice(1);
  for (const [index, name] of names.entries()) {
    if (name === 'haproxy' || name === 'nginx') continue;
    const site = { name: 'site', hosts: ['*'], policy: 'hash', mechanism: name, upstream: UPSTREAM };
    const set = hasUpstream ? [`sites=${JSON.stringify([site])}`] : [];
    if (logs) set.push(`observe.accessLog=${join(scratchDirectory(), `access-${index}.log`)}`);
    const count = name === 'local' ? 1 : nodes.length;
    const baton = await Baton.up({ name: `b${index}`, nodes: count, root, mechanism: name, set });
    const behind = hasUpstream
      ? await startOrigins(baton.lab, name === 'local' ? ['a'] : servers, root)
      : new Map<string, number>();
    const { lab, endpoint, scheme, down } = baton;
    systems.set(name, {
      ...{ name, lab, endpoint, scheme },
      processes: new Map([...baton.processes, ...behind]),
      log: (node) => baton.log(node),
      measure: (run) => (name === 'local' ? run() : baton.handingOff(run)),
    });
    ends.push(down);
  }
  if (names.includes('haproxy') || names.includes('nginx')) {
    const by = hasUpstream ? 'node:http' : 'nginx';
    const peers = await Peers.up({ name: 'bp', nodes: nodes.length, root, servers, proxies: true, by, logs });
    for (const [name, proxy] of [['haproxy', peers.haproxy] as const, ['nginx', peers.nginxProxy] as const]) {
      if (!names.includes(name)) continue;
      const processes = new Map([...proxy.processes, ...peers.behind]);
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
  paths: readonly string[],
  options: BenchOptions,
): Promise<Point> {
  const isLargest = SIZES[size] >= LARGEST_BYTES;
  const { rounds = ROUNDS, nodes = NODES, upstream = false, accessLog = false, pace } = options;
  const { seconds = isLargest ? LARGEST_SECONDS : SECONDS } = options;
  const timedSeconds = isLargest ? LARGEST_SECONDS : TIMED_SECONDS;
  const requests = { kept: {}, new: { requests: 1 }, mixed: { requests: LAST_OF } }[kind];
  const timed = { paths, seconds: timedSeconds, connections: CONNECTIONS, ...requests };
  const loaded = {
    paths,
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
  const point = {
    ...{ kind, size, bytes: SIZES[size], rounds, seconds },
    ...(nodes === NODES ? {} : { nodes }),
    ...(upstream ? { behind: 'node:http' as const } : {}),
    ...(accessLog ? { logs: true as const } : {}),
    systems: Object.fromEntries(figures),
  };
  return pace === undefined ? point : byTheClock(systems, point, pace, { ...timed, seconds });
}

/** The same by the clock: every system gets as many requests a second, which the slowest answers without being full. */
async function byTheClock(
  systems: Systems,
  point: Point,
  pace: number,
  job: Parameters<typeof times>[1],
): Promise<Point> {
  const rates = Object.values(point.systems).map(({ requestsPerSecond }) => requestsPerSecond);
  const rate = Math.max(1, Math.floor((Math.min(...rates) * pace) / PERCENT));
  const all = await alternate(
    [...systems.values()].map((server) => () => times(server, { ...job, rate })),
    point.rounds,
  );
  const paced = [...systems.keys()].map((name, i) => {
    const fromDue = all[i].map((report) => report.fromDue!);
    const figures = { pacedUs: percentilesOf(all[i]), pacedFromDueUs: percentilesOf(fromDue) };
    return [name, { ...point.systems[name]!, ...figures }] as const;
  });
  return { ...point, pacedPerSecond: rate, systems: Object.fromEntries(paced) };
}

interface Round {
  readonly load: Load;
  readonly timed: TimesReport;
}

function percentilesOf(rounds: ReadonlyArray<Pick<Times, 'p50Us' | 'p99Us' | 'p999Us'>>): Percentiles {
  const of = (pick: (round: (typeof rounds)[number]) => number) => rounded(medianOf(rounds, pick));
  return { p50: of(({ p50Us }) => p50Us), p99: of(({ p99Us }) => p99Us), p999: of(({ p999Us }) => p999Us) };
}

function figuresOf(rounds: readonly Round[]): Figures {
  const each = (ns: (load: Load) => number) =>
    rounded(medianOf(rounds, ({ load }) => ns(load) / 1000 / load.requests));
  const nodes = ({ cpuNs }: Load) => Object.values(cpuNs).reduce((sum, ns) => sum + ns, 0);
  const requestsPerSecond = rounded(medianOf(rounds, ({ load }) => load.requestsPerSecond));
  return {
    us: each((load) => load.clientCpuNs + nodes(load)),
    machineUs: each(({ machineCpuNs }) => machineCpuNs),
    anchorUs: each(({ cpuNs }) => cpuNs.a ?? 0),
    targetUs: each((load) => nodes(load) - (load.cpuNs.a ?? 0)),
    requestsPerSecond,
    wrkUs: percentilesOf(rounds.map(({ load }) => load)),
    timedUs: percentilesOf(rounds.map(({ timed }) => timed)),
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
    ['paced', ({ pacedUs }: Figures) => pacedUs?.p99],
  ] as const) {
    const value = of(auto);
    if (value === undefined) continue;
    const baseline = betterProxy(point, (figures) => of(figures) ?? value);
    report({ name: `${name}.p99-${what}`, value, unit: 'us', baseline, target: '<= 1' });
  }
}
