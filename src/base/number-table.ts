/**
 * What is known by a number: connections by their descriptors, conversations by their ids. A Map would do, but for the
 * collector. One whose members come and go is made anew every few dozen of them; each dead one has the members of its
 * time, and leads to its successor. Once one is old, what those lead to outlives every collection of young objects: a
 * third to a half of all connections that an engine has had, until the next collection of everything.
 *
 * Open addressing with linear probing; what leaves has those behind it move up, so that nothing of it stays.
 */
import assert from 'node:assert';

const SMALLEST = 16;
/** Knuth's multiplier: neighbouring numbers lie far apart, and a step of two does no harm. */
const SCATTER = 0x9e3779b1;

export class NumberTable<T> {
  /** The members' numbers, by place. Where no member is, what stands here means nothing. */
  #keys = new Int32Array(SMALLEST);
  #items: Array<T | undefined> = new Array(SMALLEST).fill(undefined);
  #shift = 32 - Math.log2(SMALLEST);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Where a number is, or would be. */
  #placeOf(key: number): number {
    const last = this.#items.length - 1;
    let at = Math.imul(key, SCATTER) >>> this.#shift;
    while (this.#items[at] !== undefined && this.#keys[at] !== key) at = (at + 1) & last;
    return at;
  }

  get(number: number): T | undefined {
    return this.#items[this.#placeOf(number | 0)];
  }

  has(number: number): boolean {
    return this.get(number) !== undefined;
  }

  set(number: number, item: T): void {
    assert(item !== undefined, 'undefined is nobody');
    const at = this.#placeOf(number | 0);
    const isNew = this.#items[at] === undefined;
    this.#keys[at] = number;
    this.#items[at] = item;
    if (!isNew) return;
    this.#size++;
    if (2 * this.#size > this.#items.length) this.#grow();
  }

  #grow(): void {
    const [keys, items] = [this.#keys, this.#items];
    this.#keys = new Int32Array(2 * keys.length);
    this.#items = new Array(2 * items.length).fill(undefined);
    this.#shift--;
    for (let old = 0; old < items.length; old++) {
      if (items[old] === undefined) continue;
      const at = this.#placeOf(keys[old]);
      this.#keys[at] = keys[old];
      this.#items[at] = items[old];
    }
    // The old array is dead, but as an old object it would keep its members alive.
    items.length = 0;
  }

  /** Returns whether there was one. */
  delete(number: number): boolean {
    let hole = this.#placeOf(number | 0);
    if (this.#items[hole] === undefined) return false;
    const last = this.#items.length - 1;
    for (let at = (hole + 1) & last; this.#items[at] !== undefined; at = (at + 1) & last) {
      const wanted = Math.imul(this.#keys[at], SCATTER) >>> this.#shift;
      // A member whose own place lies behind the hole is found without moving it.
      if (((at - wanted) & last) < ((at - hole) & last)) continue;
      this.#keys[hole] = this.#keys[at];
      this.#items[hole] = this.#items[at];
      hole = at;
    }
    this.#items[hole] = undefined;
    this.#size--;
    return true;
  }

  /** A copy, in no order: some may leave while they are gone through. */
  get all(): T[] {
    return this.#items.filter((item) => item !== undefined);
  }

  clear(): void {
    this.#items.fill(undefined);
    this.#size = 0;
  }
}
