/**
 * The request in progress on a connection: who answers it. It goes from node to node until it is answered, or can be
 * no more; the mechanism at work on it, its delivery, sees of the connection what is here.
 *
 *   none --begin, goOnWith--> handled --finished, settled--> none
 *    |                        |    ^--again, goOn: by another node, or here
 *    |                        |    |--takeOver: until it is known what the client has
 *    |                        |    `--later: nobody knows yet whether it can go on --askLater--> handled
 *    |                        `--broken--> the connection is reset
 *    `--the newest response's target is lost, or stops--> handled (take-over)
 */

import assert from 'node:assert';
import { nowUs } from '../base/time.ts';
import type { Choice } from '../cluster/policy/policy.ts';
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import type { AnnouncedResponse, Standby } from '../handoff/anchor/handoff.ts';
import { goFurther } from '../handoff/anchor/owed-records.ts';
import type { RequestInProgress } from '../handoff/mechanism/mechanism.ts';
import type { ArrivedResponse } from '../handoff/move/move-ports.ts';
import type { AgainReason, Delivery, DeliveryResult } from '../handoff/request/delivery.ts';
import type { WayOut } from '../handoff/request/way-out.ts';
import type { Memory } from '../kernel/linux/memory.ts';
import type { MovedResponse } from '../protocol/backplane/frames.ts';
import type { Continuation } from '../protocol/http/continuation.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { Exchange } from '../serve/exchange.ts';
import { newRequest, type Request, withHeadBytes } from '../serve/request.ts';
import { type AnnouncedHolder, watchAnnounced } from './announced-response.ts';
import { DeliverySlot } from './delivery-slot.ts';
import type { RequestConnection, RequestPorts } from './ports.ts';
import { Reporting } from './reporting.ts';
import { RequestRoute } from './request-route.ts';

export class CurrentRequest implements RequestInProgress, AnnouncedHolder {
  readonly fd: number;
  readonly #connection: RequestConnection;
  readonly #ports: RequestPorts;
  /** The buffer that all connections read into: what is to be kept must be copied. */
  readonly #readInto: Memory;
  readonly #deliveries = new DeliverySlot();
  #request: Request | null = null;
  readonly #route: RequestRoute;
  readonly #reporting: Reporting;
  readonly standing = { answered: 0, overpaidUs: 0 };
  #isBlocked = false;

  constructor(ports: RequestPorts, connection: RequestConnection, readInto: Memory) {
    this.#ports = ports;
    this.fd = connection.fd;
    this.#connection = connection;
    this.#readInto = readInto;
    this.#route = new RequestRoute(ports);
    this.#reporting = new Reporting(ports, connection);
  }

  /** Node and mechanism for a request whose head is there. `stays`: here, if that is possible. */
  choose(head: RequestHead, stays: boolean): Choice {
    return this.#route.choose(head, this.flow?.takenBy(head) ?? null, stays);
  }

  /** Begins to answer the request that `choose` was asked about; may have finished when it returns. */
  begin(head: RequestHead, headBytes: Buffer, body: Buffer, bodyFollows: boolean): void {
    this.#route.attempts.begin();
    // A client whose Expect is not answered with 100 may send the body or its next request: nobody can tell the two apart.
    const isUnclear = head.expectContinue && !this.bodies.takesBodies;
    const isLast = this.#ports.isClosing() || this.wayOut.half?.isWorn === true;
    this.#take(head, headBytes, body, bodyFollows, !head.keepAlive || isLast || isUnclear);
    this.#dispatch();
  }

  #take(head: RequestHead, headBytes: Buffer, body: Buffer, bodyFollows: boolean, close: boolean): void {
    const site = this.#route.site?.digest ?? 0;
    this.#reporting.begin(false);
    const { client } = this.#connection;
    this.#request = newRequest(head, headBytes, body, bodyFollows, nowUs(), close, client, site);
  }

  #dispatch(): void {
    const { site, attempts, chosen } = this.#route;
    const delivery = this.#ports.dispatcher.dispatch(this, site, attempts.tried, chosen);
    // The dispatcher has broken the connection, or the request waits to be asked again.
    if (delivery === null) return;
    this.#deliveries.current = delivery;
    delivery.start?.();
    // The head lies in the receive buffer, which another connection reads into next: a delivery in progress needs a copy.
    if (this.#deliveries.current === delivery) this.retain();
    this.#deliveries.giveBody();
  }

  /** Goes on with the response that the connection came with. */
  goOnWith({ head: headBytes, close, continuation, exchange }: ArrivedResponse): void {
    const head = this.#ports.sites.parsed(headBytes);
    this.#route.goOnWith(head);
    this.#take(head, headBytes, Buffer.alloc(0), false, close);
    this.#request = { ...this.request, continuation };
    this.#reporting.begin(true);
    this.#answer(exchange, 'migrate');
  }

  #answer(exchange: Exchange, mechanism: 'local' | 'migrate'): void {
    const delivery = this.#ports.dispatcher.answer(this, this.request, exchange, mechanism);
    this.#deliveries.current = delivery;
    delivery.start();
  }

  /** The clone that may have taken the request, once. */
  takeStandby(): Standby | null {
    return this.#route.takeStandby();
  }

  /** The request is kept for longer than the buffer it was read into, which all connections share. */
  retain(): Request {
    const { headBytes } = this.request;
    if (headBytes.buffer === this.#readInto.bytes.buffer)
      this.#request = withHeadBytes(this.request, Buffer.from(headBytes));
    return this.request;
  }

  get request(): Request {
    assert(this.#request !== null, 'a request is in progress');
    return this.#request;
  }

  get flow(): AnchorFlow | null {
    return this.#connection.flow;
  }

  get hasCome(): boolean {
    return this.#connection.guest !== null;
  }

  get key(): string | null {
    return this.#connection.key;
  }

  get fullyTried(): boolean {
    return this.#route.attempts.isOver;
  }

  /** The connection is about to move, or has not moved. */
  get moving(): Pick<DeliverySlot, 'pause' | 'resume' | 'isPaused'> {
    return this.#deliveries;
  }

  /** A mechanism is at work. */
  get isHandled(): boolean {
    return this.#deliveries.current !== null;
  }

  /** The client's socket takes bytes again. */
  writable(): void {
    this.#deliveries.current?.writable();
  }

  /** The client has sent more. */
  more(): void {
    this.#deliveries.current?.more?.();
  }

  /** A piece of a body that follows. */
  body(bytes: Buffer, last: boolean): void {
    this.#deliveries.body(bytes, last);
  }

  get wantsBody(): boolean {
    return this.#deliveries.wantsBody;
  }

  /** What bodies there may be of the request that `choose` was asked about. */
  get bodies(): Pick<RequestRoute, 'maxBodyBytes' | 'takesBodies'> {
    return this.#route;
  }

  get wayOut(): WayOut {
    return this.#connection.channel;
  }

  get hasMore(): boolean {
    return this.#connection.hasMore;
  }

  get quiet(): boolean {
    return this.#connection.quiet;
  }

  sent(bytes: number, blocked: boolean): void {
    this.#isBlocked = blocked;
    this.#connection.watchClient(bytes > 0);
  }

  /** The client has to take some of the response before more is sent. */
  get isBlocked(): boolean {
    return this.#isBlocked;
  }

  bodyWanted(): void {
    if (this.#deliveries.giveBody()) this.#connection.bodyWanted();
  }

  finished(result: DeliveryResult): void {
    const request = this.#request;
    if (this.#deliveries.current === null || request === null) return;
    const { site } = this.#route;
    this.#reporting.answered(request, site, result);
    this.standing.answered++;
    if (site !== null) {
      this.#ports.sites.answered(site, result.node, result.status);
      this.#ports.dispatcher.answered(site, request.head, result.bodyBytes);
    }
    this.#deliveries.end();
    this.#request = null;
    this.#isBlocked = false;
    this.#connection.answered(result.close || request.close);
  }

  again(node: number, why: AgainReason): void {
    if (this.#deliveries.current === null) return;
    const { request } = this;
    this.#deliveries.current = null;
    this.#route.failed(node, why, request.head);
    if (why === 'lost' && !this.#route.mayRepeat(node, request.head)) return this.#answerLost();
    if (why === 'upstream failed') {
      const { site } = this.#route;
      assert(site !== null, 'an upstream is a site’s');
      this.#ports.count.add('upstream_elsewhere');
      this.#ports.sites.failed(site, node);
      this.#request = { ...request, upstreamFailed: true };
    }
    this.#dispatch();
  }

  /** What a POST asks for may have been done, or not (RFC 9110 9.2.2): the client has to find out. */
  #answerLost(): void {
    this.#connection.flow?.beginOwn();
    this.#answer(this.#ports.sites.failure(this.request), 'local');
  }

  later(): void {
    const { clock, config } = this.#ports;
    this.#deliveries.current = null;
    if (!this.#route.attempts.mayWait(clock.nowMs, config.limits.stallSeconds * 1000))
      return this.broken('no node can tell whether it could go on with the response');
    this.#connection.asksLater();
  }

  /** Asks again those who did not know whether the response can go on. */
  askLater(): void {
    const request = this.#request;
    if (request === null || request.continuation === null || this.#deliveries.current !== null) return;
    const continuation = goFurther(request.continuation, this.wayOut.half, this.flow?.catchUp() ?? 0);
    this.#request = { ...request, continuation };
    if (continuation.offset >= continuation.lengthBytes) this.settled();
    else this.#dispatch();
  }

  goOn(node: number, continuation: Continuation): void {
    if (this.#deliveries.current === null) return;
    this.#deliveries.current = null;
    const { request } = this;
    const further = continuation.offset > (request.continuation?.offset ?? 0);
    this.#route.attempts.failedInTheMiddle(node, further);
    this.#request = { ...request, continuation };
    this.#dispatch();
  }

  broken(reason: string): void {
    this.#connection.broken(reason);
  }

  servedWithout(node: number): boolean {
    return this.#route.servedWithout(node);
  }

  mayAskWithout(node: number): boolean {
    return this.#route.mayAskWithout(node);
  }

  answeredWithout(node: number): boolean {
    return this.#route.answeredWithout(node, this.request.head);
  }

  takeOver(takeOver: Delivery): void {
    if (this.#deliveries.current !== null) this.#deliveries.current = takeOver;
    else takeOver.cancel();
  }

  settled(): void {
    const { close } = this.request;
    this.#report(true);
    this.#deliveries.end();
    this.#request = null;
    this.#connection.answered(close);
  }

  /** Makes the connection one whose out-half other nodes may send. Null when the router's table is full. */
  ensureFlow(): AnchorFlow | null {
    const connection = this.#connection;
    if (connection.flow !== null) return connection.flow;
    const flow = this.#ports.flows.create(connection.fd);
    if (flow === null) return null;
    connection.flow = flow;
    watchAnnounced(flow, this, this.#ports.count);
    return flow;
  }

  get isResting(): boolean {
    return this.#connection.state === 'head';
  }

  /** The response before is in progress again. */
  takeAnnounced(flow: AnchorFlow, announced: AnnouncedResponse): void {
    this.#connection.occupied();
    this.#route.attempts.begin();
    this.#request = announced.request;
    this.#deliveries.current = this.#ports.handoffs.takeOver(flow, this, announced);
  }

  /** The node goes away: the response is taken back from the node that sends it, when one here could go on with it. */
  takeBack(): void {
    if (this.#route.isServedHere) this.#deliveries.current?.takeBack?.();
  }

  /** The response as another node has to know it to go on with it; null: none, or none could. */
  get movingResponse(): MovedResponse | null {
    const continuation = this.#deliveries.current?.progress ?? null;
    if (continuation === null) return null;
    const { headBytes, close } = this.request;
    return { continuation, close, head: headBytes, cut: 0 };
  }

  /** `complete`: the client has the response. */
  #report(complete: boolean): void {
    if (this.#request === null) return;
    this.#reporting.ended(this.#request, this.#route.site, this.#deliveries.any?.soFar ?? null, complete);
  }

  /** The connection has ended: what was answered in part is reported. */
  abandon(): void {
    this.#report(false);
    this.cancel();
  }

  /** The connection has moved: nothing is answered here. */
  cancel(): void {
    this.#deliveries.cancel();
    this.#request = null;
  }
}
