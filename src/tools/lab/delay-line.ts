/**
 * One direction of a slow, lossy link as a value: frames go in, and come out in the same order after a fixed delay.
 * No clock and no I/O inside: the caller says what time it is and owns the frames' bytes, one slot each.
 */
import assert from 'node:assert';
import { Random } from './random.ts';

/** A FIFO of slot numbers with the time each is due. Bounded: a full line takes nothing. */
export class DelayLine {
  readonly capacity: number;
  readonly #delayMs: number;
  readonly #dueMs: Float64Array;
  readonly #lengths: Uint16Array;
  #first = 0;
  #count = 0;

  constructor(capacity: number, delayMs: number) {
    assert.ok(capacity > 0 && delayMs >= 0);
    this.capacity = capacity;
    this.#delayMs = delayMs;
    this.#dueMs = new Float64Array(capacity);
    this.#lengths = new Uint16Array(capacity);
  }

  get count(): number {
    return this.#count;
  }

  /** The slot the next frame is to be written to, or -1 when the line is full. */
  freeSlot(): number {
    return this.#count === this.capacity ? -1 : (this.#first + this.#count) % this.capacity;
  }

  /** The frame in the free slot enters the line. */
  push(lengthBytes: number, nowMs: number): void {
    const slot = this.freeSlot();
    assert.ok(slot >= 0);
    this.#dueMs[slot] = nowMs + this.#delayMs;
    this.#lengths[slot] = lengthBytes;
    this.#count++;
  }

  /** The slot of the oldest frame when it is due, else -1. */
  dueSlot(nowMs: number): number {
    return this.#count > 0 && this.#dueMs[this.#first] <= nowMs ? this.#first : -1;
  }

  lengthOf(slot: number): number {
    return this.#lengths[slot];
  }

  /** The oldest frame leaves the line. */
  shift(): void {
    assert.ok(this.#count > 0);
    this.#first = (this.#first + 1) % this.capacity;
    this.#count--;
  }

  /** When the oldest frame is due; Infinity when the line is empty. */
  nextDueMs(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : this.#dueMs[this.#first];
  }
}

/** Independent random loss, the same for the same seed. */
export class Loss {
  readonly #share: number;
  readonly #random: Random;

  constructor(percent: number, seed: number) {
    assert.ok(percent >= 0 && percent <= 100);
    this.#share = percent / 100;
    this.#random = new Random(seed);
  }

  /** Whether the next frame is lost. */
  next(): boolean {
    return this.#random.next() < this.#share;
  }
}
