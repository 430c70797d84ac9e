/**
 * How late a frame is. Clocks of two nodes share no zero, so one-way delay cannot be measured; but the fastest
 * recent frame shows the clocks' difference plus the path's least delay, and what a frame takes beyond that is
 * queueing: a stopped process, a full link, a retransmission.
 */

/** The minimum is taken over the current window and the one before, so it forgets drift and rerouting. */
export const CLOCK_WINDOW_MS = 10_000;

/** The filter of one link. A new link needs a new filter: the peer may have restarted. */
export class ClockFilter {
  /** Differences are taken modulo 2^32 relative to the first, so that none is near where they wrap. */
  #base = 0;
  #windowStartMs = 0;
  #currentMs = Number.POSITIVE_INFINITY;
  #previousMs = Number.POSITIVE_INFINITY;
  #started = false;

  /**
   * Takes a frame's `sentAtMs` (the sender's monotonic clock, modulo 2^32) and the local monotonic time of its
   * receipt in whole milliseconds (modulo 2^32 or not). Returns by how many milliseconds the frame came later
   * than the fastest of the last 10 to 20 s would have; 0 for the fastest itself.
   */
  excessMs(sentAtMs: number, nowMs: number): number {
    const difference = nowMs - sentAtMs;
    if (!this.#started) {
      this.#started = true;
      this.#base = difference;
      this.#windowStartMs = nowMs;
    }
    this.#turn(nowMs);
    const relative = (difference - this.#base) | 0;
    if (relative < this.#currentMs) this.#currentMs = relative;
    return relative - Math.min(this.#currentMs, this.#previousMs);
  }

  /**
   * The same of something that is no frame, and says the time modulo 2^16: it teaches the filter nothing. Infinite
   * while nothing is known.
   */
  excessOf16Ms(sentMs: number, nowMs: number): number {
    const least = Math.min(this.#currentMs, this.#previousMs);
    if (least === Number.POSITIVE_INFINITY) return least;
    const excess = (nowMs - sentMs - this.#base - least) & 0xffff;
    // Faster than any frame.
    return excess >= 0x8000 ? 0 : excess;
  }

  #turn(nowMs: number): void {
    const elapsedMs = (nowMs - this.#windowStartMs) >>> 0;
    if (elapsedMs < CLOCK_WINDOW_MS) return;
    this.#previousMs = elapsedMs < 2 * CLOCK_WINDOW_MS ? this.#currentMs : Number.POSITIVE_INFINITY;
    this.#currentMs = Number.POSITIVE_INFINITY;
    this.#windowStartMs = nowMs - (elapsedMs % CLOCK_WINDOW_MS);
  }
}
