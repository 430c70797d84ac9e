/** The results of `against-proxies` as the table of docs/figures.md. Pure. */
import {
  betterProxy,
  type Figures,
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

export function proxyTable(results: ProxyResults): string {
  const systems = SYSTEMS.filter((name) => results.points.some((point) => point.systems[name] !== undefined));
  const heading = ['connections, size', ...systems, 'auto / better proxy', 'auto / best row'];
  const lines = [heading, heading.map(() => '---'), ...results.points.map((point) => line(point, systems))];
  return lines.map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

function line(point: Point, systems: readonly System[]): string[] {
  const { kind, bytes } = point;
  const us = ({ us: value }: Figures) => value;
  const own = OWN_ROWS.map((name) => point.systems[name]).filter((one) => one !== undefined);
  return [
    `${kind}, ${sizeText(bytes)}`,
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
