/**
 * Ranges of targets that let go by themselves (clone, split), once the client has acknowledged them: late. Their owner
 * may have missed the acknowledgement of its last byte, and then sends that again; for a while longer its router gets
 * what says nothing new (rule late-forward), and no more.
 */
import { OWNER_SELF } from '../../kernel/router/layout.ts';
import { collect, distance, type FlowRules, type Range } from '../../kernel/router/ranges.ts';

/** How long an owner that lets go by itself may still retransmit what the client has acknowledged: several timeouts. */
const LATE_MS = 1000;

export class LateRanges {
  readonly #rules: FlowRules;
  readonly #letsGoItself: (range: Range) => boolean;
  /** What the client had acknowledged when they were last looked at, and when that was; null: they were not. */
  #last: { readonly acknowledged: number; readonly atMs: number } | null = null;

  /** `letsGoItself`: whether a target's range, all acknowledged, is waited for no more. */
  constructor(rules: FlowRules, letsGoItself: (range: Range) => boolean) {
    this.#rules = rules;
    this.#letsGoItself = letsGoItself;
  }

  /** Marks those of which the client has `acknowledged` everything. */
  mark(acknowledged: number): void {
    for (const range of this.#rules.ranges) {
      if (range.owner === OWNER_SELF || range.open || range.late) continue;
      if (distance(range.end, acknowledged) < 0) continue;
      range.late = this.#letsGoItself(range);
    }
  }

  /** Drops those that have been late for long enough. Returns whether there were any. */
  drop(acknowledged: number, nowMs: number): boolean {
    const last = this.#last;
    if (last !== null && nowMs - last.atMs < LATE_MS) return false;
    this.#last = { acknowledged, atMs: nowMs };
    this.mark(acknowledged);
    // Any number may be the client's first: before the first look nothing was acknowledged for long.
    if (last === null) return false;
    let dropped = false;
    for (const range of this.#rules.ranges.filter((g) => g.late && distance(g.end, last.acknowledged) >= 0))
      if (collect(this.#rules, range.owner, range.end)) dropped = true;
    return dropped;
  }
}
