/**
 * The half-pipes of an engine. Each is a conversation with a flow's anchor, and stays for the flow's next responses.
 * SETUP is answered in every case: here when the request is not served, else by the half-pipe that there is of the flow
 * or a new one.
 */
import type { Count } from '../../base/counters.ts';
import { NumberTable } from '../../base/number-table.ts';
import type { RepeatableChoice } from '../../cluster/policy/repeatable-choice.ts';
import { IDLE_MS, TICK_MS } from '../../kernel/loop/loop.ts';
import type { Clock, Later, Ticking, Watch } from '../../kernel/loop/ports.ts';
import type { FollowedBytes } from '../../kernel/router/router-engine.ts';
import {
  FrameType,
  type HalfPipe as HalfPipeBlock,
  RejectReason,
  type Setup,
  SetupMechanism,
} from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { wipeKeys } from '../../protocol/tls/traffic.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Client } from '../../serve/request.ts';
import type { Site, Sites } from '../../serve/sites.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import { isStale } from '../flow/lease.ts';
import { HalfPipe } from './half-pipe.ts';
import { HalfPipeConversation } from './half-pipe-conversation.ts';
import type { Collectable, HalfPipeKernel, HalfPipeOwner, TargetTable } from './half-pipe-ports.ts';
import { HalfPipeSocket } from './half-pipe-socket.ts';
import { ResponseSeal } from './response-seal.ts';
import { SpareSockets } from './spare-sockets.ts';

const MECHANISM_NAMES = {
  [SetupMechanism.RELAY]: 'relay',
  [SetupMechanism.BOOST]: 'boost',
  [SetupMechanism.ANCHOR]: 'anchor',
  [SetupMechanism.CLONE]: 'clone',
  [SetupMechanism.SPLIT]: 'split',
} as const;

export interface HalfPipesPorts {
  readonly clock: Clock;
  readonly count: Count;
  readonly later: Later;
  readonly watch: Watch;
  readonly table: TargetTable;
  readonly kernel: HalfPipeKernel;
  readonly sites: Pick<Sites, 'serve' | 'find' | 'heads'>;
  readonly repeatableChoices: { of(site: Site): RepeatableChoice | null };
  /** Index of the engine: the router tells it what its half-pipes wait for. */
  readonly engine: number;
  /** Index of this node. */
  readonly self: number;
  /** limits.flows */
  readonly most: number;
  /** limits.stallSeconds */
  readonly stallSeconds: number;
  /** Whether a connection with these ends, of which another node speaks, can be a client's. */
  canServe(ends: FourTuple): boolean;
  /** SETUP is refused. */
  isStopping(): boolean;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
}

export class HalfPipes implements Ticking, HalfPipeOwner {
  readonly ports: HalfPipesPorts;
  readonly spares: SpareSockets;
  /** The half-pipes, by their slots in the router's table. */
  readonly #all = new NumberTable<HalfPipe>();
  /** Half-pipes some of whose bytes are not known to be acknowledged. */
  readonly #uncollected = new NumberTable<Collectable>();

  constructor(ports: HalfPipesPorts) {
    this.ports = ports;
    this.spares = new SpareSockets(ports.kernel);
  }

  get size(): number {
    return this.#all.size;
  }

  /** The half-pipe of a conversation, which may have failed; null: there is none, or it is one of another kind. */
  of(link: Link, id: number): HalfPipe | null {
    const conversation = link.conversationOf(id);
    return conversation instanceof HalfPipe ? conversation : null;
  }

  /** Takes a SETUP of anchor, clone or split. `known`: the half-pipe of its conversation; null: it is a new one. */
  setup(link: Link, known: HalfPipe | null, setup: Setup): void {
    // The request has been answered already.
    if (known?.standby.hasTaken(setup.epoch)) return;
    const block = setup.halfPipe;
    if (block === null) return link.protocolError('SETUP without a half-pipe');
    const ends = endsOfBlock(block);
    if (known?.isOf(ends) === false)
      return link.protocolError('SETUP of another connection in its conversation');
    known?.standby.forget();
    const { count } = this.ports;
    count.add('setups_received');
    const live = known === null || known.isClosed ? null : known;
    const refusal = this.#serve(link, live, setup, block, ends);
    if (setup.seal !== null) wipeKeys(setup.seal);
    if (refusal === null) return;
    count.add('setups_rejected');
    link.send({ type: FrameType.SETUP_REJECT, request: setup.request, epoch: setup.epoch, reason: refusal });
  }

  /** Null: the half-pipe has answered. */
  #serve(
    link: Link,
    known: HalfPipe | null,
    setup: Setup,
    block: HalfPipeBlock,
    ends: FourTuple,
  ): RejectReason | null {
    const { clock, sites } = this.ports;
    const receivedMs = clock.exactMs();
    const lateMs = link.clock.excessMs(setup.sentAtMs, receivedMs);
    if (isStale(lateMs)) return RejectReason.STALE;
    if (this.ports.isStopping()) return RejectReason.SHUTTING_DOWN;
    // The ends of a half-pipe that there is were looked at when it was made.
    if (known === null && !this.ports.canServe(ends)) return RejectReason.STATE_INVALID;
    const pipe = known ?? this.#create(link, setup.request, block);
    if (pipe === null) return RejectReason.FULL;
    const exchange = sites.serve(setup, MECHANISM_NAMES[setup.mechanism], clientOf(setup, block));
    const refusal =
      typeof exchange === 'number'
        ? exchange
        : this.#begin(pipe, setup, block, exchange, receivedMs - lateMs);
    if (refusal === null) return null;
    if (known === null) pipe.discard();
    return refusal;
  }

  #begin(
    pipe: HalfPipe,
    setup: Setup,
    block: HalfPipeBlock,
    exchange: Exchange,
    sentMs: number,
  ): RejectReason | null {
    const seal = setup.seal === null ? null : new ResponseSeal(setup.seal, exchange);
    const fits = seal?.fits ?? true;
    const refusal = fits ? pipe.begin(setup, block, { exchange, seal }, sentMs) : RejectReason.STATE_INVALID;
    if (refusal === null) return null;
    exchange.end();
    seal?.end();
    return refusal;
  }

  /** Makes a half-pipe that has sent nothing yet. Null: there is no room for it. */
  #create(link: Link, id: number, block: HalfPipeBlock): HalfPipe | null {
    const { table, most } = this.ports;
    const slot = this.#all.size < most ? table.allocate() : -1;
    if (slot < 0) return null;
    const socket = new HalfPipeSocket(this, slot, link.node, block);
    const pipe = new HalfPipe(this, new HalfPipeConversation(link, id), socket);
    this.#all.set(slot, pipe);
    link.takeConversation(id, pipe);
    return pipe;
  }

  uncollected(pipe: Collectable): void {
    this.#uncollected.set(pipe.slot, pipe);
  }

  collected(pipe: Collectable): void {
    // The slot of one that has failed may be another's by now.
    if (this.#uncollected.get(pipe.slot) === pipe) this.#uncollected.delete(pipe.slot);
  }

  closed(slot: number): void {
    this.#all.delete(slot);
  }

  /**
   * Lets segments of a connection reach the slot, in the place of a half-pipe here: that has nothing to send any more.
   * False: they reach another engine's, or a connection's, whose entry must stay.
   */
  claim({ client, public: pub }: FourTuple, slot: number): boolean {
    const { table } = this.ports;
    if (table.claim(client, pub, slot)) return true;
    this.#all.get(table.installed(client, pub))?.giveWay();
    return table.claim(client, pub, slot);
  }

  /** What the client of the half-pipe in this slot sends next, as the router has seen it (rule follow). */
  followed(slot: number, bytes: FollowedBytes): void {
    this.#all.get(slot)?.followed(bytes);
  }

  /** Something is not known to be acknowledged: the router is to be heard in every turn. */
  get isWaiting(): boolean {
    return this.#uncollected.size > 0;
  }

  /** When the router has been heard: which responses are acknowledged. */
  turn(): void {
    for (const pipe of this.#uncollected.all) pipe.collect();
  }

  get waitMs(): number {
    return this.isWaiting ? TICK_MS : IDLE_MS;
  }

  round(nowMs: number): void {
    for (const pipe of this.#all.all) pipe.round();
    this.spares.tick(nowMs);
  }

  /** The node stops: what owes nothing goes, what does asks the anchor to have another node go on. */
  drain(): void {
    for (const pipe of this.#all.all) pipe.drain();
  }

  /** Ends all of them: the drain is over. */
  discard(): void {
    for (const pipe of this.#all.all) pipe.discard();
  }

  /** Closes what `discard` has left for next ones, which do not come. */
  close(): void {
    this.spares.close();
  }

  /** The status of at most `most` half-pipes. */
  status(most: number): StatusParts[] {
    return this.#all.all.slice(0, most).map((pipe) => pipe.status());
  }
}

function clientOf({ seal }: Setup, { clientAddress }: HalfPipeBlock): Client {
  return { clientAddress, isSecure: seal !== null };
}

function endsOfBlock({ clientAddress, clientPort, publicAddress, publicPort }: HalfPipeBlock): FourTuple {
  return {
    client: { address: clientAddress, port: clientPort },
    public: { address: publicAddress, port: publicPort },
  };
}
