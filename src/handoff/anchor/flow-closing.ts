/**
 * A flow whose connection is closed, and whose targets have not let go yet: they still deliver what they owe.
 *
 *   targets left --RESET_OK of all, or all of theirs acknowledged--> over (it lingers)
 *              `--one is lost that owes bytes--> resetting --RESETS of them, or the client's own--> over
 *
 * What a lost target owed nobody sends any more, and the FIN that lies behind it means nothing to the client.
 */
import { SystemError } from '../../kernel/linux/errors.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS } from '../flow/agreed.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { FlowEntry } from './flow-entry.ts';
import type { FlowTargets } from './flow-targets.ts';
import type { Remains } from './linger.ts';
import type { SocketKernel } from './own-socket.ts';

/** Nobody acknowledges a reset, so it is repeated: so often, and so long after the one before. */
const RESETS = 5;
const RESET_AGAIN_MS = 1000;
/** A number that lies so far before the own socket's is in no range: in its place rule ended sets what the client expects. */
const OUT_OF_RANGE = -(2 ** 30);

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
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #kernel: Pick<SocketKernel, 'reset'>;
  readonly #closedAtMs: number;
  #discarding: boolean;
  /** Resets that are still to be sent, and when the last one was. */
  #resetsLeft = 0;
  #resetAtMs = 0;

  constructor(closed: Closed, clock: Pick<Clock, 'nowMs'>, kernel: Pick<SocketKernel, 'reset'>) {
    this.#closed = closed;
    this.#clock = clock;
    this.#kernel = kernel;
    this.#closedAtMs = clock.nowMs;
    this.#discarding = closed.discard;
  }

  /** The flow's slot in the router's table. */
  get slot(): number {
    return this.#closed.entry.slot;
  }

  /** Looks whether the targets have let go, or are waited for no more; called now and then. */
  isOver(nowMs: number): boolean {
    const { entry, targets } = this.#closed;
    const sinceMs = nowMs - this.#closedAtMs;
    // The client takes no more of it, and will say so to nobody again.
    const takesNoMore = entry.wasReset || (sinceMs >= FLOW_LINGER_MS && entry.isReplaced);
    if (takesNoMore) this.#discard();
    targets.forgetImplicit(entry);
    if (sinceMs >= FLOW_LINGER_LIMIT_MS) return true;
    const resets = this.#resetsLeft > 0 && !takesNoMore;
    if (resets && nowMs - this.#resetAtMs >= RESET_AGAIN_MS) this.#reset();
    return targets.size === 0 && !resets;
  }

  /** A target is lost that owed bytes. */
  lost(): void {
    if (this.#discarding) return;
    this.#discard();
    this.#resetsLeft = RESETS;
    this.#reset();
  }

  /** The targets drop what they still owe. */
  #discard(): void {
    if (this.#discarding) return;
    this.#discarding = true;
    const { entry, targets, epoch } = this.#closed;
    targets.reset(entry, epoch, true);
  }

  #reset(): void {
    const { ends, rules } = this.#closed.entry;
    this.#resetsLeft--;
    this.#resetAtMs = this.#clock.nowMs;
    try {
      this.#kernel.reset(ends, (rules.ownNext + OUT_OF_RANGE) >>> 0);
    } catch (error) {
      // No way leads to the client: the next reset may find one.
      if (!(error instanceof SystemError)) throw error;
    }
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
