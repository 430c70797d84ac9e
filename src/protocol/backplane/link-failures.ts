/** Links that did not come up: what is wrong with the other node, as far as this end can tell, and what to do. Pure. */
import type { Role, SessionState } from './session.ts';

/** The same failure of the same node is written to the log again after this time. */
const TOLD_MS = 60_000;

/** What this end saw of a link that ended before the other end was known. */
export interface Seen {
  readonly role: Role;
  /** How far the handshake was. */
  readonly stage: SessionState;
  /** The link's reason, `CODE: detail`. */
  readonly reason: string;
}

export interface LinkFailure {
  readonly node: string;
  readonly address: string;
  readonly reason: string;
  readonly advice: string;
  /** How often the link has failed so in a row. */
  count: number;
  atMs: number;
  toldAtMs: number;
}

/** Whether the two ends have different cluster keys; what the dial end sees of that is an end in place of a proof. */
export function isOfKeys({ role, stage, reason }: Seen): boolean {
  const wasCut = /^(TRUNCATED|closed|recv: ECONNRESET|send: EPIPE|send: ECONNRESET)/.test(reason);
  return reason.startsWith('WRONG_KEY') || (role === 'dial' && stage === 'WAIT_PROOF' && wasCut);
}

/** What to do about it; empty when nothing is known. */
export function adviceOn(seen: Seen): string {
  const { role, stage, reason } = seen;
  if (isOfKeys(seen))
    return `the two nodes have different cluster keys: give both the same cluster.key and restart the one that is wrong${
      role === 'dial' ? ' (its log should say the same)' : ''
    }`;
  if (reason.startsWith('connect: ECONNREFUSED')) return 'is baton running there, with this backplane port?';
  if (reason.startsWith('connect: ') || reason.startsWith('silent'))
    return 'is the machine up, and the backplane port open between the nodes?';
  if (reason.startsWith('VERSION') || reason.startsWith('another protocol'))
    return 'the nodes run different versions of Baton: upgrade the older one';
  if (reason.startsWith('MALFORMED')) return 'something else than Baton uses that port';
  if (role === 'dial' && stage === 'OPEN' && reason.startsWith('TRUNCATED'))
    return 'the other node has refused this one: its log says why; their configurations differ';
  if (role === 'dial' && stage === 'WAIT_GREETING')
    return "does its configuration have this node, with this node's address? Its log says whether it refuses it";
  return '';
}

/** The newest failure of each node. */
export class LinkFailures {
  readonly #byNode = new Map<string, LinkFailure>();

  /** Returns whether it is to be told: it is another one than before, or was told long ago. */
  note(node: string, address: string, seen: Seen, nowMs: number): boolean {
    const { reason } = seen;
    const known = this.#byNode.get(node);
    if (known !== undefined && known.reason === reason && known.address === address) {
      known.count++;
      known.atMs = nowMs;
      if (nowMs - known.toldAtMs < TOLD_MS) return false;
      known.toldAtMs = nowMs;
      return true;
    }
    const advice = adviceOn(seen);
    this.#byNode.set(node, { node, address, reason, advice, count: 1, atMs: nowMs, toldAtMs: nowMs });
    return true;
  }

  /** A link to the node is up. */
  forget(node: string): void {
    this.#byNode.delete(node);
  }

  get all(): LinkFailure[] {
    return [...this.#byNode.values()];
  }
}
