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

/** A request whose target lives waits no longer than this for its answer. */
export const LAST_RESORT_MS = 30_000;
/** How often it is looked whether a target still lives whose answer is late. */
const LATE_LOOK_MS = 100;

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
  /** Handoffs whose target lives, or is the only one, and whose answer is late. */
  readonly #late: Deadlines<Asked>;
  readonly #watchers = new Members<Watcher>();
  readonly #takeOvers = new Set<TakeOver>();

  constructor({ clock, count, setupMs, peerMs }: HandoffsPorts) {
    this.clock = clock;
    this.count = count;
    this.peerMs = peerMs;
    this.#asked = new Deadlines<Asked>(setupMs, (handoff) => handoff.timedOut());
    this.#late = new Deadlines<Asked>(LATE_LOOK_MS, (handoff) => handoff.timedOut());
  }

  /** SETUP was sent, or is sent in a moment. */
  asked(handoff: Asked, sentAtMs: number): void {
    this.#asked.set(handoff, sentAtMs);
  }

  answered(handoff: Asked): void {
    this.#asked.clear(handoff);
    this.#late.clear(handoff);
  }

  /**
   * The target has not answered in time, but its link is up: it is slow, or has just died. When nobody else could answer
   * the request, or nobody else may as long as the target may have begun, it gets more time until one or the other shows.
   * False: it does not.
   */
  waitsOn(handoff: Asked, isAnsweredWithout: boolean, sentAtMs: number): boolean {
    const nowMs = this.clock.exactMs();
    if (isAnsweredWithout || nowMs - sentAtMs >= LAST_RESORT_MS) return false;
    this.count.add('handoffs_waited');
    this.#late.set(handoff, nowMs);
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
    this.#late.run(nowMs);
  }

  get waitMs(): number {
    const waiting = this.#asked.size + this.#late.size + this.#watchers.size + this.#takeOvers.size;
    return waiting > 0 ? TICK_MS : IDLE_MS;
  }

  round(): void {
    // Everything here has its time in every turn.
  }
}
