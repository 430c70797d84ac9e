/** The mechanism at work on a request; while the connection moves it is set aside, and goes on if it does not move. */
import type { Delivery } from '../handoff/request/delivery.ts';

export class DeliverySlot {
  current: Delivery | null = null;
  #paused: Delivery | null = null;

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
  get any(): Delivery | null {
    return this.current ?? this.#paused;
  }

  cancel(): void {
    this.current?.cancel();
    this.current = null;
    this.#paused?.cancel();
    this.#paused = null;
  }
}
