/**
 * How an engine stops. With other nodes there, nothing is ended: new connections go to them, and every connection
 * moves to one of them, as soon as it is between two requests.
 *
 *   serving --begin--> draining: LOAD says that we take nothing; the router sends new SYNs away; connections leave
 *                      closing (alone): nothing is accepted; idle connections are closed, responses may end
 *                        `--empty, deadline--> over
 *
 * Listeners stay open for a while after the SYNs go elsewhere: handshakes under way end here.
 */
import assert from 'node:assert';
import type { Connections } from '../../client/connections.ts';
import type { Listeners } from '../../client/listeners.ts';
import type { AnchorFlows } from '../../handoff/anchor/flows.ts';
import type { Guests } from '../../handoff/move/guests.ts';
import type { Moves } from '../../handoff/move/moves.ts';
import type { HalfPipes } from '../../handoff/target/half-pipes.ts';
import type { RelayedRequests } from '../../handoff/target/relayed-requests.ts';
import { IDLE_MS, TICK_MS } from '../../kernel/loop/loop.ts';
import type { Clock, Ticking } from '../../kernel/loop/ports.ts';

/** A handshake that began here takes less. */
const HANDSHAKES_MS = 1000;

export interface DrainPorts {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly connections: Pick<Connections, 'all' | 'size'>;
  readonly listeners: Pick<Listeners, 'close'>;
  readonly router: { stops(): void };
  readonly anchorFlows: Pick<AnchorFlows, 'size'>;
  readonly halfPipes: Pick<HalfPipes, 'size' | 'drain'>;
  readonly relayed: Pick<RelayedRequests, 'size'>;
  readonly moves: Pick<Moves, 'hasRoomToLeave' | 'incoming'>;
  readonly guests: Pick<Guests, 'leaving'>;
  /** The nodes that can go on with this one's connections, by index. */
  takers(): number[];
  /** Nothing is left, or time is up. `leftRoutes`: connections go on elsewhere, and the router has to stay. */
  over(leftRoutes: boolean): void;
}

/** What there is of a drain that has begun. */
interface Progress {
  readonly startedMs: number;
  endsAtMs: number;
  /** Nodes that take connections. Fewer as links go down. */
  takers: number[];
  turn: number;
  isListening: boolean;
  readonly leavesRoutes: boolean;
}

export class Drain implements Ticking {
  readonly #ports: DrainPorts;
  #progress: Progress | null = null;

  constructor(ports: DrainPorts) {
    this.#ports = ports;
  }

  /** SETUP and MIGRATE are refused. */
  get hasBegun(): boolean {
    return this.#progress !== null;
  }

  /** Connections end with their next response: no other node takes them. */
  get isClosing(): boolean {
    return this.#progress?.leavesRoutes === false;
  }

  begin(deadlineMs: number): void {
    assert(this.#progress === null, 'an engine drains once');
    const { clock, halfPipes, connections, takers } = this.#ports;
    const startedMs = clock.nowMs;
    const nodes = takers();
    const leavesRoutes = nodes.length > 0;
    const endsAtMs = startedMs + deadlineMs;
    const progress = { startedMs, endsAtMs, takers: nodes, turn: 0, isListening: true, leavesRoutes };
    halfPipes.drain();
    if (!leavesRoutes) {
      this.#stopListening(progress);
      for (const connection of connections.all) connection.closeWhenIdle();
    }
    this.#progress = progress;
  }

  /** The drain may take at most `deadlineMs` from now on. */
  hurry(deadlineMs: number): void {
    assert(this.#progress !== null, 'the drain has begun');
    this.#progress.endsAtMs = Math.min(this.#progress.endsAtMs, this.#ports.clock.nowMs + deadlineMs);
  }

  /** The node that a connection is to go to; null: it stays, or none can be reached. */
  next(): number | null {
    const progress = this.#progress;
    if (progress === null || progress.takers.length === 0) return null;
    progress.turn = (progress.turn + 1) % progress.takers.length;
    return progress.takers[progress.turn];
  }

  /** Lets connections go that can go now. */
  turn(): void {
    const { moves, connections } = this.#ports;
    if (this.#progress?.leavesRoutes !== true || !moves.hasRoomToLeave) return;
    for (const connection of connections.all) {
      if (!moves.hasRoomToLeave) return;
      const node = this.next();
      if (node === null) return;
      connection.leaveFor(node);
    }
  }

  get waitMs(): number {
    return this.hasBegun ? TICK_MS : IDLE_MS;
  }

  round(nowMs: number): void {
    const progress = this.#progress;
    if (progress === null) return;
    const { connections, anchorFlows, halfPipes, relayed, moves, guests } = this.#ports;
    if (progress.leavesRoutes) {
      progress.takers = this.#ports.takers();
      if (nowMs - progress.startedMs >= HANDSHAKES_MS) this.#stopListening(progress);
    }
    const served = connections.size + anchorFlows.size + halfPipes.size + relayed.size;
    const busy = served + moves.incoming + guests.leaving;
    const isOver = nowMs >= progress.endsAtMs || (busy === 0 && !progress.isListening);
    if (isOver) this.#ports.over(progress.leavesRoutes);
  }

  #stopListening(progress: Progress): void {
    if (!progress.isListening) return;
    progress.isListening = false;
    // Before: a router that finds no listener takes the process for killed.
    this.#ports.router.stops();
    this.#ports.listeners.close();
  }
}
