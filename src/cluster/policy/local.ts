/** The node that accepted the connection answers, when it can. */
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Candidate, Policy } from './policy.ts';

export class Local implements Policy {
  choose(_head: RequestHead, candidates: readonly Candidate[], self: number): number {
    return candidates.some((c) => c.index === self) ? self : candidates[0].index;
  }
}
