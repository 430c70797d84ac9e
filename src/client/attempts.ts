/** What has been tried for the request in progress: which nodes have failed it, and since when nobody can tell. */
import type { SiteConfig } from '../base/config/config.ts';
import { isIdempotent } from '../protocol/http/methods.ts';

/** How many other nodes are tried before the anchor serves a request itself. */
const MAX_ATTEMPTS = 2;

export class Attempts {
  #tried: readonly number[] = [];
  /** -1: somebody can tell whether the response goes on. */
  #waitsSinceMs = -1;
  #hasInsisted = false;

  /** Nodes that have failed it. */
  get tried(): readonly number[] {
    return this.#tried;
  }

  get isOver(): boolean {
    return this.#tried.length >= MAX_ATTEMPTS;
  }

  begin(): void {
    this.#tried = [];
    this.#waitsSinceMs = -1;
    this.#hasInsisted = false;
  }

  /** The node that is asked next is the last. */
  get isLast(): boolean {
    return this.#tried.length + 1 >= MAX_ATTEMPTS;
  }

  /** Lets all nodes be tried anew, once for a request. False: that has been done. */
  insist(): boolean {
    if (this.#hasInsisted) return false;
    this.#hasInsisted = true;
    this.#tried = [];
    return true;
  }

  failed(node: number): void {
    this.#tried = [...this.#tried, node];
  }

  /** `further`: than when others failed, which may have come back since. */
  failedInTheMiddle(node: number, further: boolean): void {
    this.#tried = further ? [node] : [...this.#tried, node];
    this.#waitsSinceMs = -1;
  }

  /** It is not known yet whether the response can go on. False: that has lasted too long. */
  mayWait(nowMs: number, limitMs: number): boolean {
    if (this.#waitsSinceMs < 0) this.#waitsSinceMs = nowMs;
    return nowMs - this.#waitsSinceMs <= limitMs;
  }
}

/** Whether it does no harm that a node may have answered a request already: none that has files does. */
export function mayRepeat(site: SiteConfig | undefined, node: string, method: string): boolean {
  return site?.content[node]?.kind !== 'upstream' || isIdempotent(method);
}
