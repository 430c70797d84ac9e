/** How much a flow's socket may send: what of the client's window lies in its own ranges. */
import { distance, type FlowRules, localEdge } from '../../kernel/router/ranges.ts';

export const MAX_SEND_WINDOW_BYTES = 2 ** 30;

/** Bytes that the client allows from `start` on. */
export function sendWindowFrom(start: number, edge: number): number {
  return Math.min(Math.max(0, distance(start, edge)), MAX_SEND_WINDOW_BYTES);
}

/**
 * Tells a socket in use whose turn has come again of the client's window, which ends at `edge()` by now. It counts from
 * the socket's first unacknowledged byte; not all that is queued need lie within. Throws SystemError when it has died.
 */
export function renewSendWindow(
  fd: number,
  rules: FlowRules,
  edge: () => number,
  setSendWindow: (fd: number, windowOf: (queued: number) => number) => void,
): void {
  let told: number;
  do {
    told = edge();
    const end = localEdge(rules, told);
    setSendWindow(fd, (queued) => sendWindowFrom((rules.ownNext - queued) >>> 0, end));
    // The kernel may have heard of more just before it was told this.
  } while (edge() !== told);
}
