/**
 * The states of a client's connection at its anchor, and which may follow which.
 *
 *   head --request--> [body -->] busy --answered--> [rest -->] head ...
 *     |                            `--broken--> closed (reset)
 *     `--FIN, deadline--> closed                     head refused --> draining --> closed (see ending.ts)
 *
 * Between two requests it may move to another node as a whole:  head --> moving --> closed (silently), or head; in the
 * middle of a response, too, when this node goes away:  busy --> moving --> closed (silently), or busy
 *
 * In `body` a request's body is collected, in `rest` what is left comes of one that was answered before it was whole.
 */
import assert from 'node:assert';

export type ConnectionState = 'head' | 'body' | 'busy' | 'rest' | 'moving' | 'draining' | 'closed';

const NEXT: Readonly<Record<ConnectionState, readonly ConnectionState[]>> = {
  head: ['body', 'busy', 'moving', 'draining', 'closed'],
  body: ['busy', 'draining', 'closed'],
  busy: ['head', 'rest', 'moving', 'draining', 'closed'],
  rest: ['head', 'closed'],
  moving: ['head', 'busy', 'closed'],
  draining: ['closed'],
  closed: [],
};

/** The state after this one, which must be one that may follow it. */
export function next(from: ConnectionState, to: ConnectionState): ConnectionState {
  assert(NEXT[from].includes(to), `a client's connection goes from ${from} to ${to}`);
  return to;
}
