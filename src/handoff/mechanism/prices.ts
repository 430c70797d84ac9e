/**
 * What a request costs by each row that mechanism `auto` chooses among, as `npm run bench -- against-proxies` measures
 * it (docs/figures.md has machine and date). Rows are compared with each other. Where everything takes
 * longer or less the choice is the same; where bytes do beside calls (`pricesFor`), it is not.
 */

/** What one request costs: processor time in microseconds. */
export interface Price {
  /** Bytes of the response. */
  readonly bytes: number;
  /** Time of the whole cluster and its client, kernels included. */
  readonly wholeUs: number;
  /** Time of the anchor's process. */
  readonly anchorUs: number;
  /** Time of the target's process. */
  readonly targetUs: number;
}

/** The rows that can serve any request where it comes: the others end the connection with it, or move it. */
export const AUTO_ROWS = ['relay', 'anchor', 'clone'] as const;
export type AutoRow = (typeof AUTO_ROWS)[number];

/**
 * `first`: of a connection's first request, with all that begins and ends with the connection. `later`: of one on a
 * kept connection, to a target that has a half-pipe of it where the row keeps one.
 */
export type Prices = Readonly<Record<'first' | 'later', readonly Price[]>>;

const KIB = 1024;
const MIB = KIB * KIB;
const prices = (...all: ReadonlyArray<readonly [number, number, number, number]>): readonly Price[] =>
  all.map(([bytes, wholeUs, anchorUs, targetUs]) => ({ bytes, wholeUs, anchorUs, targetUs }));

/** By row. Between two sizes in proportion; beyond the last as between the last two. */
export type PriceList = Readonly<Record<AutoRow, Prices>>;

export const PRICES: PriceList = {
  relay: {
    first: prices(
      [0, 107, 42, 6],
      [KIB, 108, 43, 6],
      [4 * KIB, 113, 43, 7],
      [16 * KIB, 160, 80, 13],
      [32 * KIB, 217, 117, 26],
      [64 * KIB, 330, 178, 52],
      [MIB, 4058, 2579, 839],
    ),
    later: prices(
      [0, 32, 16, 5],
      [KIB, 33, 16, 5],
      [4 * KIB, 45, 24, 6],
      [16 * KIB, 59, 28, 12],
      [32 * KIB, 81, 36, 23],
      [64 * KIB, 140, 58, 43],
      [MIB, 3728, 2408, 860],
    ),
  },
  anchor: {
    first: prices(
      [0, 170, 58, 50],
      [KIB, 171, 59, 50],
      [16 * KIB, 229, 62, 96],
      [32 * KIB, 250, 63, 112],
      [64 * KIB, 274, 67, 121],
      [MIB, 1583, 221, 536],
    ),
    later: prices(
      [0, 50, 15, 17],
      [KIB, 50, 15, 17],
      [4 * KIB, 51, 15, 20],
      [16 * KIB, 61, 17, 25],
      [32 * KIB, 65, 17, 26],
      [64 * KIB, 80, 17, 30],
      [MIB, 842, 68, 432],
    ),
  },
  clone: {
    first: prices(
      [0, 162, 58, 48],
      [KIB, 163, 58, 48],
      [16 * KIB, 224, 65, 90],
      [32 * KIB, 253, 75, 104],
      [64 * KIB, 286, 75, 120],
      [MIB, 1513, 197, 522],
    ),
    // For one response alone: one that keeps its half-pipe for the next costs less, and is not what auto takes it for.
    later: prices(
      [0, 77, 23, 30],
      [KIB, 77, 23, 30],
      [16 * KIB, 129, 29, 56],
      [64 * KIB, 203, 36, 73],
      [MIB, 909, 84, 426],
    ),
  },
};

/**
 * A half-pipe that a connection has not had yet, its end included: what a first request by anchor costs beyond a later
 * one, less what it does by relay.
 */
export const HALF_PIPE_US = 50;
/** The out-half goes from the anchor's own socket to a target, or back: numbers and window are read out, or told. */
export const TURN_US = 12;

/** What a KiB costs beside a call on the machine of these prices (src/node/process/bytes-against-calls.ts). */
export const CALLS_PER_KIB = 0.28;
/** The measurement takes 2 ms: what differs by less is taken for the same. */
const SAME_TIMES = 1.25;
/** And more than that is taken for a measurement that has failed. */
const MOST_BYTE_TIMES = 4;

/** How many times as much bytes cost here, beside calls, as on the machine of these prices. */
export function byteTimes(callsPerKib: number): number {
  const times = callsPerKib / CALLS_PER_KIB;
  if (times < SAME_TIMES && times > 1 / SAME_TIMES) return 1;
  return Math.min(Math.max(times, 1 / MOST_BYTE_TIMES), MOST_BYTE_TIMES);
}

/** The prices where bytes cost so many times as much: what a response costs beyond an empty one. */
export function pricesFor(times: number): PriceList {
  const scaled = (list: readonly Price[]): readonly Price[] =>
    list.map(({ bytes, ...price }) => {
      const us = (part: keyof typeof price) => list[0][part] + times * (price[part] - list[0][part]);
      return { bytes, wholeUs: us('wholeUs'), anchorUs: us('anchorUs'), targetUs: us('targetUs') };
    });
  const both = ({ first, later }: Prices): Prices => ({ first: scaled(first), later: scaled(later) });
  return { relay: both(PRICES.relay), anchor: both(PRICES.anchor), clone: both(PRICES.clone) };
}
