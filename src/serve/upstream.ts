/** The HTTP server behind a node, for one engine: its connections, the requests to it, and how it does. */

import { formatEndpoint } from '../base/address.ts';
import { Deadlines } from '../kernel/loop/deadlines.ts';
import { Exchange } from './exchange.ts';
import { type ConnectionHost, UpstreamConnection } from './upstream-connection.ts';
import { UpstreamHealth, type Word } from './upstream-health.ts';
import {
  type RequestHost,
  type UpstreamAsked,
  UpstreamRequest,
  type Use,
  type Waits,
} from './upstream-request.ts';

const MAX_IDLE_CONNECTIONS = 64;
/** Shorter than what servers commonly keep a connection for: 5 s and more. */
const IDLE_MS = 4000;

export type UpstreamCounter = 'upstream_requests' | 'upstream_failures' | 'upstream_repeats';

export interface UpstreamOptions extends Omit<ConnectionHost, 'closed'> {
  readonly connectMs: number;
  /** How long the response's head may take, counted from the last byte of the request that is there. */
  readonly answerMs: number;
  /** Between two pieces of the response. */
  readonly pauseMs: number;
  readonly count: (name: UpstreamCounter) => void;
  readonly log: (level: 'info' | 'warn', message: string, fields: Record<string, unknown>) => void;
}

/** What the admin API tells of it. */
export interface UpstreamStatus {
  readonly address: string;
  /** Why the newest request failed; null when it did not. */
  readonly failure: string | null;
  /** Requests that have failed in a row, and since when. */
  readonly failures: number;
  readonly failingMs: number;
  readonly idleConnections: number;
}

export class Upstream implements ConnectionHost, RequestHost {
  readonly #options: UpstreamOptions;
  readonly #idle: UpstreamConnection[] = [];
  readonly #idleDeadlines = new Deadlines<UpstreamConnection>(IDLE_MS, (connection) => connection.close());
  readonly waits: Waits;
  readonly #health = new UpstreamHealth();

  constructor(options: UpstreamOptions) {
    const { connectMs, answerMs, pauseMs } = options;
    const late = (durationMs: number) =>
      new Deadlines<UpstreamRequest>(durationMs, (request) => request.timedOut());
    this.#options = options;
    this.waits = { connect: late(connectMs), answer: late(answerMs), more: late(pauseMs) };
  }

  get endpoint() {
    return this.#options.endpoint;
  }

  get loop() {
    return this.#options.loop;
  }

  get memory() {
    return this.#options.memory;
  }

  get nowMs(): number {
    return this.loop.nowMs;
  }

  get wallMs(): number {
    return this.loop.wallMs;
  }

  /** Whether its newest request failed. */
  get isFailing(): boolean {
    return this.#health.reason !== null;
  }

  /** Sends a request; the answer comes in the exchange. */
  request(asked: UpstreamAsked, exchange: Exchange = new Exchange()): Exchange {
    this.#options.count('upstream_requests');
    new UpstreamRequest(this, asked, exchange);
    return exchange;
  }

  connection(use: Use): UpstreamConnection {
    if (use === 'fresh') return new UpstreamConnection(this);
    for (let at = this.#idle.length - 1; at >= 0; at--) {
      const connection = this.#idle[at];
      if (use === 'proven' && !connection.isProven) continue;
      this.#idle.splice(at, 1);
      this.#idleDeadlines.clear(connection);
      if (connection.isAlive) return connection;
      connection.close();
    }
    return new UpstreamConnection(this);
  }

  keep(connection: UpstreamConnection): void {
    if (this.#idle.length >= MAX_IDLE_CONNECTIONS) return connection.close();
    this.#idle.push(connection);
    this.#idleDeadlines.set(connection, this.loop.nowMs);
  }

  closed(connection: UpstreamConnection): void {
    this.#idleDeadlines.clear(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  answered(): void {
    this.#say(this.#health.answered(this.loop.nowMs));
  }

  failed(reason: string): void {
    this.#options.count('upstream_failures');
    this.#say(this.#health.failed(reason, this.loop.nowMs));
  }

  repeated(): void {
    this.#options.count('upstream_repeats');
  }

  #say(word: Word): void {
    if (word === null) return;
    const { kind, ...fields } = word;
    const upstream = formatEndpoint(this.endpoint);
    this.#options.log(kind === 'fails' ? 'warn' : 'info', `upstream ${kind}`, { upstream, ...fields });
  }

  /** Returns whether a deadline is running that is to be met to the moment. */
  tick(): boolean {
    const now = this.loop.nowMs;
    this.#idleDeadlines.run(now);
    const { connect, answer, more } = this.waits;
    connect.run(now);
    answer.run(now);
    more.run(now);
    return connect.size > 0;
  }

  status(): UpstreamStatus {
    const { reason: failure, failures } = this.#health;
    return {
      address: formatEndpoint(this.endpoint),
      failure,
      failures,
      failingMs: this.#health.failingMs(this.loop.nowMs),
      idleConnections: this.#idle.length,
    };
  }

  close(): void {
    for (const connection of [...this.#idle]) connection.close();
  }
}
