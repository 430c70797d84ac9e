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
const prices = (...all: ReadonlyArray<readonly [number, number, number, number]>): readonly Price[] =>
  all.map(([bytes, wholeUs, anchorUs, targetUs]) => ({ bytes, wholeUs, anchorUs, targetUs }));

/** Between two sizes in proportion; beyond the last as between the last two. */
export const PRICES: Readonly<Record<AutoRow, Prices>> = {
  relay: {
    first: prices(
      [KIB, 78, 50, 7],
      [16 * KIB, 172, 110, 20],
      [64 * KIB, 501, 250, 60],
      [KIB * KIB, 4472, 2900, 750],
    ),
    later: prices(
      [KIB, 27, 17, 4],
      [16 * KIB, 59, 42, 12],
      [64 * KIB, 243, 139, 38],
      [KIB * KIB, 4365, 2224, 713],
    ),
  },
  anchor: {
    first: prices(
      [KIB, 145, 76, 50],
      [16 * KIB, 202, 80, 56],
      [64 * KIB, 266, 85, 65],
      [KIB * KIB, 1263, 115, 460],
    ),
    later: prices(
      [KIB, 48, 14, 14],
      [16 * KIB, 48, 16, 20],
      [64 * KIB, 77, 17, 25],
      [KIB * KIB, 847, 49, 422],
    ),
  },
  clone: {
    first: prices(
      [KIB, 131, 76, 48],
      [16 * KIB, 218, 80, 55],
      [64 * KIB, 331, 90, 68],
      [KIB * KIB, 1221, 120, 400],
    ),
    later: prices(
      [KIB, 73, 18, 29],
      [16 * KIB, 107, 32, 54],
      [64 * KIB, 179, 40, 66],
      [KIB * KIB, 962, 64, 352],
    ),
  },
};

/** A half-pipe that a kept connection has not had yet, its end included: anchor's first request less relay's, as far as that is not the response. */
export const HALF_PIPE_US = 46;
/** The out-half goes from the anchor's own socket to a target, or back: numbers and window are read out, or told. */
export const TURN_US = 12;
