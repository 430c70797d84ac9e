/** A client's connection in a cluster of one process: what is asked on it, and whether what comes is the answer. */
import assert from 'node:assert/strict';
import { type Asked, NAMES, responsesTo } from './site.ts';
import type { Client } from './wire.ts';

/** A client's connection, and what is asked on it. */
export class Session {
  readonly client: Client;
  readonly requests: readonly Asked[];
  /** It has connected. */
  isConnected = false;
  /** Nobody accepts at its address. */
  isTurnedAway = false;
  /** Requests that were sent. */
  asked = 0;
  /** A node that has nobody to give it to has closed it behind a response. */
  isClosed = false;
  /** Responses that are there as a whole. */
  answered = 0;
  /** When the first one that is not answered was sent, or may be. */
  sinceMs = 0;
  /** The longest that one has waited for. */
  slowestMs = 0;
  /** What may come next, and where that begins. */
  #expected: Buffer[];
  #at = 0;
  #lookedAt = 0;

  /** A node that stops alone ends its connections behind their next responses. */
  readonly #mayClose: boolean;

  constructor(client: Client, requests: readonly Asked[], mayClose: boolean) {
    this.client = client;
    this.requests = requests;
    this.#mayClose = mayClose;
    this.#expected = this.#responsesTo(requests[0]);
  }

  #responsesTo(asked: Asked): Buffer[] {
    const closes = Session.closes(asked);
    const usual = responsesTo(asked, closes);
    return this.#mayClose && !closes ? [...usual, ...responsesTo(asked, true)] : usual;
  }

  /** The connection ends with the response. */
  static closes({ mechanism }: Asked): boolean {
    return mechanism === 'split';
  }

  /** Looks at what has come: each response whole, in order, begun by one of the nodes; the last one may be cut off. */
  look(nowMs: number): void {
    if (this.client.have === this.#lookedAt) return;
    this.#lookedAt = this.client.have;
    const { text } = this.client;
    while (text.length > this.#at) {
      const got = text.subarray(this.#at);
      const whole = this.#expected.find(
        (one) => got.length >= one.length && got.compare(one, 0, one.length, 0, one.length) === 0,
      );
      if (whole === undefined) {
        const isBeginning = this.#expected.some(
          (one) => got.length <= one.length && got.compare(one, 0, got.length) === 0,
        );
        assert.ok(
          isBeginning,
          `response ${this.answered} is nobody’s: ${JSON.stringify(got.toString('latin1', 0, 200))}`,
        );
        return;
      }
      this.#at += whole.length;
      this.answered++;
      this.slowestMs = Math.max(this.slowestMs, nowMs - this.sinceMs);
      this.sinceMs = nowMs;
      const next = this.requests.at(this.answered);
      this.isClosed = this.#expected.indexOf(whole) >= NAMES.length;
      this.#expected = next === undefined || this.isClosed ? [] : this.#responsesTo(next);
      assert.ok(this.answered <= this.asked, 'nothing is answered that was not asked');
    }
  }

  /** The newest request that was sent ends the connection. */
  get isLast(): boolean {
    return this.asked > 0 && Session.closes(this.requests[this.asked - 1]);
  }

  get isOver(): boolean {
    if (this.isTurnedAway || this.isClosed || this.client.isReset) return true;
    return this.answered === this.requests.length;
  }
}
