/**
 * For how long the clients of an engine wait for the first byte of an answer that this node makes: a server whose
 * upstream has too much to do may have a processor to spare itself. Half of the newest requests wait longer than what
 * is told: a few that wait because of what they ask for (a long poll, a large query) say nothing of the others. Pure.
 */

/** How many of the newest requests the median is taken of. */
const NEWEST = 64;
/** A request older than this does not count. */
const WINDOW_MS = 1000;
/** Fewer say nothing. */
export const FEWEST = 16;

export class FirstBytes {
  /** Rings: when each was answered, and after how long. */
  readonly #atMs = new Float64Array(NEWEST).fill(Number.NEGATIVE_INFINITY);
  readonly #waitedMs = new Float64Array(NEWEST);
  #next = 0;

  add(nowMs: number, waitedMs: number): void {
    this.#atMs[this.#next] = nowMs;
    this.#waitedMs[this.#next] = waitedMs;
    this.#next = (this.#next + 1) % NEWEST;
  }

  /** The median; 0 while there are too few to tell. */
  medianMs(nowMs: number): number {
    const waits = this.#waitedMs.filter((_, i) => nowMs - this.#atMs[i] <= WINDOW_MS).sort();
    return waits.length < FEWEST ? 0 : waits[waits.length >> 1];
  }
}
