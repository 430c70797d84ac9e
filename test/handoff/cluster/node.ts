/** A node without kernel and network: clients' connections, an anchor's and a target's side, as an engine wires them. */
import assert from 'node:assert/strict';
import type { Endpoint } from '../../../src/base/address.ts';
import type { CloneConfig, ClusterConfig } from '../../../src/base/config/config.ts';
import { Counters } from '../../../src/base/counters.ts';
import { Connections } from '../../../src/client/connections.ts';
import { AnchorFlows } from '../../../src/handoff/anchor/flows.ts';
import { Handoffs } from '../../../src/handoff/anchor/handoffs.ts';
import type { FourTuple } from '../../../src/handoff/flow/four-tuple.ts';
import { Dispatcher } from '../../../src/handoff/mechanism/dispatcher.ts';
import { CALLS_PER_KIB } from '../../../src/handoff/mechanism/prices.ts';
import { Forwards } from '../../../src/handoff/move/forwards.ts';
import { Guests } from '../../../src/handoff/move/guests.ts';
import { HomeRoutes } from '../../../src/handoff/move/home-routes.ts';
import { Moves } from '../../../src/handoff/move/moves.ts';
import { ParkedSegments } from '../../../src/handoff/move/parked.ts';
import type { DeliveryResult } from '../../../src/handoff/request/delivery.ts';
import { HalfPipes } from '../../../src/handoff/target/half-pipes.ts';
import { RelayedRequests } from '../../../src/handoff/target/relayed-requests.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../../src/kernel/linux/epoll.ts';
import type { Source } from '../../../src/kernel/loop/loop.ts';
import {
  FLAG_CLOSING,
  FLAG_FOLLOW,
  OWNER_PARKED,
  OWNER_SELF,
  ROLE_ANCHOR,
  ROLE_ARRIVING,
  ROLE_TARGET,
} from '../../../src/kernel/router/layout.ts';
import { distance, type FlowRules } from '../../../src/kernel/router/ranges.ts';
import { Drain } from '../../../src/node/engine/drain.ts';
import { takeInbound } from '../../../src/node/engine/inbound.ts';
import type { Setup } from '../../../src/protocol/backplane/frames.ts';
import { Streams } from '../../../src/protocol/backplane/streams.ts';
import { HeadCache } from '../../../src/protocol/http/head-cache.ts';
import { DEFAULT_HEAD_LIMITS } from '../../../src/protocol/http/request.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import type { Random } from '../../../src/tools/lab/random.ts';
import { parsed } from '../../protocol/http/support.ts';
import type { LinkEnd, NodeClock } from './link.ts';
import { RingModel, RoutesModel } from './routes.ts';
import { answer, askedBy, choiceOf, NAMES, type SlowResponse, siteOf } from './site.ts';
import { type Socket, Sockets } from './sockets.ts';
import { CheckedTable } from './table.ts';
import type { ClientTls } from './tls.ts';
import {
  CLIENT_START,
  type Client,
  type FollowedSegment,
  follows,
  type Segment,
  type Sender,
  toLocal,
  toWire,
} from './wire.ts';

export const SETUP_MS = 400;
export const PEER_MS = 600;
const SLOTS = 32;
const ROUND_MS = 100;
/** Longer than a lease. */
const MAX_BEGIN_MS = 600;
const NS_PER_MS = 1_000_000;
/** Of an epoch, the bits that a copy bears (rule follow). */
const EPOCH_BITS = 7;
const LIMITS = {
  connections: 16,
  headSeconds: 10,
  idleSeconds: 60,
  stallSeconds: 30,
  handshakes: 16,
  bodyBytes: 200_000,
  halfPipes: 4,
  flows: 16,
};

/** A drain takes no longer. */
const DRAIN_MS = 60_000;

/** A node's, as its parts ask it. */
export interface EngineClock extends NodeClock {
  readonly wallMs: number;
  exactMs(): number;
}

/** What is left at a machine whose process has ended, and what its next one finds. */
export interface Remains {
  readonly routes: RoutesModel;
  /** Closed sockets that still owe something. */
  readonly orphans: Map<Socket, number>;
}

/** What all nodes have. */
export interface World {
  readonly random: Random;
  clockOf(node: number): EngineClock;
  /** timeouts.peerMs */
  readonly peerMs: number;
  /** The nodes that a node can ask, itself included; not those of which it has heard that they stop. */
  reachable(node: number): number[];
  linkTo(node: number, other: number): LinkEnd | null;
  /** Its process does nothing for a while. */
  isHeldUp(node: Node): boolean;
  /** Connections move to other nodes. */
  readonly canMove: boolean;
  /** Options of mechanism clone. */
  readonly clone: CloneConfig;
  /** listen.tlsRekey */
  readonly rekeys: boolean;
  /** A client is asked what it has. */
  probe(client: Client): void;
  /** What a node's kernel says to a client. */
  tell(client: Client, arrive: () => void): void;
  /** A client's segment goes on to another node. */
  divert(node: number, from: number, segment: Segment): void;
  /** It comes to the same node once more. */
  replay(node: Node, segment: Segment): void;
  /** What the client has acknowledged goes on to a target. */
  forward(node: number, client: Client, ack: number, edge: number): void;
  /** What the client asks for next goes on to a clone as well. */
  follow(node: number, segment: FollowedSegment): void;
  reset(client: Client): void;
  /** Why a node has reset a connection. */
  aborted(reason: string): void;
  /** Its home has no socket for it: its kernel answers. */
  stray(client: Client): void;
  /** The drain of a node is over: its process ends. `broken`: connections that nobody has taken. */
  drained(node: Node, broken: number): void;
  /** Who had its connection was killed when it moved: if nobody else has it, it hears of that when it says something. */
  left(client: Client): void;
  clientAt(port: number): Client;
  /** Bytes that all clients have. */
  have(): number;
}

/** A response that is out, as its connection was told. */
export interface Result extends DeliveryResult {
  /** Bytes that the clients had by then. */
  readonly have: number;
}

/** A socket that owes a client something. */
interface SenderHere {
  readonly sender: Sender;
  /** Where a piece of what it sends lies in the client's space; null: the router does not let it out. */
  wireOf(at: number, length: number): number | null;
}

export class Node {
  readonly index: number;
  readonly #world: World;
  readonly clock: EngineClock;
  readonly table = new CheckedTable(SLOTS);
  readonly routes: RoutesModel;
  readonly counters = new Counters();
  isAlive = true;
  /** Its process has ended when its drain was over: its kernel goes on with what is closed. */
  hasStopped = false;
  /** Clients can connect. */
  isListening = true;
  /** Of the clients' requests here, in order. */
  readonly results: Result[] = [];
  readonly #sockets: Sockets;
  readonly #ring: RingModel;
  readonly #parked: ParkedSegments;
  /** What the loop has to tell: events by descriptor. */
  readonly #events = new Map<number, number>();
  readonly #watched = new Map<number, Source>();
  readonly slow = new Set<SlowResponse>();
  readonly flows: AnchorFlows;
  readonly handoffs: Handoffs;
  readonly pipes: HalfPipes;
  readonly streams: Streams;
  readonly relayed: RelayedRequests;
  readonly connections: Connections;
  readonly guests: Guests;
  readonly forwards: Forwards;
  readonly homeRoutes: HomeRoutes;
  readonly moves: Moves;
  readonly #drain: Drain;
  #deferred: Array<() => void> = [];
  #roundAtMs = 0;
  /** The client whose handshake begins; null: in the clear. */
  #accepting: ClientTls | null = null;

  /** `remains`: of the process before it, when it is not the first one here. */
  constructor(index: number, world: World, remains: Remains | null = null) {
    this.index = index;
    this.#world = world;
    this.clock = world.clockOf(index);
    this.routes = remains?.routes ?? new RoutesModel();
    this.#sockets = new Sockets({
      clock: this.clock,
      stallMs: LIMITS.stallSeconds * 1000,
      probe: (client) => this.#probe(client),
      reset: (client) => world.reset(client),
      clientAt: (port) => world.clientAt(port),
    });
    this.#ring = new RingModel((segment) => world.replay(this, segment));
    this.#parked = new ParkedSegments(0, this.routes, this.#ring, this.#ring, this.counters);
    for (const [orphan, atMs] of remains?.orphans ?? []) this.#sockets.orphans.set(orphan, atMs);
    const { table, counters: count, routes, clock } = this;
    const later = { defer: (task: () => void) => void this.#deferred.push(task) };
    const watch = {
      add: (fd: number, _events: number, source: Source) => {
        this.#watched.set(fd, source);
        const socket = this.#sockets.own.get(fd);
        if (socket !== undefined) this.#raise(fd, readable(socket) | EPOLLOUT);
      },
      forget: (fd: number) => {
        this.#watched.delete(fd);
        this.#events.delete(fd);
      },
      give: (fd: number, source: Source) => void this.#watched.set(fd, source),
    };
    const isStopping = () => this.#drain.hasBegun;
    const log = (_level: string, message: string, fields: Record<string, unknown>) => {
      if (message === 'connection aborted') world.aborted(`node ${index}: ${fields.reason}`);
    };
    const sockets = { of: (_public: Endpoint, client: Endpoint) => this.#sockets.stateOf(client.port) };
    const common = { clock, count, later, watch, table, isStopping, log };
    const heads = new HeadCache(DEFAULT_HEAD_LIMITS);
    const take = (response: SlowResponse) => {
      response.beginsAtMs = clock.nowMs + world.random.below(MAX_BEGIN_MS);
      this.slow.add(response);
    };
    const find = () => siteOf(world.reachable(index), world.clone);
    const sites = {
      heads,
      find,
      parsed: (head: Buffer) => parsed(head.toString('latin1')),
      serve: (setup: Pick<Setup, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation'>) =>
        answer(index, { ...setup, path: parsed(setup.head.toString('latin1')).path }, take),
    };
    const repeatableChoices = { of: () => (world.clone.keep ? choiceOf(world.reachable(index)) : null) };
    this.flows = new AnchorFlows({
      ...common,
      sockets,
      engine: 0,
      halfPipes: LIMITS.halfPipes,
      kernel: this.#sockets.anchor,
    });
    this.handoffs = new Handoffs({ clock, count, setupMs: SETUP_MS, peerMs: world.peerMs });
    this.pipes = new HalfPipes({
      ...common,
      kernel: this.#sockets.target,
      sites: sites as never,
      repeatableChoices,
      engine: 0,
      self: index,
      most: LIMITS.flows,
      stallSeconds: LIMITS.stallSeconds,
      canServe: () => true,
    });
    this.streams = new Streams(common);
    const { streams } = this;
    this.relayed = new RelayedRequests({
      ...common,
      streams,
      sites: sites as never,
      most: LIMITS.connections,
      boosted: () => {},
    });
    const config = {
      limits: LIMITS,
      listen: { tlsRekey: world.rekeys },
      nodes: NAMES.map((name) => ({ name, engines: 1 })),
      timeouts: { setupMs: SETUP_MS, peerMs: world.peerMs },
      sites: [find().config],
    } as unknown as ClusterConfig;
    const homeOf = (address: Buffer) => address[address.length - 1] - 1;
    const linkFor = (node: number) => world.linkTo(index, node)?.link;
    const where = { ...common, config, index: 0, self: index, routes, sockets, homeOf, canServe: () => true };
    this.forwards = new Forwards({ ...where, linkFor });
    const { forwards } = this;
    const epochOf = (key: string) => this.guests.epochOf(key);
    this.homeRoutes = new HomeRoutes({ ...where, guests: { epochOf }, forwards });
    const { homeRoutes } = this;
    const links = () => NAMES.flatMap((_, other) => linkFor(other) ?? []);
    const kernel = this.#sockets.guest;
    this.guests = new Guests({ ...where, kernel, homeRoutes, links, linkFor, forwards });
    const { guests } = this;
    this.moves = new Moves({
      ...where,
      kernel: this.#sockets.move,
      sites: sites as never,
      guests,
      forwards,
      homeRoutes,
      parked: this.#parked,
      connections: {
        hasRoom: () => this.connections.hasRoom,
        adopt: (fd, arrived) => this.connections.adopt(fd, arrived),
      },
      accepts: () => !isStopping(),
      claim: (ends: FourTuple, slot: number) => this.pipes.claim(ends, slot),
      linkFor,
      linkOf: linkFor,
    });
    const dispatcher = new Dispatcher({
      ...common,
      config,
      self: index,
      handoffs: this.handoffs,
      streams,
      sites: {
        exchange: (_site, request) => answer(index, { ...request, path: request.head.path }, take),
        candidatesFor: () => find().candidates,
        failure: () => new Exchange(),
        isTold: () => true,
      },
      repeatableChoices,
      policies: { of: () => ({ choose: ({ path }) => this.#choose(path) }) },
      sizeOf: () => null,
      loadOf: () => ({ cpuPermille: 0 }),
      callsPerKib: CALLS_PER_KIB,
      linkOf: linkFor,
      mayMoveTo: () => world.canMove,
      nextTaker: () => this.#drain.next(),
      isLeaving: isStopping,
      boosted: null,
    });
    this.connections = new Connections({
      ...common,
      config,
      sockets: this.#sockets.client,
      sites: {
        heads,
        find,
        parsed: (head) => parsed(head.toString('latin1')),
        extraFields: () => '',
        failure: () => assert.fail('no upstream fails'),
        answered: () => {},
        failed: () => {},
      },
      dispatcher,
      flows: this.flows,
      handoffs: this.handoffs,
      guests,
      access: {
        answered: (_reported, result) => this.results.push({ ...result, have: world.have() }),
        cut: () => {},
        refused: () => {},
      },
      boosted: null,
      tls: { begin: () => this.#accepting!.accepted() as never },
      startMove: (connection, to) => this.moves.start(connection, to),
      isClosing: () => this.#drain.isClosing,
    });
    this.#drain = new Drain({
      ...{ clock, connections: this.connections, anchorFlows: this.flows, halfPipes: this.pipes },
      ...{ relayed: this.relayed, moves: this.moves, guests },
      listeners: {
        close: () => {
          this.isListening = false;
        },
      },
      router: { stops: () => {} },
      takers: () => world.reachable(index).filter((other) => other !== index),
      over: () => this.#end(),
    });
  }

  /** It gives everything to the others, and refuses what comes. */
  get isStopping(): boolean {
    return this.#drain.hasBegun;
  }

  drain(): void {
    if (this.isAlive && !this.isStopping) this.#drain.begin(DRAIN_MS);
    this.settle();
  }

  /** As an engine ends what is left when its drain is over. */
  #end(): void {
    const broken = this.connections.size;
    this.moves.discard();
    this.connections.endHandshakes();
    for (const connection of this.connections.all) connection.broken('the node stops');
    this.flows.discard();
    this.pipes.discard();
    this.guests.discard();
    this.settle();
    this.isAlive = false;
    this.hasStopped = true;
    this.#world.drained(this, broken);
  }

  /**
   * What its next process finds. Of connections that were closed as flows its router knows nothing any more; their clients
   * are reset.
   */
  takeRemains(): Remains {
    const orphans = new Map(
      [...this.#sockets.orphans].filter(([{ client }]) => this.hasStopped || this.#slotOf(client) < 0),
    );
    for (const { client } of this.#sockets.orphans.keys())
      if (this.#slotOf(client) >= 0) this.#world.stray(client);
    return { routes: this.routes, orphans };
  }

  /** As the request says; another that can be reached when that one cannot, or was asked. */
  #choose(path: string): { node: number; mechanism: never } {
    const { node, mechanism } = askedBy(path);
    const up = this.#world.reachable(this.index);
    return { node: up.includes(node) ? node : up[0], mechanism: mechanism as never };
  }

  /** Whether a client's connection is open here. */
  has(client: Client): boolean {
    const found = this.#sockets.of(client);
    return found !== null && !found.socket.isShut;
  }

  /** Rule arrived: what may be undone asks only while it is let. */
  #probe(client: Client): void {
    if (this.isAlive && this.#mayLeave(client)) this.#world.probe(client);
  }

  /** Rule arrived. */
  #mayLeave(client: Client): boolean {
    const rules = this.#rulesOf(client);
    if (rules?.role !== ROLE_ARRIVING) return true;
    const isLent = this.clock.nowMs * NS_PER_MS <= rules.leaseNs;
    return isLent || this.table.segments(this.#slotOf(client)) > 0;
  }

  /** A client has connected. */
  accept(client: Client): void {
    this.#accepting = client.tls;
    this.connections.accept(this.#sockets.accept(client), client.ends.client, client.tls !== null);
    this.settle();
  }

  #raise(fd: number, events: number): void {
    if (events !== 0 && this.#watched.has(fd)) this.#events.set(fd, (this.#events.get(fd) ?? 0) | events);
  }

  /** The process does what there is to do, unless it is held up. */
  #wake(): void {
    if (!this.isAlive || this.#world.isHeldUp(this)) return;
    if (!this.#ring.isEmpty) this.#parked.hear();
    for (const [fd, events] of this.#events.size > 0 ? [...this.#events] : []) {
      if (!this.#events.delete(fd)) continue;
      this.#watched.get(fd)?.ready(events);
      this.settle();
    }
    this.settle();
  }

  /** Its process is gone; its kernel closes what it had, and its router goes on. */
  die(): void {
    this.isAlive = false;
    for (const client of this.#sockets.given) this.#world.left(client);
    for (const { client, isFrozen } of this.#sockets.own.values()) {
      // Rule arrived: what may be another's is not ended here.
      const isArriving = this.#rulesOf(client)?.role === ROLE_ARRIVING;
      if (isFrozen || isArriving) this.#world.left(client);
      else this.#world.reset(client);
    }
    this.#sockets.own.clear();
  }

  /** A link has come up. */
  linkUp(end: LinkEnd): void {
    this.guests.linkUp(end.link);
  }

  /** There is no link to a node any more. */
  nodeDown(node: number): void {
    this.homeRoutes.nodeDown(node);
    this.settle();
  }

  #slotOf({ key }: Client): number {
    return this.table.slotOf(key);
  }

  #rulesOf(client: Client): FlowRules | undefined {
    return this.table.rules.get(this.#slotOf(client));
  }

  /** Where what a socket of a connection has sent lies in its client's space; null: its router lets nothing out. */
  #egress(client: Client, isPipe: boolean, sender: Sender, at: number, length: number): number | null {
    const rules = this.#rulesOf(client);
    if (rules === undefined) return isPipe ? null : sender.number(at);
    if (rules.role === ROLE_ARRIVING) return this.#mayLeave(client) ? sender.number(at) : null;
    return toWire(rules, sender.number(at), length, this.table.ack(this.#slotOf(client)), this.clock.nowMs);
  }

  /** Everybody here who owes a client something. */
  sendersTo(client: Client): SenderHere[] {
    if (!this.isAlive && !this.hasStopped) return [];
    const { own, orphans, pipes } = this.#sockets;
    const senders: SenderHere[] = [];
    const add = (isPipe: boolean, sender: Sender) => {
      const wireOf = (at: number, length: number) => this.#egress(client, isPipe, sender, at, length);
      senders.push({ sender, wireOf });
    };
    for (const one of own.values()) if (one.client === client && !one.isFrozen) add(false, one.sender);
    for (const one of orphans.keys()) if (one.client === client && !one.isFrozen) add(false, one.sender);
    for (const pipe of pipes.values()) if (pipe.port === client.ends.client.port) add(true, pipe.sender);
    return senders;
  }

  /** A segment of a client comes in; `from`: the node that sent it on, null: nobody has. */
  ingress(segment: Segment, from: number | null): void {
    const { client } = segment;
    const rules = this.hasStopped ? undefined : this.#rulesOf(client);
    const route = this.routes.ownerOf(client) ?? OWNER_SELF;
    // Rule park: nobody moves it any more.
    const owner = (route & OWNER_PARKED) !== 0 && !this.isAlive ? OWNER_SELF : route;
    if (rules?.role === ROLE_ANCHOR && owner === OWNER_SELF) this.#atAnchor(segment, rules);
    else if ((owner & OWNER_PARKED) !== 0) this.#ring.keep(segment);
    else if (owner !== OWNER_SELF && !(rules?.role === ROLE_ARRIVING && from === rules.anchor - 1))
      this.#world.divert(owner - 1, this.index, segment);
    else this.#atSocket(segment, rules);
    this.#wake();
  }

  #atAnchor(segment: Segment, rules: FlowRules): void {
    const { client, ack, edge, holdsLater } = segment;
    const seen = this.table.seen.get(this.#slotOf(client))!;
    // Rule reset-while-closing.
    if (segment.isReset) {
      const isHeard = this.#deliver(segment);
      if (!isHeard && (rules.flags & FLAG_CLOSING) !== 0) seen.wasReset = true;
      return;
    }
    if (follows(rules, segment)) this.#follow(segment, rules);
    else this.#forward(client, rules, ack, edge);
    this.#see(client, ack, edge, holdsLater);
    const inNext = (CLIENT_START + segment.at + segment.bytes.length + (segment.isEnd ? 1 : 0)) >>> 0;
    if (distance(seen.inNext, inNext) > 0) seen.inNext = inNext;
    this.#deliver(segment);
    const found = this.#sockets.of(client);
    if (found !== null) seen.inAck = (CLIENT_START + found.socket.received) >>> 0;
  }

  #atSocket(segment: Segment, rules: FlowRules | undefined): void {
    const { client } = segment;
    if (this.#deliver(segment)) {
      if (rules?.role === ROLE_ARRIVING) this.table.seen.get(this.#slotOf(client))!.segments++;
    } else if (rules === undefined && client.anchor === this.index && !segment.isReset)
      this.#world.stray(client);
  }

  /** The kernel gives it to the connection's sockets. False: there is none. */
  #deliver(segment: Segment): boolean {
    const { client, ack, edge } = segment;
    const found = this.#sockets.of(client);
    // Rule deaf.
    if (found?.socket.isFrozen) {
      this.#ring.keep(segment);
      return true;
    }
    if (segment.isReset) return this.#resetBy(client, found);
    if (found !== null) {
      this.#tell(found.fd, found.socket.sender, client, ack, edge);
      if (found.socket.take(segment)) this.#raise(found.fd, readable(found.socket));
      const { received } = found.socket;
      const answers = segment.bytes.length > 0 || segment.isEnd;
      if (answers && this.#mayLeave(client))
        this.#world.tell(client, () => {
          client.heard = Math.max(client.heard, received);
        });
    }
    const { orphans } = this.#sockets;
    const left = [...orphans.keys()].filter((one) => one.client === client);
    for (const orphan of left) {
      const before = orphan.sender.queued;
      this.#tell(-1, orphan.sender, client, ack, edge);
      if (orphan.sender.queued < before) orphans.set(orphan, this.clock.nowMs);
      if (orphan.sender.queued === 0) orphans.delete(orphan);
    }
    return found !== null || left.length > 0;
  }

  /** Its sockets fail. False: there is none. */
  #resetBy(client: Client, found: { readonly fd: number; readonly socket: Socket } | null): boolean {
    const { orphans } = this.#sockets;
    let has = found !== null;
    if (found !== null) this.#fail(found.fd, found.socket);
    for (const orphan of [...orphans.keys()]) if (orphan.client === client) has = orphans.delete(orphan);
    return has;
  }

  #fail(fd: number, socket: Socket): void {
    socket.fail();
    this.#raise(fd, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
  }

  #forward(client: Client, rules: FlowRules, ack: number, edge: number): void {
    const saysNew = distance(this.table.seen.get(this.#slotOf(client))!.ack, ack) > 0;
    const targets = rules.ranges.filter(({ owner, late }) => owner > 0 && (late !== true || !saysNew));
    for (const owner of new Set(targets.map((range) => range.owner)))
      this.#world.forward(owner - 1, client, ack, edge);
  }

  /** Rule follow, at the anchor. */
  #follow(segment: Segment, { epoch, ranges }: FlowRules): void {
    const seen = this.table.seen.get(this.#slotOf(segment.client))!;
    const next = (CLIENT_START + segment.at + segment.bytes.length) >>> 0;
    if (distance(seen.followed, next) > 0) seen.followed = next;
    this.#world.follow(ranges.at(-1)!.owner - 1, {
      ...segment,
      epoch,
      sentAtMs: Math.floor(this.clock.nowMs),
    });
  }

  /** Rule follow, at a clone: the bytes go to the engine, and the rest is a copy like any other. */
  followed(segment: FollowedSegment): void {
    const { client, ack, edge, at, bytes, sentAtMs } = segment;
    const rules = this.#rulesOf(client);
    this.copied(client, ack, edge);
    if (!this.isAlive || rules?.role !== ROLE_TARGET || (rules.flags & FLAG_FOLLOW) === 0) return;
    if (ack !== rules.watch || ((segment.epoch ^ rules.epoch) & EPOCH_BITS) !== 0) return;
    this.pipes.followed(this.#slotOf(client), {
      epoch: rules.epoch,
      sequence: (CLIENT_START + at) >>> 0,
      sentMs: sentAtMs & 0xffff,
      arrivedMs: this.clock.nowMs,
      bytes,
    });
    this.settle();
  }

  /** A copy of it comes to a target. */
  copied(client: Client, ack: number, edge: number): void {
    // Rule copy: whoever is no target has no use for it.
    if (!this.isAlive || this.#rulesOf(client)?.role !== ROLE_TARGET) return;
    this.#see(client, ack, edge, false);
    for (const [fd, { sender, port }] of [...this.#sockets.pipes])
      if (port === client.ends.client.port) this.#tell(fd, sender, client, ack, edge);
    this.#wake();
  }

  #see(client: Client, ack: number, edge: number, holdsLater: boolean): void {
    const seen = this.table.seen.get(this.#slotOf(client));
    if (seen === undefined || this.#slotOf(client) < 0) return;
    seen.segments++;
    if (distance(seen.ack, ack) >= 0) seen.holdsLater = holdsLater || (seen.holdsLater && seen.ack === ack);
    if (distance(seen.ack, ack) > 0) seen.ack = ack;
    if (distance(seen.edge, edge) > 0) seen.edge = edge;
  }

  /** A socket hears of an acknowledgement, in its own space. */
  #tell(fd: number, sender: Sender, client: Client, ack: number, edge: number): void {
    const rules = this.#rulesOf(client);
    const number = rules === undefined ? ack : toLocal(rules, ack);
    if (number === null) return;
    const at = Math.min(distance(sender.start, number), sender.written);
    if (at < sender.acknowledged) return;
    const isFree = at > sender.acknowledged;
    sender.acknowledged = at;
    // The window is the client's, counted from what it has acknowledged, whoever has sent that.
    sender.window = Math.max(0, distance(ack, edge));
    if (isFree) this.#raise(fd, EPOLLOUT);
  }

  /** A frame of another node. */
  take(from: LinkEnd): void {
    const frame = from.next();
    const here = from.peer;
    if (frame === null || here === null) return;
    const opens = frame.type === 1 || !('request' in frame);
    const conversation = opens || !('request' in frame) ? null : here.conversationOf(frame.request);
    if (conversation !== null) conversation.frame(frame, here.link);
    else takeInbound(this.#inbound(), here.link, frame);
    this.settle();
  }

  #inbound(): Parameters<typeof takeInbound>[0] {
    const { relayed, pipes: halfPipes, moves, homeRoutes, guests, forwards } = this;
    return { relayed, halfPipes, moves, homeRoutes, guests, forwards } as unknown as Parameters<
      typeof takeInbound
    >[0];
  }

  /** Runs what was put off: the links have been flushed. */
  settle(): void {
    while (this.#deferred.length > 0) for (const task of this.#deferred.splice(0)) task();
  }

  /** A turn of the engine's loop. */
  turn(): void {
    if (!this.isAlive) return;
    const { nowMs } = this.clock;
    this.#wake();
    this.handoffs.turn(nowMs);
    this.streams.turn();
    this.pipes.turn();
    this.moves.turn(nowMs);
    this.connections.turn(nowMs);
    this.flows.turn(nowMs);
    this.guests.turn(nowMs);
    this.forwards.turn(nowMs);
    this.#drain.turn();
    this.settle();
    if (nowMs - this.#roundAtMs < ROUND_MS) return;
    this.#roundAtMs = nowMs;
    // TCP_USER_TIMEOUT: the kernel gives up.
    const { orphans } = this.#sockets;
    for (const [orphan, atMs] of orphans)
      if (nowMs - atMs > LIMITS.stallSeconds * 1000) orphans.delete(orphan);
    const givenUp = this.#sockets.givenUp(nowMs);
    for (const fd of givenUp) this.#fail(fd, this.#sockets.own.get(fd)!);
    if (givenUp.length > 0) this.#wake();
    // The FIN, again and again: who has left answers it.
    for (const { client, isShut } of this.#sockets.own.values())
      if (isShut && client.hasLeft) this.#probe(client);
    this.connections.round(nowMs);
    this.flows.round(nowMs);
    this.pipes.round(nowMs);
    this.guests.round();
    this.homeRoutes.tick(nowMs);
    this.settle();
    this.#drain.round(nowMs);
  }

  /** For whoever looks into a failure. */
  toString(): string {
    const rules = [...this.table.rules].map(([slot, { ranges, leaseNs, watch, flags }]) =>
      JSON.stringify({
        slot,
        ranges,
        leaseMs: leaseNs / NS_PER_MS,
        watch,
        flags,
        seen: this.table.seen.get(slot),
      }),
    );
    const sockets = [
      ...this.#sockets.pipes.values(),
      ...this.#sockets.own.values(),
      ...this.#sockets.orphans.keys(),
    ].map(({ sender }) => {
      const { start, written, acknowledged, window } = sender;
      return JSON.stringify({ start, written, acknowledged, window });
    });
    const status = [
      ...this.flows.status(9),
      ...this.pipes.status(9),
      ...this.guests.status(9),
      ...this.homeRoutes.status(9),
      ...this.moves.status(),
    ].map(({ role, state, nodes }) => `${role} ${state} ${nodes}`);
    return [`node ${this.index}${this.isAlive ? '' : ' (dead)'}:`, ...status, ...rules, ...sockets].join(
      '\n  ',
    );
  }

  /** Nothing of any connection is left. */
  assertEmpty(): void {
    const name = `node ${this.index}`;
    if (this.isStopping) assert.fail(`${name}: its drain goes on`);
    assert.equal(this.connections.size, 0, `${name}: connections`);
    assert.equal(this.flows.size, 0, `${name}: flows`);
    assert.equal(this.pipes.size, 0, `${name}: half-pipes`);
    assert.equal(this.relayed.size, 0, `${name}: relayed requests`);
    assert.equal(this.table.free, SLOTS, `${name}: slots of the router’s table`);
    assert.equal(this.moves.incoming, 0, `${name}: connections on their way here`);
    assert.equal(this.guests.size, 0, `${name}: guests`);
    assert.equal(this.homeRoutes.size, 0, `${name}: connections elsewhere`);
    assert.equal(this.routes.size, 0, `${name}: routes`);
    const { own, orphans, pipes } = this.#sockets;
    assert.equal(own.size + orphans.size, 0, `${name}: clients’ sockets`);
    assert.equal(pipes.size, 0, `${name}: half-pipes’ sockets`);
  }
}

/** What the loop says of a socket. */
function readable({ arrived, hasEnded }: Socket): number {
  return (arrived.length > 0 || hasEnded ? EPOLLIN : 0) | (hasEnded ? EPOLLRDHUP : 0);
}
