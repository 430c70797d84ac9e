/**
 * Closed flows whose targets have let go. Their entry stays until the client has been silent for a while, and the
 * kernel waits neither for an acknowledgement of what the anchor's socket sent nor for the client's FIN: it would send
 * again, or answer, and without the entry in the socket's own sequence space. There are thousands of these, so each
 * holds what it needs and no more, and is looked at seldom.
 *
 *   closed --LINGER_SETTLE_MS: the FINs are through, as a rule--> silent for FLOW_LINGER_MS --> released
 */

import { TcpState } from '../../kernel/linux/repair-options.ts';
import { FIN_PENDING_STATES } from '../../kernel/linux/tcp-repair.ts';
import { Deadlines, type Timed } from '../../kernel/loop/deadlines.ts';
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS } from '../flow/agreed.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { SocketLook } from '../flow/socket-look.ts';
import type { FlowTable } from '../flow/table.ts';

/** When the first look is: what comes at once after the close is heard by then. */
const LINGER_SETTLE_MS = 500;
/**
 * FIN-WAIT-2 of such a socket, in place of the kernel's 60 s. A client that closes later has no socket to answer it: it
 * gets a reset, which bears the number that the client itself has named.
 */
export const FIN_WAIT_2_SECONDS = 2;
const FIN_STATES: readonly number[] = [...FIN_PENDING_STATES, TcpState.FIN_WAIT2];

/** What is left of a flow. */
export interface Remains {
  readonly slot: number;
  readonly closedAtMs: number;
  /** The closed socket's FIN has a place in the client's space, and is waited for. */
  readonly hasFin: boolean;
}

interface LingeringFlow extends Remains, Timed {
  /** Segments of the client, at the last look. */
  segments: number;
}

export class LingeringFlows {
  readonly #table: FlowTable;
  readonly #sockets: SocketLook;
  readonly #settling: Deadlines<LingeringFlow>;
  readonly #silent: Deadlines<LingeringFlow>;
  #nowMs = 0;

  constructor(table: FlowTable, sockets: SocketLook) {
    this.#table = table;
    this.#sockets = sockets;
    this.#settling = new Deadlines<LingeringFlow>(LINGER_SETTLE_MS, (flow) => this.#settled(flow));
    this.#silent = new Deadlines<LingeringFlow>(FLOW_LINGER_MS, (flow) => this.#look(flow));
  }

  get size(): number {
    return this.#settling.size + this.#silent.size;
  }

  add({ slot, closedAtMs, hasFin }: Remains, nowMs: number): void {
    this.#settling.set({ slot, closedAtMs, hasFin, segments: 0, places: [] }, nowMs);
  }

  /** Looks at some of those whose time has come. Returns whether there are others. */
  run(nowMs: number): boolean {
    this.#nowMs = nowMs;
    const settles = this.#settling.runSome(nowMs);
    return this.#silent.runSome(nowMs) || settles;
  }

  /** The first look. */
  #settled(flow: LingeringFlow): void {
    flow.segments = this.#table.segments(flow.slot);
    this.#silent.set(flow, this.#nowMs);
  }

  /** FLOW_LINGER_MS after the look before. */
  #look(flow: LingeringFlow): void {
    const segments = this.#table.segments(flow.slot);
    const waits = segments !== flow.segments || this.#waitsForFin(flow);
    flow.segments = segments;
    if (!waits || this.#nowMs - flow.closedAtMs >= FLOW_LINGER_LIMIT_MS) this.#release(flow);
    else this.#silent.set(flow, this.#nowMs);
  }

  /** Whether the kernel still waits for the end of what the anchor's socket sent, its FIN, or for the client's. */
  #waitsForFin({ slot, hasFin }: LingeringFlow): boolean {
    // A client that uses the port anew (rule syn-ends-flow) acknowledges nothing of the old connection any more.
    if (!hasFin || !this.#table.isInstalled(slot)) return false;
    const { client, public: pub } = this.#table.tupleOf(slot);
    return FIN_STATES.includes(this.#sockets.of(pub, client));
  }

  #release(flow: LingeringFlow): void {
    this.#settling.clear(flow);
    this.#silent.clear(flow);
    this.#table.uninstall(flow.slot);
    this.#table.release(flow.slot);
  }

  /** Gives all slots back at once. */
  discard(): void {
    for (const flow of [...this.#settling.items, ...this.#silent.items]) this.#release(flow);
  }

  status(most: number): StatusParts[] {
    return [...this.#settling.items, ...this.#silent.items].slice(0, most).map(({ slot }) => ({
      role: 'anchor',
      state: 'closing',
      entry: { slot, acknowledged: this.#table.ack(slot) },
      ends: this.#table.tupleOf(slot),
      nodes: [],
    }));
  }
}
