/**
 * How an engine stops. With other nodes there, nothing is ended: new connections go to them, and every connection
 * moves to one of them, as soon as it is between two requests.
 *
 *   draining: LOAD says that we take nothing; the router sends new SYNs away; connections leave --empty, deadline--> over
 *   closing (alone): nothing is accepted; idle connections are closed, responses may end --empty, deadline--> over
 *
 * Listeners stay open for a while after the SYNs go elsewhere: handshakes under way end here.
 */
import type { Engine } from './engine.ts';

/** A handshake that began here takes less. */
const HANDSHAKES_MS = 1000;
/** Connections on their way at a time, and bytes of their states: none is frozen for long. */
const MAX_UNDER_WAY = 256;
const MAX_UNDER_WAY_BYTES = 1024 * 1024;

export class Drain {
  readonly #engine: Engine;
  readonly #startedMs: number;
  #endsAtMs: number;
  /** Nodes that take connections, by index. Fewer as links go down. */
  #takers: number[];
  #turn = 0;
  #listening = true;
  /** Connections go on elsewhere: the router has to stay. */
  readonly leftRoutes: boolean;

  constructor(engine: Engine, deadlineMs: number) {
    this.#engine = engine;
    this.#startedMs = engine.loop.nowMs;
    this.#endsAtMs = this.#startedMs + deadlineMs;
    this.#takers = engine.takers();
    this.leftRoutes = this.#takers.length > 0;
    engine.halfPipes.drain();
    if (!this.leftRoutes) {
      this.#stopListening();
      for (const connection of engine.connections.all) connection.closeWhenIdle();
      return;
    }
  }

  /** At most so long from now on. */
  hurry(deadlineMs: number): void {
    this.#endsAtMs = Math.min(this.#endsAtMs, this.#engine.loop.nowMs + deadlineMs);
  }

  /** The node that a connection is to go to; null: none can be reached. */
  next(): number | null {
    if (this.#takers.length === 0) return null;
    this.#turn = (this.#turn + 1) % this.#takers.length;
    return this.#takers[this.#turn];
  }

  get #hasRoom(): boolean {
    const { underWay, underWayBytes } = this.#engine;
    return underWay.size < MAX_UNDER_WAY && underWayBytes < MAX_UNDER_WAY_BYTES;
  }

  /** Lets connections go that can go now; called every turn. */
  give(): void {
    if (!this.leftRoutes || !this.#hasRoom) return;
    for (const connection of this.#engine.connections.all) {
      if (!this.#hasRoom) return;
      const node = this.next();
      if (node === null) return;
      connection.leaveFor(node);
    }
  }

  /** Called now and then. True: nothing is left, or time is up. */
  step(nowMs: number): boolean {
    const engine = this.#engine;
    const since = nowMs - this.#startedMs;
    if (this.leftRoutes) {
      this.#takers = engine.takers();
      if (since >= HANDSHAKES_MS) this.#stopListening();
    }
    if (nowMs >= this.#endsAtMs) return true;
    const busy =
      engine.connections.size + engine.anchorFlows.size + engine.halfPipes.size + engine.relayed.size;
    return busy + engine.arrivals.size + engine.guests.lingering === 0 && !this.#listening;
  }

  #stopListening(): void {
    if (!this.#listening) return;
    this.#listening = false;
    this.#engine.listeners.close();
  }
}
