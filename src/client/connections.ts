/** The clients' connections of an engine: how they come here, how many fit, and how time passes in them. */
import assert from 'node:assert';
import { type Endpoint, formatEndpoint } from '../base/address.ts';
import { Members } from '../base/members.ts';
import { NumberTable } from '../base/number-table.ts';
import type { ArrivedConnection, ArrivedResponse } from '../handoff/move/move-ports.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import { allocate } from '../kernel/linux/memory.ts';
import { IDLE_MS } from '../kernel/loop/loop.ts';
import type { Ticking } from '../kernel/loop/ports.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { HandshakeResult } from '../protocol/tls/handshake.ts';
import type { TlsSession } from '../protocol/tls/session.ts';
import type { Described } from './access-records.ts';
import { type Channel, SocketChannel } from './channel.ts';
import { ClientHandshake, type HandshakeOwner, type SeenOfClient } from './client-handshake.ts';
import { Connection } from './connection.ts';
import { ConnectionDeadlines } from './connection-deadlines.ts';
import type { ClientPorts } from './ports.ts';
import { TlsChannel } from './tls-channel.ts';

const RECEIVE_BYTES = 256 * 1024;
const EVENTS = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

const NOTHING = Buffer.alloc(0);

export class Connections implements HandshakeOwner, Ticking {
  readonly ports: ClientPorts;
  readonly deadlines: ConnectionDeadlines;
  /**
   * For clients' connections, not for links: while the bytes of a client are being handled a frame may be read from a
   * link, which must not overwrite them.
   */
  readonly receiveBuffer = allocate(RECEIVE_BYTES);
  /** The connections, by their sockets. */
  readonly #all = new NumberTable<Connection>();
  /** TLS handshakes, the oldest first. */
  readonly #handshakes = new Members<ClientHandshake>();

  constructor(ports: ClientPorts) {
    this.ports = ports;
    this.deadlines = new ConnectionDeadlines(ports.config.limits);
  }

  get size(): number {
    return this.#all.size + this.#handshakes.size;
  }

  get handshakes(): number {
    return this.#handshakes.size;
  }

  /** A copy: connections may end while they are gone through. */
  get all(): Connection[] {
    return this.#all.all;
  }

  /** Whether there is room for another connection. */
  get hasRoom(): boolean {
    return this.size < this.ports.config.limits.connections;
  }

  /** A client has connected. `isSecure`: to the port where TLS is spoken. */
  accept(fd: number, client: Endpoint, isSecure: boolean): void {
    const { count, sockets, tls } = this.ports;
    const refused = this.#refuses(fd, client);
    if (refused !== null) {
      // Before its handshake the client could not read an answer.
      if (isSecure) return sockets.close(fd);
      // The socket is new, so it has room for the answer.
      const answer = this.refusal(refused, { text: formatEndpoint(client), tls: null }, null);
      return sockets.turnAway(fd, answer, this.receiveBuffer);
    }
    count.add('connections_accepted');
    if (isSecure) {
      assert(tls !== null, 'there are certificates');
      return this.#shakeHands(new ClientHandshake(this, fd, client, tls.begin()));
    }
    // Most clients have sent their request by the time they are accepted.
    this.#take(new SocketChannel(fd, sockets), client, this.#revived(fd));
  }

  /** The status with which a client is turned away; null: it is welcome. */
  #refuses(fd: number, client: Endpoint): 429 | 503 | null {
    if (this.hasRoom) return this.ports.boosted?.admit(fd, client.address) ?? null;
    this.ports.count.add('connections_refused');
    return 503;
  }

  #shakeHands(handshake: ClientHandshake): void {
    if (this.#handshakes.size >= this.ports.config.limits.handshakes) this.#handshakes.first?.evict();
    this.#handshakes.add(handshake);
    this.ports.watch.add(handshake.fd, EVENTS, handshake);
    handshake.start();
  }

  secured(handshake: ClientHandshake, result: HandshakeResult, seen: SeenOfClient): void {
    const { fd, client } = handshake;
    const { watch } = this.ports;
    this.#handshakes.delete(handshake);
    const { suite, resumed, clientSecret, serverSecret, clientRecord, serverRecord, behind } = result;
    const session = {
      suite,
      resumed,
      clientSecret,
      serverSecret,
      clientRecord,
      serverRecord,
      behind,
      held: NOTHING,
    };
    const channel = this.#secure(fd, session, null);
    channel.goOn(seen.owed, seen.isDrained);
    const connection = this.#make(channel, client, null);
    watch.give(fd, connection);
    connection.start(null);
    if (seen.hasEnded) connection.ready(EPOLLIN | EPOLLRDHUP);
  }

  unsecured(handshake: ClientHandshake): void {
    this.#handshakes.delete(handshake);
    this.ports.boosted?.closed(handshake.fd);
    this.ports.watch.forget(handshake.fd);
  }

  /** Handshakes in progress lead to nothing any more. */
  endHandshakes(): void {
    for (const handshake of this.#handshakes.all) handshake.close();
  }

  /** Goes on with a connection that has come from another node. */
  adopt(fd: number, arrived: ArrivedConnection): void {
    const { sockets, config } = this.ports;
    const { session, guest, response = null } = arrived;
    sockets.limitSilence(fd, config.limits.stallSeconds * 1000);
    const channel = session ? this.#secure(fd, session, response) : new SocketChannel(fd, sockets);
    this.#take(channel, guest.ends.client, arrived);
  }

  #secure(fd: number, session: TlsSession, response: ArrivedResponse | null): TlsChannel {
    const { sockets, config, count } = this.ports;
    return new TlsChannel(fd, sockets, session, count, config.listen.tlsRekey, response);
  }

  #make(channel: Channel, client: Endpoint, arrived: ArrivedConnection | null): Connection {
    const connection = new Connection(this, channel, client, arrived);
    this.#all.set(channel.fd, connection);
    return connection;
  }

  #take(channel: Channel, client: Endpoint, arrived: ArrivedConnection | null): void {
    const connection = this.#make(channel, client, arrived);
    this.ports.watch.add(channel.fd, EVENTS, connection);
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
  refusal(status: ErrorStatus, client: Described, head: RequestHead | null): Buffer {
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

  turn(nowMs: number): void {
    this.deadlines.runSome(nowMs);
  }

  get waitMs(): number {
    return this.deadlines.isDue(this.ports.clock.nowMs) ? 0 : IDLE_MS;
  }

  /** What a connection waits for comes as an event, or may be 100 ms late. */
  round(nowMs: number): void {
    for (const { flow } of this.#all.all) flow?.tick(nowMs);
  }
}
