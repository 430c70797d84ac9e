/**
 * Self-delegation (Rawal, Karne and Wijesinha, 2011): a node answers its own clients, and gives some of their requests
 * to the others in turn. Every node decides alone, by what it knows of itself; which documents a node has is decided
 * before (`catalogue`): one that lacks the document is no candidate.
 *
 * A request is given away when any of these says so:
 *
 *   percent              of the requests, evenly spread
 *   requestsPerSecond    more than these in the running second
 *   cpuPermille          the own engine is busier than this
 */
import type { DelegateConfig } from '../../base/config/config.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import type { Candidate, Policy } from './policy.ts';

const SECOND_MS = 1000;
const ALL_PERCENT = 100;

export class Delegate implements Policy {
  readonly #config: DelegateConfig;
  readonly #nowMs: () => number;
  /** Percent of a request that is to be given away already. */
  #credit = 0;
  #turn = 0;
  /** Requests answered here since the second began. */
  #own = 0;
  #secondMs = Number.NEGATIVE_INFINITY;

  /** `nowMs`: monotonic milliseconds. */
  constructor(config: DelegateConfig, nowMs: () => number) {
    this.#config = config;
    this.#nowMs = nowMs;
  }

  choose(_head: RequestHead, candidates: readonly Candidate[], self: number): number {
    const own = candidates.find(({ index }) => index === self);
    const others = candidates.length - (own === undefined ? 0 : 1);
    if (own !== undefined && (others === 0 || !this.#gives(own))) {
      this.#own++;
      return self;
    }
    this.#turn = (this.#turn + 1) % others;
    return candidates.filter(({ index }) => index !== self)[this.#turn].index;
  }

  #gives({ load }: Candidate): boolean {
    const { percent, requestsPerSecond, cpuPermille } = this.#config;
    const nowMs = this.#nowMs();
    if (nowMs - this.#secondMs >= SECOND_MS) {
      this.#secondMs = nowMs;
      this.#own = 0;
    }
    this.#credit += percent;
    const isDue = this.#credit >= ALL_PERCENT;
    if (isDue) this.#credit -= ALL_PERCENT;
    return (
      isDue ||
      (requestsPerSecond !== null && this.#own >= requestsPerSecond) ||
      (cpuPermille !== null && load.cpuPermille >= cpuPermille)
    );
  }
}
