/**
 * WebStone's documents and requests: four classes of one size each, as in its list of files
 *
 *     /file500.html 35 %   /file5k.html 50 %   /file50k.html 14 %   the larger ones 1 % together
 *
 * with the shares of the connection migration paper's section 6, whose class 3 is here 500 KB alone (WebStone's list
 * gives a tenth of it to a document of 5 MB). WebStone has one document a class, which any cache would hold; a class
 * here has several hundred, asked for by a Zipf-like law, as the paper supposes. The exponent is in the middle of
 * what Breslau et al. (Web Caching and Zipf-like Distributions, INFOCOM 1999) found: 0.64 to 0.83.
 */

import assert from 'node:assert';
import { Random } from '../../src/tools/lab/random.ts';

export interface DocumentClass {
  /** Of each hundred requests. */
  readonly percent: number;
  readonly bytes: number;
}

export const CLASSES: readonly DocumentClass[] = [
  { percent: 35, bytes: 500 },
  { percent: 50, bytes: 5_000 },
  { percent: 14, bytes: 50_000 },
  { percent: 1, bytes: 500_000 },
];
export const DOCUMENTS_A_CLASS = 400;
const ZIPF_EXPONENT = 0.75;
/** Of the requests that fill memories at the start; runs have others. */
export const WARMING_SEED = 1;

export interface Document {
  /** 0 to 3. */
  readonly class: number;
  readonly path: string;
  readonly bytes: number;
}

/** The document of a path that `documentOf` made; undefined for others. */
export function parsePath(path: string): Document | undefined {
  const match = /^\/class([0-3])\/(\d{1,3})$/.exec(path);
  if (match === null || Number(match[2]) >= DOCUMENTS_A_CLASS) return undefined;
  return documentOf(Number(match[1]), Number(match[2]));
}

/** `rank`: 0 is the most popular one of its class. */
export const documentOf = (index: number, rank: number): Document => ({
  class: index,
  path: `/class${index}/${rank}`,
  bytes: CLASSES[index].bytes,
});

/** Sums of the popularity of ranks 0 to i, as shares of all. */
const CUMULATED: readonly number[] = (() => {
  const weights = Array.from({ length: DOCUMENTS_A_CLASS }, (_, rank) => (rank + 1) ** -ZIPF_EXPONENT);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let sum = 0;
  return weights.map((weight) => {
    sum += weight / total;
    return sum;
  });
})();

/** A stream of requests. Each hundred has exactly the classes' shares: less noise than drawing each by itself. */
export class Mix {
  readonly #random: Random;
  #hundred: number[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  next(): Document {
    if (this.#hundred.length === 0) {
      this.#hundred = CLASSES.flatMap(({ percent }, index) => Array<number>(percent).fill(index));
      assert(this.#hundred.length === 100, 'shares that make no hundred');
    }
    // Out of the hundred's rest, any one; the last takes its place.
    const at = this.#random.below(this.#hundred.length);
    const index = this.#hundred[at];
    this.#hundred[at] = this.#hundred.at(-1)!;
    this.#hundred.pop();
    return documentOf(index, this.#rank());
  }

  #rank(): number {
    const share = this.#random.next();
    let [low, high] = [0, DOCUMENTS_A_CLASS - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (CUMULATED[middle] <= share) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
