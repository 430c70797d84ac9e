/** The connections of an engine that are on their way: from here, to here. How many fit, and how time passes in them. */
import assert from 'node:assert';
import { Members } from '../../base/members.ts';
import { Deadlines } from '../../kernel/loop/deadlines.ts';
import { IDLE_MS, QUICK_TICK_MS, TICK_MS } from '../../kernel/loop/loop.ts';
import type { Ticking } from '../../kernel/loop/ports.ts';
import {
  type Cleanup,
  FrameType,
  type Migrate,
  RejectReason,
  type Route,
} from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { FlowStatus } from '../flow/flow-status.ts';
import { tupleKey, tupleOfFrame } from '../flow/four-tuple.ts';
import { IncomingMove } from './incoming-move.ts';
import type { Movable } from './movable.ts';
import type { IncomingOwner, MovePorts, OutgoingOwner } from './move-ports.ts';
import { LEAVING_MS, OutgoingMove } from './outgoing-move.ts';

/** Connections that come here at a time, of one engine. */
export const MAX_INCOMING = 1024;
/** Bytes of the states that come here at a time: a drain sends 1 MiB at a time, and several nodes may drain. */
export const MAX_INCOMING_BYTES = 64 * 1024 * 1024;
/** Connections of a node that goes away which are frozen at a time, and bytes of their states: none is so for long. */
const MAX_LEAVING = 256;
const MAX_LEAVING_BYTES = 1024 * 1024;

export class Moves implements Ticking, OutgoingOwner<OutgoingMove>, IncomingOwner<IncomingMove> {
  readonly ports: MovePorts;
  /** Moves that wait for their connections' last acknowledgements. */
  readonly #waiting = new Members<OutgoingMove>();
  /** Moves whose connections are frozen here, and whose states are sent to other nodes. */
  readonly #asked = new Members<OutgoingMove>();
  #askedBytes = 0;
  readonly #incoming = new Members<IncomingMove>();
  #incomingBytes = 0;
  readonly #setupDeadlines: Deadlines<OutgoingMove>;
  readonly #leavingDeadlines: Deadlines<OutgoingMove>;

  constructor(ports: MovePorts) {
    this.ports = ports;
    this.#setupDeadlines = new Deadlines(ports.config.timeouts.setupMs, (move) => move.timedOut());
    this.#leavingDeadlines = new Deadlines(LEAVING_MS, (move) => move.timedOut());
  }

  /** Connections that are on their way here. */
  get incoming(): number {
    return this.#incoming.size;
  }

  /** Whether a node that goes away may freeze another connection. */
  get hasRoomToLeave(): boolean {
    return this.#asked.size < MAX_LEAVING && this.#askedBytes < MAX_LEAVING_BYTES;
  }

  /** Gives a connection to another node. Null when it cannot go now; it then is as before. */
  start(connection: Movable, to: { readonly node: number; readonly mechanism: string }): OutgoingMove | null {
    const link = this.ports.linkOf(to.node, connection);
    // Had it gone to a node that is gone by now nobody would know, and over TLS nobody else could go on with it.
    if (link === undefined || link.isSilent) return null;
    const isDraining = this.ports.isStopping();
    const whenAcknowledged = to.mechanism === 'drain';
    const move = new OutgoingMove(this, connection, to.node, link, isDraining);
    return move.begin(whenAcknowledged) ? move : null;
  }

  /** Takes MIGRATE: answers when the state is whole, or refuses at once. */
  take(link: Link, frame: Migrate): void {
    const { count } = this.ports;
    const refusal = this.#refusal(frame);
    if (refusal !== null) {
      count.add('migrations_refused');
      const { request, epoch } = frame;
      link.send({ type: FrameType.SETUP_REJECT, request, epoch, reason: refusal });
      return;
    }
    const move = new IncomingMove(this, link, frame);
    this.#incoming.add(move);
    this.#incomingBytes += frame.stateBytes;
    link.takeConversation(frame.request, move);
    move.take(frame.bytes);
  }

  #refusal({ stateBytes }: Migrate): RejectReason | null {
    if (!this.ports.accepts()) return RejectReason.SHUTTING_DOWN;
    const hasBytes = this.#incomingBytes + stateBytes <= MAX_INCOMING_BYTES;
    const hasRoom = hasBytes && this.#incoming.size < MAX_INCOMING && this.ports.connections.hasRoom();
    return hasRoom ? null : RejectReason.FULL;
  }

  waits(move: OutgoingMove): void {
    this.#waiting.add(move);
  }

  asked(move: OutgoingMove): void {
    assert(!this.#asked.has(move), 'a connection is asked for once');
    this.#asked.add(move);
    this.#askedBytes += move.stateBytes;
    this.#deadlinesOf(move).set(move, this.ports.clock.exactMs());
  }

  waitsOn(move: OutgoingMove): void {
    assert(this.#asked.has(move), 'it waits already');
    this.#deadlinesOf(move).set(move, this.ports.clock.exactMs());
  }

  over(move: OutgoingMove): void {
    this.#deadlinesOf(move).clear(move);
    this.#waiting.delete(move);
    if (this.#asked.delete(move)) this.#askedBytes -= move.stateBytes;
    assert(
      this.#asked.size > 0 || this.#askedBytes === 0,
      'without connections under way there are no bytes',
    );
  }

  #deadlinesOf({ isDraining }: OutgoingMove): Deadlines<OutgoingMove> {
    return isDraining ? this.#leavingDeadlines : this.#setupDeadlines;
  }

  patienceMs(isDraining: boolean): number {
    return (isDraining ? this.#leavingDeadlines : this.#setupDeadlines).durationMs;
  }

  /** A node tells this one, the connection's home, that it has the connection, or has had it to its end. */
  told({ flow, epoch }: Route | Cleanup): void {
    if (this.#incoming.size === 0) return;
    const key = tupleKey(tupleOfFrame(flow));
    for (const move of this.#incoming.all) move.told(key, epoch);
  }

  left(move: IncomingMove, stateBytes: number): void {
    assert(this.#incoming.delete(move), 'a connection leaves once');
    this.#incomingBytes -= stateBytes;
    assert(this.#incoming.size > 0 || this.#incomingBytes === 0, 'without connections there are no bytes');
  }

  turn(nowMs: number): void {
    for (const move of this.#waiting.all) if (move.tick(nowMs)) this.#waiting.delete(move);
    for (const move of this.#incoming.all) move.tick(nowMs);
    this.#setupDeadlines.run(nowMs);
    this.#leavingDeadlines.run(nowMs);
  }

  get waitMs(): number {
    if (this.#waiting.size > 0) return QUICK_TICK_MS;
    return this.#asked.size + this.#incoming.size > 0 ? TICK_MS : IDLE_MS;
  }

  round(): void {
    // Everything here has its time in every turn.
  }

  /** The process stops: whoever gave us a connection goes on with it. */
  discard(): void {
    for (const move of this.#incoming.all) move.discard();
  }

  status(): FlowStatus[] {
    return this.#incoming.all.map((move) => move.status()).filter((status) => status !== null);
  }
}
