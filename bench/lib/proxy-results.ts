/** What `against-proxies` has measured, as it is kept in a file: points are added to it part by part. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

export const KINDS = ['kept', 'new', 'mixed'] as const;
export type Kind = (typeof KINDS)[number];

/** `auto` first; then what it chooses among; then who it is compared with. */
export const SYSTEMS = ['auto', 'relay', 'anchor', 'clone', 'local', 'haproxy', 'nginx'] as const;
export type System = (typeof SYSTEMS)[number];

/** Medians of the rounds. */
export interface Figures {
  /** Processor time of a request in microseconds: of all processes that have a part in it, the client's included. */
  readonly us: number;
  /** The same of the whole machine, whatever else ran on it. */
  readonly machineUs: number;
  /** Of the node that clients connect to, and of the one behind it. */
  readonly anchorUs: number;
  readonly targetUs: number;
  readonly requestsPerSecond: number;
  /** By wrk, which adds what it would have sent while it waited; and by a client that times every request. */
  readonly wrkUs: Percentiles;
  readonly timedUs: Percentiles;
  /** By the clock, where that was measured: what requests took, and what they took from when they were due. */
  readonly pacedUs?: Percentiles;
  readonly pacedFromDueUs?: Percentiles;
}

/** In microseconds. */
export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

export interface Point {
  readonly kind: Kind;
  /** As in site.ts. */
  readonly size: string;
  readonly bytes: number;
  /** Of the cluster; left out: two. */
  readonly nodes?: number;
  /** What has the files behind each node; left out: the node, and an nginx behind the proxies. */
  readonly behind?: 'node:http';
  /** With access logs; left out: without. */
  readonly logs?: true;
  /** Requests a second by the clock, the same for all systems. */
  readonly pacedPerSecond?: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly systems: Partial<Record<System, Figures>>;
}

export interface ProxyResults {
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Of the newest part. */
  readonly date: string;
  readonly points: readonly Point[];
}

export function readResults(file: string): ProxyResults {
  return JSON.parse(readFileSync(file, 'utf8')) as ProxyResults;
}

/** What tells points apart. */
const stand = ({ kind, size, nodes = 2, behind, logs }: Point): string =>
  [kind, size, nodes, behind, logs].join();

/** Two nodes that have the files themselves, without access logs. */
export const isUsual = ({ nodes = 2, behind, logs }: Point): boolean =>
  nodes === 2 && behind === undefined && logs === undefined;

/** Adds points to a file; those of the same kind, size and cluster are replaced. */
export function addResults(file: string, part: ProxyResults): void {
  const before = existsSync(file) ? readResults(file).points : [];
  const isNew = (old: Point) => !part.points.some((point) => stand(point) === stand(old));
  const points = [...before.filter(isNew), ...part.points].sort(
    (a, b) =>
      (a.behind ?? '').localeCompare(b.behind ?? '') ||
      (a.nodes ?? 2) - (b.nodes ?? 2) ||
      KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
      a.bytes - b.bytes,
  );
  writeFileSync(file, `${JSON.stringify({ ...part, points }, null, 1)}\n`);
}

/** The figures of the better proxy: of each kind of figure the lower one. */
export function betterProxy(
  { systems }: Pick<Point, 'systems'>,
  of: (figures: Figures) => number,
): number | null {
  const all = [systems.haproxy, systems.nginx].filter((one) => one !== undefined).map(of);
  return all.length === 0 ? null : Math.min(...all);
}
