/**
 * Deadlines of one kind, all of the same duration, in the order in which they run out: setting, moving and clearing
 * one costs no search. Time is an argument.
 *
 *   first -> next -> ... -> last        a deadline that is set, or moved, goes behind the last
 *
 * It is a list whose links the items themselves keep. A Map would do, but for the collector: one that sees a deadline set
 * and cleared for every request is made anew every few dozen requests, each dead one leads to its successor, and what an
 * old dead object leads to outlives every collection of young ones.
 */
import assert from 'node:assert';

/** An item's place in the list of one kind of deadline. */
interface Place {
  readonly item: unknown;
  dueMs: number;
  previous: Place | null;
  next: Place | null;
  isSet: boolean;
}

/** The places of an item: one for each kind of deadline that was ever set for it. The item keeps them, and no more. */
export type Places = (Place | undefined)[];

/** What has deadlines. */
export interface Timed {
  readonly places: Places;
}

let kinds = 0;

export class Deadlines<T extends Timed> {
  readonly durationMs: number;
  readonly #kind = kinds++;
  readonly #expired: (item: T) => void;
  #first: Place | null = null;
  #last: Place | null = null;
  #size = 0;

  constructor(durationMs: number, expired: (item: T) => void) {
    this.durationMs = durationMs;
    this.#expired = expired;
  }

  get size(): number {
    return this.#size;
  }

  #placeOf(item: T): Place | undefined {
    return item.places[this.#kind];
  }

  /** What is in this list was put there by `set`. */
  #itemOf({ item }: Place): T {
    return item as T;
  }

  #newPlace(item: T): Place {
    const place: Place = { item, dueMs: 0, previous: null, next: null, isSet: false };
    item.places[this.#kind] = place;
    return place;
  }

  set(item: T, nowMs: number): void {
    const place = this.#placeOf(item) ?? this.#newPlace(item);
    if (place.isSet) this.#remove(place);
    place.dueMs = nowMs + this.durationMs;
    place.isSet = true;
    place.previous = this.#last;
    if (this.#last === null) this.#first = place;
    else this.#last.next = place;
    this.#last = place;
    this.#size++;
  }

  clear(item: T): void {
    const place = this.#placeOf(item);
    if (place?.isSet) this.#remove(place);
  }

  #remove(place: Place): void {
    const { previous, next } = place;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    place.previous = null;
    place.next = null;
    place.isSet = false;
    this.#size--;
    assert((this.#first === null) === (this.#size === 0), 'a list without a first item is empty');
  }

  /** The first is due next. */
  get items(): readonly T[] {
    const items: T[] = [];
    for (let place = this.#first; place !== null; place = place.next) items.push(this.#itemOf(place));
    return items;
  }

  has(item: T): boolean {
    return this.#placeOf(item)?.isSet === true;
  }

  /** Calls `expired` for every item that is due; each is cleared before. */
  run(nowMs: number): void {
    while (this.#first !== null && this.#first.dueMs <= nowMs) {
      const item = this.#itemOf(this.#first);
      this.#remove(this.#first);
      this.#expired(item);
    }
  }
}
