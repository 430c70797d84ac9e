/**
 * A client's connection before it is one: its TLS handshake.
 *
 *   going --done, and all of it is out--> over: it is a connection now
 *     |--an alert, HTTP in the clear--> ending (ending.ts: the client hears why) --> over: closed
 *     `--the client's end or alert, limits.headSeconds, a newer one needs the place--> over: closed
 */
import assert from 'node:assert';
import type { Endpoint } from '../base/address.ts';
import { formatEndpoint } from '../base/address.ts';
import type { EngineCounter } from '../base/counters.ts';
import type { Member, Places } from '../base/members.ts';
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP, hasFailed } from '../kernel/linux/epoll.ts';
import type { Source } from '../kernel/loop/loop.ts';
import { wrongSchemeResponse } from '../protocol/http/error-response.ts';
import type { Handshake, HandshakeFailure, HandshakeResult } from '../protocol/tls/handshake.ts';
import { SocketChannel } from './channel.ts';
import { ClientTime, type DeadlineKind } from './connection-deadlines.ts';
import { Ending } from './ending.ts';
import { OwnOutput } from './own-output.ts';
import type { ConnectionOwner } from './ports.ts';

const NOTHING = Buffer.alloc(0);

type State = 'going' | 'ending' | 'over';

const NEXT: Readonly<Record<State, readonly State[]>> = {
  going: ['ending', 'over'],
  ending: ['over'],
  over: [],
};

const FAILURE_COUNTERS: Readonly<Record<HandshakeFailure, EngineCounter>> = {
  plain: 'tls_plain',
  garbage: 'tls_garbage',
  name: 'tls_unknown_name',
  common: 'tls_nothing_common',
  alert: 'tls_client_alerts',
  broken: 'tls_broken',
};

/** What a handshake hands to its connection beside the session. */
export interface SeenOfClient {
  /** The client's FIN has come. */
  readonly hasEnded: boolean;
  /** The handshake's last read has emptied the socket. */
  readonly isDrained: boolean;
  /** The tickets that are sealed and not sent: they go before anything else. */
  readonly owed: Buffer;
}

/** What has the handshakes of an engine. */
export interface HandshakeOwner extends ConnectionOwner {
  /** The handshake is done; `hasEnded`: the client's FIN has come. */
  secured(handshake: ClientHandshake, result: HandshakeResult, seen: SeenOfClient): void;
  /** The handshake has failed or ended; its socket is closed right after. */
  unsecured(handshake: ClientHandshake): void;
}

export class ClientHandshake implements Source, Member {
  readonly places: Places = [];
  readonly fd: number;
  readonly client: Endpoint;
  readonly #owner: HandshakeOwner;
  readonly #handshake: Handshake;
  readonly #time: ClientTime;
  readonly #channel: SocketChannel;
  readonly #output: OwnOutput;
  #state: State = 'going';
  #ending: Ending | null = null;
  #readable = true;
  #hasEnded = false;
  #isDrained = false;

  constructor(owner: HandshakeOwner, fd: number, client: Endpoint, handshake: Handshake) {
    const { sockets } = owner.ports;
    this.#owner = owner;
    this.fd = fd;
    this.client = client;
    this.#handshake = handshake;
    this.#channel = new SocketChannel(fd, sockets);
    this.#output = new OwnOutput(() => this.#channel.out('own'));
    this.#time = new ClientTime(owner.deadlines, owner.ports, fd, (kind) => this.#expired(kind));
  }

  #become(state: State): void {
    assert(NEXT[this.#state].includes(state), `a handshake goes from ${this.#state} to ${state}`);
    this.#state = state;
  }

  start(): void {
    this.#time.start('hello');
    this.#read();
  }

  ready(events: number): void {
    if (this.#state === 'over') return;
    if (hasFailed(events)) return this.#left();
    if ((events & EPOLLRDHUP) !== 0) this.#hasEnded = true;
    if ((events & EPOLLIN) !== 0) this.#readable = true;
    if ((events & EPOLLOUT) !== 0 && this.#output.waits && !this.#flushed()) return;
    this.#read();
  }

  /** Goes on with what waits to be sent. False: it is over. */
  #flushed(): boolean {
    if (!this.#output.flush()) this.#left();
    else if (this.#ending !== null) this.#ending.said();
    else this.#advance();
    return this.#state !== 'over';
  }

  #read(): void {
    const { ports, receiveBuffer } = this.#owner;
    while (this.#readable && this.#state !== 'over' && (this.#ending !== null || !this.#output.waits)) {
      const got = ports.sockets.receive(this.fd, receiveBuffer);
      // A short read has emptied the socket: what comes later is a new event. A FIN behind it is not.
      this.#isDrained = got < receiveBuffer.bytes.length;
      if (this.#isDrained && !this.#hasEnded) this.#readable = false;
      // Nothing is there now, or the socket has failed: then an event says so, too.
      if (got < 0) {
        this.#readable = false;
        return;
      }
      if (got === 0) return this.#ended();
      if (this.#ending !== null) this.#ending.drained();
      else this.#take(receiveBuffer.bytes, got);
    }
  }

  #ended(): void {
    this.#readable = false;
    if (this.#ending !== null) return this.#ending.clientEnded();
    this.#left();
  }

  #take(bytes: Buffer, got: number): void {
    const answer = this.#handshake.take(bytes, 0, got);
    const { failure, isFollowed } = this.#handshake;
    // The tickets of a client whose request has come go with the response.
    if (isFollowed && !this.#output.waits) return this.#secure(answer);
    if (answer.length > 0 && !this.#output.say(answer)) return this.#left();
    if (failure === null) return this.#advance();
    this.#owner.ports.count.add(FAILURE_COUNTERS[failure]);
    if (failure === 'alert') return this.#close();
    if (failure === 'plain' && !this.#output.say(this.#wrongScheme())) return this.#left();
    this.#end();
  }

  /**
   * The handshake becomes a connection when all of its bytes are out: what follows is sealed, and is sent by the
   * connection.
   */
  #advance(): void {
    if (this.#handshake.state === 'done' && !this.#output.waits) this.#secure(NOTHING);
  }

  #secure(owed: Buffer): void {
    const result = this.#handshake.takeResult();
    const { count } = this.#owner.ports;
    count.add('tls_handshakes');
    if (result.resumed) count.add('tls_resumed');
    this.#become('over');
    this.#time.end();
    this.#owner.secured(this, result, { hasEnded: this.#hasEnded, isDrained: this.#isDrained, owed });
  }

  /** The answer to a client that speaks HTTP in the clear on this port. */
  #wrongScheme(): Buffer {
    const { access, clock } = this.#owner.ports;
    const answer = wrongSchemeResponse(clock.wallMs);
    access.refused({ text: formatEndpoint(this.client), tls: null }, null, 400, answer.length, clock.wallMs);
    return answer;
  }

  /** Nothing follows what was said. */
  #end(): void {
    this.#become('ending');
    this.#time.attended();
    const connection = { close: () => this.#close() };
    this.#ending = new Ending(connection, this.#channel, this.#output, this.#time, this.#owner.ports.clock);
    this.#ending.said();
    this.#readable = true;
    this.#read();
  }

  #expired(kind: DeadlineKind): void {
    if (kind === 'hello') this.#owner.ports.count.add('tls_timeouts');
    this.#close();
  }

  /** The client has gone, or its socket has failed. */
  #left(): void {
    if (this.#state === 'going') this.#owner.ports.count.add('tls_left');
    this.#close();
  }

  /** A newer one needs the place. */
  evict(): void {
    this.#owner.ports.count.add('tls_evicted');
    this.#close();
  }

  #close(): void {
    if (this.#state !== 'over') this.close();
  }

  /** Ends it. */
  close(): void {
    this.#become('over');
    this.#handshake.cancel();
    this.#time.end();
    this.#owner.unsecured(this);
    this.#owner.ports.sockets.close(this.fd);
  }
}
