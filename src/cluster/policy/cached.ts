/**
 * To a node that has the document in memory, else to the one that the path's hash gives: so a document has one home, and
 * the memories of the nodes add up (Pai et al., Locality-Aware Request Distribution, ASPLOS 1998). Of several that have
 * it, each in proportion to what it has left, as least-load.
 *
 * A node that is much more loaded than the lightest is passed over, as if it were not there. What it has in memory goes
 * to another node then, the same for all who ask, and from there on both have it. As in LARD a busy node must be
 * clearly lighter again before it is taken, else requests would swing between nodes with every report of loads.
 */
import type { RequestHead } from '../../protocol/http/request.ts';
import { Hash } from './hash.ts';
import { LeastLoad } from './least-load.ts';
import type { Candidate, Policy } from './policy.ts';

/** Below this load a node has room, however idle the others are. */
export const BUSY_PERMILLE = 700;
/** A node that is passed over is ahead of the lightest by this load at least. */
export const AHEAD_PERMILLE = 300;
/** A node that is passed over is taken again when its load is this much below the load at which that began. */
export const BACK_PERMILLE = 200;

/** What is known of memories. */
export interface MemoryView {
  /** The candidates that have the requested document in memory. */
  holders(head: RequestHead, candidates: readonly Candidate[]): readonly Candidate[];
  /** Counts a choice. `held`: the chosen node has the document in memory. */
  chosen(held: boolean): void;
}

export class Cached implements Policy {
  readonly #memory: MemoryView;
  readonly #home = new Hash();
  readonly #leastLoad = new LeastLoad();
  /** Indices of nodes that are passed over; as many as the cluster has nodes. */
  readonly #busy = new Set<number>();

  constructor(memory: MemoryView) {
    this.#memory = memory;
  }

  choose(head: RequestHead, candidates: readonly Candidate[]): number {
    const free = this.#passOver(candidates);
    const holders = this.#memory.holders(head, free);
    const held = holders.length > 0;
    this.#memory.chosen(held);
    return held ? this.#leastLoad.choose(head, holders) : this.#home.choose(head, free);
  }

  /** The candidates without busy ones. The lightest is always among them: it is below every limit. */
  #passOver(candidates: readonly Candidate[]): readonly Candidate[] {
    const lightest = candidates.reduce((least, { load }) => Math.min(least, load.loadPermille), 1000);
    const limit = Math.max(BUSY_PERMILLE, lightest + AHEAD_PERMILLE);
    return candidates.filter(({ index, load }) => {
      const isBusy = load.loadPermille >= (this.#busy.has(index) ? limit - BACK_PERMILLE : limit);
      if (isBusy) this.#busy.add(index);
      else this.#busy.delete(index);
      return !isBusy;
    });
  }
}
