/**
 * By path, consistently: rendezvous hashing (Thaler and Ravishankar, 1998). When a node comes or goes only its own
 * share of the paths moves.
 */
import type { RequestHead } from '../http/request.ts';
import type { Candidate, Policy } from './policy.ts';

/** FNV-1a over UTF-16 code units, then a finaliser that spreads the low bits (murmur3). */
function hash(text: string, seed: number): number {
  let h = seed;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export class Hash implements Policy {
  /** Seeds by node name; as many as the cluster has nodes. */
  readonly #seeds = new Map<string, number>();

  choose(head: RequestHead, candidates: readonly Candidate[]): number {
    let best = candidates[0].index;
    let highest = -1;
    for (const candidate of candidates) {
      let seed = this.#seeds.get(candidate.name);
      if (seed === undefined) {
        seed = hash(candidate.name, 0x811c9dc5);
        this.#seeds.set(candidate.name, seed);
      }
      const weight = hash(head.path, seed);
      if (weight > highest) {
        highest = weight;
        best = candidate.index;
      }
    }
    return best;
  }
}
