/**
 * When a target has failed: may its request be served again? Only when no byte of its answer has reached the
 * client, and none can any more.
 *
 *   lease:  wait until the target's lease has run out. From then on its router lets no first byte pass.
 *   probe:  have the client say what it holds (a window probe), and wait for a segment of it.
 *   decide: acknowledged exactly up to where the target was to start: serve again. To the end of a response that was
 *           promised: all is well. In between: the dead target's kernel may still deliver what it was given of a
 *           promised response; any other is broken, and the connection ends.
 */
import type { Connection } from '../engine/connection.ts';
import type { Engine } from '../engine/engine.ts';
import { distance } from '../router/ranges.ts';
import type { AnchorFlow } from './flow.ts';
import type { Handling } from './handling.ts';
import { SETUP_LEASE_MS } from './target.ts';

/** Clocks, and segments that left at the lease's last moment. */
const LEASE_MARGIN_MS = 50;
const PROBE_INTERVAL_MS = 200;
/** A client that answers no probe for so long is taken for gone. */
const PROBE_LIMIT_MS = 5000;

export class TakeOver implements Handling {
  readonly #engine: Engine;
  readonly #flow: AnchorFlow;
  readonly #connection: Connection;
  readonly #start: number;
  /** Where a promised response ends; null when there was no promise. */
  readonly #end: number | null;
  readonly #node: number;
  readonly #leaseEndMs: number;
  #segments = -1;
  #probedAtMs = 0;
  #over = false;

  constructor(
    engine: Engine,
    flow: AnchorFlow,
    connection: Connection,
    start: number,
    end: number | null,
    node: number,
    sentAtMs: number,
  ) {
    this.#engine = engine;
    this.#flow = flow;
    this.#connection = connection;
    this.#start = start;
    this.#end = end;
    this.#node = node;
    this.#leaseEndMs = sentAtMs + SETUP_LEASE_MS + LEASE_MARGIN_MS;
    engine.takeOvers.add(this);
  }

  /** One step; called every tick while it lasts. Returns true when it is over. */
  tick(nowMs: number): boolean {
    if (this.#over) return true;
    if (nowMs < this.#leaseEndMs) return false;
    const acknowledged = this.#flow.acknowledged;
    const beyond = distance(this.#start, acknowledged);
    if (beyond > 0 && this.#end === null)
      return this.#break('the target failed in the middle of its response');
    if (this.#end !== null && distance(this.#end, acknowledged) >= 0) return this.#settle();
    if (beyond === 0 && this.#segments >= 0 && this.#flow.segments !== this.#segments)
      return this.#serveAgain();
    if (nowMs - this.#leaseEndMs > PROBE_LIMIT_MS) return this.#break('the client does not answer');
    if (this.#segments >= 0 && nowMs - this.#probedAtMs < PROBE_INTERVAL_MS) return false;
    if (this.#segments < 0) this.#segments = this.#flow.segments;
    this.#probedAtMs = nowMs;
    this.#flow.probe();
    return false;
  }

  #serveAgain(): true {
    this.#over = true;
    this.#engine.counters.add('handoffs_taken_over');
    this.#flow.cancelTarget(this.#start);
    this.#connection.again(this.#node);
    return true;
  }

  #settle(): true {
    this.#over = true;
    this.#flow.settle();
    this.#connection.settled();
    return true;
  }

  #break(reason: string): true {
    this.#over = true;
    this.#connection.broken(reason);
    return true;
  }

  body(): void {
    throw new Error('a request whose body follows is not handed off with anchor');
  }

  get wantsBody(): boolean {
    return true;
  }

  writable(): void {
    // Nothing is sent until it is decided.
  }

  cancel(): void {
    this.#over = true;
  }
}
