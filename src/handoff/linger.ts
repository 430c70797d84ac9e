/**
 * How long the entry of a flow stays when its connection is closed: until the targets have let go, the client has been
 * silent for a while, and the kernel waits for no acknowledgement of what the own socket sent. It may send that again,
 * and without the entry in the socket's own sequence space.
 */
import type { Endpoint } from '../linux/address.ts';
import { socketState } from '../linux/sock-diag.ts';
import { FIN_PENDING_STATES } from '../linux/tcp-repair.ts';

/** How long a closed connection's entry stays for what is still under way: FIN, its ACK, retransmissions. */
export const FLOW_LINGER_MS = 2000;
/** A target that has not let go by then has lost its link or its mind. */
export const FLOW_LINGER_LIMIT_MS = 70_000;
/** How often a closed socket is looked for that may still have something to send. */
const SOCKET_CHECK_MS = 500;

export class Linger {
  readonly #closedAtMs: number;
  readonly #ends: { readonly client: Endpoint; readonly public: Endpoint };
  #segments = 0;
  #heardAtMs: number;
  #socketCheckedAtMs = 0;

  constructor(ends: { readonly client: Endpoint; readonly public: Endpoint }, nowMs: number) {
    this.#ends = ends;
    this.#closedAtMs = nowMs;
    this.#heardAtMs = nowMs;
  }

  /** Long enough for what was under way when the connection was closed. */
  isOld(nowMs: number): boolean {
    return nowMs - this.#closedAtMs >= FLOW_LINGER_MS;
  }

  /** `segments`: of the client so far. `hasTargets`: some have not let go. `hasFin`: the own socket's is waited for. */
  waits(nowMs: number, segments: number, hasTargets: boolean, hasFin: boolean): boolean {
    if (segments !== this.#segments) {
      this.#segments = segments;
      this.#heardAtMs = nowMs;
    }
    if (nowMs - this.#closedAtMs >= FLOW_LINGER_LIMIT_MS) return false;
    return hasTargets || nowMs - this.#heardAtMs < FLOW_LINGER_MS || (hasFin && this.#socketOwes(nowMs));
  }

  /** Whether the kernel still waits for an acknowledgement of what the own socket sent, its FIN at the end. */
  #socketOwes(nowMs: number): boolean {
    if (nowMs - this.#socketCheckedAtMs < SOCKET_CHECK_MS) return true;
    this.#socketCheckedAtMs = nowMs;
    return FIN_PENDING_STATES.includes(socketState(this.#ends.public, this.#ends.client));
  }
}
