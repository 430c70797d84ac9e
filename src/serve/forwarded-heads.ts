/**
 * Request heads as an upstream gets them. Clients on persistent connections send the same head again and again, and
 * then it is the same object (src/protocol/http/head-cache.ts): what was made of it last is kept with it.
 */
import { forwardRequestHead, type RequestFraming } from '../protocol/http/forward.ts';
import { clientFields, type ForwardRules } from '../protocol/http/forwarded.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { Client } from './request.ts';

/** Fields that ask for what the client lacks. */
const CONDITIONS: ReadonlySet<string> = new Set(['if-none-match', 'if-modified-since', 'range', 'if-range']);

interface Forwarded {
  readonly framing: RequestFraming;
  readonly peer: Buffer | null;
  readonly isSecure: boolean;
  readonly bytes: Buffer;
}

export class ForwardedHeads {
  readonly #rules: ForwardRules;
  readonly #last = new WeakMap<RequestHead, Forwarded>();

  constructor(rules: ForwardRules) {
    this.#rules = rules;
  }

  /** `client`: whom the request came from. `conditions`: field lines instead of the request's own conditions. */
  of(head: RequestHead, framing: RequestFraming, client: Client, conditions?: string): Buffer {
    if (conditions !== undefined) return this.#asking(head, framing, client, conditions);
    const { clientAddress: peer, isSecure } = client;
    const last = this.#last.get(head);
    const isAsBefore = last?.framing === framing && last.isSecure === isSecure && isSame(last.peer, peer);
    if (last !== undefined && isAsBefore) return last.bytes;
    const bytes = forwardRequestHead(head, framing, clientFields(head, peer, isSecure, this.#rules));
    // The peer's bytes may be a frame's, which are gone after its handler.
    this.#last.set(head, { framing, peer: peer === null ? null : Buffer.from(peer), isSecure, bytes });
    return bytes;
  }

  #asking(head: RequestHead, framing: RequestFraming, client: Client, conditions: string): Buffer {
    const { lines, drops } = clientFields(head, client.clientAddress, client.isSecure, this.#rules);
    return forwardRequestHead(head, framing, {
      lines: lines + conditions,
      drops: (name) => CONDITIONS.has(name) || drops(name),
    });
  }
}

function isSame(one: Buffer | null, other: Buffer | null): boolean {
  return one === other || (one !== null && other !== null && one.equals(other));
}
