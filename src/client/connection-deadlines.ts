/**
 * What the connections of an engine are given time for. Which of the deadlines runs for a connection is the
 * connection's to say:
 *
 *   hello   a TLS handshake, from the connection's beginning
 *   head    the head of a request, from the connection's beginning or the head's first byte
 *   idle    the next request, on a connection that has nothing to do
 *   stall   what only the client can do: send the next bytes of a body that is wanted, or take some of a response
 *   drain   the client's end of a connection that was closed here
 *   later   a node's asking again whether it can go on with the response
 */
import type { ClusterConfig } from '../base/config/config.ts';
import { Deadlines, type Places, type Timed } from '../kernel/loop/deadlines.ts';
import type { Clock } from '../kernel/loop/ports.ts';
import type { ClientSockets } from './sockets.ts';

/** How long a client may send nothing while the rest of its request is read and dropped. */
const DRAIN_MS = 2000;
const LATER_MS = 100;

export type DeadlineKind = 'hello' | 'head' | 'idle' | 'stall' | 'drain' | 'later';

export class ConnectionDeadlines {
  readonly hello: Deadlines<ClientTime>;
  readonly head: Deadlines<ClientTime>;
  readonly idle: Deadlines<ClientTime>;
  readonly stall: Deadlines<ClientTime>;
  readonly drain: Deadlines<ClientTime>;
  readonly later: Deadlines<ClientTime>;
  readonly #all: readonly Deadlines<ClientTime>[];

  constructor({ headSeconds, idleSeconds, stallSeconds }: ClusterConfig['limits']) {
    this.hello = new Deadlines(headSeconds * 1000, (time) => time.expired('hello'));
    this.head = new Deadlines(headSeconds * 1000, (time) => time.expired('head'));
    this.idle = new Deadlines(idleSeconds * 1000, (time) => time.expired('idle'));
    this.stall = new Deadlines(stallSeconds * 1000, (time) => time.expired('stall'));
    this.drain = new Deadlines(DRAIN_MS, (time) => time.expired('drain'));
    this.later = new Deadlines(LATER_MS, (time) => time.expired('later'));
    this.#all = [this.hello, this.head, this.idle, this.stall, this.drain, this.later];
  }

  /** Some of those that are due: thousands of clients may have come, or gone silent, at once. */
  runSome(nowMs: number): void {
    for (const deadlines of this.#all) deadlines.runSome(nowMs);
  }

  isDue(nowMs: number): boolean {
    return this.#all.some((deadlines) => deadlines.isDue(nowMs));
  }
}

export interface TimePorts {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly sockets: Pick<ClientSockets, 'queuedBytes'>;
}

/** What one connection's client is given time for. */
export class ClientTime implements Timed {
  readonly places: Places = [];
  readonly #deadlines: ConnectionDeadlines;
  readonly #ports: TimePorts;
  readonly #fd: number;
  /** Bytes that were sent and that the client had not taken when it was given time last. */
  #queuedBytes = 0;
  /** A deadline has run out. */
  readonly expired: (kind: DeadlineKind) => void;

  constructor(
    deadlines: ConnectionDeadlines,
    ports: TimePorts,
    fd: number,
    expired: (kind: DeadlineKind) => void,
  ) {
    this.#deadlines = deadlines;
    this.#ports = ports;
    this.#fd = fd;
    this.expired = expired;
  }

  /** Starts a deadline; one that runs is set anew. */
  start(kind: DeadlineKind): void {
    this.#deadlines[kind].set(this, this.#ports.clock.nowMs);
    if (kind === 'stall') this.#queuedBytes = this.#ports.sockets.queuedBytes(this.#fd);
  }

  /**
   * `stall` has run out. There may be much in front of what the client is to take or to answer, after a move above all:
   * who takes of that has not stalled, and is given time again. False: it has stalled.
   */
  goesOn(): boolean {
    if (this.#ports.sockets.queuedBytes(this.#fd) >= this.#queuedBytes) return false;
    this.start('stall');
    return true;
  }

  /** Starts a deadline unless it runs already. */
  startOnce(kind: DeadlineKind): void {
    if (!this.#deadlines[kind].has(this)) this.start(kind);
  }

  clear(kind: DeadlineKind): void {
    this.#deadlines[kind].clear(this);
  }

  /** No request is waited for, for now. Each is named: to look a kind up takes several times as long as to clear it. */
  attended(): void {
    const { hello, idle, head } = this.#deadlines;
    hello.clear(this);
    idle.clear(this);
    head.clear(this);
  }

  /** Nothing is waited for any more. */
  end(): void {
    this.attended();
    const { stall, drain, later } = this.#deadlines;
    stall.clear(this);
    drain.clear(this);
    later.clear(this);
  }
}
