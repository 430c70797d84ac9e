/**
 * How many requests a connection has on average, learnt from how many of the newest requests were their connection's
 * first. Lifetimes that are memoryless (geometric) have as many left at any moment. Pure.
 */

/** Until something is known: what a browser asks for on one connection of a page, roughly. */
const FIRST_SHARE_AT_START = 1 / 8;
/** What a request counts for: that of some hundreds before it is forgotten. */
const WEIGHT = 1 / 256;
/** More would make no difference to what is divided by it. */
export const MOST_REQUESTS = 256;

export class ConnectionRequests {
  #firstShare = FIRST_SHARE_AT_START;

  saw(isFirst: boolean): void {
    this.#firstShare += ((isFirst ? 1 : 0) - this.#firstShare) * WEIGHT;
  }

  /** The mean number of requests of a connection, from 1 to MOST_REQUESTS. */
  get mean(): number {
    return 1 / Math.max(this.#firstShare, 1 / MOST_REQUESTS);
  }
}
