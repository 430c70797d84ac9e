/**
 * How an upstream does, as its own requests tell: it fails from the first that it fails to the next that it answers.
 * Who is told of it is told at most every `SAY_AGAIN_MS`, and then of how many there were.
 */
import { LineLimit, SAY_AGAIN_MS } from '../base/line-limit.ts';

/** What is to be said in the log; null: nothing now. */
export type Word =
  | { readonly kind: 'fails'; readonly reason: string; readonly failures: number }
  | { readonly kind: 'answers again'; readonly afterMs: number }
  | null;

export class UpstreamHealth {
  /** Why the newest request failed; null when it did not. */
  reason: string | null = null;
  /** Failures in a row. */
  failures = 0;
  #sinceMs = 0;
  readonly #limit = new LineLimit(1, SAY_AGAIN_MS);
  /** The newest word was that it fails. */
  #isSaid = false;

  failed(reason: string, nowMs: number): Word {
    if (this.reason === null) this.#sinceMs = nowMs;
    this.reason = reason;
    this.failures++;
    const failures = this.#limit.sum('fails', nowMs);
    if (failures === 0) return null;
    this.#isSaid = true;
    return { kind: 'fails', reason, failures };
  }

  answered(nowMs: number): Word {
    if (this.reason === null) return null;
    this.reason = null;
    this.failures = 0;
    if (!this.#isSaid) return null;
    this.#isSaid = false;
    return { kind: 'answers again', afterMs: nowMs - this.#sinceMs };
  }

  /** How long it has failed; 0 when it does not. */
  failingMs(nowMs: number): number {
    return this.reason === null ? 0 : nowMs - this.#sinceMs;
  }
}
