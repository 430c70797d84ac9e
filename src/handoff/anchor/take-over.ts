/**
 * When a target has failed: how does its response come to its end? What the client has acknowledged of it decides.
 *
 *   all of it:          nothing is missing.
 *   its head and more:  another node goes on from there, when it has the same body (src/protocol/http/continuation.ts). What
 *                       the dead target's kernel still delivers is the same bytes.
 *   a part of its head, or something of a response without identity: one that is only cut off may still deliver what
 *                       it was given of it; when there is no announcement, and none to come, the connection ends.
 *   nothing:            it is served again, from its first byte, when no byte of the failed target can come any more, and
 *                       the client has no later ones: it would keep those, and heads differ in length. It says so (SACK).
 *                       Not with TLS: the failed target may have used the numbers of its records, and no key may seal
 *                       another plaintext by them. What it announced may still arrive; else the connection ends.
 *
 *     lease:  wait until the target's lease has run out. From then on its router lets nothing pass of which the client
 *             has acknowledged nothing. When the target was confirmed: until its node has noticed that the link is
 *             gone, or its rules have run out.
 *     probe:  have the client say what it holds (a window probe), and wait for a segment of it.
 */

import type { Count } from '../../base/counters.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import { ALIVE_LEASE_MS } from '../../kernel/router/control.ts';
import { SETUP_LEASE_MS } from '../flow/lease.ts';
import type { Delivery, DeliveryOwner, SoFar } from '../request/delivery.ts';
import type { AnchorFlow } from './flow.ts';
import type { OwedResponse } from './handoff.ts';
import { bytesBefore, hasAll, hasHead, responseBytes, takeBackAt, takeBackWhole } from './owed-records.ts';

/** Clocks, and segments that left at the lease's last moment. */
const LEASE_MARGIN_MS = 50;
const PROBE_INTERVAL_MS = 200;
/** A client that answers no probe for so long is taken for gone. */
const PROBE_LIMIT_MS = 5000;

export interface TakeOverPorts {
  readonly clock: Clock;
  readonly count: Count;
  /** timeouts.peerMs */
  readonly peerMs: number;
}

export function soFarOf(acknowledged: number, owed: OwedResponse): SoFar {
  const { node, mechanism, status } = owed;
  return { node, mechanism, status, bytes: responseBytes(acknowledged, owed) };
}

export class TakeOver implements Delivery {
  readonly #count: Count;
  readonly #flow: AnchorFlow;
  readonly #host: DeliveryOwner;
  readonly #owed: OwedResponse;
  readonly #leaseEndMs: number;
  readonly #limitMs: number;
  /** How many segments the client had sent when it was first probed, with nothing older under way; -1: it was not. */
  #probedAt = -1;
  /** The same, when it was last looked at while it had not acknowledged what was sent before the response. */
  #olderAt = -1;
  #probedAtMs = 0;
  #over = false;

  constructor(
    { clock, count, peerMs }: TakeOverPorts,
    flow: AnchorFlow,
    host: DeliveryOwner,
    owed: OwedResponse,
  ) {
    this.#count = count;
    this.#flow = flow;
    this.#host = host;
    this.#owed = owed;
    const quietAtMs = flow.confirmed
      ? clock.nowMs + Math.max(ALIVE_LEASE_MS, peerMs)
      : owed.sentAtMs + SETUP_LEASE_MS;
    this.#leaseEndMs = quietAtMs + LEASE_MARGIN_MS;
    this.#limitMs = Math.max(this.#leaseEndMs, clock.nowMs) + PROBE_LIMIT_MS;
  }

  /** Does what is due; called every tick while the take-over lasts. Returns true when it is over. */
  tick(nowMs: number): boolean {
    if (this.#over) return true;
    const owed = this.#owed;
    const { end, identity, records } = owed;
    // Read once: the place in the client's space and the byte of the response must be of the same acknowledgement.
    const { acknowledged } = this.#flow;
    const have = bytesBefore(acknowledged, owed);
    if (hasAll(acknowledged, owed)) return this.#settle(end ?? acknowledged);
    if (hasHead(acknowledged, owed)) return this.#goOn(acknowledged);
    if (have > 0 && end === null && identity === null)
      return this.#break('the target failed in the middle of its response');
    if (nowMs < this.#leaseEndMs) return false;
    if (records !== null && end === null && identity === null)
      return this.#break('the target failed, and nobody else may use the numbers of its records');
    if (have === 0 && records === null && this.#hasAnswered) return this.#serveAgain();
    if (nowMs > this.#limitMs) return this.#break('the client does not answer');
    if (have < 0) this.#hearOlder(nowMs);
    else this.#probe(nowMs);
    return false;
  }

  #probe(nowMs: number): void {
    if (this.#probedAt >= 0 && nowMs - this.#probedAtMs < PROBE_INTERVAL_MS) return;
    if (this.#probedAt < 0) this.#probedAt = this.#flow.heard.segments;
    this.#probedAtMs = nowMs;
    this.#flow.probe();
  }

  /** What the client says of older bytes is no answer: those of the response may be under way behind them. */
  #hearOlder(nowMs: number): void {
    if (this.#olderAt >= 0 && nowMs - this.#probedAtMs < PROBE_INTERVAL_MS) return;
    const { segments } = this.#flow.heard;
    this.#probedAtMs = nowMs;
    // Its last acknowledgement may have been lost, and whoever would have it said again is gone.
    if (segments === this.#olderAt) this.#flow.probe();
    this.#olderAt = segments;
  }

  /** The client has said something since it was first probed. */
  get #hasAnswered(): boolean {
    return this.#probedAt >= 0 && this.#flow.heard.segments !== this.#probedAt;
  }

  #serveAgain(): true {
    if (this.#flow.heard.holdsLater)
      return this.#break('the client has later bytes of the response, and not its first');
    this.#over = true;
    this.#count.add('handoffs_taken_over');
    const { start, node } = this.#owed;
    // An acknowledgement of what is sent in its place would lift the lease of a target that does not know.
    this.#flow.cancelTarget(start, node);
    this.#host.again(node, 'lost');
    return true;
  }

  #goOn(acknowledged: number): true {
    this.#over = true;
    this.#count.add('handoffs_continued');
    const { node } = this.#owed;
    const continuation = takeBackAt(acknowledged, this.#owed);
    this.#flow.cutTarget(node, acknowledged);
    this.#host.goOn(node, continuation);
    return true;
  }

  #settle(end: number): true {
    this.#over = true;
    takeBackWhole(this.#owed);
    this.#flow.cutTarget(this.#owed.node, end);
    this.#host.settled();
    return true;
  }

  #break(reason: string): true {
    this.#over = true;
    this.#host.broken(reason);
    return true;
  }

  body(): void {
    throw new Error('a request whose body follows is not handed off with anchor');
  }

  get soFar(): SoFar {
    return soFarOf(this.#flow.acknowledged, this.#owed);
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
