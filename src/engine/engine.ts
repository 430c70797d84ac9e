/**
 * One engine: a thread that accepts, answers and hands off. Everything it owns is reachable from here; which node
 * answers is decided in dispatcher.ts, what this node answers with is in sites.ts, and how, in src/handoff.
 */
import type { ClusterConfig, SiteConfig } from '../config/config.ts';
import type { AwayHandling } from '../handoff/away.ts';
import { DivertedConnections } from '../handoff/diverted.ts';
import { type Ends, endsOf, engineFor } from '../handoff/ends.ts';
import type { AnchorFlow } from '../handoff/flow.ts';
import { Guests } from '../handoff/guests.ts';
import type { Outcome, Request } from '../handoff/handling.ts';
import type { Migration } from '../handoff/migrate.ts';
import type { Arrival } from '../handoff/migrate-target.ts';
import type { PromisedHandling } from '../handoff/promised.ts';
import type { RelayHandling } from '../handoff/relay.ts';
import type { RelayTarget } from '../handoff/relay-target.ts';
import type { TakeOver } from '../handoff/take-over.ts';
import type { HalfPipe } from '../handoff/target.ts';
import { type ErrorStatus, errorResponse } from '../http/error-response.ts';
import type { RequestHead } from '../http/request.ts';
import { parseAddress } from '../linux/address.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../linux/epoll.ts';
import * as libc from '../linux/libc.ts';
import { allocate } from '../linux/memory.ts';
import { closeRawSockets, openRawSockets } from '../linux/raw.ts';
import { IPPROTO_TCP, MSG_NOSIGNAL, setOption, TCP_USER_TIMEOUT } from '../linux/socket.ts';
import type { PolicyFactories } from '../policy/create.ts';
import type { Candidate } from '../policy/policy.ts';
import type { Flows } from '../router/flows.ts';
import { RouterEngine, type RouterHandles } from '../router/router-engine.ts';
import type { Routes } from '../router/routes.ts';
import type { Spread } from '../router/spread.ts';
import { AccessRecords } from './access-records.ts';
import { type Arrived, Connection } from './connection.ts';
import { Counters } from './counters.ts';
import { Deadlines } from './deadlines.ts';
import { Dispatcher } from './dispatcher.ts';
import { Drain } from './drain.ts';
import type { Link } from './link.ts';
import { Listeners } from './listeners.ts';
import { Loads } from './loads.ts';
import { IDLE_MS, Loop, QUICK_TICK_MS, TICK_MS } from './loop.ts';
import type { FromEngine } from './messages.ts';
import { NextChoices } from './next-choice.ts';
import { Peers } from './peers.ts';
import { SitePolicies } from './site-policies.ts';
import { Sites } from './sites.ts';
import { Switchboard } from './switchboard.ts';

const RECEIVE_BYTES = 256 * 1024;
const DRAIN_MS = 2000;
/** How long a node that goes away waits for another to take a connection. */
const LEAVING_MS = 10_000;
/** Between two rounds of housekeeping. */
const HOUSEKEEPING_MS = 100;
/** An engine is ready when all links are up, or after this: a node must serve when it is alone. */
const READY_WITHOUT_LINKS_MS = 3000;

export interface EngineOptions {
  readonly config: ClusterConfig;
  readonly node: string;
  readonly index: number;
  readonly clusterKey: Buffer;
  readonly mac: Buffer;
  /** Of every engine of the node, by index; this engine writes its own only. */
  readonly counters: readonly SharedArrayBuffer[];
  readonly router: RouterHandles;
  /** What the sites' policy modules make policies with. */
  readonly policies: PolicyFactories;
  readonly post: (message: FromEngine) => void;
}

export class Engine {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly index: number;
  readonly loop = new Loop();
  readonly counters: Counters;
  readonly flows: Flows;
  readonly routes: Routes;
  readonly spread: Spread;
  readonly flowsBySlot = new Map<number, AnchorFlow>();
  readonly closingFlows = new Set<AnchorFlow>();
  readonly halfPipes = new Set<HalfPipe>();
  readonly halfPipesBySlot = new Map<number, HalfPipe>();
  readonly uncollected = new Set<HalfPipe>();
  readonly blockedRelays = new Set<RelayTarget>();
  readonly takeOvers = new Set<TakeOver>();
  readonly connections = new Set<Connection>();
  readonly guests: Guests;
  readonly diverted: DivertedConnections;
  readonly arrivals = new Set<Arrival>();
  /** Connections that are to move, and wait for their last acknowledgements. */
  readonly migrations = new Set<Migration>();
  /** Connections that are frozen here and sent to another node. */
  readonly underWay = new Set<Migration>();
  /** Bytes of their states. */
  underWayBytes = 0;
  /** Handoffs that wait for the client's acknowledgement. */
  readonly promised = new Set<PromisedHandling>();
  readonly receiveBuffer: Buffer;
  readonly receiveAddress: number;
  readonly headDeadlines: Deadlines<Connection>;
  readonly idleDeadlines: Deadlines<Connection>;
  readonly stallDeadlines: Deadlines<Connection>;
  readonly drainDeadlines: Deadlines<Connection>;
  readonly setupDeadlines: Deadlines<AwayHandling | RelayHandling | Migration>;
  readonly leavingDeadlines: Deadlines<Migration>;
  /** Set once the engine is told to stop. */
  drain: Drain | null = null;
  readonly sites: Sites;
  readonly dispatcher: Dispatcher;
  readonly listeners: Listeners;
  readonly peers: Peers;
  readonly loads: Loads;
  readonly policies: SitePolicies;
  readonly nextChoices = new NextChoices(this);
  readonly #post: (message: FromEngine) => void;
  /** Of connections alone: handling what came on one may read from a link before its bytes are used up. */
  readonly #memory = allocate(RECEIVE_BYTES);
  readonly #router: RouterEngine;
  /** Public addresses, and the index of the node that owns each. */
  readonly #homes: Map<string, number>;
  readonly #access: AccessRecords;
  #housekeepingAtMs = 0;
  #ready = false;
  readonly #startedMs: number;

  constructor(options: EngineOptions) {
    const { config } = options;
    this.#post = options.post;
    this.config = config;
    this.index = options.index;
    this.self = config.nodes.findIndex((node) => node.name === options.node);
    this.counters = new Counters(options.counters[options.index]);
    this.receiveBuffer = this.#memory.bytes;
    this.receiveAddress = this.#memory.address;
    this.#startedMs = this.loop.nowMs;
    const { limits, timeouts } = config;
    this.headDeadlines = new Deadlines(limits.headSeconds * 1000, (c) => c.expired('head'));
    this.idleDeadlines = new Deadlines(limits.idleSeconds * 1000, (c) => c.expired('idle'));
    this.stallDeadlines = new Deadlines(limits.stallSeconds * 1000, (c) => c.expired('stall'));
    this.drainDeadlines = new Deadlines(DRAIN_MS, (c) => c.expired('drain'));
    this.setupDeadlines = new Deadlines(timeouts.setupMs, (h) => h.timedOut());
    this.leavingDeadlines = new Deadlines(LEAVING_MS, (h) => h.timedOut());
    this.#homes = new Map(
      config.nodes.flatMap((n, i) => n.public.map((p) => [parseAddress(p).toString('hex'), i] as const)),
    );
    this.#router = new RouterEngine(options.router, options.index);
    this.flows = this.#router.flows;
    this.routes = this.#router.routes;
    this.spread = this.#router.spread;
    this.loop.add(this.#router.eventsFd, EPOLLIN, { ready: () => this.#collect() });
    const { name, role } = config.nodes[this.self];
    this.sites = new Sites(this);
    this.#access = new AccessRecords(config, name, this.counters);
    openRawSockets();
    this.guests = new Guests(this);
    this.diverted = new DivertedConnections(this);
    this.diverted.inherit();
    const switchboard = new Switchboard(this, this.#router, options.mac, options.clusterKey);
    this.peers = new Peers(config, this.self, this.index, switchboard);
    // Before the router stops sending new connections to others, as the process before this one had it do. Connections
    // to other nodes' addresses come here when their router sends them on.
    this.listeners = new Listeners(this.loop, limits.stallSeconds * 1000, (fd) => this.#accepted(fd));
    for (const address of role === 'server' ? config.nodes.flatMap((node) => node.public) : [])
      this.listeners.listen({ address: parseAddress(address), port: config.listen.port });
    this.loads = new Loads(this, this.peers, this.spread, options.counters);
    this.policies = new SitePolicies(this, options.policies);
    this.dispatcher = new Dispatcher(this, this.peers, this.policies);
    this.linksChanged();
    options.post({ type: 'listening' });
  }

  get nowMs(): number {
    return this.loop.nowMs;
  }

  #accepted(fd: number): void {
    if (!this.hasRoom) {
      this.counters.add('connections_refused');
      this.refuse(fd, 503);
      libc.close(fd);
      return;
    }
    this.counters.add('connections_accepted');
    // Most clients have sent their request by the time they are accepted.
    this.#take(new Connection(this, fd, this.#revived(fd)));
  }

  #take(connection: Connection): void {
    this.connections.add(connection);
    this.loop.add(connection.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection);
    connection.start();
  }

  /** A connection whose ends were a guest's that still lingers comes by that one's route, and keeps it. */
  #revived(fd: number): Arrived | null {
    if (this.guests.lingering === 0) return null;
    const ends = endsOf(fd);
    const guest = ends === null ? null : this.guests.revive(ends);
    return guest === null ? null : { guest, serveFirst: false };
  }

  /** Goes on with a connection that has come from another node. */
  adopt(fd: number, arrived: Arrived): void {
    setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, this.config.limits.stallSeconds * 1000);
    this.#take(new Connection(this, fd, arrived));
  }

  /** Another connection fits. */
  get hasRoom(): boolean {
    return this.connections.size < this.config.limits.connections;
  }

  /** A half-pipe of a connection that comes as a whole: it has nothing to send any more. */
  dropHalfPipeOf(ends: Ends): void {
    const slot = this.flows.installed(ends.client, ends.public);
    if (slot < 0) return;
    for (const pipe of this.halfPipes) if (pipe.slot === slot) pipe.discard();
  }

  connectionClosed(connection: Connection): void {
    this.connections.delete(connection);
    this.headDeadlines.clear(connection);
    this.idleDeadlines.clear(connection);
    this.stallDeadlines.clear(connection);
    this.drainDeadlines.clear(connection);
    this.loop.forget(connection.fd);
  }

  /** Sends an answer of the engine's own, as far as the socket takes it: small, and the connection ends after it. */
  refuse(fd: number, status: ErrorStatus): void {
    const part = errorResponse(status, this.loop.wallMs, {
      close: true,
      extraFields: this.sites.extraFields('local', 0),
    }).parts[0];
    if ('bytes' in part) libc.sendBytes(fd, part.bytes, part.bytes.length, MSG_NOSIGNAL);
    this.#access.countStatus(status);
  }

  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number {
    return this.#homes.get(address.toString('hex')) ?? -1;
  }

  isPublic(address: Buffer): boolean {
    return this.homeOf(address) >= 0;
  }

  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined {
    return this.peers.linkToEngine(node, engineFor(key, this.config.nodes[node].engines));
  }

  get links(): Iterable<Link> {
    return this.peers.all;
  }

  logRequest(connection: Connection, request: Request, outcome: Outcome): void {
    this.#access.add(connection, request, outcome, this.loop.wallMs);
  }

  log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void {
    this.#post({ type: 'log', level, message, fields: { engine: this.index, ...fields } });
  }

  /** Links have come or gone, or a node accepts or no longer does: others can answer now. */
  linksChanged(): void {
    this.sites.renewCandidates(
      (node) => this.peers.isUp(node),
      (node) => this.loads.of(node),
    );
    this.counters.set('links_up_now', this.peers.up);
    this.loads.spread();
  }

  listedBytes(site: string, path: string): number | null {
    return this.sites.listedBytes(site, path);
  }

  holders(site: string, head: RequestHead, candidates: readonly Candidate[]): readonly Candidate[] {
    return this.sites.holders(site, head, candidates);
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  /** New policies, for sites that are otherwise as configured. Throws PolicyError: then the old ones stay. */
  usePolicies(sites: readonly SiteConfig[], factories: PolicyFactories): void {
    this.policies.use(sites, factories);
  }

  /** Whether other nodes may send connections and requests here. */
  get accepts(): boolean {
    return !this.stopping && this.config.nodes[this.self].role === 'server';
  }

  /** The nodes that can go on with this one's connections. */
  takers(): number[] {
    return this.config.nodes.flatMap(({ role }, index) => {
      const takes = role === 'server' && this.peers.isUp(index) && this.loads.of(index).accepting;
      return takes && index !== this.self ? [index] : [];
    });
  }

  /** Which half-pipes have everything acknowledged: the router says so, and every tick they are asked. */
  #collect(): void {
    this.#router.drainEvents(
      (slot) => this.flowsBySlot.get(slot)?.current?.acknowledged?.(),
      (slot, bytes) => this.halfPipesBySlot.get(slot)?.followed(bytes),
    );
    for (const pipe of this.uncollected) pipe.collect();
  }

  /** Runs until `stop`, then it returns true, or until the loop is paused. `turn` is called once a turn, for messages. */
  run(turn: () => void): boolean {
    const settle = () => this.peers.flush();
    return this.loop.run(settle, () => {
      turn();
      return this.#tick();
    });
  }

  /** Returns within how many milliseconds it wants to be called again. */
  #tick(): number {
    const now = this.loop.nowMs;
    if (this.uncollected.size > 0) this.#collect();
    for (const handling of this.promised) handling.acknowledged();
    for (const takeOver of this.takeOvers) if (takeOver.tick(now)) this.takeOvers.delete(takeOver);
    // A copy: one that is still blocked puts itself back.
    for (const relay of [...this.blockedRelays]) {
      this.blockedRelays.delete(relay);
      relay.drive();
    }
    for (const migration of this.migrations) if (migration.tick(now)) this.migrations.delete(migration);
    for (const arrival of this.arrivals) arrival.tick(now);
    this.drain?.give();
    this.setupDeadlines.run(now);
    this.leavingDeadlines.run(now);
    if (now - this.#housekeepingAtMs >= HOUSEKEEPING_MS) this.#keepHouse(now);
    const upstreamsWait = this.sites.tick();
    if (this.migrations.size > 0) return QUICK_TICK_MS;
    const { uncollected, promised, takeOvers, blockedRelays, setupDeadlines, arrivals } = this;
    const sets = [uncollected, promised, takeOvers, blockedRelays, setupDeadlines, arrivals];
    const waits = upstreamsWait || this.drain !== null || sets.some(({ size }) => size > 0);
    return waits ? TICK_MS : IDLE_MS;
  }

  #keepHouse(now: number): void {
    this.#housekeepingAtMs = now;
    this.#router.stayAlive();
    this.headDeadlines.run(now);
    this.idleDeadlines.run(now);
    this.stallDeadlines.run(now);
    this.drainDeadlines.run(now);
    this.peers.tick(this.config.timeouts.peerMs);
    for (const flow of this.closingFlows) if (flow.release(now)) this.closingFlows.delete(flow);
    for (const flow of this.flowsBySlot.values()) flow.tick(now);
    for (const pipe of this.halfPipes) pipe.tick();
    this.guests.tick(now);
    this.diverted.tick(now);
    this.sites.catalogues.tick(now);
    this.sites.memories.tick(now, (site) => this.policies.asksMemory(site));
    this.counters.set('catalogue_documents_now', this.sites.catalogues.size);
    this.counters.set('cached_documents_now', this.sites.memories.size);
    this.counters.set('connections_now', this.connections.size);
    this.counters.set('flows_now', this.flowsBySlot.size);
    this.counters.set('half_pipes_now', this.halfPipes.size);
    this.counters.set('guests_now', this.guests.size);
    this.counters.set('diverted_now', this.diverted.size);
    const records = this.#access.take();
    if (records.length > 0) this.#post({ type: 'access', records });
    const ready = this.peers.up >= this.peers.expected || now - this.#startedMs > READY_WITHOUT_LINKS_MS;
    if (ready && !this.#ready) {
      this.#ready = true;
      this.#post({ type: 'ready', ready: true });
    }
    this.loads.tick(this.#ready);
    if (this.drain?.step(now)) this.#end(this.drain);
  }

  /** SETUP and MIGRATE are refused. */
  get stopping(): boolean {
    return this.drain !== null;
  }

  /** Connections end with their next response: no other node takes them. */
  get closing(): boolean {
    return this.drain !== null && !this.drain.leftRoutes;
  }

  /** Gives everything to the other nodes, or, alone, lets responses in progress end; until the deadline. */
  stop(deadlineMs: number): void {
    if (this.drain !== null) return this.drain.hurry(deadlineMs);
    this.drain = new Drain(this, deadlineMs);
    this.#post({ type: 'ready', ready: false });
    this.loads.report();
    this.loads.spread();
  }

  #end({ leftRoutes }: Drain): void {
    this.listeners.close();
    for (const arrival of [...this.arrivals]) arrival.discard();
    for (const connection of [...this.connections]) connection.discard();
    for (const flow of [...this.flowsBySlot.values()]) flow.discard();
    for (const pipe of [...this.halfPipes]) pipe.discard();
    this.guests.discard();
    this.peers.close();
    this.sites.close();
    this.policies.close();
    this.#router.close();
    closeRawSockets();
    this.loop.stop();
    this.#post({ type: 'stopped', leftRoutes });
  }
}
