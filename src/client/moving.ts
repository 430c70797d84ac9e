/**
 * A connection on its way to another node, as the connection sees it: its move, and, since a connection is frozen for
 * each attempt, how soon the next one may be made.
 */
import type { Choice } from '../cluster/policy/policy.ts';
import type { Clock } from '../kernel/loop/ports.ts';
import type { ClientInput } from './client-input.ts';

/** How long a connection that could not move waits before it is frozen again; twice as long after each failure. */
const AGAIN_MS = 300;
const MAX_AGAIN_MS = 5000;

/** A connection is frozen here and sent to another node. */
export interface Move {
  /** The connection has ended meanwhile. */
  cancel(): void;
}

export class Moving {
  readonly #input: ClientInput;
  readonly #clock: Pick<Clock, 'nowMs'>;
  /** Null: the connection stays. */
  readonly #start: (to: Choice) => Move | null;
  #move: Move | null = null;
  #notBeforeMs = 0;
  #againMs = AGAIN_MS;

  constructor(input: ClientInput, clock: Pick<Clock, 'nowMs'>, start: (to: Choice) => Move | null) {
    this.#input = input;
    this.#clock = clock;
    this.#start = start;
  }

  /** A node that goes away may try to give the connection to another. */
  get mayTry(): boolean {
    return this.#clock.nowMs >= this.#notBeforeMs;
  }

  /** Gives the connection to another node, with bytes [at, end): read, not answered. False: it stays. */
  begin(to: Choice, bytes: Buffer, at: number, end: number): boolean {
    const { held } = this.#input;
    this.#input.hold(bytes, at, end);
    this.#move = this.#start(to);
    if (this.#move === null) this.#input.hold(held, 0, held.length);
    return this.#move !== null;
  }

  /** The connection has moved. */
  done(): void {
    this.#move = null;
  }

  /** The connection could not move, and goes on here. */
  failed(): void {
    this.#move = null;
    this.#notBeforeMs = this.#clock.nowMs + this.#againMs;
    this.#againMs = Math.min(2 * this.#againMs, MAX_AGAIN_MS);
  }

  /** The connection has ended. */
  cancel(): void {
    this.#move?.cancel();
    this.#move = null;
  }
}
