/**
 * How long the entry of a flow stays when its connection is closed: until the targets have let go, the client has been
 * silent for a while, and the kernel waits neither for an acknowledgement of what the own socket sent nor for the
 * client's FIN. It would send again, or answer, and without the entry in the socket's own sequence space.
 */
import { TcpState } from '../linux/repair-options.ts';
import type { SocketStates } from '../linux/sock-diag.ts';
import { FIN_PENDING_STATES } from '../linux/tcp-repair.ts';
import type { Ends } from './ends.ts';

/** How long a closed connection's entry stays for what is still under way: FIN, its ACK, retransmissions. */
export const FLOW_LINGER_MS = 2000;
/**
 * FIN-WAIT-2 of such a socket, in place of the kernel's 60 s. A client that closes later has no socket to answer it: it
 * gets a reset, which bears the number that the client itself has named.
 */
export const FIN_WAIT_2_SECONDS = 2;
/** A target that has not let go by then has lost its link or its mind. */
export const FLOW_LINGER_LIMIT_MS = 70_000;
/** How often it is looked whether a connection without targets is still waited for. */
export const LINGER_LOOK_MS = 200;
const FIN_STATES: readonly number[] = [...FIN_PENDING_STATES, TcpState.FIN_WAIT2];

export class Linger {
  readonly #ends: Ends;
  readonly #sockets: SocketStates;
  readonly #closedAtMs: number;
  #segments: number;
  #heardAtMs: number;

  /** `segments`: of the client so far. */
  constructor(ends: Ends, sockets: SocketStates, segments: number, nowMs: number) {
    this.#ends = ends;
    this.#sockets = sockets;
    this.#segments = segments;
    this.#closedAtMs = nowMs;
    this.#heardAtMs = nowMs;
  }

  /** Long enough for what was under way when the connection was closed. */
  isOld(nowMs: number): boolean {
    return nowMs - this.#closedAtMs >= FLOW_LINGER_MS;
  }

  /** Nothing is waited for any more, whatever it is. */
  isLate(nowMs: number): boolean {
    return nowMs - this.#closedAtMs >= FLOW_LINGER_LIMIT_MS;
  }

  /** Once the targets have let go. `segments`: of the client so far. `hasFin`: the own socket's is waited for. */
  waits(nowMs: number, segments: number, hasFin: () => boolean): boolean {
    if (segments !== this.#segments) {
      this.#segments = segments;
      this.#heardAtMs = nowMs;
    }
    if (this.isLate(nowMs)) return false;
    return nowMs - this.#heardAtMs < FLOW_LINGER_MS || (hasFin() && this.#socketWaits());
  }

  /** Whether the kernel still waits for the end of what the own socket sent, its FIN, or for the client's. */
  #socketWaits(): boolean {
    return FIN_STATES.includes(this.#sockets.of(this.#ends.public, this.#ends.client));
  }
}
