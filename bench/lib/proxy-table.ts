/** The results of `against-proxies` as the table of docs/figures.md. Pure. */
import {
  betterProxy,
  type Figures,
  isUsual,
  type Point,
  type ProxyResults,
  SYSTEMS,
  type System,
} from './proxy-results.ts';

export const TABLE_BEGINS = '<!-- against-proxies: npm run figures -->';
export const TABLE_ENDS = '<!-- against-proxies ends -->';

const KIB = 1024;
const MIB = KIB * KIB;
const OWN_ROWS = ['relay', 'anchor', 'clone'] as const;

export function sizeText(bytes: number): string {
  if (bytes >= MIB) return `${bytes / MIB} MB`;
  return bytes >= KIB ? `${bytes / KIB} KB` : `${bytes} B`;
}

const msText = (us: number): string => (us / 1000).toFixed(us < 10_000 ? 1 : 0);
const usText = (us: number): string =>
  us.toLocaleString('en-US', { maximumFractionDigits: us < 100 ? 1 : 0 });

/** A document with the table in place of the one between its marks. */
export function withTable(document: string, table: string): string {
  const from = document.indexOf(TABLE_BEGINS);
  const to = document.indexOf(TABLE_ENDS);
  if (from < 0 || to < from) throw new Error(`the document lacks ${TABLE_BEGINS} or ${TABLE_ENDS}`);
  return `${document.slice(0, from)}${TABLE_BEGINS}\n${table}\n${document.slice(to)}`;
}

const BY_THE_CLOCK =
  'By the clock, the same number of requests a second for all systems: p99 and p99.9 in milliseconds, in brackets from when a request was due.';

export function proxyTable(results: ProxyResults): string {
  const { points } = results;
  const systems = SYSTEMS.filter((name) => points.some((point) => point.systems[name] !== undefined));
  const heading = ['connections, size', ...systems, 'auto / better proxy', 'auto / best row'];
  const whole = tableOf(
    heading,
    points.map((point) => line(point, systems)),
  );
  const paced = points.filter(({ pacedPerSecond }) => pacedPerSecond !== undefined);
  if (paced.length === 0) return whole;
  const pacedHeading = ['connections, size', 'requests/s', ...systems, 'auto / better proxy, p99'];
  const byTheClock = tableOf(
    pacedHeading,
    paced.map((point) => pacedLine(point, systems)),
  );
  return `${whole}\n\n${BY_THE_CLOCK}\n\n${byTheClock}`;
}

function tableOf(heading: readonly string[], lines: readonly string[][]): string {
  const all = [heading, heading.map(() => '---'), ...lines];
  return all.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function label(point: Point): string {
  const { kind, bytes, nodes = 2, behind } = point;
  const cluster = isUsual(point) ? '' : `, ${nodes} nodes${behind === undefined ? '' : `, ${behind} behind`}`;
  return `${kind}, ${sizeText(bytes)}${cluster}`;
}

function pacedLine(point: Point, systems: readonly System[]): string[] {
  const p99 = ({ pacedUs }: Figures) => pacedUs?.p99 ?? Number.POSITIVE_INFINITY;
  const other = betterProxy(point, p99);
  const { auto } = point.systems;
  return [
    label(point),
    point.pacedPerSecond!.toLocaleString('en-US'),
    ...systems.map((name) => pacedCell(point.systems[name])),
    auto === undefined || other === null ? '' : (p99(auto) / other).toFixed(2),
  ];
}

function pacedCell(figures: Figures | undefined): string {
  const { pacedUs, pacedFromDueUs } = figures ?? {};
  if (pacedUs === undefined || pacedFromDueUs === undefined) return '';
  const both = (p99: number, p999: number) => `${msText(p99)}, ${msText(p999)}`;
  return `${both(pacedUs.p99, pacedUs.p999)} (${both(pacedFromDueUs.p99, pacedFromDueUs.p999)})`;
}

function line(point: Point, systems: readonly System[]): string[] {
  const us = ({ us: value }: Figures) => value;
  const own = OWN_ROWS.map((name) => point.systems[name]).filter((one) => one !== undefined);
  return [
    label(point),
    ...systems.map((name) => cell(point.systems[name])),
    ratio(point, betterProxy(point, us)),
    ratio(point, own.length === 0 ? null : Math.min(...own.map(us))),
  ];
}

/** Processor time; p99 by wrk and by the client that adds nothing. */
function cell(figures: Figures | undefined): string {
  if (figures === undefined) return '';
  const { us, wrkUs, timedUs } = figures;
  return `${usText(us)} (${msText(wrkUs.p99)}, ${msText(timedUs.p99)})`;
}

function ratio({ systems: { auto } }: Point, other: number | null): string {
  return auto === undefined || other === null ? '' : (auto.us / other).toFixed(2);
}
