/**
 * A client's connection at its anchor: reads requests, has each handled by a mechanism, in order.
 *
 *   head --request--> [body -->] busy --finished--> head ...
 *     |                            |--again, goOn--> busy (another node, or here)
 *     `--FIN, deadline--> closed   `--broken--> closed (reset)     head refused --> draining --> closed
 *
 * Between two requests it may move to another node as a whole:  head --> moving --> closed (silently), or head
 */
import type { MovedResponse } from '../backplane/frames.ts';
import type { Kept, Promised } from '../handoff/attempt.ts';
import { endsKey, endsOf } from '../handoff/ends.ts';
import { AnchorFlow } from '../handoff/flow.ts';
import type { Guest } from '../handoff/guests.ts';
import type { Handling, HandlingHost, Outcome, Request } from '../handoff/handling.ts';
import { LocalHandling } from '../handoff/local.ts';
import { mayGoOn, TakeOver } from '../handoff/take-over.ts';
import { BodyReader } from '../http/body.ts';
import type { Continuation } from '../http/continuation.ts';
import { CONTINUE, type ErrorStatus } from '../http/error-response.ts';
import { HeadError, type RequestHead } from '../http/request.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../linux/epoll.ts';
import { EAGAIN, EINTR, lastErrno } from '../linux/errors.ts';
import * as libc from '../linux/libc.ts';
import { abortClose, MSG_EOR, MSG_NOSIGNAL, SHUT_WR } from '../linux/socket.ts';
import type { Choice } from '../policy/policy.ts';
import type { Connections } from './connections.ts';
import type { Engine } from './engine.ts';
import type { Exchange } from './exchange.ts';
import type { Source } from './loop.ts';
import { answers, type Site } from './sites.ts';
import { nowUs } from './time.ts';

/** Bodies up to this size are collected and travel with SETUP; larger ones follow in pieces. */
export const COLLECTED_BODY_BYTES = 64 * 1024;
/** A connection that could not move is not frozen again at once. */
const MOVE_AGAIN_MS = 300;
/** How many other nodes are tried before the anchor serves a request itself. */
const MAX_ATTEMPTS = 2;

type State = 'head' | 'body' | 'busy' | 'moving' | 'draining' | 'closed';

const NOTHING = Buffer.alloc(0);

/** How a connection that has come from another node begins. */
export interface Arrived {
  readonly guest: Guest;
  /** Its first request is answered here, whatever the policy says. */
  readonly serveFirst: boolean;
  /** The largest edge of the window that the client has been shown; absent: by this socket alone. */
  readonly advertisedEdge?: number;
  /** It comes in the middle of a response; the exchange has what is left of it. */
  readonly response?: (MovedResponse & { readonly exchange: Exchange }) | null;
}

export class Connection implements Source, HandlingHost {
  readonly fd: number;
  readonly #engine: Engine;
  readonly #connections: Connections;
  #state: State = 'head';
  flow: AnchorFlow | null = null;
  /** Not null: the connection has come from another node. */
  guest: Guest | null;
  #key: string | null = null;
  /** What the client was shown before this socket existed. */
  readonly shown: { readonly advertisedEdge?: number };
  /** The next request is answered here: it was the reason to move, or others refused it. */
  #stays: boolean;
  #noMoveUntilMs = 0;
  #arrivedWith: NonNullable<Arrived['response']> | null;
  /** Bytes read and not yet used. */
  #held: Buffer = NOTHING;
  /** How much of them the head parser has seen. */
  #scanned = 0;
  /** The socket may have more (edge-triggered). */
  #readable = false;
  #peerClosed = false;
  #processing = false;
  #handling: Handling | null = null;
  /** While moving: what goes on when it does not come to that. */
  #paused: Handling | null = null;
  #request: Request | null = null;
  #site: Site | null = null;
  /** Bytes that had been read beyond the request when it was complete. */
  #beyond = 0;
  /** A clone that may have taken the request that was read just now. */
  #kept: Kept | null = null;
  /** By the policy, for this request; null before the first. */
  #chosen: Choice | null = null;
  #body: {
    head: RequestHead;
    headBytes: Buffer;
    reader: BodyReader;
    pieces: Buffer[];
    bytes: number;
  } | null = null;
  #following: BodyReader | null = null;
  #tried: number[] = [];

  constructor(engine: Engine, connections: Connections, fd: number, arrived: Arrived | null) {
    this.#engine = engine;
    this.#connections = connections;
    this.fd = fd;
    this.guest = arrived?.guest ?? null;
    this.shown = arrived?.advertisedEdge === undefined ? {} : { advertisedEdge: arrived.advertisedEdge };
    this.#stays = arrived?.serveFirst ?? false;
    this.#arrivedWith = arrived?.response ?? null;
    // A new client is to ask; one that has come from another node may rest.
    (arrived === null ? connections.headDeadlines : connections.idleDeadlines).set(this, engine.loop.nowMs);
  }

  /** What it is known by on every node; null when the client has just reset it. */
  get key(): string | null {
    if (this.#key === null) {
      const ends = this.guest?.ends ?? endsOf(this.fd);
      if (ends !== null) this.#key = endsKey(ends);
    }
    return this.#key;
  }

  /** The client has sent more than the request in progress. */
  get hasMore(): boolean {
    return this.#held.length > 0 || this.#readable;
  }

  /** Nothing of the next request had been read when this one was complete. */
  get quiet(): boolean {
    return this.#beyond === 0;
  }

  /** The clone that may have taken the request, once. */
  takeKept(): Kept | null {
    const kept = this.#kept;
    this.#kept = null;
    return kept;
  }

  get busy(): boolean {
    return this.#state === 'busy' || this.#state === 'body';
  }

  ready(events: number): void {
    if (this.#state === 'closed') return;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (events & EPOLLIN) === 0) return this.#gone();
    if ((events & EPOLLERR) !== 0) return this.#gone();
    if ((events & EPOLLRDHUP) !== 0) this.#peerClosed = true;
    // It reads again when it goes on here.
    if (this.#state === 'moving') return;
    if ((events & EPOLLIN) !== 0) {
      this.#readable = true;
      this.#handling?.more?.();
    }
    if ((events & EPOLLOUT) !== 0 && this.#handling !== null) this.#handling.writable();
    this.#read();
  }

  #wantsBytes(): boolean {
    if (this.#state === 'head' || this.#state === 'body' || this.#state === 'draining') return true;
    return this.#following !== null && this.#handling?.wantsBody === true;
  }

  #read(): void {
    const { bytes: receiveBuffer, address: receiveAddress } = this.#connections.receiveBuffer;
    while (this.#readable && this.#wantsBytes() && !this.#processing) {
      const got = libc.recv(this.fd, receiveAddress, receiveBuffer.length, 0);
      if (got < 0) {
        const errno = lastErrno();
        if (errno !== EAGAIN && errno !== EINTR) return this.#gone();
        this.#readable = false;
        return;
      }
      if (got === 0) return this.#ended();
      this.flow?.consumed(got);
      // A short read has emptied the socket: what comes later is a new event. A FIN behind it is not.
      if (got < receiveBuffer.length && !this.#peerClosed) this.#readable = false;
      if (this.#state === 'draining') continue;
      if (this.#held.length === 0) this.#process(receiveBuffer, 0, got);
      else {
        const bytes = Buffer.concat([this.#held, receiveBuffer.subarray(0, got)]);
        this.#held = NOTHING;
        this.#process(bytes, 0, bytes.length);
      }
    }
  }

  /** The client has closed its half. */
  #ended(): void {
    this.#readable = false;
    if (this.#state === 'busy' && this.#following === null) return;
    if (this.#state === 'busy' || this.#state === 'body')
      return this.broken('the client left in the middle of a body');
    this.#close();
  }

  /** Uses bytes [at, end) as far as the state allows, and keeps the rest. */
  #process(bytes: Buffer, at: number, end: number): void {
    this.#processing = true;
    let scanned = this.#scanned;
    this.#scanned = 0;
    while (at < end && this.#state !== 'closed' && this.#state !== 'draining') {
      if (this.#state === 'body') {
        at += this.#collect(bytes, at, end);
      } else if (this.#state === 'busy') {
        if (this.#following === null || this.#handling === null) break;
        at += this.#follow(bytes, at, end);
        if (this.#following !== null) break;
      } else {
        const head = this.#engine.sites.heads.parse(bytes, at, end, at + scanned);
        scanned = 0;
        if (head === null) {
          this.#scanned = end - at;
          break;
        }
        if (head instanceof HeadError) {
          this.#engine.counters.add('request_heads_refused');
          this.#refuse(head.status as ErrorStatus);
          break;
        }
        this.#site = this.#engine.sites.find(head.host);
        this.#beyond = end - at - head.headLength;
        this.#kept = this.flow?.takenBy(head) ?? null;
        this.#chosen =
          this.#kept === null
            ? this.#engine.dispatcher.choose(head, this.#site, this.#stays)
            : { node: this.#kept.target.node, mechanism: 'clone' };
        if (this.#move(this.#chosen, bytes, at, end)) break;
        this.#begin(head, bytes.subarray(at, at + head.headLength));
        at += head.headLength;
      }
    }
    if (this.#state !== 'moving') this.#keep(bytes, at, end);
    this.#processing = false;
  }

  /** Gives the connection to another node. Bytes [at, end): read, not answered. False: it stays. */
  #move(to: Choice, bytes: Buffer, at: number, end: number): boolean {
    if (!this.#engine.dispatcher.mayMove(to)) return false;
    const held = this.#held;
    this.#held = Buffer.from(bytes.subarray(at, end));
    const migration = this.#engine.dispatcher.migrate(this, to);
    if (migration === null) {
      this.#held = held;
      return false;
    }
    this.#paused = this.#handling;
    this.#paused?.pause?.();
    this.#handling = migration;
    this.#state = 'moving';
    this.#connections.idleDeadlines.clear(this);
    this.#connections.headDeadlines.clear(this);
    return true;
  }

  /** What has been read and not answered. */
  get unread(): Buffer {
    return this.#held;
  }

  /** The node goes away: the connection moves, between two requests or in a response that can go on elsewhere. */
  leaveFor(node: number): void {
    if (this.#processing || this.#engine.loop.nowMs < this.#noMoveUntilMs) return;
    if (this.#state === 'head' || (this.#state === 'busy' && this.movingResponse !== null)) {
      this.#move({ node, mechanism: 'migrate' }, this.#held, 0, this.#held.length);
    } else if (
      this.#state === 'busy' &&
      this.#following === null &&
      this.#site !== null &&
      answers(this.#site)
    ) {
      this.#handling?.takeBack?.();
    }
  }

  /** The response in progress, as another node has to know it to go on with it; null: none, or none could. */
  get movingResponse(): MovedResponse | null {
    if (this.#state !== 'busy' || this.#following !== null) return null;
    const continuation = this.#handling?.progress ?? null;
    if (continuation === null) return null;
    const { headBytes, close } = this.retain();
    return { continuation, close, head: headBytes };
  }

  /** Goes on with the response that it came with. */
  #goOnWith({ head: headBytes, close, continuation, exchange }: NonNullable<Arrived['response']>): void {
    const head = this.#engine.sites.parsed(headBytes);
    this.#state = 'busy';
    this.#connections.idleDeadlines.clear(this);
    this.#connections.stallDeadlines.set(this, this.#engine.loop.nowMs);
    this.#site = this.#engine.sites.find(head.host);
    const body = NOTHING;
    const startUs = nowUs();
    this.#request = { head, headBytes, body, bodyFollows: false, startUs, close, continuation };
    const handling = new LocalHandling(this.#engine, this, this.#request, exchange, false, 'migrate');
    this.#handling = handling;
    handling.start();
  }

  /** Begins: most clients have sent something by then. */
  start(): void {
    const response = this.#arrivedWith;
    this.#arrivedWith = null;
    if (response !== null) this.#goOnWith(response);
    this.ready(EPOLLIN);
  }

  /** The connection lives at another node; the socket is closed by the caller, silently. */
  moved(): void {
    if (this.#state !== 'moving') return;
    this.#state = 'closed';
    this.#held = NOTHING;
    this.#handling = null;
    this.#paused?.cancel();
    this.#paused = null;
    this.#request = null;
    this.flow?.moved();
    this.flow = null;
    this.#connections.closed(this);
  }

  /** Moving has failed: goes on here. */
  resumed(): void {
    if (this.#state !== 'moving') return;
    this.#noMoveUntilMs = this.#engine.loop.nowMs + MOVE_AGAIN_MS;
    this.#handling = this.#paused;
    this.#paused = null;
    this.#readable = true;
    if (this.#handling !== null) {
      this.#state = 'busy';
      this.#handling.resume?.();
      return;
    }
    this.#state = 'head';
    this.#stays = true;
    if (this.#held.length === 0) this.#connections.idleDeadlines.set(this, this.#engine.loop.nowMs);
    this.#goOn();
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    if (this.#state === 'closed' || this.#state === 'draining' || at >= end) {
      this.#held = NOTHING;
      return;
    }
    this.#held = Buffer.from(bytes.subarray(at, end));
    if (this.#state === 'head') this.#connections.headDeadlines.set(this, this.#engine.loop.nowMs);
  }

  #begin(head: RequestHead, headBytes: Buffer): void {
    this.#stays = false;
    this.#connections.idleDeadlines.clear(this);
    this.#connections.headDeadlines.clear(this);
    const hasBody = head.chunked || head.contentLength > 0;
    if (!hasBody) return this.#accept(head, headBytes, NOTHING, false);
    const { bodyBytes } = this.#engine.config.limits;
    const reader = head.chunked
      ? BodyReader.chunked(bodyBytes)
      : BodyReader.ofLength(head.contentLength, bodyBytes);
    if (reader.fault !== null) return this.#refuse(413);
    if (head.expectContinue) this.#continue();
    this.#body = { head, headBytes: Buffer.from(headBytes), reader, pieces: [], bytes: 0 };
    this.#state = 'body';
    this.#connections.stallDeadlines.set(this, this.#engine.loop.nowMs);
  }

  /** The interim answer leaves from here: it belongs to the in-half's conversation. */
  #continue(): void {
    this.flow?.beginOwn();
    libc.sendBytes(this.fd, CONTINUE, CONTINUE.length, MSG_NOSIGNAL | MSG_EOR);
  }

  /** Collects a body until it is whole or too large to travel with SETUP. */
  #collect(bytes: Buffer, at: number, end: number): number {
    const body = this.#body!;
    const used = body.reader.push(bytes, at, end);
    this.#beyond = end - at - used;
    if (body.reader.fault !== null) {
      this.#refuse(body.reader.fault === 'BODY_TOO_LARGE' ? 413 : 400);
      return end - at;
    }
    this.#connections.stallDeadlines.set(this, this.#engine.loop.nowMs);
    const { ranges } = body.reader;
    for (let i = 0; i < ranges.length; i += 2) {
      body.pieces.push(Buffer.from(bytes.subarray(ranges[i], ranges[i + 1])));
      body.bytes += ranges[i + 1] - ranges[i];
    }
    if (!body.reader.done && body.bytes <= COLLECTED_BODY_BYTES) return used;
    this.#connections.stallDeadlines.clear(this);
    this.#body = null;
    const whole = Buffer.concat(body.pieces);
    if (body.reader.done && whole.length <= COLLECTED_BODY_BYTES) {
      this.#accept(body.head, body.headBytes, whole, false);
      return used;
    }
    this.#following = body.reader.done ? null : body.reader;
    this.#accept(body.head, body.headBytes, NOTHING, true);
    if (this.#state === 'busy') this.#handling?.body(whole, body.reader.done);
    return used;
  }

  /** Passes more of a body that follows on to its handling. */
  #follow(bytes: Buffer, at: number, end: number): number {
    const reader = this.#following!;
    const used = reader.push(bytes, at, end);
    if (reader.fault !== null) {
      this.broken(`request body: ${reader.fault}`);
      return end - at;
    }
    this.#connections.stallDeadlines.set(this, this.#engine.loop.nowMs);
    const ranges = [...reader.ranges];
    if (reader.done) this.#following = null;
    for (let i = 0; i < ranges.length; i += 2) {
      this.#handling?.body(bytes.subarray(ranges[i], ranges[i + 1]), reader.done && i + 2 === ranges.length);
    }
    if (reader.done && ranges.length === 0) this.#handling?.body(NOTHING, true);
    return used;
  }

  #accept(head: RequestHead, headBytes: Buffer, body: Buffer, bodyFollows: boolean): void {
    this.#state = 'busy';
    this.#tried = [];
    const close = !head.keepAlive || this.#engine.closing;
    const startUs = nowUs();
    this.#request = { head, headBytes, body, bodyFollows, startUs, close, continuation: null };
    this.#dispatch();
  }

  #dispatch(): void {
    const request = this.#request!;
    const handling = this.#engine.dispatcher.dispatch(this, request, this.#site, this.#tried, this.#chosen);
    // A handling that finished at once has put the connection into another state already.
    if (handling === null) return;
    this.#handling = handling;
    handling.start?.();
  }

  /** The request is kept for longer than the buffer it was read into: a mechanism that may need it again asks. */
  retain(): Request {
    const request = this.#request!;
    if (request.headBytes.buffer === this.#connections.receiveBuffer.bytes.buffer) {
      this.#request = { ...request, headBytes: Buffer.from(request.headBytes) };
    }
    return this.#request!;
  }

  get fullyTried(): boolean {
    return this.#tried.length >= MAX_ATTEMPTS;
  }

  /** Bytes of a response went out. */
  progressed(): void {
    this.#connections.stallDeadlines.set(this, this.#engine.loop.nowMs);
  }

  bodyWanted(): void {
    if (this.#following === null || this.#processing || this.#state !== 'busy') return;
    if (this.#held.length > 0 && this.#handling?.wantsBody) {
      const held = this.#held;
      this.#held = NOTHING;
      this.#process(held, 0, held.length);
    }
    this.#read();
  }

  finished(outcome: Outcome): void {
    const request = this.#request;
    if (this.#state !== 'busy' || request === null) return;
    this.#engine.access.add(this, request, outcome, this.#engine.loop.wallMs);
    this.#handling = null;
    this.#request = null;
    this.#connections.stallDeadlines.clear(this);
    if (outcome.close || request.close || this.#following !== null) return this.#finishUp();
    this.#state = 'head';
    this.#connections.idleDeadlines.set(this, this.#engine.loop.nowMs);
    this.#goOn();
  }

  /** Takes the next request up, if one is here; not from inside `#process`, whose loop does it. */
  #goOn(): void {
    if (this.#processing) return;
    if (this.#held.length > 0) {
      const held = this.#held;
      this.#held = NOTHING;
      this.#process(held, 0, held.length);
    }
    if (this.#state === 'head' || this.#state === 'body') {
      if (this.#peerClosed) this.#readable = true;
      this.#read();
    }
  }

  again(node: number): void {
    if (this.#state !== 'busy') return;
    this.#handling = null;
    this.#tried.push(node);
    this.#dispatch();
  }

  goOn(node: number, continuation: Continuation): void {
    if (this.#state !== 'busy') return;
    this.#handling = null;
    const request = this.#request!;
    // A node that failed at an earlier byte may have come back since.
    const further = continuation.offset > (request.continuation?.offset ?? 0);
    this.#tried = further ? [node] : [...this.#tried, node];
    this.#request = { ...request, continuation };
    this.#dispatch();
  }

  /** Whether there is a node other than `node` to ask for what is being requested. */
  servedWithout(node: number): boolean {
    return this.#site?.candidates.some(({ index }) => index !== node) ?? false;
  }

  takeOver(takeOver: TakeOver): void {
    if (this.#state === 'busy') this.#handling = takeOver;
    else takeOver.cancel();
  }

  /** Makes the connection one whose out-half other nodes may send. Null when the router's table is full. */
  ensureFlow(): AnchorFlow | null {
    if (this.flow !== null) return this.flow;
    this.flow = AnchorFlow.create(this.#engine, this.fd);
    if (this.flow === null) return null;
    this.flow.onLost = (promise) => this.#targetLost(promise);
    this.flow.onDraining = (promise) => this.#targetDraining(promise);
    return this.flow;
  }

  /** A target died that owes bytes. Only the newest response can still be taken over. */
  #targetLost(promise: Promised | null): void {
    this.#engine.counters.add('handoffs_lost');
    if (promise === null || this.#state !== 'head' || this.flow === null) return this.broken('a target died');
    this.#takePromise(promise, this.flow);
  }

  /** A target stops that has handed the newest response to its kernel. When another cannot go on it goes on itself. */
  #targetDraining(promise: Promised): void {
    const { flow } = this;
    if (this.#state !== 'head' || flow === null || !mayGoOn(flow.acknowledged, promise)) return;
    if (!this.servedWithout(promise.node)) return;
    flow.dropTarget(promise.node);
    this.#takePromise(promise, flow);
  }

  #takePromise(promise: Promised, flow: AnchorFlow): void {
    this.#connections.idleDeadlines.clear(this);
    this.#connections.headDeadlines.clear(this);
    this.#state = 'busy';
    this.#tried = [];
    this.#request = promise.request;
    this.#handling = new TakeOver(this.#engine, flow, this, promise);
  }

  /** A promised response has arrived after all. */
  settled(): void {
    this.#handling = null;
    const close = this.#request!.close;
    this.#request = null;
    if (close) return this.#finishUp();
    this.#state = 'head';
    this.#connections.idleDeadlines.set(this, this.#engine.loop.nowMs);
    this.#goOn();
  }

  /** The connection cannot go on without risking wrong bytes: it is reset. */
  broken(reason: string): void {
    if (this.#state === 'closed') return;
    this.#engine.counters.add('connections_aborted');
    this.#engine.log('warn', 'connection aborted', { reason });
    this.#leave(true);
    abortClose(this.fd);
    if (this.guest !== null) this.#engine.guests.ended(this.guest);
  }

  /** The client reset the connection, or its socket failed. */
  #gone(): void {
    this.#leave(true);
    libc.close(this.fd);
    if (this.guest !== null) this.#engine.guests.ended(this.guest);
  }

  /** An answer of the engine's own, after which the connection ends. */
  #refuse(status: ErrorStatus): void {
    this.#connections.idleDeadlines.clear(this);
    this.#connections.headDeadlines.clear(this);
    this.#body = null;
    this.#following = null;
    this.flow?.beginOwn();
    this.#connections.refuse(this.fd, status);
    this.#finishUp(true);
  }

  /**
   * Nothing more is sent. With input that nobody will read the socket is drained for a while before it is closed: a
   * reset caused by unread bytes could overtake the response.
   */
  #finishUp(drain = false): void {
    const unread = drain || this.#held.length > 0 || this.#readable || this.#following !== null;
    if (!unread) return this.#close();
    this.flow?.beginOwn();
    this.#state = 'draining';
    this.#held = NOTHING;
    this.#connections.idleDeadlines.clear(this);
    this.#connections.drainDeadlines.set(this, this.#engine.loop.nowMs);
    libc.shutdown(this.fd, SHUT_WR);
    this.#readable = true;
    if (!this.#processing) this.#read();
  }

  /** A deadline ran out. */
  expired(kind: 'head' | 'idle' | 'stall' | 'drain'): void {
    if (kind === 'head') {
      this.#engine.counters.add('timeouts_head');
      if (this.#held.length > 0) return this.#refuse(408);
    }
    if (kind === 'idle') this.#engine.counters.add('timeouts_idle');
    if (kind === 'stall') return this.broken('the client stalled');
    this.#close();
  }

  /** Closes an idle connection; a busy one closes after its response. */
  closeWhenIdle(): void {
    if (this.#state === 'head' && this.#held.length === 0) this.#close();
  }

  #close(): void {
    if (this.#state === 'closed') return;
    this.#leave(false);
    if (this.guest === null) libc.close(this.fd);
    else this.#engine.guests.close(this.guest, this.fd);
  }

  #leave(discard: boolean): void {
    this.#state = 'closed';
    this.#held = NOTHING;
    this.#handling?.cancel();
    this.#handling = null;
    this.#paused?.cancel();
    this.#paused = null;
    this.#request = null;
    this.flow?.end(discard);
    this.flow = null;
    this.#connections.closed(this);
  }

  /** Ends at once: the process stops. */
  discard(): void {
    if (this.#state !== 'closed') this.broken('the node stops');
  }
}
