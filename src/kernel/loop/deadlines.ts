/**
 * Deadlines of one kind, all of the same duration, in the order in which they run out: a deadline that is set, or
 * moved, goes behind the last. Time is an argument.
 */
import { type Member, Members, type Places } from '../../base/members.ts';

export type { Places };

/** At a time: an end is some system calls, 10 us, and a request is not to wait for more of them than it takes itself. */
const FEW = 4;
/** One more for so many milliseconds that they are late. */
const MORE_PER_MS = 5;

/**
 * How many of those are run that nobody waits for, when the first of them is so late. The later, the more: so they keep
 * up with whatever brings them.
 */
export function fewOf(lateMs: number): number {
  return lateMs < 0 ? 0 : FEW + Math.floor(lateMs / MORE_PER_MS);
}

/** What has deadlines. */
export type Timed = Member;

export class Deadlines<T extends Timed> {
  readonly durationMs: number;
  readonly #expired: (item: T) => void;
  /** Their marks: when they are due. */
  readonly #items = new Members<T>();

  constructor(durationMs: number, expired: (item: T) => void) {
    this.durationMs = durationMs;
    this.#expired = expired;
  }

  get size(): number {
    return this.#items.size;
  }

  set(item: T, nowMs: number): void {
    this.#items.delete(item);
    this.#items.add(item, nowMs + this.durationMs);
  }

  clear(item: T): void {
    this.#items.delete(item);
  }

  /** The first is due next. */
  get items(): readonly T[] {
    return this.#items.all;
  }

  has(item: T): boolean {
    return this.#items.has(item);
  }

  /** Calls `expired` for every item that is due; each is cleared before. */
  run(nowMs: number): void {
    while (this.#runFirst(nowMs));
  }

  /**
   * The same for a few of them, where there may be thousands that nobody waits for: what comes in between is not to wait
   * for them all. Others may still be due.
   */
  runSome(nowMs: number): void {
    for (let most = fewOf(nowMs - this.#items.firstMark); most > 0 && this.#runFirst(nowMs); most--);
  }

  isDue(nowMs: number): boolean {
    return this.#items.size > 0 && this.#items.firstMark <= nowMs;
  }

  #runFirst(nowMs: number): boolean {
    const item = this.#items.first;
    if (item === null || !this.isDue(nowMs)) return false;
    this.#items.delete(item);
    this.#expired(item);
    return true;
  }
}
