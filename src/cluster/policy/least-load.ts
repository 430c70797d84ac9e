/**
 * To each node in proportion to what it has left of its capacity. Loads are up to half a second old: giving everything
 * to the lightest node would swamp it before its next report (Mitzenmacher, How Useful Is Old Information?, 2000).
 *
 * Nodes take turns by smooth weighted round robin (as nginx does): every turn each credit grows by its node's weight,
 * the highest is chosen and pays the sum of all weights.
 */
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Candidate, Policy } from './policy.ts';

/** A node without anything left still gets one request in a thousand or so: it may be everybody's state. */
const MIN_WEIGHT = 1;

export class LeastLoad implements Policy {
  /** Credits by node index; as many as the cluster has nodes. */
  readonly #credits = new Map<number, number>();

  choose(_head: RequestHead, candidates: readonly Candidate[]): number {
    let sum = 0;
    let best = candidates[0].index;
    let highest = Number.NEGATIVE_INFINITY;
    for (const { index, load } of candidates) {
      const weight = Math.max(MIN_WEIGHT, 1000 - load.loadPermille);
      const credit = (this.#credits.get(index) ?? 0) + weight;
      this.#credits.set(index, credit);
      sum += weight;
      if (credit > highest) {
        highest = credit;
        best = index;
      }
    }
    this.#credits.set(best, highest - sum);
    return best;
  }
}
