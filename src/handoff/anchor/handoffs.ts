/** The handoffs of an engine that wait for something, at the anchor: for a target's answer, or for the client. */
import type { Count } from '../../base/counters.ts';
import { Members } from '../../base/members.ts';
import { Deadlines, type Timed } from '../../kernel/loop/deadlines.ts';
import { IDLE_MS, TICK_MS } from '../../kernel/loop/loop.ts';
import type { Clock, Ticking } from '../../kernel/loop/ports.ts';
import type { DeliveryOwner } from '../request/delivery.ts';
import type { AnchorFlow } from './flow.ts';
import type { OwedResponse } from './handoff.ts';
import { TakeOver } from './take-over.ts';

/** A request whose target lives, and is the only one that can answer, waits no longer than this for it. */
export const LAST_RESORT_MS = 30_000;

/** Has sent SETUP, and waits for the answer. */
export interface Asked extends Timed {
  readonly node: number;
  timedOut(): void;
}

/** Waits for the client's acknowledgement, and looks for it whenever it is told to. */
export interface Watcher extends Timed {
  acknowledged(): void;
}

export interface HandoffsPorts {
  readonly clock: Clock;
  readonly count: Count;
  /** timeouts.setupMs, timeouts.peerMs */
  readonly setupMs: number;
  readonly peerMs: number;
}

export class Handoffs implements Ticking {
  readonly clock: Clock;
  readonly count: Count;
  readonly peerMs: number;
  readonly #asked: Deadlines<Asked>;
  readonly #watchers = new Members<Watcher>();
  readonly #takeOvers = new Set<TakeOver>();

  constructor({ clock, count, setupMs, peerMs }: HandoffsPorts) {
    this.clock = clock;
    this.count = count;
    this.peerMs = peerMs;
    this.#asked = new Deadlines<Asked>(setupMs, (handoff) => handoff.timedOut());
  }

  /** SETUP was sent, or is sent in a moment. */
  asked(handoff: Asked, sentAtMs: number): void {
    this.#asked.set(handoff, sentAtMs);
  }

  answered(handoff: Asked): void {
    this.#asked.clear(handoff);
  }

  /**
   * The target has not answered in time, but its link is up: it is slow, or has just died. When nobody else could answer
   * the request, or nobody else may as long as the target says nothing, it gets more time until one or the other shows.
   * False: it does not.
   */
  waitsOn(handoff: Asked, isAnsweredWithout: boolean, sentAtMs: number): boolean {
    const nowMs = this.clock.exactMs();
    if (isAnsweredWithout || nowMs - sentAtMs >= LAST_RESORT_MS) return false;
    this.count.add('handoffs_waited');
    this.#asked.set(handoff, nowMs);
    return true;
  }

  watch(handoff: Watcher): void {
    this.#watchers.add(handoff);
  }

  unwatch(handoff: Watcher): void {
    this.#watchers.delete(handoff);
  }

  /** The target of this response has failed: finds out what the client has of it. */
  takeOver(flow: AnchorFlow, host: DeliveryOwner, owed: OwedResponse): TakeOver {
    const takeOver = new TakeOver(this, flow, host, owed);
    this.#takeOvers.add(takeOver);
    return takeOver;
  }

  turn(nowMs: number): void {
    for (const watcher of this.#watchers.all) if (this.#watchers.has(watcher)) watcher.acknowledged();
    for (const takeOver of this.#takeOvers) if (takeOver.tick(nowMs)) this.#takeOvers.delete(takeOver);
    this.#asked.run(nowMs);
  }

  get waitMs(): number {
    return this.#asked.size + this.#watchers.size + this.#takeOvers.size > 0 ? TICK_MS : IDLE_MS;
  }

  round(): void {
    // Everything here has its time in every turn.
  }
}
