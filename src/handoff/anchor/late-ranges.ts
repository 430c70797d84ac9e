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
  /** What the client had acknowledged when they were last looked at, and when that was. */
  #acknowledged = 0;
  #lookedAtMs = 0;

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
    if (nowMs - this.#lookedAtMs < LATE_MS) return false;
    const before = this.#acknowledged;
    this.#acknowledged = acknowledged;
    this.#lookedAtMs = nowMs;
    this.mark(acknowledged);
    let dropped = false;
    for (const range of this.#rules.ranges.filter((g) => g.late && distance(g.end, before) >= 0))
      if (collect(this.#rules, range.owner, range.end)) dropped = true;
    return dropped;
  }
}
