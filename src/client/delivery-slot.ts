/**
 * The mechanism at work on a request; while the connection moves it is set aside, and goes on if it does not move. What has
 * come of a body that follows is kept until one takes it: a node that refuses the request has had none of it.
 */
import type { Delivery } from '../handoff/request/delivery.ts';

const NOTHING = Buffer.alloc(0);

export class DeliverySlot {
  current: Delivery | null = null;
  #paused: Delivery | null = null;
  #kept: { readonly bytes: Buffer; readonly last: boolean } | null = null;

  /** More of the request's body is taken now. */
  get wantsBody(): boolean {
    return this.#kept === null && this.current?.wantsBody === true;
  }

  /** A piece of a body that follows. */
  body(bytes: Buffer, last: boolean): void {
    if (this.wantsBody) return this.current?.body(bytes, last);
    this.#kept = { bytes: Buffer.concat([this.#kept?.bytes ?? NOTHING, bytes]), last };
  }

  /** Gives away what is kept of the body, if it is wanted. Returns whether nothing is kept any more. */
  giveBody(): boolean {
    const kept = this.#kept;
    if (kept === null) return true;
    if (this.current?.wantsBody !== true) return false;
    this.#kept = null;
    this.current.body(kept.bytes, kept.last);
    return this.#kept === null;
  }

  /** The request is answered: what is kept of its body nobody needs. */
  end(): void {
    this.current = null;
    this.#kept = null;
  }

  /** The connection is about to move: nothing more is sent. */
  pause(): void {
    this.#paused = this.current;
    this.current = null;
    this.#paused?.pause?.();
  }

  get isPaused(): boolean {
    return this.#paused !== null;
  }

  /** The connection has not moved: the delivery goes on. */
  resume(): void {
    this.current = this.#paused;
    this.#paused = null;
    this.current?.resume?.();
  }

  /** The delivery, whether it is at work or set aside; null: there is none. */
  get any(): Delivery | null {
    return this.current ?? this.#paused;
  }

  cancel(): void {
    this.current?.cancel();
    this.end();
    this.#paused?.cancel();
    this.#paused = null;
  }
}
