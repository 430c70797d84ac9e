/**
 * Whether a server's new clients go to boosters. Pure: loads and the time are arguments.
 *
 *     load   1000 |
 *                 |   from onPermille on: on, at once
 *   onPermille   -+-
 *                 |   between: nothing changes
 *   offPermille  -+-
 *                 |   below, for holdMs on end: off
 *               0 |
 *
 * With its clients the load goes elsewhere, and comes back with them: one that is off again too soon comes on again, and
 * each time this happens it stays on twice as long. What was said by hand holds until something else is said.
 */
import type { BoostConfig } from '../base/config/config.ts';
import type { BoostCause } from './quick-load.ts';

export const BOOST_MODES = ['on', 'off', 'auto'] as const;
export type BoostMode = (typeof BOOST_MODES)[number];

/** What it stands at, and why. */
export interface BoostState {
  readonly on: boolean;
  readonly why: 'by hand' | BoostCause | null;
  readonly sinceMs: number;
}

/** How long the load has to be low. */
export const MIN_HOLD_MS = 2000;
/** The longest hold, however often the switch came on again. */
export const MAX_HOLD_MS = 64_000;
/** A switch that was off for so long holds MIN_HOLD_MS the next time. */
export const CALM_MS = 60_000;

const NEVER = Number.NEGATIVE_INFINITY;

export class BoostSwitch {
  readonly #options: Pick<BoostConfig, 'onPermille' | 'offPermille'>;
  #mode: BoostMode = 'auto';
  #state: BoostState = { on: false, why: null, sinceMs: NEVER };
  #holdMs = MIN_HOLD_MS;
  /** Since when the load is low; infinite while it is not. */
  #lowSinceMs = Number.POSITIVE_INFINITY;

  constructor(options: Pick<BoostConfig, 'onPermille' | 'offPermille'>) {
    this.#options = options;
  }

  get mode(): BoostMode {
    return this.#mode;
  }

  get state(): BoostState {
    return this.#state;
  }

  /** What is said by hand; it takes effect with the next look. */
  set(mode: BoostMode): void {
    this.#mode = mode;
  }

  /** Looks at the load. Returns whether it is on now and was not, or the other way round. */
  look(nowMs: number, permille: number, cause: BoostCause): boolean {
    const { on } = this.#state;
    if (permille >= this.#options.offPermille) this.#lowSinceMs = Number.POSITIVE_INFINITY;
    else this.#lowSinceMs = Math.min(this.#lowSinceMs, nowMs);
    if (this.#mode !== 'auto') return this.#become(nowMs, this.#mode === 'on', 'by hand');
    if (!on) return permille >= this.#options.onPermille && this.#turnOn(nowMs, cause);
    return nowMs - this.#lowSinceMs >= this.#holdMs && this.#become(nowMs, false, null);
  }

  #turnOn(nowMs: number, cause: BoostCause): boolean {
    const isSoon = nowMs - this.#state.sinceMs < CALM_MS;
    this.#holdMs = isSoon ? Math.min(2 * this.#holdMs, MAX_HOLD_MS) : MIN_HOLD_MS;
    return this.#become(nowMs, true, cause);
  }

  #become(nowMs: number, on: boolean, why: BoostState['why']): boolean {
    if (this.#state.on === on) return false;
    this.#state = { on, why: on ? why : null, sinceMs: nowMs };
    return true;
  }
}
