/**
 * What a request costs by each row that mechanism `auto` chooses among, as `npm run bench -- against-proxies` measures
 * it (docs/figures.md has machine and date). Rows are compared with each other, and the smallest difference that
 * matters is that of a row to the next: another machine's numbers are others, their ratios much the same.
 */

/** Of one request; processor time in microseconds. */
export interface Price {
  /** Of the response. */
  readonly bytes: number;
  /** Of the whole cluster and its client, kernels included. */
  readonly wholeUs: number;
  /** Of the anchor's process. */
  readonly anchorUs: number;
  /** Of the target's process. */
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

/** Between two sizes in proportion; beyond the last as between the last two. */
export const PRICES: Readonly<Record<AutoRow, Prices>> = {
  relay: {
    first: prices(
      [0, 133, 55, 10],
      [KIB, 134, 57, 11],
      [16 * KIB, 195, 106, 20],
      [64 * KIB, 350, 193, 58],
      [MIB, 4058, 2579, 839],
    ),
    later: prices(
      [0, 32, 16, 5],
      [KIB, 33, 17, 5],
      [16 * KIB, 49, 24, 11],
      [64 * KIB, 115, 48, 38],
      [MIB, 3728, 2408, 860],
    ),
  },
  anchor: {
    first: prices(
      [0, 218, 84, 62],
      [KIB, 220, 84, 62],
      [16 * KIB, 272, 84, 111],
      [64 * KIB, 307, 92, 126],
      [MIB, 1583, 221, 536],
    ),
    later: prices(
      [0, 50, 17, 17],
      [KIB, 50, 17, 17],
      [16 * KIB, 59, 18, 23],
      [64 * KIB, 80, 21, 28],
      [MIB, 842, 68, 432],
    ),
  },
  clone: {
    first: prices(
      [0, 204, 76, 60],
      [KIB, 206, 76, 60],
      [16 * KIB, 290, 94, 115],
      [64 * KIB, 329, 94, 134],
      [MIB, 1513, 197, 522],
    ),
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
export const HALF_PIPE_US = 70;
/** The out-half goes from the anchor's own socket to a target, or back: numbers and window are read out, or told. */
export const TURN_US = 12;
