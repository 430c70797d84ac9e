/**
 * Request heads as an upstream gets them. Clients on persistent connections send the same head again and again, and
 * then it is the same object (src/protocol/http/head-cache.ts): what was made of it last is kept with it.
 */
import { forwardRequestHead, type RequestFraming } from '../protocol/http/forward.ts';
import { clientFields, type ForwardRules } from '../protocol/http/forwarded.ts';
import type { RequestHead } from '../protocol/http/request.ts';

interface Forwarded {
  readonly framing: RequestFraming;
  readonly peer: Buffer | null;
  readonly bytes: Buffer;
}

export class ForwardedHeads {
  readonly #rules: ForwardRules;
  readonly #last = new WeakMap<RequestHead, Forwarded>();

  constructor(rules: ForwardRules) {
    this.#rules = rules;
  }

  /** `peer`: whom the request came from; null when that is not known. */
  of(head: RequestHead, framing: RequestFraming, peer: Buffer | null): Buffer {
    const last = this.#last.get(head);
    if (last !== undefined && last.framing === framing && isSame(last.peer, peer)) return last.bytes;
    const bytes = forwardRequestHead(head, framing, clientFields(head, peer, this.#rules));
    // The peer's bytes may be a frame's, which are gone after its handler.
    this.#last.set(head, { framing, peer: peer === null ? null : Buffer.from(peer), bytes });
    return bytes;
  }
}

function isSame(one: Buffer | null, other: Buffer | null): boolean {
  return one === other || (one !== null && other !== null && one.equals(other));
}
