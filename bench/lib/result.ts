/** What a benchmark reports: one figure beside the peer's, measured in the same run. */
import { availableParallelism, cpus, release } from 'node:os';

/** What a ratio is to be; the text of it is part of the result. */
export type Target = `>= ${number}` | `<= ${number}`;

export interface Figure {
  /** `BENCHMARK.WHAT...` */
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The peer's value, in the same unit; null when there is no peer. */
  readonly baseline: number | null;
  readonly target: Target | null;
  /** The ratio that the paper has, where it states one: never a measurement of ours. */
  readonly published?: number;
}

export interface Result extends Figure {
  /** value / baseline; null when there is nothing to divide by. */
  readonly ratio: number | null;
  readonly machine: string;
}

/** Takes figures as they become known. */
export type Report = (figure: Figure) => void;

export function machine(): string {
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return `${availableParallelism()} x ${model}, Linux ${release()}, Node ${process.version}`;
}

const SIGNIFICANT_DIGITS = 5;
const rounded = (value: number): number => Number(value.toPrecision(SIGNIFICANT_DIGITS));

export function toResult(figure: Figure, machineText: string): Result {
  const { name, value, unit, baseline, target, published } = figure;
  // A baseline that is not above zero (an added time lost in the noise) makes no ratio.
  const ratio = baseline === null || baseline <= 0 ? null : rounded(value / baseline);
  const shownBaseline = baseline === null ? null : rounded(baseline);
  return {
    name,
    value: rounded(value),
    unit,
    baseline: shownBaseline,
    ratio,
    target,
    ...(published === undefined ? {} : { published: rounded(published) }),
    machine: machineText,
  };
}

/** Null when there is no target, or no ratio to compare with it. */
export function isReached({ ratio, target }: Result): boolean | null {
  if (ratio === null || target === null) return null;
  const bound = Number(target.slice(3));
  return target.startsWith('>=') ? ratio >= bound : ratio <= bound;
}

const COLUMNS = ['figure', 'value', 'peer', 'unit', 'ratio', 'paper', 'target', ''] as const;

/** A table for people, one line a result. */
export function formatTable(results: readonly Result[]): string {
  const rows = results.map((result) => {
    const reached = isReached(result);
    return [
      result.name,
      String(result.value),
      String(result.baseline ?? '-'),
      result.unit,
      result.ratio === null ? '-' : result.ratio.toFixed(3),
      result.published === undefined ? '-' : result.published.toFixed(3),
      result.target ?? '-',
      reached === null ? '' : reached ? 'reached' : 'not reached',
    ];
  });
  const all = [[...COLUMNS], ...rows];
  const widths = COLUMNS.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  return all
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
