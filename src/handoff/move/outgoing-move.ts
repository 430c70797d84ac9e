/**
 * Mechanism migrate, at the initiator: the whole connection goes to another node. What was read of it and not
 * answered travels in front of the receive queue, so the target's kernel has it unread. In the middle of a response
 * (only when this node goes away) the target is told which, and how much of it was sent; it makes the rest itself.
 *
 *   [draining: all sent bytes are to be acknowledged first] -> asked --MIGRATE_OK--> routed, CONFIRM, closed silently
 *                                                               |--SETUP_REJECT, time-out, link down--> goes on here
 *
 * From capture to the end of this the socket is deaf and in repair: it answers nothing. The target is silent until
 * CONFIRM, so without MIGRATE_OK the connection is still ours whatever became of the target.
 */

import assert from 'node:assert';
import { SystemError } from '../../kernel/linux/errors.ts';
import type { Places } from '../../kernel/loop/deadlines.ts';
import { encodedBytes, encodeState } from '../../kernel/tcp/codec.ts';
import { type ConnectionState, StateError } from '../../kernel/tcp/state.ts';
import { MAX_STATE_PIECE_BYTES } from '../../protocol/backplane/frame-migrate.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  MAX_MIGRATED_STATE_BYTES,
  type MovedResponse,
  tlsSessionSize,
} from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import { OUTBOX_LIMIT_BYTES } from '../../protocol/backplane/outbox.ts';
import { type TlsSession, wipeSession } from '../../protocol/tls/session.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import type { Movable, MovingResponse } from './movable.ts';
import type { MovePorts, Outgoing, OutgoingOwner } from './move-ports.ts';
import { bodyWire, movedPlace } from './moved-records.ts';
import { onTheRoad, putBack, toClientSpace, withoutUnsent } from './moved-state.ts';

/** How long a target is waited for when the connection leaves with its node, or cannot stay without its answer. */
export const LEAVING_MS = 10_000;
/** Frame headers and record overhead of one state, generously. */
const OVERHEAD_BYTES = 16 * 1024;

export class OutgoingMove implements Conversation, Outgoing {
  readonly places: Places = [];
  readonly #owner: OutgoingOwner<OutgoingMove>;
  readonly #connection: Movable;
  readonly #node: number;
  readonly #link: Link;
  /** Whether this node goes away. */
  readonly isDraining: boolean;
  readonly #epoch: number;
  #id = -1;
  #ends: FourTuple | null = null;
  /** Captured: the socket is frozen. */
  #frozen = false;
  #over = false;
  /** The connection's TLS session was sent. */
  #isSecure = false;
  stateBytes = 0;
  readonly #startedMs: number;

  constructor(
    owner: OutgoingOwner<OutgoingMove>,
    connection: Movable,
    node: number,
    link: Link,
    isDraining: boolean,
  ) {
    this.#owner = owner;
    this.#connection = connection;
    this.#node = node;
    this.#link = link;
    this.isDraining = isDraining;
    this.#epoch = ((connection.guest?.epoch ?? 0) + 1) >>> 0 || 1;
    this.#startedMs = owner.ports.clock.nowMs;
  }

  get #ports(): MovePorts {
    return this.#owner.ports;
  }

  /**
   * Sends the connection, or waits until everything sent on it is acknowledged (mechanism drain). False: it cannot go
   * now, and is as before.
   */
  begin(whenAcknowledged: boolean): boolean {
    if (!whenAcknowledged || this.#unacknowledged() === 0) return this.#ask();
    this.#owner.waits(this);
    return true;
  }

  #unacknowledged(): number {
    try {
      return this.#ports.kernel.queuedBytes(this.#connection.fd);
    } catch (error) {
      if (error instanceof SystemError) return 0;
      throw error;
    }
  }

  /** Mechanism drain waits for acknowledgements. Returns true when there is nothing more to wait for. */
  tick(nowMs: number): boolean {
    if (this.#over) return true;
    const late = nowMs - this.#startedMs > this.#ports.config.limits.stallSeconds * 1000;
    if (!late && this.#unacknowledged() > 0) return false;
    if (late || !this.#ask()) this.#resume();
    return true;
  }

  /** Freezes the connection and sends it. False: it stays, and is as before. */
  #ask(): boolean {
    const connection = this.#connection;
    const response = connection.movingResponse;
    const ends = connection.guest?.ends ?? this.#ports.kernel.ends(connection.fd);
    if (ends === null || !this.#fits(response !== null)) return false;
    this.#ends = ends;
    // Without room in the router the connection moves all the same; what the client sends meanwhile it must send again.
    this.#ports.parked.park(ends);
    const state = this.#freeze(ends);
    const sent = state !== null && this.#prepare(state, response);
    if (!sent) this.#thaw();
    return sent;
  }

  /** What the socket has, as the client counts; null when it cannot go. */
  #freeze(ends: FourTuple): ConnectionState | null {
    const { fd, flow, shown } = this.#connection;
    const space = flow === null ? null : flow.ownSpace();
    if (flow !== null && space === null) return null;
    try {
      const state = this.#ports.kernel.freeze(fd, { ends, ...shown });
      this.#frozen = true;
      return space === null ? state : toClientSpace(state, space);
    } catch (error) {
      if (error instanceof StateError || error instanceof SystemError) return null;
      throw error;
    }
  }

  /** Looked at before the socket is frozen: that is not for nothing. */
  #fits(inResponse: boolean): boolean {
    const { fd, unread } = this.#connection;
    const { kernel } = this.#ports;
    try {
      const toSend = kernel.queuedBytes(fd) - (inResponse ? kernel.unsentBytes(fd) : 0);
      return toSend + kernel.unreadBytes(fd) + unread.length < MAX_MIGRATED_STATE_BYTES - OVERHEAD_BYTES;
    } catch (error) {
      if (error instanceof SystemError) return false;
      throw error;
    }
  }

  #prepare(state: ConnectionState, response: MovingResponse | null): boolean {
    const { session, unread } = this.#connection;
    if (session !== null) return this.#prepareSecure(onTheRoad(state), response, session);
    const travelling = onTheRoad(putBack(state, unread));
    if (response === null) return this.#send(travelling, null);
    const { continuation } = response;
    const sent = withoutUnsent(travelling, continuation.offset - continuation.headBytes);
    const offset = continuation.offset - (state.unsentQueue.length - sent.unsentQueue.length);
    return this.#send(sent, { ...response, continuation: { ...continuation, offset } });
  }

  /** What was opened cannot be sealed again, so it travels with the session. */
  #prepareSecure(state: ConnectionState, response: MovingResponse | null, session: TlsSession): boolean {
    if (response === null) return this.#send(state, null, session);
    const { records, continuation } = response;
    assert(records !== null, 'it lies in records');
    const { suite } = session;
    const sent = withoutUnsent(state, bodyWire(continuation, records, suite));
    const unsent = state.unsentQueue.length - sent.unsentQueue.length;
    const place = movedPlace(continuation, records, suite, unsent);
    const moved = { ...response, continuation: { ...continuation, offset: place.offset }, cut: place.cut };
    return this.#send(sent, moved, { ...session, serverRecord: place.number });
  }

  #send(state: ConnectionState, response: MovedResponse | null, session: TlsSession | null = null): boolean {
    const stateBytes = encodedBytes(state);
    const link = this.#link;
    if (stateBytes > MAX_MIGRATED_STATE_BYTES || !link.up) return false;
    if (link.queuedBytes + stateBytes + OVERHEAD_BYTES > OUTBOX_LIMIT_BYTES) return false;
    const bytes = encodeState(state);
    this.#id = link.openConversation(this);
    let at = Math.min(stateBytes, MAX_STATE_PIECE_BYTES - (session === null ? 0 : tlsSessionSize(session)));
    let sent = link.send({
      type: FrameType.MIGRATE,
      request: this.#id,
      epoch: this.#epoch,
      // The target answers the first request itself; when this node goes away the target's own policy decides.
      serveFirst: !this.isDraining,
      draining: this.isDraining,
      response,
      session,
      sentAtMs: this.#ports.clock.exactMs() >>> 0,
      stateBytes,
      bytes: bytes.subarray(0, at),
    });
    this.#isSecure = session !== null;
    if (session !== null) wipeSession(session);
    while (sent && at < stateBytes) {
      const end = Math.min(stateBytes, at + MAX_STATE_PIECE_BYTES);
      sent = link.send({
        type: FrameType.MIGRATE_DATA,
        request: this.#id,
        bytes: bytes.subarray(at, end),
      });
      at = end;
    }
    if (!sent) {
      this.#tellOff();
      return false;
    }
    this.#ports.count.add('migrations_sent');
    this.stateBytes = stateBytes;
    this.#owner.asked(this);
    return true;
  }

  frame(frame: Frame): void {
    if (this.#over) return;
    if (frame.type === FrameType.MIGRATE_OK) return this.#given();
    if (frame.type !== FrameType.SETUP_REJECT) return;
    this.#ports.count.add('migrations_rejected');
    this.#link.closeConversation(this.#id);
    this.#resume();
  }

  get #captured(): FourTuple {
    assert(this.#ends !== null, 'what is on its way was captured');
    return this.#ends;
  }

  /** The target has it. From here on there is no way back. */
  #given(): void {
    const ports = this.#ports;
    const ends = this.#captured;
    const home = ports.homeOf(ends.public.address);
    if (home === ports.self && !ports.homeRoutes.divert(ends, this.#node, this.#epoch)) {
      ports.count.add('handoffs_no_room');
      this.#tellOff();
      return this.#resume();
    }
    this.#leave();
    ports.guests.movedOn(ends, this.#connection.guest, { node: this.#node, epoch: this.#epoch });
    ports.parked.release(ends);
    this.#link.send({ type: FrameType.CONFIRM, request: this.#id, epoch: this.#epoch });
    this.#link.closeConversation(this.#id);
    ports.count.add('migrations_out');
    const { fd } = this.#connection;
    this.#connection.moved();
    ports.kernel.closeSilently(fd);
  }

  #tellOff(): void {
    this.#link.send({
      type: FrameType.ABORT,
      request: this.#id,
      epoch: this.#epoch,
      reason: AbortReason.SUPERSEDED,
    });
    this.#link.closeConversation(this.#id);
  }

  timedOut(): void {
    if (this.#mayBeTaken && !this.#link.isSilent && this.#ageMs < LEAVING_MS)
      return this.#owner.waitsOn(this);
    this.#ports.count.add('handoffs_timed_out');
    this.#tellOff();
    this.#endInDoubt();
  }

  linkDown(): void {
    if (this.#over) return;
    this.#ports.count.add('handoffs_lost');
    this.#endInDoubt();
  }

  /**
   * The target may have taken it, if its home, which is another node, believes that. Bytes sent twice would be for the
   * client to sort out; but no number of a key may seal two plaintexts.
   */
  #endInDoubt(): void {
    if (!this.#mayBeTaken) {
      this.#reclaim();
      return this.#resume();
    }
    this.#leave();
    this.#thaw();
    this.#connection.broken('nobody knows whether its keys are in use at the node that it was to move to');
  }

  /** Without the target's word it cannot go on here: only another node knows where its segments go. */
  get #mayBeTaken(): boolean {
    const { homeOf, self } = this.#ports;
    return this.#isSecure && homeOf(this.#captured.public.address) !== self;
  }

  get #ageMs(): number {
    return this.#ports.clock.exactMs() - this.#startedMs;
  }

  /** A target that knows nothing of our fate asks the home: it is to hear first that the connection is here. */
  #reclaim(): void {
    const ports = this.#ports;
    const ends = this.#captured;
    if (ports.homeOf(ends.public.address) === ports.self) return;
    this.#connection.guest = ports.guests.arrive(ends, (this.#epoch + 1) >>> 0 || 1);
  }

  #leave(): void {
    this.#over = true;
    this.#owner.over(this);
  }

  /** The socket hears again, and gets what has come meanwhile. */
  #thaw(): void {
    try {
      if (this.#frozen) this.#ports.kernel.thaw(this.#connection.fd);
    } catch (error) {
      // The connection's next system call says so again.
      if (!(error instanceof SystemError)) throw error;
    }
    this.#frozen = false;
    if (this.#ends !== null) this.#ports.parked.giveBack(this.#ends);
  }

  /** Lets the connection go on here as if nothing had happened. */
  #resume(): void {
    this.#leave();
    this.#thaw();
    this.#ports.count.add('migrations_resumed');
    this.#connection.resumed();
  }

  /** The connection has ended meanwhile. */
  cancel(): void {
    if (this.#over) return;
    this.#leave();
    if (this.#id >= 0) this.#tellOff();
    if (this.#ends !== null) this.#ports.parked.giveBack(this.#ends);
  }
}
