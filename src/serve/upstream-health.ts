/**
 * How an upstream does, as its own requests tell: it fails from the first that it fails to the next that it answers.
 * Who is told of it is told at most every `SAY_AGAIN_MS`, and then of how many there were.
 */

export const SAY_AGAIN_MS = 10_000;

/** What is to be said in the log; null: nothing now. */
export type Word =
  | { readonly kind: 'fails'; readonly reason: string; readonly failures: number }
  | { readonly kind: 'answers again'; readonly afterMs: number }
  | null;

export class UpstreamHealth {
  /** Why the newest request failed; null when it did not. */
  reason: string | null = null;
  /** In a row. */
  failures = 0;
  #sinceMs = 0;
  #unsaid = 0;
  #saidAtMs = Number.NEGATIVE_INFINITY;
  /** The newest word was that it fails. */
  #isSaid = false;

  failed(reason: string, nowMs: number): Word {
    if (this.reason === null) this.#sinceMs = nowMs;
    this.reason = reason;
    this.failures++;
    this.#unsaid++;
    if (nowMs - this.#saidAtMs < SAY_AGAIN_MS) return null;
    const failures = this.#unsaid;
    this.#unsaid = 0;
    this.#saidAtMs = nowMs;
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
