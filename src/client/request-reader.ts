/**
 * Finds the requests in what a client sends, one after the other, and their bodies. What it does with the next bytes
 * goes by the connection's state:
 *
 *   head       looks for the head of a request --whole--> the connection answers it, or moves
 *   body       collects the body               --whole, or too large for that--> the connection answers the request
 *   busy       passes a body that follows on; what lies behind the request is held
 *   rest       throws the rest of a body away that was answered before it was there  --whole--> head
 *   draining   throws away
 *   moving, closed   reads nothing
 */

import assert from 'node:assert';
import type { Count } from '../base/counters.ts';
import type { ErrorStatus } from '../protocol/http/error-response.ts';
import type { HeadCache } from '../protocol/http/head-cache.ts';
import { HeadError, type RequestHead } from '../protocol/http/request.ts';
import type { ClientInput } from './client-input.ts';
import type { ConnectionState } from './connection-state.ts';
import { type BodyTaker, RequestBody } from './request-body.ts';
import { EMPTY } from './sockets.ts';

const NOTHING = Buffer.alloc(0);

/** The connection that is read: what it does next goes by what is found. Its state may change with every call. */
export interface RequestTaker {
  readonly state: ConnectionState;
  /** Bytes have come. */
  received(): void;
  /** The socket has failed. */
  gone(): void;
  /** The client has closed its half, between two requests or when none is read any more. */
  clientEnded(): void;
  /** The first bytes of a request's head are there. */
  headBegun(): void;
  /** The head of a request is there. Bytes [at, end): from there on, read and not used. True: it moves with them. */
  movesBy(head: RequestHead, bytes: Buffer, at: number, end: number): boolean;
  /** The request whose head is there is answered here, or from here. */
  headRead(): void;
  /** The client waits for that before it sends the body. False: the connection has ended. */
  sendContinue(): boolean;
  /** The request's body is collected. */
  collects(): void;
  /** The request can be answered. `headBytes` are good until the next read. */
  accept(head: RequestHead, headBytes: Buffer, body: Buffer, bodyFollows: boolean): void;
  /** `moved`: the client has just sent more of a body. */
  watchClient(moved: boolean): void;
  /** The body is there of a request that was answered before. */
  restRead(): void;
  /** What came is no request that could be answered. `head`: absent when it could not be read. */
  refuse(status: ErrorStatus, head?: RequestHead): void;
  /** A request whose response has begun cannot come to its end. */
  broken(reason: string): void;
  close(): void;
}

/** What answers the request that was read last, and takes its body when that follows. */
export interface FollowingBodyTaker extends BodyTaker {
  /** More of the body is taken now. */
  readonly wantsBody: boolean;
  /** Whether a mechanism is at work on the request; until then its body waits. */
  readonly isHandled: boolean;
  /** For the request whose head is there: whether the node that answers may want a body, and how large that may be. */
  readonly bodies: { readonly takesBodies: boolean; readonly maxBodyBytes: number };
}

export interface ReaderPorts {
  readonly count: Count;
  readonly sites: { readonly heads: Pick<HeadCache, 'parse' | 'lastBytes'> };
}

export class RequestReader {
  readonly #input: ClientInput;
  readonly #ports: ReaderPorts;
  readonly #connection: RequestTaker;
  readonly #request: FollowingBodyTaker;
  /** How much of what is held the head parser has seen. */
  #scanned = 0;
  /** Bytes are being used: whoever is called from there must not begin with the next ones. */
  #processing = false;
  /** Bytes that had been read beyond the request when it was complete. */
  #beyond = 0;
  /** What has not come yet of the request's body: it is collected (state body), or follows (busy). */
  #body: RequestBody | null = null;

  constructor(ports: ReaderPorts, input: ClientInput, connection: RequestTaker, request: FollowingBodyTaker) {
    this.#ports = ports;
    this.#input = input;
    this.#connection = connection;
    this.#request = request;
  }

  /** Nothing of the next request had been read when this one was complete. */
  get quiet(): boolean {
    return this.#beyond === 0;
  }

  get isProcessing(): boolean {
    return this.#processing;
  }

  /** The end of the request has not come. */
  get isInBody(): boolean {
    return this.#body !== null;
  }

  /** The request is not answered: nobody waits for its body. */
  forgetBody(): void {
    this.#body = null;
  }

  /** The body that is being read: in states body and rest, and in busy while the body follows. */
  get #bodyNow(): RequestBody {
    assert(this.#body !== null, 'the end of the request has not come');
    return this.#body;
  }

  #wantsBytes(): boolean {
    const { state } = this.#connection;
    if (state === 'head' || state === 'body' || state === 'rest' || state === 'draining') return true;
    return this.#body !== null && this.#request.wantsBody;
  }

  /** Reads what there is, and uses it, for as long as the connection wants more. */
  read(): void {
    const input = this.#input;
    const connection = this.#connection;
    while (input.readable && this.#wantsBytes() && !this.#processing) {
      const got = input.receive();
      if (got === EMPTY) return;
      if (got < 0) return connection.gone();
      if (got === 0) return this.#ended();
      connection.received();
      if (connection.state === 'draining') continue;
      const end = input.held.length + got;
      this.#process(input.take(got), 0, end);
    }
  }

  /** The client has closed its half. */
  #ended(): void {
    const connection = this.#connection;
    const isBusy = connection.state === 'busy';
    if (isBusy && this.#body === null) return;
    if (isBusy || connection.state === 'body') connection.broken('the client left in the middle of a body');
    else connection.clientEnded();
  }

  /** Takes the next request up, if one is here; not from inside `#process`, whose loop does it. */
  goOn(): void {
    if (this.#processing) return;
    this.#processHeld();
    const { state } = this.#connection;
    if (state !== 'head' && state !== 'body' && state !== 'rest') return;
    if (this.#input.ended) this.#input.readable = true;
    this.read();
  }

  /** More of a body that follows is taken now. */
  bodyWanted(): void {
    if (this.#body === null || this.#processing || this.#connection.state !== 'busy') return;
    if (this.#request.wantsBody) this.#processHeld();
    this.read();
  }

  #processHeld(): void {
    const { held } = this.#input;
    if (held.length > 0) this.#process(this.#input.take(0), 0, held.length);
  }

  /** Uses bytes [at, end) as far as the state allows, and keeps the rest. */
  #process(bytes: Buffer, at: number, end: number): void {
    const connection = this.#connection;
    this.#processing = true;
    let scanned = this.#scanned;
    this.#scanned = 0;
    while (at < end && connection.state !== 'closed' && connection.state !== 'draining') {
      if (connection.state === 'body') {
        at += this.#collect(bytes, at, end);
      } else if (connection.state === 'busy') {
        if (this.#body === null || !this.#request.isHandled) break;
        at += this.#follow(bytes, at, end);
        if (this.#body !== null) break;
      } else if (connection.state === 'rest') {
        at += this.#skip(bytes, at, end);
      } else {
        const { heads } = this.#ports.sites;
        const head = heads.parse(bytes, at, end, at + scanned);
        const known = heads.lastBytes;
        scanned = 0;
        if (head === null) {
          this.#scanned = end - at;
          break;
        }
        if (head instanceof HeadError) {
          this.#ports.count.add('request_heads_refused');
          connection.refuse(head.status as ErrorStatus);
          break;
        }
        this.#beyond = end - at - head.headLength;
        if (connection.movesBy(head, bytes, at, end)) break;
        this.#begin(head, known ?? bytes.subarray(at, at + head.headLength));
        at += head.headLength;
      }
    }
    this.#keep(bytes, at, end);
    this.#processing = false;
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    const connection = this.#connection;
    // The bytes that go with the connection were put aside when its move began.
    if (connection.state === 'moving') return;
    if (connection.state === 'closed' || connection.state === 'draining') return this.#input.drop();
    this.#input.hold(bytes, at, end);
    if (connection.state === 'head' && at < end) connection.headBegun();
  }

  /** A request's head is there. */
  #begin(head: RequestHead, headBytes: Buffer): void {
    const connection = this.#connection;
    connection.headRead();
    if (!head.chunked && head.contentLength <= 0) return connection.accept(head, headBytes, NOTHING, false);
    const body = new RequestBody(head, headBytes, this.#request.bodies.maxBodyBytes);
    if (body.fault !== null) return connection.refuse(413, head);
    if (head.expectContinue) {
      if (!this.#request.bodies.takesBodies) {
        this.#body = body;
        return connection.accept(head, headBytes, NOTHING, true);
      }
      if (!connection.sendContinue()) return;
    }
    this.#body = body;
    connection.collects();
  }

  /** Collects a body until it is whole or too large to travel with SETUP. */
  #collect(bytes: Buffer, at: number, end: number): number {
    const connection = this.#connection;
    const body = this.#bodyNow;
    const used = body.collect(bytes, at, end);
    this.#beyond = end - at - used;
    if (body.fault !== null) {
      connection.refuse(body.fault === 'BODY_TOO_LARGE' ? 413 : 400, body.head);
      return end - at;
    }
    connection.watchClient(true);
    if (!body.done && !body.follows) return used;
    if (body.done) this.#body = null;
    const { head, headBytes, follows } = body;
    const collected = body.take();
    connection.accept(head, headBytes, follows ? NOTHING : collected, follows);
    if (follows && connection.state === 'busy') {
      this.#request.body(collected, body.done);
      connection.watchClient(true);
    }
    return used;
  }

  /** Passes more of a body that follows on to its delivery. */
  #follow(bytes: Buffer, at: number, end: number): number {
    const connection = this.#connection;
    const body = this.#bodyNow;
    const used = body.follow(bytes, at, end);
    if (body.fault !== null) {
      connection.broken(`request body: ${body.fault}`);
      return end - at;
    }
    if (body.done) this.#body = null;
    body.passOn(bytes, this.#request);
    if (connection.state === 'busy') connection.watchClient(true);
    return used;
  }

  /** Finds more of a body that nobody wants. */
  #skip(bytes: Buffer, at: number, end: number): number {
    const connection = this.#connection;
    const body = this.#bodyNow;
    const used = body.follow(bytes, at, end);
    if (body.fault !== null) {
      // The request is answered and its body malformed: where the next request begins nobody knows.
      connection.close();
      return end - at;
    }
    if (!body.done) {
      connection.watchClient(true);
      return used;
    }
    this.#body = null;
    connection.restRead();
    return used;
  }
}
