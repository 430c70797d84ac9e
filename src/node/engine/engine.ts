/**
 * One engine: a thread that accepts, answers and hands off. Everything it owns is reachable from here, and here it is
 * put together and taken apart. Its clients are in connections.ts; which node answers is decided in dispatcher.ts, what
 * this node answers with is in sites.ts, and how, in src/handoff; what goes by the clock is in housekeeping.ts.
 */

import { parseAddress } from '../../base/address.ts';
import type { ClusterConfig, SiteConfig } from '../../base/config/config.ts';
import { Counters } from '../../base/counters.ts';
import { LineLimit } from '../../base/line-limit.ts';
import { AccessRecords } from '../../client/access-records.ts';
import { BoostedClients } from '../../client/boosted-clients.ts';
import { Connections } from '../../client/connections.ts';
import { Listeners } from '../../client/listeners.ts';
import { Addresses } from '../../cluster/addresses.ts';
import { Views } from '../../cluster/exchange-views.ts';
import { Loads } from '../../cluster/loads.ts';
import type { PolicyFactories } from '../../cluster/policy/create.ts';
import type { Candidate } from '../../cluster/policy/policy.ts';
import { RepeatableChoices } from '../../cluster/policy/repeatable-choice.ts';
import { SitePolicies } from '../../cluster/policy/site-policies.ts';
import { AnchorFlows } from '../../handoff/anchor/flows.ts';
import { Handoffs } from '../../handoff/anchor/handoffs.ts';
import { engineFor, type FourTuple, publicAddressOf } from '../../handoff/flow/four-tuple.ts';
import { Dispatcher } from '../../handoff/mechanism/dispatcher.ts';
import { Guests } from '../../handoff/move/guests.ts';
import { HomeRoutes } from '../../handoff/move/home-routes.ts';
import type { IncomingMove } from '../../handoff/move/incoming-move.ts';
import type { OutgoingMove } from '../../handoff/move/outgoing-move.ts';
import { ParkedSegments } from '../../handoff/move/parked.ts';
import { HalfPipes } from '../../handoff/target/half-pipes.ts';
import { RelayedRequests } from '../../handoff/target/relayed-requests.ts';
import { loadDropAll } from '../../kernel/linux/deaf.ts';
import { EPOLLIN } from '../../kernel/linux/epoll.ts';
import { FrameWriter } from '../../kernel/linux/frame-writer.ts';
import { closeRawSockets, openRawSockets } from '../../kernel/linux/raw.ts';
import { SocketStates } from '../../kernel/linux/sock-diag.ts';
import { Deadlines } from '../../kernel/loop/deadlines.ts';
import { Loop } from '../../kernel/loop/loop.ts';
import type { Flows } from '../../kernel/router/flows.ts';
import { MAX_LARGE_FRAME_BYTES, REPLAY_MARK } from '../../kernel/router/layout.ts';
import { RouterEngine, type RouterHandles } from '../../kernel/router/router-engine.ts';
import type { Routes } from '../../kernel/router/routes.ts';
import type { Spread } from '../../kernel/router/spread.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { Peers } from '../../protocol/backplane/peers.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { Sites } from '../../serve/sites.ts';
import { clientPorts } from './client-ports.ts';
import { DigestRequests } from './digest-requests.ts';
import { Drain } from './drain.ts';
import { Housekeeping } from './housekeeping.ts';
import type { FromEngine } from './messages.ts';
import { socketKernel } from './socket-kernel.ts';
import { Switchboard } from './switchboard.ts';
import { halfPipesPorts, relayedRequestsPorts } from './target-ports.ts';

/** Lines of a kind, of warnings and errors, in a period. */
const LOG_LINES = 20;
const LOG_PERIOD_MS = 10_000;
/** How long a node that goes away waits for another to take a connection. */
const LEAVING_MS = 10_000;

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
  readonly sockets = new SocketStates();
  readonly flows: Flows;
  readonly routes: Routes;
  readonly spread: Spread;
  readonly anchorFlows: AnchorFlows;
  readonly handoffs: Handoffs;
  readonly halfPipes: HalfPipes;
  readonly relayed: RelayedRequests;
  readonly connections: Connections;
  /** At a booster. */
  readonly boosted: BoostedClients | null;
  readonly guests: Guests;
  readonly homeRoutes: HomeRoutes;
  readonly arrivals = new Set<IncomingMove>();
  /** Bytes of their states. */
  arrivalBytes = 0;
  /** What clients send while their connections move. */
  readonly parked: ParkedSegments;
  readonly #frames: FrameWriter;
  /** Connections that are to move, and wait for their last acknowledgements. */
  readonly migrations = new Set<OutgoingMove>();
  /** Connections that are frozen here and sent to another node. */
  readonly underWay = new Set<OutgoingMove>();
  /** Bytes of their states. */
  underWayBytes = 0;
  readonly setupDeadlines: Deadlines<OutgoingMove>;
  readonly leavingDeadlines: Deadlines<OutgoingMove>;
  /** Set once the engine is told to stop. */
  drain: Drain | null = null;
  readonly digests: DigestRequests;
  readonly sites: Sites;
  readonly dispatcher: Dispatcher;
  readonly listeners: Listeners;
  readonly peers: Peers;
  readonly loads: Loads;
  readonly views: Views;
  readonly policies: SitePolicies;
  readonly repeatableChoices = new RepeatableChoices(this);
  readonly access: AccessRecords;
  readonly #post: (message: FromEngine) => void;
  readonly #router: RouterEngine;
  readonly #addresses: Addresses;
  readonly #housekeeping: Housekeeping;
  readonly #lineLimit = new LineLimit(LOG_LINES, LOG_PERIOD_MS);

  constructor(options: EngineOptions) {
    const { config } = options;
    this.#post = options.post;
    this.config = config;
    this.index = options.index;
    this.self = config.nodes.findIndex((node) => node.name === options.node);
    this.counters = new Counters(options.counters[options.index]);
    const { limits, timeouts } = config;
    this.setupDeadlines = new Deadlines(timeouts.setupMs, (h) => h.timedOut());
    this.leavingDeadlines = new Deadlines(LEAVING_MS, (h) => h.timedOut());
    this.#addresses = new Addresses(config);
    this.#router = new RouterEngine(options.router, options.index);
    this.flows = this.#router.flows;
    this.routes = this.#router.routes;
    this.spread = this.#router.spread;
    const { name, role, interface: link } = config.nodes[this.self];
    this.#frames = new FrameWriter(link, REPLAY_MARK, MAX_LARGE_FRAME_BYTES);
    const { parked } = this.#router;
    this.parked = new ParkedSegments(this.index, this.routes, parked, this.#frames, this.counters);
    this.loop.add(parked.fd, EPOLLIN, { ready: () => this.parked.hear() });
    const { loop: clock, counters: count, flows: table, sockets } = this;
    this.anchorFlows = new AnchorFlows({
      clock,
      count,
      table,
      sockets,
      engine: this.index,
      halfPipes: limits.halfPipes,
      kernel: socketKernel(this.parked),
    });
    this.handoffs = new Handoffs({ clock, count, setupMs: timeouts.setupMs, peerMs: timeouts.peerMs });
    this.loop.add(this.#router.eventsFd, EPOLLIN, { ready: () => this.#housekeeping.hearRouter() });
    this.digests = new DigestRequests(limits.digestBytes, options.post);
    this.sites = new Sites(this);
    this.halfPipes = new HalfPipes(halfPipesPorts(this));
    this.relayed = new RelayedRequests(relayedRequestsPorts(this));
    this.access = new AccessRecords(config, name, this.counters, options.post);
    openRawSockets();
    loadDropAll();
    this.guests = new Guests(this);
    this.homeRoutes = new HomeRoutes(this);
    this.homeRoutes.inherit();
    this.views = new Views(this);
    const switchboard = new Switchboard(this, this.#router, options.mac, options.clusterKey);
    this.peers = new Peers(config, this.self, this.index, switchboard);
    // Before the router stops sending new connections to others, as the process before this one had it do. Connections
    // to other nodes' addresses come here when their router sends them on.
    this.listeners = new Listeners(this.loop, limits.stallSeconds * 1000, (fd, client) =>
      this.connections.accept(fd, client),
    );
    for (const address of role !== 'front' ? config.nodes.flatMap((node) => node.public) : [])
      this.listeners.listen({ address: parseAddress(address), port: config.listen.port });
    this.loads = new Loads(this, this.peers, this.spread, options.counters);
    this.policies = new SitePolicies(this, options.policies);
    const originOf = role === 'booster' ? ({ fd }: { fd: number }) => this.homeOf(publicAddressOf(fd)) : null;
    this.boosted = originOf === null ? null : new BoostedClients(originOf);
    this.dispatcher = new Dispatcher({
      clock,
      count,
      later: this.loop,
      config,
      self: this.self,
      handoffs: this.handoffs,
      sites: this.sites,
      repeatableChoices: this.repeatableChoices,
      policies: this.policies,
      sizeOf: (site, head) => this.policies.sizeOf(site, head),
      loadOf: (node) => this.loads.of(node),
      linkOf: (node, connection) => this.linkOf(node, connection),
      mayMoveTo: (node) => this.views.mayMove(node),
      nextTaker: () => this.drain?.next() ?? null,
      isLeaving: () => this.drain !== null,
      originOf,
    });
    this.connections = new Connections(clientPorts(this));
    this.#housekeeping = new Housekeeping(this, this.#router, options.post);
    this.linksChanged();
    options.post({ type: 'listening' });
  }

  get nowMs(): number {
    return this.loop.nowMs;
  }

  claimFlow(ends: FourTuple, slot: number): boolean {
    return this.halfPipes.claim(ends, slot);
  }

  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number {
    return this.#addresses.homeOf(address);
  }

  /** Whether a connection with these ends, of which another node speaks, can be a client's. */
  canServe({ client, public: pub }: FourTuple): boolean {
    return this.#addresses.canServe(client, pub);
  }

  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined {
    return this.peers.linkToEngine(node, engineFor(key, this.config.nodes[node].engines));
  }

  /** The same, of a connection whose key is asked of the kernel only where it matters. */
  linkOf(node: number, connection: { readonly key: string | null }): Link | undefined {
    if (this.config.nodes[node].engines === 1) return this.peers.linkToEngine(node, 0);
    const { key } = connection;
    return key === null ? undefined : this.linkFor(node, key);
  }

  log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void {
    // What others can cause must not fill a disk.
    if (level === 'info' || this.#lineLimit.allows(message, this.nowMs))
      this.#post({ type: 'log', level, message, fields: { engine: this.index, ...fields } });
  }

  /** Says how many lines were left out of the log. */
  logLeftOut(): void {
    for (const { kind, lines, periodMs } of this.#lineLimit.ended(this.nowMs)) {
      const fields = { engine: this.index, leftOut: lines, seconds: Math.round(periodMs / 1000) };
      this.#post({ type: 'log', level: 'warn', message: kind, fields });
    }
  }

  /** Links have come or gone, or a node accepts or no longer does: others can answer now. */
  linksChanged(): void {
    this.sites.renewCandidates(
      (node, site) => this.peers.isUp(node) && this.views.mayHand(node, site),
      (node) => this.loads.of(node),
    );
    this.counters.set('views_differ_now', Object.keys(this.views.status()).length);
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
    this.views.renew(sites, this.peers.all);
    this.linksChanged();
  }

  /** Whether other nodes may send connections and requests here. */
  get accepts(): boolean {
    return !this.stopping && this.config.nodes[this.self].role === 'server';
  }

  /** The nodes that can go on with this one's connections. */
  takers(): number[] {
    const all = this.config.nodes.flatMap(({ role }, index) => {
      const takes = role === 'server' && this.peers.isUp(index) && this.loads.of(index).accepting;
      return takes && index !== this.self && this.views.isTogether(index) ? [index] : [];
    });
    // Where the files differ, as in a rolling change, the client comes to no other answer than by connecting anew.
    const alike = all.filter((node) => this.views.mayMove(node));
    return alike.length > 0 ? alike : all;
  }

  /** Runs until `stop`, then it returns true, or until the loop is paused. `turn` is called once a turn, for messages. */
  run(turn: () => void): boolean {
    const settle = () => this.peers.flush();
    return this.loop.run(settle, () => {
      turn();
      return this.#housekeeping.tick();
    });
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

  /** Ends what is left: the drain is over. */
  end({ leftRoutes }: Drain): void {
    this.listeners.close();
    for (const arrival of [...this.arrivals]) arrival.discard();
    for (const connection of this.connections.all) connection.broken('the node stops');
    this.anchorFlows.discard();
    this.halfPipes.discard();
    this.guests.discard();
    this.peers.close();
    this.sites.close();
    this.policies.close();
    this.#router.close();
    this.#frames.close();
    closeRawSockets();
    this.sockets.close();
    this.halfPipes.close();
    this.loop.stop();
    this.access.flush();
    this.#post({ type: 'stopped', leftRoutes });
  }
}
