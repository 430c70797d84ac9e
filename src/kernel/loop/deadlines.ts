/**
 * Deadlines of one kind, all of the same duration, in the order in which they run out: setting, moving and clearing
 * one costs no search. Time is an argument.
 */
export class Deadlines<T extends object> {
  readonly durationMs: number;
  /** A Map keeps insertion order, and a moved deadline is inserted anew: the first entry is always the next one. */
  readonly #due = new Map<T, number>();
  readonly #expired: (item: T) => void;

  constructor(durationMs: number, expired: (item: T) => void) {
    this.durationMs = durationMs;
    this.#expired = expired;
  }

  get size(): number {
    return this.#due.size;
  }

  set(item: T, nowMs: number): void {
    this.#due.delete(item);
    this.#due.set(item, nowMs + this.durationMs);
  }

  clear(item: T): void {
    this.#due.delete(item);
  }

  /** The first is due next. */
  get items(): Iterable<T> {
    return this.#due.keys();
  }

  has(item: T): boolean {
    return this.#due.has(item);
  }

  /** Calls `expired` for every item that is due; each is cleared before. */
  run(nowMs: number): void {
    for (const [item, due] of this.#due) {
      if (due > nowMs) return;
      this.#due.delete(item);
      this.#expired(item);
    }
  }
}
