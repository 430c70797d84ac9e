/**
 * The workload of SURGE (Barford and Crovella: Generating Representative Web Workloads for Network and Server
 * Performance Evaluation, SIGMETRICS 1998), which the web booster's paper measures with. Pure.
 *
 *     a user equivalent:  page, inactive off time, page, inactive off time ...
 *     a page:             document, active off time, document ...: itself and what is embedded in it
 *
 * The distributions are those of SURGE's table 3. Locality in time is not taken from it: all that is asked for is in
 * memory in any case.
 *
 * Scaled to a machine of two cores that has server, booster and users: a tenth of the paper's users, whose times are
 * shorter by SPEED, and no document above LARGEST_BYTES. Documents are drawn anew until a request brings 11.4 KB on
 * average, as in the paper.
 */
import { Random } from '../../src/tools/lab/random.ts';

export interface Document {
  readonly path: string;
  readonly bytes: number;
}

export const DOCUMENTS = 1000;
/** What a request brings on average: the paper's table 1. */
export const MEAN_BYTES = 11.4 * 1024;
const MEAN_TOLERANCE = 0.01;
const MOST_DRAWS = 1000;
const LARGEST_BYTES = 1024 * 1024;

/** Sizes: the body of their distribution is lognormal, its tail, 7 % of the documents, Pareto. */
const BODY_SHARE = 0.93;
const BODY_MU = 9.357;
const BODY_SIGMA = 1.318;
const TAIL_LEAST_BYTES = 133_000;
const TAIL_ALPHA = 1.1;
/** What requests bring: Pareto. */
const REQUEST_LEAST_BYTES = 1000;
const REQUEST_ALPHA = 1;
/** Documents of a page, Pareto. */
const PAGE_ALPHA = 2.43;
const MOST_OF_A_PAGE = 100;
/** Seconds between the documents of a page, Weibull; below a second by definition. */
const ACTIVE_SCALE = 1.46;
const ACTIVE_SHAPE = 0.382;
const ACTIVE_MOST = 1;
/** Seconds between pages, Pareto. */
const INACTIVE_LEAST = 1;
const INACTIVE_ALPHA = 1.5;
const INACTIVE_MOST = 100;
/** Users of today's machine are so many times as fast. */
const SPEED = 40;
const MS_PER_SECOND = 1000;

const pareto = (random: Random, least: number, alpha: number): number =>
  least * (1 - random.next()) ** (-1 / alpha);

/** Box and Muller. */
const normal = (random: Random): number =>
  Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());

function sizeOf(random: Random): number {
  const bytes =
    random.next() < BODY_SHARE
      ? Math.exp(BODY_MU + BODY_SIGMA * normal(random))
      : pareto(random, TAIL_LEAST_BYTES, TAIL_ALPHA);
  return Math.min(Math.ceil(bytes), LARGEST_BYTES);
}

/** By rank: Zipf's law. */
const WEIGHTS = Array.from({ length: DOCUMENTS }, (_, rank) => 1 / (rank + 1));
const WEIGHT = WEIGHTS.reduce((sum, weight) => sum + weight, 0);

/** What a request brings on average. */
export const meanBytes = (documents: readonly Document[]): number =>
  documents.reduce((sum, { bytes }, rank) => sum + bytes * WEIGHTS[rank], 0) / WEIGHT;

/**
 * SURGE's matching: which document has which popularity decides what requests bring. From the most popular one on, a size
 * is drawn of what requests are to bring, and the document nearest to it is taken.
 */
function draw(seed: number): Document[] {
  const random = new Random(seed);
  const sizes = WEIGHTS.map(() => sizeOf(random)).sort((a, b) => a - b);
  return WEIGHTS.map((_, rank) => {
    const wanted = pareto(random, REQUEST_LEAST_BYTES, REQUEST_ALPHA);
    const above = sizes.findIndex((bytes) => bytes >= wanted);
    const isBelowNearer = above > 0 && wanted - sizes[above - 1] < sizes[above] - wanted;
    const at = above < 0 ? sizes.length - 1 : above - Number(isBelowNearer);
    return { path: `/surge/${rank}`, bytes: sizes.splice(at, 1)[0] };
  });
}

/** By rank, the most popular one first. The same for everybody who calls it. */
export function surgeDocuments(): Document[] {
  for (let seed = 1; seed <= MOST_DRAWS; seed++) {
    const drawn = draw(seed);
    if (Math.abs(meanBytes(drawn) / MEAN_BYTES - 1) <= MEAN_TOLERANCE) return drawn;
  }
  throw new Error(`no set of documents of ${MOST_DRAWS} has the mean of ${MEAN_BYTES} bytes`);
}

/** What a user equivalent does next: waits, and asks for a document. */
export interface Step {
  readonly waitMs: number;
  /** Its rank. */
  readonly document: number;
}

export class User {
  readonly #random: Random;
  /** Of the page. */
  #left = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  next(): Step {
    const isNewPage = this.#left === 0;
    if (isNewPage) this.#left = Math.min(Math.floor(pareto(this.#random, 1, PAGE_ALPHA)), MOST_OF_A_PAGE);
    this.#left--;
    const seconds = isNewPage ? this.#inactive() : this.#active();
    return { waitMs: (seconds * MS_PER_SECOND) / SPEED, document: this.#rank() };
  }

  #inactive(): number {
    return Math.min(pareto(this.#random, INACTIVE_LEAST, INACTIVE_ALPHA), INACTIVE_MOST);
  }

  #active(): number {
    const seconds = ACTIVE_SCALE * (-Math.log(1 - this.#random.next())) ** (1 / ACTIVE_SHAPE);
    return Math.min(seconds, ACTIVE_MOST);
  }

  #rank(): number {
    let left = this.#random.next() * WEIGHT;
    const rank = WEIGHTS.findIndex((weight) => {
      left -= weight;
      return left < 0;
    });
    return rank < 0 ? DOCUMENTS - 1 : rank;
  }
}
