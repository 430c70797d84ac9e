/**
 * A list whose links its members themselves keep, in the order of joining: to join, to leave and to be found costs no
 * search. A Set would do, but for the collector (number-table.ts says why). What leaves leads nowhere any more.
 *
 *   first -> next -> ... -> last
 */
import assert from 'node:assert';

/** A member's place in one list. */
interface Place {
  readonly member: unknown;
  /** What the list's owner knows of it. */
  mark: number;
  previous: Place | null;
  next: Place | null;
  isTaken: boolean;
}

/** A member's places: one for each list that it ever was in. The member keeps them, and no more. */
export type Places = (Place | undefined)[];

/** What can be in lists. */
export interface Member {
  readonly places: Places;
}

/** One of the few lists of an engine: every member has room for a place in each. */
export class Members<T extends Member> {
  static #lists = 0;
  readonly #list = Members.#lists++;
  #first: Place | null = null;
  #last: Place | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  #placeOf(member: T): Place | undefined {
    return member.places[this.#list];
  }

  /** Whose place it is. Only `add` puts members into this list, so the member is a T. */
  #memberOf({ member }: Place): T {
    return member as T;
  }

  #newPlace(member: T): Place {
    const place: Place = { member, mark: 0, previous: null, next: null, isTaken: false };
    member.places[this.#list] = place;
    return place;
  }

  /** Puts a member at the end; one that is in the list already stays where it is. */
  add(member: T, mark = 0): void {
    const place = this.#placeOf(member) ?? this.#newPlace(member);
    if (place.isTaken) return;
    place.mark = mark;
    place.isTaken = true;
    place.previous = this.#last;
    if (this.#last === null) this.#first = place;
    else this.#last.next = place;
    this.#last = place;
    this.#size++;
  }

  /** Returns whether it was there. */
  delete(member: T): boolean {
    const place = this.#placeOf(member);
    if (!place?.isTaken) return false;
    const { previous, next } = place;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    place.previous = null;
    place.next = null;
    place.isTaken = false;
    this.#size--;
    assert((this.#first === null) === (this.#size === 0), 'a list without a first member is empty');
    return true;
  }

  has(member: T): boolean {
    return this.#placeOf(member)?.isTaken === true;
  }

  /** The member that has been in the list longest; null when the list is empty. */
  get first(): T | null {
    return this.#first === null ? null : this.#memberOf(this.#first);
  }

  /** The mark of the first member; 0 when the list is empty. */
  get firstMark(): number {
    return this.#first?.mark ?? 0;
  }

  /** A copy: some may leave while they are gone through. */
  get all(): readonly T[] {
    const all: T[] = [];
    for (let place = this.#first; place !== null; place = place.next) all.push(this.#memberOf(place));
    return all;
  }
}
