/**
 * Deadlines of one kind, all of the same duration, in the order in which they run out: a deadline that is set, or
 * moved, goes behind the last. Time is an argument.
 */
import { type Member, Members, type Places } from '../../base/members.ts';

export type { Places };

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
    for (
      let item = this.#items.first;
      item !== null && this.#items.firstMark <= nowMs;
      item = this.#items.first
    ) {
      this.#items.delete(item);
      this.#expired(item);
    }
  }
}
