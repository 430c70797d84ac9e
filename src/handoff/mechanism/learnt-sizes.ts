/**
 * How large the responses of dynamic paths are, learnt from those that have been: a mean by path, that of the newest
 * counting for most, and one by site for paths that are new. One slot for each hash, so that a site whose paths never
 * come again takes no more memory than any other; who comes to a slot that another path has takes it over. Pure.
 */
import { TEXT_SEED, textHash } from '../../base/text-hash.ts';

export const SLOTS = 16_384;
/** What a response counts for in the mean of its path, and in that of its site, which has many. */
const PATH_SHARE = 1 / 4;
const SITE_SHARE = 1 / 32;

export class LearntSizes {
  readonly #hashes = new Uint32Array(SLOTS);
  readonly #means = new Float32Array(SLOTS).fill(Number.NaN);
  readonly #sites = new Map<string, number>();
  #paths = 0;

  /** Bytes to be expected; null when no response of the site has been seen. */
  of(site: string, path: string): number | null {
    const hash = textHash(path, textHash(site, TEXT_SEED));
    const slot = hash % SLOTS;
    const mean = this.#hashes[slot] === hash ? this.#means[slot] : Number.NaN;
    return Number.isNaN(mean) ? (this.#sites.get(site) ?? null) : mean;
  }

  /** A response of so many bytes. `site`: one of the configured ones. */
  saw(site: string, path: string, bytes: number): void {
    const hash = textHash(path, textHash(site, TEXT_SEED));
    const slot = hash % SLOTS;
    const known = this.#means[slot];
    if (Number.isNaN(known)) this.#paths++;
    const isOther = Number.isNaN(known) || this.#hashes[slot] !== hash;
    this.#hashes[slot] = hash;
    this.#means[slot] = isOther ? bytes : known + (bytes - known) * PATH_SHARE;
    const mean = this.#sites.get(site) ?? bytes;
    this.#sites.set(site, mean + (bytes - mean) * SITE_SHARE);
  }

  /** Paths that are remembered, at most SLOTS. */
  get size(): number {
    return this.#paths;
  }

  /** Mean bytes by site. */
  status(): Record<string, number> {
    return Object.fromEntries([...this.#sites].map(([site, mean]) => [site, Math.round(mean)]));
  }
}
