/**
 * A client's connection at its anchor: has the requests that come on it answered, in order, and ends.
 * Its states are in connection-state.ts.
 */
import type { Endpoint } from '../base/address.ts';
import type { Choice } from '../cluster/policy/policy.ts';
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import type { Guest } from '../handoff/move/guests.ts';
import type { Movable, MovingResponse } from '../handoff/move/movable.ts';
import type { ArrivedConnection } from '../handoff/move/move-ports.ts';
import { CLIENT_GONE } from '../handoff/request/delivery.ts';
import { EPOLLIN, EPOLLOUT, hasFailed } from '../kernel/linux/epoll.ts';
import type { Source } from '../kernel/loop/loop.ts';
import { CONTINUE, type ErrorStatus } from '../protocol/http/error-response.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { TlsSession } from '../protocol/tls/session.ts';
import type { Channel } from './channel.ts';
import { ClientEnds } from './client-ends.ts';
import { ClientInput } from './client-input.ts';
import { ClientTime, type DeadlineKind } from './connection-deadlines.ts';
import { type ConnectionState, next } from './connection-state.ts';
import { CurrentRequest } from './current-request.ts';
import { Ending } from './ending.ts';
import { Moving } from './moving.ts';
import { claimsOut, OwnOutput } from './own-output.ts';
import type { ClientPorts, ConnectionOwner, RequestConnection } from './ports.ts';
import { RequestReader, type RequestTaker } from './request-reader.ts';

export class Connection implements Source, Movable, RequestConnection, RequestTaker {
  readonly channel: Channel;
  readonly client: ClientEnds;
  readonly fd: number;
  readonly #owner: ConnectionOwner;
  readonly #ports: ClientPorts;
  readonly #time: ClientTime;
  readonly #request: CurrentRequest;
  readonly #reader: RequestReader;
  readonly #input: ClientInput;
  #state: ConnectionState = 'head';
  flow: AnchorFlow | null = null;
  /** Not null: the connection has come from another node. */
  guest: Guest | null;
  /** What the client was shown before this socket existed. */
  readonly shown: { readonly advertisedEdge?: number };
  /** The next request is answered here: it was the reason to move, or others refused it. */
  #stays: boolean;
  readonly #moving: Moving;
  readonly #output: OwnOutput;
  #ending: Ending | null = null;

  /** `client`: as it was accepted; the client may have reset the connection by now. */
  constructor(owner: ConnectionOwner, channel: Channel, client: Endpoint, arrived: ArrivedConnection | null) {
    const { ports, receiveBuffer } = owner;
    this.#owner = owner;
    this.#ports = ports;
    this.channel = channel;
    this.fd = channel.fd;
    this.#time = new ClientTime(owner.deadlines, ports, this.fd, (kind) => this.#expired(kind));
    this.client = new ClientEnds(channel, client, ports.sockets);
    this.#output = new OwnOutput(() => channel.out('anyone', null));
    this.#input = new ClientInput(channel, receiveBuffer, (bytes) => this.flow?.consumed(bytes));
    this.#request = new CurrentRequest(ports, this, receiveBuffer);
    this.#reader = new RequestReader(ports, this.#input, this, this.#request);
    channel.speaksBy(() => this.#state !== 'moving' && claimsOut(this.flow, this.#request.isHandled));
    this.#moving = new Moving(this.#input, ports.clock, (to) => ports.startMove(this, to));
    this.guest = arrived?.guest ?? null;
    this.shown = arrived?.advertisedEdge === undefined ? {} : { advertisedEdge: arrived.advertisedEdge };
    this.#stays = arrived?.serveFirst ?? false;
  }

  #become(state: ConnectionState): void {
    this.#state = next(this.#state, state);
  }

  get key(): string | null {
    return this.guest === null ? this.client.key : this.guest.key;
  }

  /** The client has sent more than the request in progress. */
  get hasMore(): boolean {
    return this.#input.hasMore;
  }

  /** Nothing of the next request had been read when this one was complete. */
  get quiet(): boolean {
    return this.#reader.quiet;
  }

  /** What has been read and not answered. */
  get unread(): Buffer {
    return this.#input.held;
  }

  get session(): TlsSession | null {
    return this.channel.session(this.#input.held);
  }

  get state(): ConnectionState {
    return this.#state;
  }

  /** Begins: most clients have sent something by then. */
  start(arrived: ArrivedConnection | null): void {
    // A new client is to ask; one that has come from another node may rest.
    this.#time.start(arrived === null ? 'head' : 'idle');
    if (arrived?.response) {
      this.occupied();
      this.#request.goOnWith(arrived.response);
    }
    this.ready(EPOLLIN);
  }

  ready(events: number): void {
    if (this.#state === 'closed') return;
    if (hasFailed(events)) return this.gone();
    this.#input.hear(events);
    // While the connection moves nothing is read; if the move fails, it is read again.
    if (this.#state === 'moving') return;
    if ((events & EPOLLIN) !== 0) this.#request.more();
    if ((events & EPOLLOUT) !== 0) this.#writable();
    this.#reader.read();
  }

  #writable(): void {
    if (!this.channel.flush()) return this.gone();
    if (this.#output.waits) {
      if (!this.#output.flush()) return this.gone();
      if (this.#ending !== null) return this.#ending.said();
      this.watchClient(true);
    }
    this.#request.writable();
  }

  received(): void {
    if (this.#state === 'draining') this.#ending?.drained();
  }

  headBegun(): void {
    this.#time.startOnce('head'); // Of the whole head, not of its next piece.
  }

  movesBy(head: RequestHead, bytes: Buffer, at: number, end: number): boolean {
    return this.#move(this.#request.choose(head, this.#stays), bytes, at, end);
  }

  headRead(): void {
    this.#stays = false;
    this.#time.attended();
  }

  /** The interim answer leaves from here: it belongs to the in-half's conversation. */
  sendContinue(): boolean {
    return this.#say(CONTINUE);
  }

  #say(bytes: Buffer): boolean {
    this.flow?.beginOwn();
    if (this.#output.say(bytes)) return true;
    this.gone();
    return false;
  }

  collects(): void {
    this.#become('body');
    this.watchClient(true);
  }

  /**
   * The client is given time for what only it can do: to take some of the response, or to send more of a body that is
   * wanted. `moved`: it has just done so.
   */
  watchClient(moved: boolean): void {
    const owesBody = this.#reader.isInBody && (this.#state !== 'busy' || this.#request.wantsBody);
    if (!owesBody && !this.#request.isBlocked) this.#time.clear('stall');
    else if (moved) this.#time.start('stall');
    else this.#time.startOnce('stall');
  }

  accept(head: RequestHead, headBytes: Buffer, body: Buffer, bodyFollows: boolean): void {
    // The client has sent its body without waiting for 100 Continue, so that need not be said any more.
    if (!this.#output.withdraw()) return this.broken('an interim answer is not out');
    const hadBody = this.#state === 'body';
    this.#become('busy');
    if (hadBody) this.watchClient(true);
    this.#request.begin(head, headBytes, body, bodyFollows);
  }

  /** More of a body that follows is taken now. */
  bodyWanted(): void {
    this.#reader.bodyWanted();
    if (this.#state === 'busy') this.watchClient(false);
  }

  occupied(): void {
    this.#time.attended();
    this.#become('busy');
  }

  answered(close: boolean): void {
    if (close) return this.#finishUp();
    this.#become(this.#reader.isInBody ? 'rest' : 'head');
    this.watchClient(true);
    if (this.#state === 'head') this.#time.start('idle');
    this.#reader.goOn();
  }

  restRead(): void {
    this.#become('head');
    this.watchClient(true);
    this.#time.start('idle');
  }

  asksLater(): void {
    this.#time.start('later');
  }

  /** Gives the connection to another node. Bytes [at, end): read, not answered. False: it stays. */
  #move(to: Choice, bytes: Buffer, at: number, end: number): boolean {
    if (!this.#ports.dispatcher.mayMove(to)) return false;
    if (!this.channel.mayMove(bytes.subarray(at, end), this.#state === 'busy')) return false;
    if (!this.#moving.begin(to, bytes, at, end)) return false;
    this.#request.moving.pause();
    this.#become('moving');
    this.#time.attended();
    return true;
  }

  /** Moves to `node`, or waits until it can. `hasTo`: this node goes away, so what cannot move ends. */
  leaveFor(node: number, hasTo = true): void {
    if (this.#reader.isProcessing || !this.#moving.mayTry) return;
    const { held } = this.#input;
    if (hasTo && this.#state === 'head' && !this.channel.mayMove(held, false)) return this.closeWhenIdle();
    if (this.#state === 'head' || this.movingResponse !== null) {
      this.#move({ node, mechanism: 'migrate' }, held, 0, held.length);
    } else if (this.#state === 'busy' && !this.#reader.isInBody) this.#request.takeBack();
  }

  get movingResponse(): MovingResponse | null {
    if (this.#state !== 'busy' || this.#reader.isInBody) return null;
    return this.channel.moving(this.#request.movingResponse);
  }

  moved(): void {
    if (this.#state !== 'moving') return;
    this.#moving.done();
    this.#request.cancel();
    this.#leave((flow) => flow.moved());
  }

  resumed(): void {
    if (this.#state !== 'moving') return;
    this.#moving.failed();
    this.#input.readable = true;
    if (this.#request.moving.isPaused) {
      this.#become('busy');
      return this.#request.moving.resume();
    }
    this.#become('head');
    this.#stays = true;
    if (this.#input.held.length === 0) this.#time.start('idle');
    this.#reader.goOn();
  }

  /** The connection cannot go on without risking wrong bytes: it is reset. */
  broken(reason: string): void {
    if (this.#state === 'closed') return;
    this.#ports.count.add('connections_aborted');
    this.#ports.log(reason === CLIENT_GONE ? 'info' : 'warn', 'connection aborted', { reason });
    this.#lose('abort');
  }

  /** The client reset the connection, or its socket failed. */
  gone(): void {
    if (this.#state !== 'closed') this.#lose('close');
  }

  #lose(how: 'abort' | 'close'): void {
    this.#leave((flow) => flow.end(true));
    this.#ports.sockets[how](this.fd);
    if (this.guest !== null) this.#ports.guests.ended(this.guest);
  }

  /** An answer of the engine's own, after which the connection ends. `head`: null when it could not be read. */
  refuse(status: ErrorStatus, head: RequestHead | null = null): void {
    this.#time.attended();
    this.#time.clear('stall');
    this.#reader.forgetBody();
    this.#output.withdraw();
    if (this.#say(this.#owner.refusal(status, this.client, head))) this.#finishUp(true);
  }

  /** Nothing more is answered. With input that nobody will read, or something that waits to be said, it lasts a while. */
  #finishUp(drain = false): void {
    if (!drain && !this.#input.hasUnread && !this.#reader.isInBody) return this.close(true);
    this.flow?.beginOwn();
    this.#become('draining');
    this.#input.drop();
    this.#time.clear('idle');
    this.#ending = new Ending(this, this.channel, this.#output, this.#time, this.#ports.clock);
    this.#ending.said();
    this.#input.readable = true;
    if (!this.#reader.isProcessing) this.#reader.read();
  }

  clientEnded(): void {
    if (this.#ending === null) this.close();
    else this.#ending.clientEnded();
  }

  /** A deadline ran out. */
  #expired(kind: DeadlineKind): void {
    // A node that was still reading the file, and could not say whether the response can go on there, may know now.
    if (kind === 'later') return this.#state === 'busy' ? this.#request.askLater() : undefined;
    if (kind === 'head') {
      this.#ports.count.add('timeouts_head');
      if (this.#input.held.length > 0) return this.refuse(408);
    }
    if (kind === 'idle') this.#ports.count.add('timeouts_idle');
    if (kind === 'stall') return this.#time.goesOn() ? undefined : this.broken('the client stalled');
    this.close();
  }

  /** Closes an idle connection; a busy one closes after its response. */
  closeWhenIdle(): void {
    if (this.#state === 'head' && this.#input.held.length === 0) this.close();
  }

  /** Ends it: what was sent still arrives. `waits`: the end of the last response may wait for FIN. */
  close(waits = false): void {
    if (this.#state === 'closed') return;
    // A flow has to know what of its socket is out.
    if (this.#ending === null) this.channel.end(waits && this.flow === null);
    this.#leave((flow) => flow.end(false));
    if (this.guest === null) this.#ports.sockets[waits ? 'finish' : 'close'](this.fd);
    else this.#ports.guests.close(this.guest, this.fd);
  }

  /** `end`: what becomes of the flow, if there is one. */
  #leave(end: (flow: AnchorFlow) => void): void {
    this.#become('closed');
    this.channel.forget();
    this.#input.drop();
    this.#moving.cancel();
    this.#request.abandon();
    if (this.flow !== null) end(this.flow);
    this.flow = null;
    this.#time.end();
    this.#owner.closed(this);
  }
}
