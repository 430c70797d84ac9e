/**
 * Mechanism migrate, at the target: a connection arrives, is restored, and waits for the word that it is ours.
 *
 *   receiving --whole--> restored (MIGRATE_OK) --CONFIRM--> adopted
 *      |--bad, no room--> refused    |--ABORT--> dropped silently
 *                                    `--link down--> in doubt --a segment of the client comes--> adopted
 *                                                       `--none for a while, another has it--> dropped silently
 *
 * Until it is adopted the router lets nothing out that its socket sends (rule arrived), so the initiator may go on at
 * any time as if nothing had happened. In doubt: doubt.ts.
 */

import assert from 'node:assert';
import type { Member, Places } from '../../base/members.ts';
import { SystemError } from '../../kernel/linux/errors.ts';
import { ROLE_ARRIVING } from '../../kernel/router/layout.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import { decodeState } from '../../kernel/tcp/codec.ts';
import { add } from '../../kernel/tcp/sequence.ts';
import { type ConnectionState, StateError } from '../../kernel/tcp/state.ts';
import {
  type Frame,
  FrameType,
  type Migrate,
  type MovedResponse,
  RejectReason,
} from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import { copySession, type TlsSession, wipeSession } from '../../protocol/tls/session.ts';
import type { Exchange } from '../../serve/exchange.ts';
import { type FlowStatus, statusOf } from '../flow/flow-status.ts';
import { type FourTuple, tupleKey } from '../flow/four-tuple.ts';
import { Doubt } from './doubt.ts';
import type { IncomingOwner, MovePorts } from './move-ports.ts';
import { canSeal } from './moved-records.ts';

/** A connection, frozen, waits no longer than this for its file to be read here; it may come again. */
const MAX_WAIT_MS = 1000;
const NOTHING = Buffer.alloc(0);

export class IncomingMove implements Conversation, Member {
  readonly places: Places = [];
  readonly #owner: IncomingOwner<IncomingMove>;
  readonly #link: Link;
  readonly #id: number;
  readonly #epoch: number;
  readonly #serveFirst: boolean;
  readonly #draining: boolean;
  /** When the state was sent, by the own clock. */
  readonly #sentMs: number;
  readonly #startedMs: number;
  readonly #response: MovedResponse | null;
  #session: TlsSession | null;
  readonly #bytes: Buffer;
  /** What is left of a response in whose middle the connection comes. */
  #exchange: Exchange | null = null;
  #received = 0;
  #state: ConnectionState | null = null;
  #fd = -1;
  #slot = -1;
  readonly #rules = ranges.emptyRules(ROLE_ARRIVING);
  #doubt: Doubt | null = null;
  /** The state is whole; whether its response can go on here is not known yet. */
  #waits = false;
  #over = false;

  constructor(owner: IncomingOwner<IncomingMove>, link: Link, frame: Migrate) {
    const { clock } = owner.ports;
    this.#owner = owner;
    this.#link = link;
    this.#id = frame.request;
    this.#epoch = frame.epoch;
    this.#serveFirst = frame.serveFirst;
    this.#draining = frame.draining;
    const nowMs = clock.exactMs();
    this.#sentMs = nowMs - link.clock.excessMs(frame.sentAtMs, nowMs);
    const { response } = frame;
    this.#session = frame.session && copySession(frame.session);
    if (frame.session !== null) wipeSession(frame.session);
    this.#response = response === null ? null : { ...response, head: Buffer.from(response.head) };
    this.#bytes = Buffer.allocUnsafe(frame.stateBytes);
    this.#startedMs = clock.nowMs;
  }

  get #ports(): MovePorts {
    return this.#owner.ports;
  }

  get #ends(): FourTuple {
    return { client: this.#whole.client, public: this.#whole.public };
  }

  get #whole(): ConnectionState {
    assert(this.#state !== null, 'the state is whole');
    return this.#state;
  }

  /** A piece of the state. */
  take(piece: Buffer): void {
    if (this.#received + piece.length > this.#bytes.length) return this.#refuse(RejectReason.STATE_INVALID);
    this.#received += piece.copy(this.#bytes, this.#received);
    if (this.#received === this.#bytes.length) this.#answer();
  }

  /** Takes it, or says why not. While its file is being read nobody knows; the client hears nothing meanwhile. */
  #answer(): void {
    const refusal = this.#restore();
    const isLate = this.#isStale || this.#ageMs > MAX_WAIT_MS;
    this.#waits = refusal === RejectReason.PENDING && !isLate;
    if (this.#waits) return;
    if (refusal !== null) return this.#refuse(refusal);
    this.#link.send({ type: FrameType.MIGRATE_OK, request: this.#id, epoch: this.#epoch });
  }

  /** Since the initiator has sent it. */
  get #ageMs(): number {
    return this.#ports.clock.exactMs() - this.#sentMs;
  }

  #refuse(reason: RejectReason): void {
    this.#ports.count.add('migrations_refused');
    this.#link.send({ type: FrameType.SETUP_REJECT, request: this.#id, epoch: this.#epoch, reason });
    this.#drop();
  }

  /** The initiator may be about to go on by then, and whoever has the connection next may have set up a half-pipe. */
  get #isStale(): boolean {
    return this.#ageMs > this.#owner.patienceMs(this.#draining) / 2;
  }

  #restore(): RejectReason | null {
    const ports = this.#ports;
    if (this.#isStale) return RejectReason.STALE;
    try {
      this.#state = decodeState(this.#bytes);
    } catch (error) {
      if (!(error instanceof StateError)) throw error;
      ports.log('warn', 'a connection state refused', { code: error.code, reason: error.message });
      return RejectReason.STATE_INVALID;
    }
    const { public: pub } = this.#state;
    const home = ports.homeOf(pub.address);
    if (!ports.canServe(this.#ends)) return RejectReason.STATE_INVALID;
    if (!this.#draining && !this.#canTell(home)) return RejectReason.NOT_SERVED;
    const refusal = this.#response === null ? null : this.#goOn(this.#response);
    if (refusal !== null) return refusal;
    this.#slot = ports.table.allocate();
    if (this.#slot < 0) return RejectReason.FULL;
    if (!this.#takeFlow()) return RejectReason.BUSY_TUPLE;
    try {
      this.#fd = ports.kernel.restore(this.#state);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      ports.log('warn', 'a connection refused by the kernel', { error: error.message });
      return error.code === 'EADDRNOTAVAIL' ? RejectReason.BUSY_TUPLE : RejectReason.STATE_INVALID;
    }
    return null;
  }

  /** Makes what is left of the response. Returns why it cannot. */
  #goOn({ head, close, continuation, cut }: MovedResponse): RejectReason | null {
    const session = this.#session;
    const request = { head, body: NOTHING, bodyFollows: false, close, continuation };
    const client = { clientAddress: this.#ends.client.address, isSecure: session !== null };
    const exchange = this.#ports.sites.serve(request, 'migrate', client);
    if (typeof exchange === 'number') return exchange;
    this.#exchange = exchange;
    const fits = session === null || canSeal(exchange.layout, session, cut);
    return fits ? null : RejectReason.STATE_INVALID;
  }

  /** Whether the home can be told: it is here, there, or has a link. */
  #canTell(home: number): boolean {
    const { self } = this.#ports;
    return home === self || home === this.#link.node || this.#linkHome(home) !== undefined;
  }

  #linkHome(home: number): Link | undefined {
    return this.#ports.linkFor(home, tupleKey(this.#ends));
  }

  /** Nothing leaves until the lease is given, or a segment of the client has come. False: the flow is another's. */
  #takeFlow(): boolean {
    const { table } = this.#ports;
    const { sendSequence, sendQueue, unsentQueue, window } = this.#whole;
    const acknowledged = add(sendSequence, -sendQueue.length - unsentQueue.length);
    const edge = add(acknowledged, window.sendWindow);
    table.resetObserved(this.#slot, { ack: acknowledged, edge, sentNext: sendSequence });
    this.#rules.anchor = this.#link.node + 1;
    this.#rules.congestionWindow = this.#whole.congestion.window;
    table.write(this.#slot, this.#rules);
    return this.#ports.claim(this.#ends, this.#slot);
  }

  frame(frame: Frame): void {
    switch (frame.type) {
      case FrameType.MIGRATE_DATA:
        if (this.#state === null) this.take(frame.bytes);
        return;
      case FrameType.CONFIRM:
        if (this.#fd >= 0) this.#adopt();
        return;
      case FrameType.ABORT:
        return this.#drop();
      default:
        return;
    }
  }

  /** The connection is ours. */
  #adopt(): void {
    const ports = this.#ports;
    const state = this.#whole;
    const fd = this.#fd;
    const exchange = this.#exchange;
    this.#fd = -1;
    this.#exchange = null;
    const session = this.#session;
    this.#session = null;
    // Routes first: a segment that found the connection here no longer arriving, and a route to the node before, would
    // go to and fro between the two until it has no hop left.
    ports.forwards.stop(this.#ends);
    const guest = ports.guests.arrive(this.#ends, this.#epoch);
    this.#drop();
    ports.count.add('migrations_in');
    try {
      ports.kernel.release(fd, state);
    } catch (error) {
      // A socket that has died says so by its next system call.
      if (!(error instanceof SystemError)) throw error;
    }
    const response = exchange === null || this.#response === null ? null : { ...this.#response, exchange };
    const { advertisedEdge } = state;
    ports.connections.adopt(fd, { guest, serveFirst: this.#serveFirst, advertisedEdge, session, response });
  }

  linkDown(): void {
    if (this.#over) return;
    if (this.#fd < 0) return this.#drop();
    const arrived = { ends: this.#ends, epoch: this.#epoch, initiator: this.#link.node };
    this.#doubt = new Doubt(this.#ports, { ...arrived, fd: this.#fd, slot: this.#slot, rules: this.#rules });
    // A segment that the home sends here says whose the connection is. It must not follow an old route of this node's.
    this.#ports.forwards.stop(this.#ends);
  }

  tick(nowMs: number): void {
    if (this.#over) return;
    if (this.#waits) this.#answer();
    if (this.#doubt === null) {
      if (nowMs - this.#startedMs > this.#limitMs) this.#drop();
      return;
    }
    const whose = this.#doubt.look(nowMs);
    if (whose === 'ours') this.#adopt();
    else if (whose === 'not ours') this.#drop();
  }

  /** A node says that it has had the connection with this key for so many moves. */
  told(key: string, epoch: number): void {
    if (this.#doubt?.isSettledBy(key, epoch)) this.#drop();
  }

  /** An initiator gives up long before, and says so; a link that is held up for longer is closed. */
  get #limitMs(): number {
    const patienceMs = Math.max(this.#owner.patienceMs(false), this.#owner.patienceMs(true));
    return 2 * patienceMs + this.#ports.config.timeouts.peerMs;
  }

  /** Lets go, silently: the connection is another's, or adopted. */
  #drop(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#session !== null) wipeSession(this.#session);
    const { table } = this.#ports;
    this.#exchange?.end();
    this.#exchange = null;
    if (this.#fd >= 0) this.#ports.kernel.closeSilently(this.#fd);
    this.#fd = -1;
    if (this.#slot >= 0) {
      table.uninstall(this.#slot);
      table.release(this.#slot);
    }
    this.#link.closeConversation(this.#id);
    this.#owner.left(this, this.#bytes.length);
  }

  discard(): void {
    this.#drop();
  }

  status(): FlowStatus | null {
    if (this.#slot < 0) return null;
    const slot = this.#slot;
    return statusOf(this.#ports, {
      role: 'arriving',
      state: this.#doubt === null ? 'restored' : 'in doubt',
      ends: this.#ends,
      nodes: [this.#link.node],
      entry: { slot, acknowledged: this.#ports.table.ack(slot) },
    });
  }
}
