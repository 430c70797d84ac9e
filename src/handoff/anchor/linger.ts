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
import { fewOf } from '../../kernel/loop/deadlines.ts';
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS } from '../flow/agreed.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { SocketLook } from '../flow/socket-look.ts';
import type { FlowTable } from '../flow/table.ts';
import { type LingeringFlow, LingerQueue } from './linger-queue.ts';

/** When the first look is: what comes at once after the close is heard by then. */
const LINGER_SETTLE_MS = 500;
/**
 * FIN-WAIT-2 of such a socket, in place of the kernel's 60 s. A client that closes later has no socket to answer it: it
 * gets a reset, which bears the number that the client itself has named.
 */
export const FIN_WAIT_2_SECONDS = 2;
const FIN_STATES: readonly number[] = [...FIN_PENDING_STATES, TcpState.FIN_WAIT2];

/** What is left of a flow that is closed. */
export type Remains = Omit<LingeringFlow, 'segments'>;

export class LingeringFlows {
  readonly #table: FlowTable;
  readonly #sockets: SocketLook;
  /** Before the first look, and after it. */
  readonly #settling = new LingerQueue();
  readonly #silent = new LingerQueue();

  constructor(table: FlowTable, sockets: SocketLook) {
    this.#table = table;
    this.#sockets = sockets;
  }

  get size(): number {
    return this.#settling.size + this.#silent.size;
  }

  add({ slot, closedAtMs, hasFin }: Remains, nowMs: number): void {
    this.#settling.push(nowMs + LINGER_SETTLE_MS, { slot, closedAtMs, hasFin, segments: 0 });
  }

  /** Looks at some of those whose time has come. */
  runSome(nowMs: number): void {
    for (let most = fewOf(nowMs - this.#settling.firstDueMs); most > 0; most--) this.#settle(nowMs);
    for (let most = fewOf(nowMs - this.#silent.firstDueMs); most > 0; most--) this.#look(nowMs);
  }

  isDue(nowMs: number): boolean {
    return Math.min(this.#settling.firstDueMs, this.#silent.firstDueMs) <= nowMs;
  }

  /** The first look. */
  #settle(nowMs: number): void {
    if (this.#settling.firstDueMs > nowMs) return;
    const { slot, closedAtMs, hasFin } = this.#settling.shift();
    this.#wait({ slot, closedAtMs, hasFin, segments: this.#table.segments(slot) }, nowMs);
  }

  #wait(flow: LingeringFlow, nowMs: number): void {
    this.#silent.push(nowMs + FLOW_LINGER_MS, flow);
  }

  /** FLOW_LINGER_MS after the look before. */
  #look(nowMs: number): void {
    if (this.#silent.firstDueMs > nowMs) return;
    const flow = this.#silent.shift();
    const { slot, closedAtMs, hasFin } = flow;
    const segments = this.#table.segments(slot);
    const waits = segments !== flow.segments || this.#waitsForFin(flow);
    if (!waits || nowMs - closedAtMs >= FLOW_LINGER_LIMIT_MS) this.#release(slot);
    else this.#wait({ slot, closedAtMs, hasFin, segments }, nowMs);
  }

  /** Whether the kernel still waits for the end of what the anchor's socket sent, its FIN, or for the client's. */
  #waitsForFin({ slot, hasFin }: LingeringFlow): boolean {
    // A client that uses the port anew (rule syn-ends-flow) acknowledges nothing of the old connection any more.
    if (!hasFin || !this.#table.isInstalled(slot)) return false;
    const { client, public: pub } = this.#table.tupleOf(slot);
    return FIN_STATES.includes(this.#sockets.of(pub, client));
  }

  #release(slot: number): void {
    this.#table.uninstall(slot);
    this.#table.release(slot);
  }

  /** Gives all slots back at once. */
  discard(): void {
    for (const queue of [this.#settling, this.#silent])
      while (queue.size > 0) this.#release(queue.shift().slot);
  }

  status(most: number): StatusParts[] {
    const settling = this.#settling.slots(most);
    return settling.concat(this.#silent.slots(most - settling.length)).map((slot) => ({
      role: 'anchor',
      state: 'closing',
      entry: { slot, acknowledged: this.#table.ack(slot) },
      ends: this.#table.tupleOf(slot),
      nodes: [],
    }));
  }
}
