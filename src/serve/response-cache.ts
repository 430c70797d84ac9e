/**
 * The cache between a site's clients and its upstream: a source of responses as the upstream is, which asks it only for
 * what it does not have. What it may do is RFC 9111's matter (src/protocol/http/lifetime.ts).
 *
 *   a fresh response is stored                   it is the answer                           hit
 *   a stale one, within stale-while-revalidate   it is, and it is validated behind that     stale
 *   a GET of which nothing usable is stored      asked for, once for all who want it now    miss, collapsed, revalidated
 *   anything else                                goes by, as if there were no cache         pass
 */
import { LRUCache } from 'lru-cache';
import type { CacheConfig } from '../base/config/config.ts';
import type { Count } from '../base/counters.ts';
import { Deadlines } from '../kernel/loop/deadlines.ts';
import type { Later } from '../kernel/loop/ports.ts';
import { parseDirectives } from '../protocol/http/cache-control.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import type { RequestFraming } from '../protocol/http/forward.ts';
import { selection } from '../protocol/http/lifetime.ts';
import { isSafe } from '../protocol/http/methods.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { StoredResponse } from '../protocol/http/stored-response.ts';
import { BROKEN, type ByteSink } from './byte-sink.ts';
import { type AnswerOptions, type CacheResult, Exchange } from './exchange.ts';
import { Flight, type FlightHost, type How, Waiter } from './flight.ts';
import { Invalidation } from './invalidation.ts';
import { keyOf, ResponseStore } from './response-store.ts';
import type { UpstreamAsked } from './upstream-request.ts';

/** How long those who wait do so for a body whose head is there. */
const BODY_WAIT_MS = 100;
/** How often a request waits for another one, whose client may go. */
const MAX_JOINS = 2;
/** How long nobody waits for a response that could not be shared, and of how many resources that is known. */
const UNSHARED_MS = 60_000;
const UNSHARED_KEYS = 16_384;
/** What takes a response that nobody gets. */
const NOWHERE: ByteSink = {
  send: (bytes, from) => bytes.length - from,
  sendFile: () => BROKEN,
  flush: () => 0,
};

/** What is stored. */
export interface CacheUsage {
  readonly resources: number;
  readonly bytes: number;
  /** Resources that were dropped because it was full. */
  readonly evictions: number;
}

export interface ResponseCacheHost {
  readonly clock: { readonly nowMs: number; readonly wallMs: number };
  readonly count: Count;
  readonly later: Later;
  readonly upstream: { request(asked: UpstreamAsked, exchange?: Exchange): Exchange };
}

const COUNTERS = {
  hit: 'cache_hits',
  stale: 'cache_stale',
  revalidated: 'cache_revalidated',
  collapsed: 'cache_collapsed',
  miss: 'cache_misses',
  pass: 'cache_passes',
} as const;

/** What Cache-Status says (RFC 9211). */
const TOLD = {
  hit: 'hit',
  stale: 'hit; detail=stale',
  revalidated: 'fwd=stale; fwd-status=304',
  collapsed: 'fwd=uri-miss; collapsed',
} as const;

export class ResponseCache implements FlightHost {
  readonly objectBytes: number;
  readonly #host: ResponseCacheHost;
  readonly #config: CacheConfig;
  readonly #store: ResponseStore;
  readonly #flights = new Set<Flight>();
  /** The flights that can be joined, by their keys. */
  readonly #open = new Map<string, Flight>();
  readonly #bodyDeadlines = new Deadlines<Flight>(BODY_WAIT_MS, (flight) => flight.letGo());
  /** Until when it is no use to wait for a response, by key. */
  readonly #unshared = new LRUCache<string, number>({ max: UNSHARED_KEYS });
  /** Bytes of bodies that are being kept, in all flights. */
  #reservedBytes = 0;

  constructor(config: CacheConfig, host: ResponseCacheHost) {
    this.#config = config;
    this.#host = host;
    this.objectBytes = config.objectBytes;
    this.#store = new ResponseStore(config.bytes);
  }

  get nowMs(): number {
    return this.#host.clock.nowMs;
  }

  get wallMs(): number {
    return this.#host.clock.wallMs;
  }

  /** A fresh response to a request, or what is left of one; null: there is none. */
  find(head: RequestHead, isSecure: boolean, options: AnswerOptions): Exchange | null {
    const stored = this.#find(keyOf(head, isSecure), head);
    if (stored === null || stored.freshForMs(this.nowMs) <= 0) return null;
    const exchange = new Exchange();
    this.#answer(exchange, head, options, stored, 'hit');
    return exchange;
  }

  #find(key: string, head: RequestHead): StoredResponse | null {
    const { method, ifMatch, ifUnmodifiedSince, contentLength, chunked } = head;
    if (method !== 'GET' && method !== 'HEAD') return null;
    // These are for the origin alone (RFC 9111 4.3.2).
    if (ifMatch !== undefined || ifUnmodifiedSince !== undefined || contentLength > 0 || chunked) return null;
    const stored = this.#store.find(key, head);
    if (stored === null || stored.lifetime.forAuthorized || !head.fields.has('authorization')) return stored;
    return null;
  }

  /** Answers a request; as the upstream's own. */
  request(asked: UpstreamAsked): Exchange {
    const exchange = new Exchange();
    this.#ask(asked, exchange, MAX_JOINS);
    return exchange;
  }

  /** `joins`: how often it may wait for another request. */
  #ask(asked: UpstreamAsked, exchange: Exchange, joins: number): void {
    const { head, isSecure } = asked;
    const key = keyOf(head, isSecure);
    if (!isSafe(head.method)) {
      const tap = new Invalidation(asked, (gone) => this.#forget(gone));
      return this.#pass({ ...asked, tap }, exchange, 'method');
    }
    const stored = this.#find(key, head);
    if (stored !== null) {
      const freshForMs = stored.freshForMs(this.nowMs);
      if (freshForMs > 0) return this.#answer(exchange, head, asked.answer, stored, 'hit');
      if (-freshForMs < stored.lifetime.whileRevalidateMs) {
        this.#answer(exchange, head, asked.answer, stored, 'stale');
        return this.#renew(key, asked, stored);
      }
    }
    if (!isStorable(head, stored !== null)) return this.#pass(asked, exchange, 'request');
    const name = key + selection(head, this.#store.variesOf(key));
    const isOwn = head.fields.has('authorization') || (this.#unshared.get(key) ?? 0) > this.nowMs;
    const isShared = !isOwn && joins > 0;
    const flight = isShared ? this.#open.get(name) : undefined;
    if (flight?.isFull === false) return flight.join(asked, exchange, joins);
    this.#fly(new Flight(this, key, name, asked, exchange, stored), isShared);
  }

  #pass(asked: UpstreamAsked, exchange: Exchange, why: string): void {
    this.#count(exchange, 'pass');
    this.#host.upstream.request(this.#telling(asked, `fwd=${why}`), exchange);
  }

  /** `isShared`: others may join it. */
  #fly(flight: Flight, isShared: boolean): void {
    this.#flights.add(flight);
    if (isShared && !this.#open.has(flight.name)) this.#open.set(flight.name, flight);
    this.#send(flight);
  }

  #send(flight: Flight): void {
    const { stored, exchange } = flight;
    const asked = this.#telling(flight.asked, stored === null ? 'fwd=uri-miss' : 'fwd=stale');
    const forward = (framing: RequestFraming) => asked.forward(framing, stored?.conditions);
    this.#host.upstream.request({ ...asked, forward, tap: flight }, exchange);
  }

  /** Does something for one who waits, when nothing is being read, unless its client has gone. */
  #soon(waiter: Waiter, action: () => void): void {
    this.#host.later.defer(() => {
      if (waiter.isGone) return;
      waiter.exchange.feed = null;
      action();
    });
  }

  anew(flight: Flight): void {
    const { asked, exchange } = flight;
    this.#soon(new Waiter(flight, asked, exchange, 0), () => this.#send(flight));
  }

  again(waiter: Waiter, joins: number): void {
    const { asked, exchange } = waiter;
    this.#soon(waiter, () => {
      this.#ask(asked, exchange, joins);
      if (exchange.complete) exchange.onProgress();
    });
  }

  fail(waiter: Waiter, status: ErrorStatus, elsewhere: boolean): void {
    const { asked, exchange } = waiter;
    const { method, minor } = asked.head;
    const { close, extraFields } = asked.answer;
    this.#soon(waiter, () => {
      this.#count(exchange, 'collapsed');
      exchange.answer(errorResponse(status, this.wallMs, { method, minor, close, extraFields }));
      exchange.elsewhere = elsewhere;
      exchange.onProgress();
    });
  }

  missed(exchange: Exchange): void {
    this.#count(exchange, 'miss');
  }

  /** Once for each request of a client. */
  #count(exchange: Exchange, result: CacheResult): void {
    if (exchange.cache !== null) return;
    exchange.cache = result;
    this.#host.count.add(COUNTERS[result]);
  }

  answer(exchange: Exchange, asked: UpstreamAsked, stored: StoredResponse, how: How): void {
    const { feed } = exchange;
    if (!(feed instanceof Waiter)) return this.#answer(exchange, asked.head, asked.answer, stored, how);
    this.#soon(feed, () => {
      this.#answer(exchange, asked.head, asked.answer, stored, how);
      exchange.onProgress();
    });
  }

  #answer(
    exchange: Exchange,
    head: RequestHead,
    { close, extraFields }: AnswerOptions,
    stored: StoredResponse,
    how: How,
  ): void {
    this.#count(exchange, how);
    const options = { close, extraFields, nowMs: this.wallMs };
    exchange.answer(stored.respond(head, this.nowMs, options, this.#config.status ? TOLD[how] : ''));
  }

  keeping(flight: Flight): void {
    this.#bodyDeadlines.set(flight, this.nowMs);
    this.#unshared.delete(flight.key);
  }

  unshared({ key }: Flight): void {
    this.#unshared.set(key, this.nowMs + UNSHARED_MS);
  }

  left(flight: Flight): void {
    this.#bodyDeadlines.clear(flight);
    if (this.#open.get(flight.name) === flight) this.#open.delete(flight.name);
  }

  over(flight: Flight): void {
    this.#flights.delete(flight);
  }

  reserve(bytes: number): boolean {
    if (this.#reservedBytes + bytes > this.#config.bytes) return false;
    this.#reservedBytes += bytes;
    return true;
  }

  release(bytes: number): void {
    this.#reservedBytes -= bytes;
  }

  put(key: string, stored: StoredResponse): void {
    this.#store.put(key, stored);
  }

  remove(key: string, stored: StoredResponse): void {
    this.#store.remove(key, stored);
  }

  /** What these resources are has changed. Returns how many were stored. */
  purge(matches: (key: string) => boolean): number {
    for (const flight of this.#flights) {
      if (!matches(flight.key)) continue;
      flight.isObsolete = true;
      this.#open.delete(flight.name);
    }
    return this.#store.purge(matches);
  }

  #forget(key: string): void {
    for (const flight of this.#flights) {
      if (flight.key !== key) continue;
      flight.isObsolete = true;
      this.#open.delete(flight.name);
    }
    this.#store.forget(key);
  }

  /** Returns whether somebody waits to the moment. */
  tick(): boolean {
    this.#bodyDeadlines.run(this.nowMs);
    return this.#bodyDeadlines.size > 0;
  }

  get usage(): CacheUsage {
    return { ...this.#store.usage, evictions: this.#store.evictions };
  }

  /** Has a stale response validated, without a client. */
  #renew(key: string, asked: UpstreamAsked, stored: StoredResponse): void {
    const name = key + selection(asked.head, this.#store.variesOf(key));
    if (asked.head.method !== 'GET' || this.#open.has(name)) return;
    const exchange = new Exchange();
    // This exchange belongs to no client, so it is not counted.
    exchange.cache = 'stale';
    exchange.onProgress = () => {
      const state = exchange.pump.run(NOWHERE);
      if (state === 'done' || exchange.failed) exchange.end();
      else exchange.feed?.resume();
    };
    this.#fly(new Flight(this, key, name, asked, exchange, stored), true);
  }

  #telling(asked: UpstreamAsked, what: string): UpstreamAsked {
    if (!this.#config.status) return asked;
    const { answer } = asked;
    return {
      ...asked,
      answer: { ...answer, extraFields: `${answer.extraFields}Cache-Status: baton; ${what}\r\n` },
    };
  }
}

/** A request whose response may be stored. `isKnown`: by validation, whatever it asks for. */
function isStorable(head: RequestHead, isKnown: boolean): boolean {
  const { method, fields, range, ifNoneMatch, ifModifiedSince, ifMatch, ifUnmodifiedSince } = head;
  if (method !== 'GET' || head.contentLength > 0 || head.chunked || range !== undefined) return false;
  if (ifMatch !== undefined || ifUnmodifiedSince !== undefined) return false;
  if (!isKnown && (ifNoneMatch !== undefined || ifModifiedSince !== undefined)) return false;
  return !parseDirectives(fields.get('cache-control')).has('no-store');
}
