/**
 * The flows of an engine at which it is the anchor, open and closed.
 *
 *   open --the connection closes--> closing --the targets have let go--> lingering --the client is silent--> gone
 *     `--the connection moves, the process ends--> gone
 */
import type { Count } from '../../base/counters.ts';
import { NumberTable } from '../../base/number-table.ts';
import { unlessSocketDied } from '../../kernel/linux/errors.ts';
import { IDLE_MS } from '../../kernel/loop/loop.ts';
import type { Clock, Ticking } from '../../kernel/loop/ports.ts';
import { StateError } from '../../kernel/tcp/state.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { SocketLook } from '../flow/socket-look.ts';
import type { FlowTable } from '../flow/table.ts';
import { AnchorFlow } from './flow.ts';
import { type Closed, FlowClosing } from './flow-closing.ts';
import type { FlowOwner } from './flow-owner.ts';
import { LingeringFlows } from './linger.ts';
import { OwnSocket, type SocketKernel } from './own-socket.ts';

export interface AnchorFlowsPorts {
  readonly clock: Clock;
  readonly count: Count;
  readonly table: FlowTable;
  readonly sockets: SocketLook;
  /** Index of the engine: the router tells it what the flows wait for. */
  readonly engine: number;
  /** limits.halfPipes */
  readonly halfPipes: number;
  readonly kernel: SocketKernel;
}

export class AnchorFlows implements Ticking, FlowOwner {
  readonly clock: Clock;
  readonly count: Count;
  readonly table: FlowTable;
  readonly engine: number;
  readonly halfPipes: number;
  readonly #kernel: SocketKernel;
  readonly #open = new NumberTable<AnchorFlow>();
  readonly #closing = new NumberTable<FlowClosing>();
  readonly #lingering: LingeringFlows;

  constructor(ports: AnchorFlowsPorts) {
    this.clock = ports.clock;
    this.count = ports.count;
    this.table = ports.table;
    this.engine = ports.engine;
    this.halfPipes = ports.halfPipes;
    this.#kernel = ports.kernel;
    this.#lingering = new LingeringFlows(ports.table, ports.sockets);
  }

  /** Open and closed. */
  get size(): number {
    return this.#open.size + this.#closing.size + this.#lingering.size;
  }

  /**
   * Of a client's connection. Null when the router's table is full, the client has just reset the connection, or the
   * connection is one that no half-pipe can go on with, such as one whose timestamps count microseconds.
   */
  create(fd: number): AnchorFlow | null {
    const slot = this.table.allocate();
    if (slot < 0) return null;
    try {
      const flow = new AnchorFlow(this, new OwnSocket(fd, this.#kernel), slot);
      this.#open.set(slot, flow);
      return flow;
    } catch (error) {
      this.table.release(slot);
      return error instanceof StateError ? null : unlessSocketDied(error, null);
    }
  }

  /** The router says that the client has acknowledged what the flow in this slot waits for. */
  acknowledged(slot: number): void {
    this.#open.get(slot)?.current?.acknowledged?.();
  }

  closed(closed: Closed): () => void {
    this.#open.delete(closed.entry.slot);
    const closing = new FlowClosing(closed, this.clock, this.#kernel);
    if (closed.targets.size > 0) this.#closing.set(closing.slot, closing);
    else this.#lingering.add(closing.end(), this.clock.nowMs);
    return () => closing.lost();
  }

  gone(slot: number): void {
    this.#open.delete(slot);
  }

  /** An open flow has its turns by its connection. */
  turn(nowMs: number): void {
    this.#lingering.runSome(nowMs);
  }

  get waitMs(): number {
    return this.#lingering.isDue(this.clock.nowMs) ? 0 : IDLE_MS;
  }

  round(nowMs: number): void {
    for (const closing of this.#closing.all) {
      if (!closing.isOver(nowMs)) continue;
      this.#closing.delete(closing.slot);
      this.#lingering.add(closing.end(), nowMs);
    }
  }

  /** Gives everything back at once: the process ends. */
  discard(): void {
    for (const flow of this.#open.all) flow.discard();
    for (const closing of this.#closing.all) closing.discard();
    this.#closing.clear();
    this.#lingering.discard();
  }

  /** The status of at most `most` flows. */
  status(most: number): StatusParts[] {
    const open = [...this.#open.all, ...this.#closing.all].slice(0, most).map((flow) => flow.status());
    return open.concat(this.#lingering.status(most - open.length));
  }
}
