/**
 * A flow whose connection is closed, and whose targets have not let go yet: they still deliver what they owe.
 *
 *   targets left --RESET_OK of all, or all of theirs acknowledged--> over (it lingers)
 */
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS } from '../flow/agreed.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { FlowEntry } from './flow-entry.ts';
import type { FlowTargets } from './flow-targets.ts';
import type { Remains } from './linger.ts';

/** What is closed. */
export interface Closed {
  readonly entry: FlowEntry;
  /** The targets, which have been asked to let go. */
  readonly targets: FlowTargets;
  readonly epoch: number;
  /** The closed socket's FIN has a place in the client's space, and is waited for. */
  readonly hasFin: boolean;
  /** The targets were asked to drop what they owe as well. */
  readonly discard: boolean;
}

export class FlowClosing {
  readonly #closed: Closed;
  readonly #closedAtMs: number;
  #discarding: boolean;

  constructor(closed: Closed, nowMs: number) {
    this.#closed = closed;
    this.#closedAtMs = nowMs;
    this.#discarding = closed.discard;
  }

  /** The flow's slot in the router's table. */
  get slot(): number {
    return this.#closed.entry.slot;
  }

  /** Looks whether the targets have let go, or are waited for no more; called now and then. */
  isOver(nowMs: number): boolean {
    const { entry, targets, epoch } = this.#closed;
    const sinceMs = nowMs - this.#closedAtMs;
    // The client takes no more of it, and will say so to nobody again.
    const takesNoMore = entry.wasReset || (sinceMs >= FLOW_LINGER_MS && entry.isReplaced);
    if (takesNoMore && !this.#discarding) {
      this.#discarding = true;
      targets.reset(entry, epoch, true);
    }
    targets.forgetImplicit(entry);
    return targets.size === 0 || sinceMs >= FLOW_LINGER_LIMIT_MS;
  }

  /** Ends the conversations; what lingers is returned. */
  end(): Remains {
    const { entry, targets, hasFin } = this.#closed;
    targets.closeAll();
    return { slot: entry.slot, closedAtMs: this.#closedAtMs, hasFin: hasFin && !this.#discarding };
  }

  /** Gives everything back at once. */
  discard(): void {
    this.#closed.targets.closeAll();
    this.#closed.entry.release();
  }

  status(): StatusParts {
    const { entry, targets } = this.#closed;
    return { role: 'anchor', state: 'closing', entry, ends: entry.ends, nodes: targets.nodes };
  }
}
