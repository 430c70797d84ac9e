/**
 * Nodes that have failed to answer a site's requests because the server behind them did: they are passed over for a
 * while, twice as long every time, and then tried with one request.
 *
 *   answers --failed--> passed over --its time is up--> may be tried --chosen--> passed over, for a while
 *      ^                    ^                                             |
 *      |                    `-----------------failed---------------------'
 *      `-----------------------------------answered----------------------'
 */

import { LineLimit, SAY_AGAIN_MS } from '../base/line-limit.ts';

/** How long a node is passed over at first, and at most. */
export const FIRST_MS = 1000;
export const MOST_MS = 30_000;

interface Outage {
  readonly sinceMs: number;
  /** From then on the node may be tried again. */
  untilMs: number;
  /** How long it is passed over the next time. */
  nextMs: number;
  /** The outage is in the log. */
  readonly isTold: boolean;
}

export class Outages {
  readonly #byNode = new Map<number, Outage>();
  /** A node whose outages come and go is in the log only now and then. */
  readonly #limit = new LineLimit(1, SAY_AGAIN_MS);

  /** Nodes that have failed and not answered since. */
  get size(): number {
    return this.#byNode.size;
  }

  /** Returns true when that is worth telling: the node had answered until now. */
  failed(node: number, nowMs: number): boolean {
    const known = this.#byNode.get(node);
    const lengthMs = known?.nextMs ?? FIRST_MS;
    const nextMs = Math.min(2 * lengthMs, MOST_MS);
    const isNews = known === undefined && this.#limit.sum(String(node), nowMs) > 0;
    const sinceMs = known?.sinceMs ?? nowMs;
    const isTold = known?.isTold ?? isNews;
    this.#byNode.set(node, { sinceMs, untilMs: nowMs + lengthMs, nextMs, isTold });
    return isNews;
  }

  /** Returns for how long the node had failed, when it was told that it does; else null. */
  answered(node: number, nowMs: number): number | null {
    const known = this.#byNode.get(node);
    if (known === undefined) return null;
    this.#byNode.delete(node);
    return known.isTold ? nowMs - known.sinceMs : null;
  }

  /** A request is given to the node: nobody else tries it, until it is known how that went. */
  chosen(node: number, nowMs: number): void {
    const known = this.#byNode.get(node);
    if (known !== undefined && known.untilMs <= nowMs) known.untilMs = nowMs + known.nextMs;
  }

  /**
   * The candidates that have not failed lately. When all have, all of them: a node that may have failed is better than
   * none.
   */
  without<T extends { readonly index: number }>(candidates: readonly T[], nowMs: number): readonly T[] {
    if (this.#byNode.size === 0) return candidates;
    const rest = candidates.filter(({ index }) => !this.isPassedOver(index, nowMs));
    return rest.length === 0 ? candidates : rest;
  }

  isPassedOver(node: number, nowMs: number): boolean {
    const known = this.#byNode.get(node);
    return known !== undefined && known.untilMs > nowMs;
  }

  /** The nodes that have failed, and for how long. */
  list(nowMs: number): Array<{ readonly node: number; readonly forMs: number }> {
    return [...this.#byNode].map(([node, { sinceMs }]) => ({ node, forMs: nowMs - sinceMs }));
  }
}
