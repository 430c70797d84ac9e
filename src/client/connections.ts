/** The clients' connections of an engine: how they come here, how many fit, and how time passes in them. */
import assert from 'node:assert';
import { type Endpoint, formatEndpoint } from '../base/address.ts';
import type { ArrivedConnection } from '../handoff/move/move-ports.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import { allocate } from '../kernel/linux/memory.ts';
import { IDLE_MS } from '../kernel/loop/loop.ts';
import type { Ticking } from '../kernel/loop/ports.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { Connection } from './connection.ts';
import { ConnectionDeadlines } from './connection-deadlines.ts';
import type { ClientPorts, ConnectionOwner } from './ports.ts';

const RECEIVE_BYTES = 256 * 1024;

export class Connections implements ConnectionOwner, Ticking {
  readonly ports: ClientPorts;
  readonly deadlines: ConnectionDeadlines;
  /** Of connections alone: handling what came on one may read from a link before its bytes are used up. */
  readonly receiveBuffer = allocate(RECEIVE_BYTES);
  /** By their sockets. */
  readonly #all = new Map<number, Connection>();

  constructor(ports: ClientPorts) {
    this.ports = ports;
    this.deadlines = new ConnectionDeadlines(ports.config.limits);
  }

  get size(): number {
    return this.#all.size;
  }

  /** A copy: connections may end while they are gone through. */
  get all(): Connection[] {
    return [...this.#all.values()];
  }

  /** Another connection fits. */
  get hasRoom(): boolean {
    return this.size < this.ports.config.limits.connections;
  }

  /** A client has connected. */
  accept(fd: number, client: Endpoint): void {
    const { count, sockets } = this.ports;
    if (!this.hasRoom) {
      count.add('connections_refused');
      // It is new, so its socket has room for the answer.
      return sockets.turnAway(fd, this.refusal(503, formatEndpoint(client), null), this.receiveBuffer);
    }
    count.add('connections_accepted');
    // Most clients have sent their request by the time they are accepted.
    this.#take(fd, client, this.#revived(fd));
  }

  /** Goes on with a connection that has come from another node. */
  adopt(fd: number, arrived: ArrivedConnection): void {
    const { sockets, config } = this.ports;
    sockets.limitSilence(fd, config.limits.stallSeconds * 1000);
    this.#take(fd, arrived.guest.ends.client, arrived);
  }

  #take(fd: number, client: Endpoint, arrived: ArrivedConnection | null): void {
    this.ports.boosted?.accepted(fd);
    const connection = new Connection(this, fd, client, arrived);
    this.#all.set(fd, connection);
    this.ports.watch.add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection);
    connection.start(arrived);
  }

  /** A connection whose ends were a guest's comes by that one's route, and keeps it. */
  #revived(fd: number): ArrivedConnection | null {
    const { guests, sockets } = this.ports;
    if (guests.size === 0) return null;
    const ends = sockets.ends(fd);
    const guest = ends === null ? null : guests.revive(ends);
    return guest === null ? null : { guest, serveFirst: false };
  }

  /** An answer of the engine's own, after which the connection ends; it counts as given. */
  refusal(status: ErrorStatus, client: string, head: RequestHead | null): Buffer {
    const { sites, clock, access } = this.ports;
    const part = errorResponse(status, clock.wallMs, {
      close: true,
      extraFields: sites.extraFields('local', 0, null),
    }).parts[0];
    assert('bytes' in part, 'its text is here');
    access.refused(client, head, status, part.bytes.length, clock.wallMs);
    return part.bytes;
  }

  closed({ fd }: { readonly fd: number }): void {
    this.#all.delete(fd);
    this.ports.boosted?.closed(fd);
    this.ports.watch.forget(fd);
  }

  turn(): void {
    // What a connection waits for comes as an event, or may be 100 ms late.
  }

  get waitMs(): number {
    return IDLE_MS;
  }

  round(nowMs: number): void {
    this.deadlines.run(nowMs);
    for (const { flow } of this.#all.values()) flow?.tick(nowMs);
  }
}
