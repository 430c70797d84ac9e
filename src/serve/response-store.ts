/**
 * The stored responses of a site, within a budget of bytes.
 *
 *   URL -> resource -> responses, the newest first: one for each selection (Vary)
 *
 * What was not asked for longest goes first, a resource with all its responses.
 */
import { LRUCache } from 'lru-cache';
import { selection } from '../protocol/http/lifetime.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { StoredResponse } from '../protocol/http/stored-response.ts';

/** Responses kept for one resource, for different selecting fields (Vary); one more drops the oldest. */
const MAX_RESPONSES = 16;

interface Resource {
  readonly responses: readonly StoredResponse[];
}

/** What a stored response is found by (RFC 9111 2): the URL. Every site has a store of its own. */
export function keyOf(
  { authority, target }: Pick<RequestHead, 'authority' | 'target'>,
  isSecure: boolean,
): string {
  return (isSecure ? 'https://' : 'http://') + authority.toLowerCase() + target;
}

/**
 * What `PATH` of a purge is about: with a query that target alone, without one any query, with `*` at its end whatever
 * begins so.
 */
export function matcherOf(path: string): (key: string) => boolean {
  const targetOf = (key: string) => key.substring(key.indexOf('/', key.indexOf('//') + 2));
  if (path.endsWith('*')) return (key) => targetOf(key).startsWith(path.slice(0, -1));
  if (path.includes('?')) return (key) => targetOf(key) === path;
  return (key) => targetOf(key).split('?', 1)[0] === path;
}

export class ResponseStore {
  readonly #bytes: number;
  readonly #resources: LRUCache<string, Resource>;
  /** Resources that were dropped for want of room. */
  evictions = 0;

  constructor(bytes: number) {
    this.#bytes = bytes;
    this.#resources = new LRUCache({
      maxSize: bytes,
      sizeCalculation: ({ responses }, key) => sizeOf(responses) + key.length,
      dispose: (_value, _key, reason) => {
        if (reason === 'evict') this.evictions++;
      },
    });
  }

  get usage(): { resources: number; bytes: number } {
    return { resources: this.#resources.size, bytes: this.#resources.calculatedSize };
  }

  /** The newest response that was made for such a request. */
  find(key: string, head: Pick<RequestHead, 'fields'>): StoredResponse | null {
    const resource = this.#resources.get(key);
    if (resource === undefined) return null;
    for (const stored of resource.responses) {
      const { varies } = stored.lifetime;
      if (varies.length === 0 || selection(head, varies) === stored.selection) return stored;
    }
    return null;
  }

  /** The fields that the newest response to it depends on. */
  variesOf(key: string): readonly string[] {
    return this.#resources.peek(key)?.responses[0].lifetime.varies ?? [];
  }

  put(key: string, stored: StoredResponse): void {
    const others = this.#others(key, (one) => one.selection === stored.selection);
    const responses = [stored, ...others].slice(0, MAX_RESPONSES);
    while (responses.length > 1 && sizeOf(responses) + key.length > this.#bytes) responses.pop();
    this.#resources.set(key, { responses });
  }

  remove(key: string, stored: StoredResponse): void {
    const responses = this.#others(key, (one) => one === stored);
    if (responses.length === 0) this.#resources.delete(key);
    else this.#resources.set(key, { responses });
  }

  #others(key: string, isGone: (stored: StoredResponse) => boolean): StoredResponse[] {
    return (this.#resources.peek(key)?.responses ?? []).filter((one) => !isGone(one));
  }

  /** Forgets a resource. */
  forget(key: string): void {
    this.#resources.delete(key);
  }

  /** Forgets all resources that match. Returns how many they were. */
  purge(matches: (key: string) => boolean): number {
    const keys = [...this.#resources.keys()].filter(matches);
    for (const key of keys) this.#resources.delete(key);
    return keys.length;
  }
}

function sizeOf(responses: readonly StoredResponse[]): number {
  return responses.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
