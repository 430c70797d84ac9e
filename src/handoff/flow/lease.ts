/**
 * The lease: how long a target may begin to send a response without the anchor's word. An anchor that has heard
 * nothing from it takes the response over, and does so only when no byte of the target can come any more. Pure; the
 * router stops what is late (rule lease).
 *
 *   SETUP sent                125 ms                        250 ms, and 50 more
 *   |--- taken when it comes --|--- may begin, asks in time --|--- the anchor may have another node send
 *
 * The lease binds a response of which the client has acknowledged nothing: also what is sent again because it was lost.
 */
import type { FlowRules } from '../../kernel/router/ranges.ts';
import { distance, lastRange } from '../../kernel/router/ranges.ts';

/** A target may send its first byte this long after SETUP was sent, not later: then the anchor may have moved on. */
export const SETUP_LEASE_MS = 250;
/** More than lies between two looks at a turn in progress (housekeeping), and than an answer takes. */
const ASK_BEFORE_MS = 130;
const NS_PER_MS = 1_000_000;

/** Whether what asks for a response has come too late to begin by it. */
export function isStale(lateMs: number): boolean {
  return lateMs > SETUP_LEASE_MS / 2;
}

/** The lease of a response that was asked for at `sentMs` (`monotonicMs`). */
export function grantLease(rules: FlowRules, sentMs: number): void {
  rules.leaseNs = (sentMs + SETUP_LEASE_MS) * NS_PER_MS;
}

export function leaseIsOver(rules: FlowRules, nowMs: number): boolean {
  return nowMs * NS_PER_MS >= rules.leaseNs;
}

/** Whether it is time to ask for the anchor's word. */
export function leaseEndsSoon(rules: FlowRules, nowMs: number): boolean {
  return nowMs >= rules.leaseNs / NS_PER_MS - ASK_BEFORE_MS;
}

/** Whether the newest response may leave by its lease only, the client having `acknowledged` nothing of it. */
export function leaseBinds(rules: FlowRules, acknowledged: number): boolean {
  const range = lastRange(rules);
  return range?.leased === true && distance(range.start, acknowledged) <= 0;
}

/** Nobody sends in this target's place: what it has begun it may send whenever it likes. */
export function liftLease(rules: FlowRules): void {
  for (const range of rules.ranges) range.leased = false;
}
