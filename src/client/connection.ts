/**
 * A client's connection at its anchor: has the requests that come on it answered, in order, and ends.
 *
 *   head --request--> [body -->] busy --answered--> [rest -->] head ...
 *     |                            `--broken--> closed (reset)
 *     `--FIN, deadline--> closed                     head refused --> draining --> closed (see ending.ts)
 *
 * Between two requests it may move to another node as a whole:  head --> moving --> closed (silently), or head; in the
 * middle of a response, too, when this node goes away:  busy --> moving --> closed (silently), or busy
 */

import { type Endpoint, formatEndpoint } from '../base/address.ts';
import type { Choice } from '../cluster/policy/policy.ts';
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import { endsKey, endsOf } from '../handoff/flow/ends.ts';
import type { Guest } from '../handoff/move/guests.ts';
import { Migration } from '../handoff/move/migrate.ts';
import { CLIENT_GONE } from '../handoff/request/handling.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import { unlessSocketDied } from '../kernel/linux/errors.ts';
import * as libc from '../kernel/linux/libc.ts';
import { abortClose, sendQueueBytes } from '../kernel/linux/socket.ts';
import type { Places } from '../kernel/loop/deadlines.ts';
import type { Source } from '../kernel/loop/loop.ts';
import type { Engine } from '../node/engine/engine.ts';
import type { MovedResponse } from '../protocol/backplane/frames.ts';
import { CONTINUE, type ErrorStatus } from '../protocol/http/error-response.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { SocketOut } from '../serve/out.ts';
import type { Client } from '../serve/request.ts';
import { Answering, type ArrivedResponse } from './answering.ts';
import type { ClientInput } from './client-input.ts';
import type { Connections } from './connections.ts';
import { Ending } from './ending.ts';
import { Moving } from './moving.ts';
import { OwnOutput } from './own-output.ts';
import { RequestReader } from './request-reader.ts';

export type ConnectionState = 'head' | 'body' | 'busy' | 'rest' | 'moving' | 'draining' | 'closed';

/** How a connection that has come from another node begins. */
export interface Arrived {
  readonly guest: Guest;
  /** Its first request is answered here, whatever the policy says. */
  readonly serveFirst: boolean;
  /** The largest edge of the window that the client has been shown; absent: by this socket alone. */
  readonly advertisedEdge?: number;
  /** It comes in the middle of a response; the exchange has what is left of it. */
  readonly response?: ArrivedResponse | null;
}

export class Connection implements Source, Client {
  readonly places: Places = [];
  readonly fd: number;
  readonly #engine: Engine;
  readonly #connections: Connections;
  readonly #answering: Answering;
  readonly #reader: RequestReader;
  readonly #input: ClientInput;
  #state: ConnectionState = 'head';
  flow: AnchorFlow | null = null;
  /** Not null: the connection has come from another node. */
  guest: Guest | null;
  #key: string | null = null;
  readonly #client: Endpoint;
  #clientText: string | null = null;
  /** What the client was shown before this socket existed. */
  readonly shown: { readonly advertisedEdge?: number };
  /** The next request is answered here: it was the reason to move, or others refused it. */
  #stays: boolean;
  readonly #moving: Moving;
  #arrivedWith: ArrivedResponse | null;
  #output: OwnOutput | null = null;
  #ending: Ending | null = null;
  /** What the client had not taken yet when it was given time last. */
  #queuedBytes = 0;

  /** `client`: as it was accepted; the client may have reset the connection by now. */
  constructor(engine: Engine, fd: number, client: Endpoint, arrived: Arrived | null) {
    const { connections } = engine;
    this.#engine = engine;
    this.#connections = connections;
    this.fd = fd;
    this.#client = client;
    this.#answering = new Answering(engine, this);
    this.#reader = new RequestReader(engine, this, this.#answering);
    this.#input = this.#reader.input;
    this.#moving = new Moving(this.#input, engine.loop, (to) => this.#startMove(to));
    this.guest = arrived?.guest ?? null;
    this.shown = arrived?.advertisedEdge === undefined ? {} : { advertisedEdge: arrived.advertisedEdge };
    this.#stays = arrived?.serveFirst ?? false;
    this.#arrivedWith = arrived?.response ?? null;
    // A new client is to ask; one that has come from another node may rest.
    const deadlines = arrived === null ? connections.headDeadlines : connections.idleDeadlines;
    deadlines.set(this, engine.loop.nowMs);
  }

  /** What it is known by on every node; null when the client has just reset it. */
  get key(): string | null {
    if (this.guest !== null) return this.guest.key;
    if (this.#key === null) {
      const ends = endsOf(this.fd);
      if (ends !== null) this.#key = endsKey(ends);
    }
    return this.#key;
  }

  get clientAddress(): Buffer {
    return this.#client.address;
  }

  /** The client's address and port, for logs. */
  get clientText(): string {
    this.#clientText ??= formatEndpoint(this.#client);
    return this.#clientText;
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

  get state(): ConnectionState {
    return this.#state;
  }

  /** Begins: most clients have sent something by then. */
  start(): void {
    const response = this.#arrivedWith;
    this.#arrivedWith = null;
    if (response !== null) {
      this.occupied();
      this.#answering.goOnWith(response);
    }
    this.ready(EPOLLIN);
  }

  ready(events: number): void {
    if (this.#state === 'closed') return;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (events & EPOLLIN) === 0) return this.gone();
    if ((events & EPOLLERR) !== 0) return this.gone();
    if ((events & EPOLLRDHUP) !== 0) this.#input.ended = true;
    // It reads again when it goes on here.
    if (this.#state === 'moving') return;
    if ((events & EPOLLIN) !== 0) {
      this.#input.readable = true;
      this.#answering.more();
    }
    if ((events & EPOLLOUT) !== 0) this.#writable();
    this.#reader.read();
  }

  #writable(): void {
    if (this.#output?.waits === true) {
      if (!this.#output.flush()) return this.gone();
      if (this.#ending !== null) return this.#ending.said();
      this.watchClient(true);
    }
    this.#answering.writable();
  }

  /** The first bytes of a request's head are there. */
  headBegun(): void {
    const { headDeadlines } = this.#connections;
    // Of the whole head, not of its next piece.
    if (!headDeadlines.has(this)) headDeadlines.set(this, this.#engine.loop.nowMs);
  }

  /** The head of a request is there. Bytes [at, end): from there on, read and not used. True: it moves with them. */
  movesBy(head: RequestHead, bytes: Buffer, at: number, end: number): boolean {
    return this.#move(this.#answering.choose(head, this.#stays), bytes, at, end);
  }

  /** The request whose head is there is answered here, or from here. */
  headRead(): void {
    this.#stays = false;
    this.#attended();
  }

  /** The client is not waited for, for now. */
  #attended(): void {
    this.#connections.idleDeadlines.clear(this);
    this.#connections.headDeadlines.clear(this);
  }

  /** The interim answer leaves from here: it belongs to the in-half's conversation. False: the connection has ended. */
  sendContinue(): boolean {
    return this.#say(CONTINUE);
  }

  #say(bytes: Buffer): boolean {
    this.flow?.beginOwn();
    this.#output ??= new OwnOutput(new SocketOut(this.fd, true));
    const said = this.#output.say(bytes);
    if (!said) this.gone();
    return said;
  }

  /** The client has sent the body without having been asked to: it need not be any more. False: half of that is out. */
  #unasked(): boolean {
    return this.#output === null || this.#output.withdraw();
  }

  /** A request's body is collected. */
  collects(): void {
    this.#state = 'body';
    this.watchClient(true);
  }

  /**
   * The client is given time for what only it can do: to take some of the response, or to send more of a body that is
   * wanted. `moved`: it has just done so.
   */
  watchClient(moved: boolean): void {
    const { stallDeadlines } = this.#connections;
    const owesBody = this.#reader.isInBody && (this.#state !== 'busy' || this.#answering.wantsBody);
    if (!owesBody && !this.#answering.isBlocked) stallDeadlines.clear(this);
    else if (moved || !stallDeadlines.has(this)) this.#giveTime();
  }

  #giveTime(): void {
    this.#connections.stallDeadlines.set(this, this.#engine.loop.nowMs);
    this.#queuedBytes = this.#stillQueued();
  }

  /** What was sent before, and the client has not taken yet. */
  #stillQueued(): number {
    try {
      return sendQueueBytes(this.fd);
    } catch (error) {
      return unlessSocketDied(error, 0);
    }
  }

  /** A request can be answered. */
  accept(head: RequestHead, headBytes: Buffer, body: Buffer, bodyFollows: boolean): void {
    if (!this.#unasked()) return this.broken('an interim answer is not out');
    const hadBody = this.#state === 'body';
    this.#state = 'busy';
    if (hadBody) this.watchClient(true);
    this.#answering.begin(head, headBytes, body, bodyFollows);
  }

  /** More of a body that follows is taken now. */
  bodyWanted(): void {
    this.#reader.bodyWanted();
    if (this.#state === 'busy') this.watchClient(false);
  }

  /** A response is in progress that no request here has just asked for. */
  occupied(): void {
    this.#attended();
    this.#state = 'busy';
  }

  /** The request in progress has its response. `close`: the connection ends with it. */
  answered(close: boolean): void {
    if (close) return this.#finishUp();
    this.#state = this.#reader.isInBody ? 'rest' : 'head';
    this.watchClient(true);
    if (this.#state === 'head') this.#connections.idleDeadlines.set(this, this.#engine.loop.nowMs);
    this.#reader.goOn();
  }

  /** The body is there of a request that was answered before. */
  restRead(): void {
    this.#state = 'head';
    this.watchClient(true);
    this.#connections.idleDeadlines.set(this, this.#engine.loop.nowMs);
  }

  /** Whoever did not know whether the response can go on may know now. */
  askLater(): void {
    if (this.#state === 'busy') this.#answering.askLater();
  }

  /** Gives the connection to another node. Bytes [at, end): read, not answered. False: it stays. */
  #move(to: Choice, bytes: Buffer, at: number, end: number): boolean {
    if (!this.#engine.dispatcher.mayMove(to) || !this.#moving.begin(to, bytes, at, end)) return false;
    this.#answering.moving.pause();
    this.#state = 'moving';
    this.#attended();
    return true;
  }

  #startMove({ node, mechanism }: Choice): Migration | null {
    const engine = this.#engine;
    const link = engine.linkOf(node, this);
    if (link === undefined) return null;
    const draining = engine.drain !== null;
    // The traditional handoff: not before everything sent is acknowledged.
    const how = { serveFirst: !draining, draining, whenAcknowledged: mechanism === 'drain' };
    return Migration.start(engine, this, node, link, how);
  }

  /** The node goes away: the connection moves, between two requests or in a response that can go on elsewhere. */
  leaveFor(node: number): void {
    if (this.#reader.isProcessing || !this.#moving.mayTry) return;
    if (this.#state === 'head' || this.movingResponse !== null) {
      const { held } = this.#input;
      this.#move({ node, mechanism: 'migrate' }, held, 0, held.length);
    } else if (this.#state === 'busy' && !this.#reader.isInBody) this.#answering.takeBack();
  }

  /** The response in progress, as another node has to know it to go on with it; null: none, or none could. */
  get movingResponse(): MovedResponse | null {
    return this.#state === 'busy' && !this.#reader.isInBody ? this.#answering.movingResponse : null;
  }

  /** The connection lives at another node; the socket is closed by the caller, silently. */
  moved(): void {
    if (this.#state !== 'moving') return;
    this.#state = 'closed';
    this.#moving.done();
    this.#input.drop();
    this.#answering.cancel();
    this.flow?.moved();
    this.flow = null;
    this.#connections.closed(this);
  }

  /** Moving has failed: goes on here. */
  resumed(): void {
    if (this.#state !== 'moving') return;
    this.#moving.failed();
    this.#input.readable = true;
    if (this.#answering.moving.isPaused) {
      this.#state = 'busy';
      return this.#answering.moving.resume();
    }
    this.#state = 'head';
    this.#stays = true;
    if (this.#input.held.length === 0) this.#connections.idleDeadlines.set(this, this.#engine.loop.nowMs);
    this.#reader.goOn();
  }

  /** The connection cannot go on without risking wrong bytes: it is reset. */
  broken(reason: string): void {
    if (this.#state === 'closed') return;
    this.#engine.counters.add('connections_aborted');
    this.#engine.log(reason === CLIENT_GONE ? 'info' : 'warn', 'connection aborted', { reason });
    this.#leave(true);
    abortClose(this.fd);
    if (this.guest !== null) this.#engine.guests.ended(this.guest);
  }

  /** The client reset the connection, or its socket failed. */
  gone(): void {
    this.#leave(true);
    libc.close(this.fd);
    if (this.guest !== null) this.#engine.guests.ended(this.guest);
  }

  /** An answer of the engine's own, after which the connection ends. `head`: null when it could not be read. */
  refuse(status: ErrorStatus, head: RequestHead | null = null): void {
    this.#attended();
    this.#connections.stallDeadlines.clear(this);
    this.#reader.forgetBody();
    this.#unasked();
    const answer = this.#connections.refusal(status, this.clientText, head);
    if (this.#say(answer)) this.#finishUp(true);
  }

  /** Nothing more is answered. With input that nobody will read, or something that waits to be said, it lasts a while. */
  #finishUp(drain = false): void {
    if (!drain && !this.#input.hasUnread && !this.#reader.isInBody) return this.close();
    this.flow?.beginOwn();
    this.#state = 'draining';
    this.#input.drop();
    this.#connections.idleDeadlines.clear(this);
    this.#output ??= new OwnOutput(new SocketOut(this.fd, true));
    this.#ending = new Ending(this, this.#output, this.#engine.loop, this.#connections);
    this.#queuedBytes = this.#stillQueued();
    this.#input.readable = true;
    if (!this.#reader.isProcessing) this.#reader.read();
  }

  /** More of what nobody reads has come. */
  drained(): void {
    this.#ending?.drained();
  }

  /** The client has closed its half. */
  clientEnded(): void {
    if (this.#ending === null) this.close();
    else this.#ending.clientEnded();
  }

  /** A deadline ran out. */
  expired(kind: 'head' | 'idle' | 'stall' | 'drain'): void {
    if (kind === 'head') {
      this.#engine.counters.add('timeouts_head');
      if (this.#input.held.length > 0) return this.refuse(408);
    }
    if (kind === 'idle') this.#engine.counters.add('timeouts_idle');
    if (kind === 'stall') {
      // There may be much in front of what it is to take or to answer, after a move above all: who takes of that has not
      // stalled.
      if (this.#stillQueued() >= this.#queuedBytes) return this.broken('the client stalled');
      return this.#giveTime();
    }
    this.close();
  }

  /** Closes an idle connection; a busy one closes after its response. */
  closeWhenIdle(): void {
    if (this.#state === 'head' && this.#input.held.length === 0) this.close();
  }

  /** Ends it: what was sent still arrives. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#leave(false);
    if (this.guest === null) libc.close(this.fd);
    else this.#engine.guests.close(this.guest, this.fd);
  }

  #leave(discard: boolean): void {
    this.#state = 'closed';
    this.#input.drop();
    this.#moving.cancel();
    this.#answering.abandon();
    this.flow?.end(discard);
    this.flow = null;
    this.#connections.closed(this);
  }

  /** Ends at once: the process stops. */
  discard(): void {
    if (this.#state !== 'closed') this.broken('the node stops');
  }
}
