/**
 * A flow whose connection is closed, and whose targets have not let go yet: they still deliver what they owe.
 *
 *   targets left --RESET_OK of all, or all of theirs acknowledged--> lingering
 */
import type { Engine } from '../../node/engine/engine.ts';
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS } from '../flow/agreed.ts';
import type { FlowStatus } from '../flow/flow-status.ts';
import { statusOf } from '../flow/flow-status.ts';
import type { FlowEntry } from './flow-entry.ts';
import type { FlowTargets } from './flow-targets.ts';
import { LingeringFlow } from './linger.ts';

/** What is closed. */
export interface Closed {
  readonly entry: FlowEntry;
  readonly targets: FlowTargets;
  readonly epoch: number;
  /** The closed socket's FIN has a place in the client's space, and is waited for. */
  readonly hasFin: boolean;
}

export class FlowClosing {
  readonly #engine: Engine;
  readonly #closed: Closed;
  readonly #closedAtMs: number;
  #discarding: boolean;

  /** The targets have been asked to let go. `discard`: of what they owe as well. */
  constructor(engine: Engine, closed: Closed, discard: boolean) {
    this.#engine = engine;
    this.#closed = closed;
    this.#closedAtMs = engine.loop.nowMs;
    this.#discarding = discard;
    if (closed.targets.size > 0) engine.closingFlows.add(this);
    else this.#linger();
  }

  /** Called now and then. */
  awaitTargets(nowMs: number): void {
    const { entry, targets, epoch } = this.#closed;
    const sinceMs = nowMs - this.#closedAtMs;
    // The client takes no more of it, and will say so to nobody again.
    const isOver = entry.wasReset || (sinceMs >= FLOW_LINGER_MS && entry.isReplaced);
    if (isOver && !this.#discarding) {
      this.#discarding = true;
      targets.reset(entry, epoch, true);
    }
    targets.forgetImplicit(entry);
    if (targets.size === 0 || sinceMs >= FLOW_LINGER_LIMIT_MS) this.#linger();
  }

  #linger(): void {
    const { entry, targets, hasFin } = this.#closed;
    targets.closeAll();
    this.#engine.closingFlows.delete(this);
    new LingeringFlow(this.#engine, {
      slot: entry.slot,
      closedAtMs: this.#closedAtMs,
      hasFin: hasFin && !this.#discarding,
    });
  }

  /** Gives everything back at once. */
  discard(): void {
    this.#engine.closingFlows.delete(this);
    this.#closed.targets.closeAll();
    this.#closed.entry.release();
  }

  status(): FlowStatus {
    const { entry, targets } = this.#closed;
    const { ends } = entry;
    return statusOf(this.#engine, { role: 'anchor', state: 'closing', entry, ends, nodes: targets.nodes });
  }
}
