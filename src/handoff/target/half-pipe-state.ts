/**
 * The states of a half-pipe:
 *
 *   idle --SETUP, next request--> sending --all is with the kernel--> sent --all is acknowledged--> idle
 *                                    ^                                  |
 *                                    `---------SETUP, next request------'
 *   any of these --RESET, the link is down, nothing is left to do--> closed
 *   any of these --the socket fails--> closed, or failed --the anchor's last word--> closed
 */
import assert from 'node:assert';
import { distance } from '../../kernel/tcp/sequence.ts';
import type { HalfPipeResponse } from './half-pipe-response.ts';

export type HalfPipeState =
  | { readonly name: 'idle'; readonly sinceMs: number }
  | {
      readonly name: 'sending';
      readonly response: HalfPipeResponse;
      /** Where the response before it ends, in the client's space, while that is not all acknowledged. */
      readonly olderEnd: number | null;
    }
  | {
      readonly name: 'sent';
      /** Where the response ends, in the client's space. */
      readonly end: number;
      /** The anchor learns from the client that it has all of it: nothing is said. */
      readonly implicit: boolean;
    }
  /** Its response was one that the anchor may not know of yet: a SETUP that crosses ABORT must not begin again. */
  | { readonly name: 'failed' }
  | { readonly name: 'closed' };

type Name = HalfPipeState['name'];

/** From sending to sending: what was sent before is acknowledged. */
const EDGES: Readonly<Record<Name, readonly Name[]>> = {
  idle: ['sending', 'failed', 'closed'],
  sending: ['sending', 'sent', 'failed', 'closed'],
  sent: ['idle', 'sending', 'failed', 'closed'],
  failed: ['closed'],
  closed: [],
};

export function assertEdge(from: HalfPipeState, to: HalfPipeState): void {
  assert(EDGES[from.name].includes(to.name), `a half-pipe goes from ${from.name} to ${to.name}`);
}

/** Where the newest response ends that is out, and not known to be acknowledged; null: there is none. */
export function unacknowledgedEnd(state: HalfPipeState): number | null {
  if (state.name === 'sent') return state.end;
  return state.name === 'sending' ? state.olderEnd : null;
}

/** The same end, unless it is seen to be acknowledged by now. */
export function owedEnd(
  state: HalfPipeState,
  socket: { readonly acknowledged: number; readonly queuedBytes: number },
): number | null {
  const end = unacknowledgedEnd(state);
  if (end === null || distance(end, socket.acknowledged) < 0 || socket.queuedBytes > 0) return end;
  return null;
}

/** Bytes are not sent, or not acknowledged. */
export function owes(state: HalfPipeState): boolean {
  return state.name === 'sending' || state.name === 'sent';
}
