/**
 * Closed flows in the order in which they are to be looked at. Thousands of them live for seconds, each from a
 * connection that lived for less than a millisecond: as objects they would be copied by every collection of young ones,
 * so they are rows of numbers.
 */
import assert from 'node:assert';

/** What is left of a flow. */
export interface LingeringFlow {
  readonly slot: number;
  readonly closedAtMs: number;
  /** The closed socket's FIN has a place in the client's space, and is waited for. */
  readonly hasFin: boolean;
  /** Segments of the client, at the last look. */
  readonly segments: number;
}

/** When it is due, and the four of LingeringFlow. */
const COLUMNS = 5;
const SMALLEST_ROWS = 64;

export class LingerQueue {
  /** A ring: its length in rows is a power of 2. */
  #rows = new Float64Array(COLUMNS * SMALLEST_ROWS);
  #first = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  #capacity(): number {
    return this.#rows.length / COLUMNS;
  }

  /** Where row `at` begins, counted from the first. */
  #begin(at: number): number {
    return COLUMNS * ((this.#first + at) & (this.#capacity() - 1));
  }

  /** When the first is due; Infinity: there is none. */
  get firstDueMs(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#rows[this.#begin(0)];
  }

  /** Nothing may be due before what is there already. */
  push(dueMs: number, { slot, closedAtMs, hasFin, segments }: LingeringFlow): void {
    if (this.#size === this.#capacity()) this.#grow();
    const begin = this.#begin(this.#size++);
    this.#rows[begin] = dueMs;
    this.#rows[begin + 1] = slot;
    this.#rows[begin + 2] = closedAtMs;
    this.#rows[begin + 3] = hasFin ? 1 : 0;
    this.#rows[begin + 4] = segments;
  }

  #grow(): void {
    const rows = new Float64Array(2 * this.#rows.length);
    for (let at = 0; at < this.#size; at++) {
      const begin = this.#begin(at);
      rows.set(this.#rows.subarray(begin, begin + COLUMNS), COLUMNS * at);
    }
    this.#rows = rows;
    this.#first = 0;
  }

  #at(at: number): LingeringFlow {
    const begin = this.#begin(at);
    return {
      slot: this.#rows[begin + 1],
      closedAtMs: this.#rows[begin + 2],
      hasFin: this.#rows[begin + 3] === 1,
      segments: this.#rows[begin + 4],
    };
  }

  /** Takes the first one out. */
  shift(): LingeringFlow {
    assert(this.#size > 0, 'a queue of which something is taken is not empty');
    const flow = this.#at(0);
    this.#first = (this.#first + 1) & (this.#capacity() - 1);
    this.#size--;
    return flow;
  }

  /** The slots of at most `most`, the first one first. */
  slots(most: number): number[] {
    return Array.from({ length: Math.min(most, this.#size) }, (_, at) => this.#at(at).slot);
  }
}
