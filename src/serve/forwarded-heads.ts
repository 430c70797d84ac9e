/**
 * Request heads as an upstream gets them. Clients on persistent connections send the same head again and again, and
 * then it is the same object (src/protocol/http/head-cache.ts): what was made of it last is kept with it.
 */
import { forwardRequestHead, type RequestFraming } from '../protocol/http/forward.ts';
import { clientFields, type ForwardRules } from '../protocol/http/forwarded.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { Client } from './request.ts';

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

  /** `client`: whom the request came from. */
  of(head: RequestHead, framing: RequestFraming, { clientAddress: peer, isSecure }: Client): Buffer {
    const last = this.#last.get(head);
    const isAsBefore = last?.framing === framing && last.isSecure === isSecure && isSame(last.peer, peer);
    if (last !== undefined && isAsBefore) return last.bytes;
    const bytes = forwardRequestHead(head, framing, clientFields(head, peer, isSecure, this.#rules));
    // The peer's bytes may be a frame's, which are gone after its handler.
    this.#last.set(head, { framing, peer: peer === null ? null : Buffer.from(peer), isSecure, bytes });
    return bytes;
  }
}

function isSame(one: Buffer | null, other: Buffer | null): boolean {
  return one === other || (one !== null && other !== null && one.equals(other));
}
