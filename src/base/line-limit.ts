/**
 * How often something is written to a log that others can cause: so many lines of a kind in a period, and when that is
 * over, how many were left out. Pure: the time comes as an argument.
 *
 *     |--line, line, ... line--(left out)---| then: "4711 more"      kinds are texts of the program, so there are few
 */

/** What lasts, or comes and goes, is told of once in so long. */
export const SAY_AGAIN_MS = 10_000;

/** Lines of one kind that were left out in a period that has ended. */
export interface LeftOut {
  readonly kind: string;
  readonly lines: number;
  readonly periodMs: number;
}

interface Period {
  readonly beganMs: number;
  lines: number;
}

export class LineLimit {
  readonly #limit: number;
  readonly #periodMs: number;
  readonly #periods = new Map<string, Period>();

  constructor(linesPerPeriod: number, periodMs: number) {
    this.#limit = linesPerPeriod;
    this.#periodMs = periodMs;
  }

  /** Whether a line of that kind may be written now. */
  allows(kind: string, nowMs: number): boolean {
    let period = this.#periods.get(kind);
    if (period === undefined) {
      period = { beganMs: nowMs, lines: 0 };
      this.#periods.set(kind, period);
    }
    period.lines++;
    return period.lines <= this.#limit;
  }

  /**
   * For a line that says how many events it stands for: their number, those of lines left out before it included. 0:
   * this line is left out as well.
   */
  sum(kind: string, nowMs: number): number {
    const period = this.#periods.get(kind);
    if (period === undefined || nowMs - period.beganMs < this.#periodMs)
      return this.allows(kind, nowMs) ? 1 : 0;
    this.#periods.delete(kind);
    this.allows(kind, nowMs);
    return 1 + Math.max(0, period.lines - this.#limit);
  }

  /** Ends the periods that are over; to be called now and then. Returns what was left out in them. */
  ended(nowMs: number): LeftOut[] {
    const out: LeftOut[] = [];
    for (const [kind, { beganMs, lines }] of this.#periods) {
      const periodMs = nowMs - beganMs;
      if (periodMs < this.#periodMs) continue;
      this.#periods.delete(kind);
      if (lines > this.#limit) out.push({ kind, lines: lines - this.#limit, periodMs });
    }
    return out;
  }
}
