/** What a request that may have changed something says of stored responses (RFC 9111 4.4). */
import type { ResponseHead } from '../protocol/http/response.ts';
import { keyOf } from './response-store.ts';
import type { UpstreamAsked } from './upstream-request.ts';
import type { Tap } from './upstream-response.ts';

export class Invalidation implements Tap {
  readonly isKeeping = false;
  readonly isAwaited = false;
  readonly #asked: Pick<UpstreamAsked, 'head' | 'isSecure'>;
  readonly #forget: (key: string) => void;

  constructor(asked: Pick<UpstreamAsked, 'head' | 'isSecure'>, forget: (key: string) => void) {
    this.#asked = asked;
    this.#forget = forget;
  }

  head({ status, fields }: ResponseHead): boolean {
    if (status >= 400) return true;
    this.#forgetAsked();
    for (const name of ['location', 'content-location']) {
      const named = fields.get(name);
      if (named !== undefined) this.#forgetNamed(named);
    }
    return true;
  }

  #forgetAsked(): void {
    this.#forget(keyOf(this.#asked.head, this.#asked.isSecure));
  }

  /**
   * Forgets a resource that the response names, if it is of the same origin: a response has no say about other ones.
   */
  #forgetNamed(named: string): void {
    const { head, isSecure } = this.#asked;
    const { authority } = head;
    const base = keyOf(head, isSecure);
    if (!URL.canParse(named, base)) return;
    const { origin, pathname, search } = new URL(named, base);
    if (origin === new URL(base).origin)
      this.#forget(keyOf({ authority, target: pathname + search }, isSecure));
  }

  piece(): void {}

  whole(): void {}

  /** The request failed: the upstream may have acted on it before. */
  failed(): boolean {
    this.#forgetAsked();
    return false;
  }

  cancelled(): void {
    this.#forgetAsked();
  }
}
