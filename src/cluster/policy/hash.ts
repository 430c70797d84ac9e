/**
 * By path, consistently: rendezvous hashing (Thaler and Ravishankar, 1998). When a node comes or goes only its own
 * share of the paths moves.
 */
import { TEXT_SEED, textHash } from '../../base/text-hash.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Candidate, Policy } from './policy.ts';

type Named = Pick<Candidate, 'index' | 'name'>;

export class Hash implements Policy {
  /** Seeds by node name; as many as the cluster has nodes. */
  readonly #seeds = new Map<string, number>();

  choose(head: RequestHead, candidates: readonly Named[]): number {
    let best = candidates[0].index;
    let highest = -1;
    for (const candidate of candidates) {
      let seed = this.#seeds.get(candidate.name);
      if (seed === undefined) {
        seed = textHash(candidate.name, TEXT_SEED);
        this.#seeds.set(candidate.name, seed);
      }
      const weight = textHash(head.path, seed);
      if (weight > highest) {
        highest = weight;
        best = candidate.index;
      }
    }
    return best;
  }
}
