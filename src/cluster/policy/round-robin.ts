/** Each request to the next node in turn. */
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Candidate, Policy } from './policy.ts';

export class RoundRobin implements Policy {
  #turn = 0;

  choose(_head: RequestHead, candidates: readonly Candidate[]): number {
    this.#turn = (this.#turn + 1) % candidates.length;
    return candidates[this.#turn].index;
  }
}
