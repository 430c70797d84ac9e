/** The mechanism at work on a request; while the connection moves it is set aside, and goes on if it does not move. */
import type { Handling } from '../handoff/request/handling.ts';

export class HandlingSlot {
  current: Handling | null = null;
  #paused: Handling | null = null;

  /** The connection is about to move: nothing more is sent. */
  pause(): void {
    this.#paused = this.current;
    this.current = null;
    this.#paused?.pause?.();
  }

  get isPaused(): boolean {
    return this.#paused !== null;
  }

  /** It has not moved. */
  resume(): void {
    this.current = this.#paused;
    this.#paused = null;
    this.current?.resume?.();
  }

  /** At work or set aside. */
  get any(): Handling | null {
    return this.current ?? this.#paused;
  }

  cancel(): void {
    this.current?.cancel();
    this.current = null;
    this.#paused?.cancel();
    this.#paused = null;
  }
}
