/**
 * A request to an upstream whose response may be stored, and those who wait for it: clients that want the same.
 *
 *   asked --head: may be stored--> kept --whole--> landed: stored, and whoever waits is answered with it
 *     |                             `--too large, late, broken off--> it goes by; whoever waits asks for itself
 *     |--head: 304--> landed: what was stored is vouched for
 *     |--head: must not be stored--> it goes by; whoever waits asks for itself
 *     `--failed--> a stale response, where that is allowed; else the failure, for all of them
 */
import type { Places } from '../kernel/loop/deadlines.ts';
import type { ErrorStatus } from '../protocol/http/error-response.ts';
import { type Lifetime, lifetimeOf, selection } from '../protocol/http/lifetime.ts';
import type { ResponseHead } from '../protocol/http/response.ts';
import {
  isAbout,
  keptFields,
  renewedFields,
  StoredResponse,
  withAgeOf,
} from '../protocol/http/stored-response.ts';
import type { Exchange, Feed } from './exchange.ts';
import type { UpstreamAsked } from './upstream-request.ts';
import type { Tap } from './upstream-response.ts';

/** Clients that wait for one request; the next one asks for itself. */
const MAX_WAITING = 1000;
/** Statuses of an origin that fails (RFC 5861 4). */
const FAILURES = new Set([500, 502, 503, 504]);

function isEventStream({ fields }: ResponseHead): boolean {
  return /^text\/event-stream/i.test(fields.get('content-type') ?? '');
}

/**
 * Who has flights, and what they ask of it. A flight is called while a response is being read (see Carried): what it asks
 * for those who wait is done behind that.
 */
export interface FlightHost {
  readonly nowMs: number;
  readonly wallMs: number;
  /** The largest body that is stored. */
  readonly objectBytes: number;
  /** Makes room for a body that is being kept; false: there is none. */
  reserve(bytes: number): boolean;
  release(bytes: number): void;
  /** A response of a shared lifetime is being kept: those who wait do so for so long. */
  keeping(flight: Flight): void;
  /** Nobody else is to wait for a response of such a resource. */
  unshared(flight: Flight): void;
  /** The stored response is to be asked for without condition: the upstream has vouched for another. */
  anew(flight: Flight): void;
  /** The client whose request it is gets the upstream's response. */
  missed(exchange: Exchange): void;
  /** The flight is over: nobody can join it any more. */
  left(flight: Flight): void;
  /** Nothing more of it is kept. */
  over(flight: Flight): void;
  put(key: string, stored: StoredResponse): void;
  remove(key: string, stored: StoredResponse): void;
  /** Answers with a stored response. */
  answer(exchange: Exchange, asked: UpstreamAsked, stored: StoredResponse, how: How): void;
  /** The failure that another client's request met with. */
  fail(waiter: Waiter, status: ErrorStatus, elsewhere: boolean): void;
  /** The waiter asks for itself, or waits for another flight; `joins`: how often it has done so. */
  again(waiter: Waiter, joins: number): void;
}

/** How a stored response comes to answer a request. */
export type How = 'hit' | 'stale' | 'revalidated' | 'collapsed';

/** A client that waits. */
export class Waiter implements Feed {
  readonly asked: UpstreamAsked;
  readonly exchange: Exchange;
  /** How often it may wait. */
  readonly joins: number;
  readonly #flight: Flight;
  readonly wantsBody = true;
  isGone = false;

  constructor(flight: Flight, asked: UpstreamAsked, exchange: Exchange, joins: number) {
    this.#flight = flight;
    this.asked = asked;
    this.exchange = exchange;
    this.joins = joins;
    exchange.feed = this;
  }

  body(): void {}

  resume(): void {}

  cancel(): void {
    this.isGone = true;
    this.#flight.leave(this);
  }
}

export class Flight implements Tap {
  readonly places: Places = [];
  readonly key: string;
  /** The key, and what the request has in the fields that the newest response depended on. */
  readonly name: string;
  readonly asked: UpstreamAsked;
  readonly exchange: Exchange;
  /** What is being validated. */
  #stored: StoredResponse | null;
  readonly #host: FlightHost;
  readonly #askedMs: number;
  readonly #waiting = new Set<Waiter>();
  /** What the resource is has changed since it was asked for: nothing of it is stored. */
  isObsolete = false;
  #hasBegun = false;
  /** What it says of being shared is said of the resource: neither its failure, nor for one user. */
  #isTypical = false;
  /** The head of the response that is being kept. */
  #head: ResponseHead | null = null;
  #lifetime: Lifetime | null = null;
  #pieces: Buffer[] = [];
  #keptBytes = 0;

  constructor(
    host: FlightHost,
    key: string,
    name: string,
    asked: UpstreamAsked,
    exchange: Exchange,
    stored: StoredResponse | null,
  ) {
    this.#host = host;
    this.key = key;
    this.name = name;
    this.asked = asked;
    this.exchange = exchange;
    this.#stored = stored;
    this.#askedMs = host.wallMs;
  }

  get stored(): StoredResponse | null {
    return this.#stored;
  }

  get isKeeping(): boolean {
    return this.#lifetime !== null;
  }

  get isAwaited(): boolean {
    return this.isKeeping && this.#waiting.size > 0;
  }

  get isFull(): boolean {
    return this.#waiting.size >= MAX_WAITING;
  }

  join(asked: UpstreamAsked, exchange: Exchange, joins: number): void {
    this.#waiting.add(new Waiter(this, asked, exchange, joins));
  }

  leave(waiter: Waiter): void {
    this.#waiting.delete(waiter);
  }

  get #passage() {
    return { askedMs: this.#askedMs, cameMs: this.#host.wallMs };
  }

  head(head: ResponseHead): boolean {
    const host = this.#host;
    const stored = this.#stored;
    this.#hasBegun = true;
    if (stored !== null && head.status === 304) return this.#validated(stored, head);
    if (FAILURES.has(head.status) && this.#standIn()) return false;
    const { fields, status, contentLength } = head;
    const lifetime = lifetimeOf(this.asked.head, status, fields, this.#passage);
    // Of one that ends with its connection nobody knows whether it is whole.
    const isOpen = head.framing === 'close' || fields.has('trailer') || isEventStream(head);
    const isKept = lifetime !== null && !isOpen && !this.isObsolete && this.#grow(Math.max(0, contentLength));
    // What was stored is not what the upstream sends any more.
    if (stored !== null && !FAILURES.has(status)) host.remove(this.key, stored);
    host.missed(this.exchange);
    this.#isTypical = status < 500 && !this.isObsolete && !this.asked.head.fields.has('authorization');
    if (!isKept) {
      this.#goBy();
      return true;
    }
    this.#head = head;
    this.#lifetime = lifetime;
    if (lifetime.freshMs > lifetime.initialAgeMs) {
      host.keeping(this);
    } else {
      // Each of those who wait would have to have it validated.
      this.#unshare();
      this.letGo();
    }
    return true;
  }

  #unshare(): void {
    if (this.#isTypical) this.#host.unshared(this);
  }

  /** The response is not stored: those who wait ask for themselves. */
  #goBy(): void {
    this.#unshare();
    this.#drop();
    this.letGo();
  }

  #validated(stored: StoredResponse, head: ResponseHead): boolean {
    const host = this.#host;
    if (!isAbout(stored.fields, head)) {
      host.remove(this.key, stored);
      this.#stored = null;
      host.anew(this);
      return false;
    }
    const fields = renewedFields(stored.fields, head, host.wallMs);
    const { status, body } = stored;
    const lifetime = lifetimeOf(this.asked.head, status, withAgeOf(head, fields), this.#passage);
    const { head: request } = this.asked;
    const renewed = new StoredResponse(
      stored,
      fields,
      body,
      lifetime ?? stored.lifetime,
      selection(request, (lifetime ?? stored.lifetime).varies),
      host.nowMs,
    );
    host.remove(this.key, stored);
    host.answer(this.exchange, this.asked, renewed, 'revalidated');
    this.#drop();
    if (lifetime === null || this.isObsolete) this.letGo();
    else this.#land(renewed);
    return false;
  }

  /** A stale response answers, where its origin allows that. */
  #standIn(): boolean {
    const stored = this.#stored;
    const host = this.#host;
    if (stored === null || this.isObsolete) return false;
    if (-stored.freshForMs(host.nowMs) > stored.lifetime.ifErrorMs || stored.lifetime.ifErrorMs === 0)
      return false;
    host.answer(this.exchange, this.asked, stored, 'stale');
    this.#drop();
    for (const waiter of this.#leaving()) host.answer(waiter.exchange, waiter.asked, stored, 'stale');
    return true;
  }

  /** Room for `bytes` of the body. */
  #grow(bytes: number): boolean {
    if (this.#keptBytes + bytes > this.#host.objectBytes || !this.#host.reserve(bytes)) return false;
    this.#keptBytes += bytes;
    return true;
  }

  piece(bytes: Buffer): void {
    this.#pieces.push(bytes);
    const isCounted = this.#head!.contentLength >= 0;
    if (!isCounted && !this.#grow(bytes.length)) this.#goBy();
  }

  whole(hasTrailers: boolean): void {
    const lifetime = this.#lifetime;
    if (lifetime === null) return;
    const host = this.#host;
    const head = this.#head!;
    const body = Buffer.concat(this.#pieces);
    this.#drop();
    if (hasTrailers || this.isObsolete) return this.letGo();
    const fields = keptFields(head, host.wallMs);
    const selected = selection(this.asked.head, lifetime.varies);
    this.#land(new StoredResponse(head, fields, body, lifetime, selected, host.nowMs));
  }

  /** Nothing more of it is kept. */
  #drop(): void {
    this.#lifetime = null;
    this.#pieces = [];
    this.#host.release(this.#keptBytes);
    this.#keptBytes = 0;
    this.#host.over(this);
  }

  #land(stored: StoredResponse): void {
    const host = this.#host;
    host.put(this.key, stored);
    const { varies } = stored.lifetime;
    for (const waiter of this.#leaving()) {
      const isFor = selection(waiter.asked.head, varies) === stored.selection;
      if (isFor && stored.freshForMs(host.nowMs) > 0)
        host.answer(waiter.exchange, waiter.asked, stored, 'collapsed');
      else host.again(waiter, isFor ? 0 : waiter.joins - 1);
    }
  }

  /** Lets all who wait go: each asks for itself. */
  letGo(): void {
    for (const waiter of this.#leaving()) this.#host.again(waiter, 0);
  }

  #leaving(): Waiter[] {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    this.#host.left(this);
    return waiting;
  }

  failed(status: ErrorStatus, elsewhere: boolean): boolean {
    this.#drop();
    if (!this.#hasBegun && this.#standIn()) return true;
    if (!this.#hasBegun) this.#host.missed(this.exchange);
    for (const waiter of this.#leaving()) {
      if (this.#hasBegun) this.#host.again(waiter, 0);
      else this.#host.fail(waiter, status, elsewhere);
    }
    return false;
  }

  cancelled(): void {
    this.#drop();
    for (const waiter of this.#leaving()) this.#host.again(waiter, waiter.joins - 1);
  }
}
