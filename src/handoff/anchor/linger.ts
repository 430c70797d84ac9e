/**
 * A closed flow whose targets have let go. Its entry stays until the client has been silent for a while, and the kernel
 * waits neither for an acknowledgement of what the own socket sent nor for the client's FIN: it would send again, or
 * answer, and without the entry in the socket's own sequence space. There are thousands of these, so each holds what it
 * needs and no more, and is looked at seldom.
 *
 *   closed --LINGER_SETTLE_MS: the FINs are through, as a rule--> silent for FLOW_LINGER_MS --> released
 */

import { TcpState } from '../../kernel/linux/repair-options.ts';
import { FIN_PENDING_STATES } from '../../kernel/linux/tcp-repair.ts';
import type { Engine } from '../../node/engine/engine.ts';
import { FLOW_LINGER_LIMIT_MS } from '../flow/agreed.ts';
import type { FlowStatus } from '../flow/flow-status.ts';
import { statusOf } from '../flow/flow-status.ts';

/** When the first look is: what comes at once after the close is heard by then. */
export const LINGER_SETTLE_MS = 500;
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

export class LingeringFlow {
  readonly #engine: Engine;
  readonly #slot: number;
  readonly #closedAtMs: number;
  readonly #hasFin: boolean;
  /** Of the client, at the last look. */
  #segments = 0;

  constructor(engine: Engine, { slot, closedAtMs, hasFin }: Remains) {
    this.#engine = engine;
    this.#slot = slot;
    this.#closedAtMs = closedAtMs;
    this.#hasFin = hasFin;
    engine.settlingFlows.set(this, engine.loop.nowMs);
  }

  /** The first look. */
  settled(nowMs: number): void {
    this.#segments = this.#engine.flows.segments(this.#slot);
    this.#engine.silentFlows.set(this, nowMs);
  }

  /** FLOW_LINGER_MS after the look before. */
  look(nowMs: number): void {
    const segments = this.#engine.flows.segments(this.#slot);
    const waits = segments !== this.#segments || this.#waitsForFin();
    this.#segments = segments;
    if (!waits || nowMs - this.#closedAtMs >= FLOW_LINGER_LIMIT_MS) this.release();
    else this.#engine.silentFlows.set(this, nowMs);
  }

  /** Whether the kernel still waits for the end of what the own socket sent, its FIN, or for the client's. */
  #waitsForFin(): boolean {
    const { flows, sockets } = this.#engine;
    // A client that uses the port anew (rule syn-ends-flow) acknowledges nothing of the old connection any more.
    if (!this.#hasFin || !flows.isInstalled(this.#slot)) return false;
    const { client, public: pub } = flows.endsOf(this.#slot);
    return FIN_STATES.includes(sockets.of(pub, client));
  }

  /** Gives the slot back. */
  release(): void {
    const { flows, settlingFlows, silentFlows } = this.#engine;
    settlingFlows.clear(this);
    silentFlows.clear(this);
    flows.uninstall(this.#slot);
    flows.release(this.#slot);
  }

  status(): FlowStatus {
    const { flows } = this.#engine;
    const slot = this.#slot;
    const entry = { slot, acknowledged: flows.ack(slot) };
    const ends = flows.endsOf(slot);
    return statusOf(this.#engine, { role: 'anchor', state: 'closing', entry, ends, nodes: [] });
  }
}
