/**
 * A flow whose connection is closed: its entry stays until the targets have let go, and the client's last segments
 * and the own socket's FIN are through.
 *
 *   targets left --RESET_OK of all, or all acknowledged--> lingering --nothing is waited for--> released
 */
import type { Engine } from '../engine/engine.ts';
import type { FlowEntry } from './flow-entry.ts';
import type { FlowTargets } from './flow-targets.ts';
import { Linger } from './linger.ts';

/** What is closed. */
export interface Closed {
  readonly entry: FlowEntry;
  readonly targets: FlowTargets;
  readonly epoch: number;
  /** The client is gone: nothing more need arrive. */
  readonly discard: boolean;
  /** The closed socket's FIN has a place in the client's space, and is waited for. */
  readonly hasFin: boolean;
  /** Gives everything back. */
  readonly release: () => void;
}

export class FlowClosing {
  readonly #engine: Engine;
  readonly #closed: Closed;
  readonly #linger: Linger;
  #discarding: boolean;

  constructor(engine: Engine, closed: Closed) {
    const { entry, targets, epoch, discard } = closed;
    const { nowMs } = engine.loop;
    this.#engine = engine;
    this.#closed = closed;
    this.#discarding = discard;
    targets.reset(entry, epoch, discard);
    this.#linger = new Linger(entry.ends, engine.sockets, entry.segments, nowMs);
    if (targets.size > 0) engine.closingFlows.add(this);
    else engine.lingeringFlows.set(this, nowMs);
  }

  /** Called now and then while targets have not let go. */
  awaitTargets(nowMs: number): void {
    const { entry, targets, epoch } = this.#closed;
    // The client takes no more of it, and will say so to nobody again.
    const isOver = entry.wasReset || (this.#linger.isOld(nowMs) && entry.isReplaced);
    if (isOver && !this.#discarding) {
      this.#discarding = true;
      targets.reset(entry, epoch, true);
    }
    targets.forgetImplicit(entry);
    if (targets.size > 0 && !this.#linger.isLate(nowMs)) return;
    this.#engine.closingFlows.delete(this);
    this.#engine.lingeringFlows.set(this, nowMs);
  }

  /** Gives the slot back when nothing of the closed connection is waited for any more; else looks again later. */
  linger(nowMs: number): void {
    const { entry, hasFin, release } = this.#closed;
    const waitsForFin = () => hasFin && !this.#discarding && !entry.isReplaced;
    if (this.#linger.waits(nowMs, entry.segments, waitsForFin)) this.#engine.lingeringFlows.set(this, nowMs);
    else release();
  }

  /** Is looked at no more. */
  forget(): void {
    this.#engine.closingFlows.delete(this);
    this.#engine.lingeringFlows.clear(this);
  }
}
