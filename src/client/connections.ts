/**
 * The clients' connections of an engine: how they come here, how many fit, and what each is given time for. Which of
 * the deadlines runs for a connection is the connection's to say:
 *
 *   head    the head of a request, from the connection's beginning or the head's first byte
 *   idle    the next request, on a connection that has nothing to do
 *   stall   what only the client can do: send the next bytes of a body that is wanted, or take some of a response
 *   drain   the client's end of a connection that was closed here
 *   later   a node's asking again whether it can go on with the response
 */
import assert from 'node:assert';
import { type Endpoint, formatEndpoint } from '../base/address.ts';
import { endsOf } from '../handoff/flow/ends.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import * as libc from '../kernel/linux/libc.ts';
import { allocate } from '../kernel/linux/memory.ts';
import { IPPROTO_TCP, MSG_NOSIGNAL, setOption, TCP_USER_TIMEOUT } from '../kernel/linux/socket.ts';
import { Deadlines } from '../kernel/loop/deadlines.ts';
import type { Engine } from '../node/engine/engine.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { type Arrived, Connection } from './connection.ts';

const RECEIVE_BYTES = 256 * 1024;
/** Without a byte. */
const DRAIN_MS = 2000;
const LATER_MS = 100;

export class Connections {
  readonly #engine: Engine;
  readonly #all = new Set<Connection>();
  readonly headDeadlines: Deadlines<Connection>;
  readonly idleDeadlines: Deadlines<Connection>;
  readonly stallDeadlines: Deadlines<Connection>;
  readonly drainDeadlines: Deadlines<Connection>;
  readonly laterDeadlines = new Deadlines<Connection>(LATER_MS, (c) => c.askLater());
  /** Of connections alone: handling what came on one may read from a link before its bytes are used up. */
  readonly receiveBuffer = allocate(RECEIVE_BYTES);

  constructor(engine: Engine) {
    const { limits } = engine.config;
    this.#engine = engine;
    this.headDeadlines = new Deadlines(limits.headSeconds * 1000, (c) => c.expired('head'));
    this.idleDeadlines = new Deadlines(limits.idleSeconds * 1000, (c) => c.expired('idle'));
    this.stallDeadlines = new Deadlines(limits.stallSeconds * 1000, (c) => c.expired('stall'));
    this.drainDeadlines = new Deadlines(DRAIN_MS, (c) => c.expired('drain'));
  }

  get size(): number {
    return this.#all.size;
  }

  /** A copy: connections may end while they are gone through. */
  get all(): Connection[] {
    return [...this.#all];
  }

  /** Another connection fits. */
  get hasRoom(): boolean {
    return this.size < this.#engine.config.limits.connections;
  }

  /** A client has connected. */
  accept(fd: number, client: Endpoint): void {
    const { counters } = this.#engine;
    if (!this.hasRoom) {
      counters.add('connections_refused');
      this.#turnAway(fd, client);
      return;
    }
    counters.add('connections_accepted');
    // Most clients have sent their request by the time they are accepted.
    this.#take(new Connection(this.#engine, fd, client, this.#revived(fd)));
  }

  /** Goes on with a connection that has come from another node. */
  adopt(fd: number, arrived: Arrived): void {
    setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, this.#engine.config.limits.stallSeconds * 1000);
    this.#take(new Connection(this.#engine, fd, arrived.guest.ends.client, arrived));
  }

  #take(connection: Connection): void {
    this.#all.add(connection);
    this.#engine.loop.add(connection.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection);
    connection.start();
  }

  /** A connection whose ends were a guest's comes by that one's route, and keeps it. */
  #revived(fd: number): Arrived | null {
    const { guests } = this.#engine;
    if (guests.size === 0) return null;
    const ends = endsOf(fd);
    const guest = ends === null ? null : guests.revive(ends);
    return guest === null ? null : { guest, serveFirst: false };
  }

  /** There is no room for a connection that is new; so its socket has room for the answer. */
  #turnAway(fd: number, client: Endpoint): void {
    const answer = this.refusal(503, formatEndpoint(client), null);
    // Unread, what has come would make close() reset the connection, and the answer could be overtaken.
    libc.recv(fd, this.receiveBuffer.address, RECEIVE_BYTES, 0);
    libc.sendBytes(fd, answer, answer.length, MSG_NOSIGNAL);
    libc.close(fd);
  }

  /** An answer of the engine's own, after which the connection ends; it counts as given. */
  refusal(status: ErrorStatus, client: string, head: RequestHead | null): Buffer {
    const { sites, loop, access } = this.#engine;
    const part = errorResponse(status, loop.wallMs, {
      close: true,
      extraFields: sites.extraFields('local', 0),
    }).parts[0];
    assert('bytes' in part, 'its text is here');
    access.refused(client, head, status, part.bytes.length, loop.wallMs);
    return part.bytes;
  }

  /** A connection has ended, or lives at another node; its socket is closed right after. */
  closed(connection: Connection): void {
    this.#all.delete(connection);
    this.headDeadlines.clear(connection);
    this.idleDeadlines.clear(connection);
    this.stallDeadlines.clear(connection);
    this.drainDeadlines.clear(connection);
    this.laterDeadlines.clear(connection);
    this.#engine.loop.forget(connection.fd);
  }

  tick(nowMs: number): void {
    this.headDeadlines.run(nowMs);
    this.idleDeadlines.run(nowMs);
    this.stallDeadlines.run(nowMs);
    this.drainDeadlines.run(nowMs);
    this.laterDeadlines.run(nowMs);
    for (const { flow } of this.#all) flow?.tick(nowMs);
  }
}
