/**
 * What happens to a connection's state between its capture and its journey. Pure.
 *
 *   captured by one node's socket, whose sequence space is its own when others have sent on the flow
 *     -> `toClientSpace`: as the client counts
 *     -> `withoutUnsent`: in the middle of a response, what the target makes again
 *     -> `putBack`: the bytes read and not answered are unread again
 *     -> `onTheRoad`: the clock moved on
 */
import { STAMP_STEP_MS } from '../../kernel/router/ranges.ts';
import { add, distance, lessThan } from '../../kernel/tcp/sequence.ts';
import { type ConnectionState, windowLimit } from '../../kernel/tcp/state.ts';
import type { OwnSpace } from '../flow/own-space.ts';

/**
 * The state in the client's sequence space. Null when bytes are unacknowledged that lie before the last own range:
 * they and what follows are not one piece there. Null as well when the client has acknowledged more than was sent.
 */
export function toClientSpace(state: ConnectionState, space: OwnSpace): ConnectionState | null {
  const unacknowledged = state.sendQueue.length + state.unsentQueue.length;
  const first = add(state.sendSequence, -unacknowledged);
  if (lessThan(first, space.from)) return null;
  const sentEnd = add(state.sendSequence, space.shift - state.unsentQueue.length);
  if (lessThan(sentEnd, space.acknowledged)) return null;
  const { window } = state;
  // The router has seen every segment of the client; the socket may have been spared the last ones.
  const room = distance(add(first, space.shift), space.edge);
  const limit = windowLimit(state.options.sendScale);
  const sendWindow = Math.min(Math.max(room, window.sendWindow), limit);
  return {
    ...state,
    sendSequence: add(state.sendSequence, space.shift),
    timestamp: even(add(state.timestamp, space.stamp)),
    window: { ...window, sendWindow, maxWindow: Math.max(window.maxWindow, sendWindow) },
  };
}

/** The kernel takes an odd clock for one that counts microseconds. */
function even(clock: number): number {
  return add(clock, clock % 2);
}

/** `unanswered`: bytes read from the socket. They stand in front of its receive queue again. */
export function putBack(state: ConnectionState, unanswered: Buffer): ConnectionState {
  if (unanswered.length === 0) return state;
  if (state.receiveQueue.length === 0) return { ...state, receiveQueue: unanswered };
  return { ...state, receiveQueue: Buffer.concat([unanswered, state.receiveQueue]) };
}

/** The sender changes, so the client's view of the clock must not stand still (see STAMP_STEP_MS). */
export function onTheRoad(state: ConnectionState): ConnectionState {
  return { ...state, timestamp: even(add(state.timestamp, STAMP_STEP_MS)) };
}

/**
 * The state without the last bytes that were never sent, at most `limit` of them: the node that goes on can make them
 * again.
 */
export function withoutUnsent(state: ConnectionState, limit: number): ConnectionState {
  const left = Math.max(state.unsentQueue.length - limit, 0);
  return {
    ...state,
    sendSequence: add(state.sendSequence, left - state.unsentQueue.length),
    unsentQueue: state.unsentQueue.subarray(0, left),
  };
}
