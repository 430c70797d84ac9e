/**
 * One engine: a thread that accepts, answers and hands off. Everything it owns is reachable from here; what it does
 * with a request is in src/handoff.
 */
import assert from 'node:assert';
import { randomBytes } from 'node:crypto';
import {
  type Frame,
  FrameType,
  type Hello,
  PROTOCOL_VERSION,
  type Setup,
  SetupMechanism,
} from '../backplane/frames.ts';
import { documentNames } from '../cluster/catalogue.ts';
import { Catalogues } from '../cluster/exchange-catalogues.ts';
import { LISTEN_BACKLOG } from '../cluster/load.ts';
import type { ClusterConfig, MechanismName, SiteConfig } from '../config/config.ts';
import { SiteTable } from '../config/sites.ts';
import { AnchorHandling } from '../handoff/anchor.ts';
import { cloneForm } from '../handoff/clone.ts';
import { DivertedConnections } from '../handoff/diverted.ts';
import { type Ends, endsKey, routeEngine } from '../handoff/ends.ts';
import { type AnchorFlow, unlessSocketDied } from '../handoff/flow.ts';
import { Guests } from '../handoff/guests.ts';
import type { Handling, Outcome, Request } from '../handoff/handling.ts';
import { LocalHandling } from '../handoff/local.ts';
import { Migration } from '../handoff/migrate.ts';
import { Arrival } from '../handoff/migrate-target.ts';
import { PromisedHandling } from '../handoff/promised.ts';
import { RelayHandling } from '../handoff/relay.ts';
import { RelayTarget } from '../handoff/relay-target.ts';
import { SPLIT_FORM } from '../handoff/split.ts';
import type { TakeOver } from '../handoff/take-over.ts';
import { HalfPipe } from '../handoff/target.ts';
import { Content } from '../http/content.ts';
import { type ErrorStatus, errorResponse } from '../http/error-response.ts';
import { HeadCache } from '../http/head-cache.ts';
import { textReply } from '../http/reply.ts';
import { HeadError, type RequestHead } from '../http/request.ts';
import { formatEndpoint, parseAddress } from '../linux/address.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../linux/epoll.ts';
import { monotonicMs } from '../linux/half-pipe.ts';
import * as libc from '../linux/libc.ts';
import { allocate } from '../linux/memory.ts';
import { closeRawSockets, openRawSockets } from '../linux/raw.ts';
import {
  acceptFrom,
  IPPROTO_TCP,
  listenOn,
  localEndpoint,
  remoteEndpoint,
  setOption,
  TCP_NODELAY,
} from '../linux/socket.ts';
import type { PolicyFactories } from '../policy/create.ts';
import type { Candidate, Choice } from '../policy/policy.ts';
import type { Flows } from '../router/flows.ts';
import { RouterEngine, type RouterHandles } from '../router/router-engine.ts';
import type { Routes } from '../router/routes.ts';
import type { Spread } from '../router/spread.ts';
import { type Arrived, Connection } from './connection.ts';
import { Counters } from './counters.ts';
import { Deadlines } from './deadlines.ts';
import { Drain } from './drain.ts';
import { Exchange } from './exchange.ts';
import type { Link, LinkHost } from './link.ts';
import { Loads } from './loads.ts';
import { Loop, type Source } from './loop.ts';
import type { AccessRecord, EngineStatus, FlowStatus, FromEngine } from './messages.ts';
import { Peers } from './peers.ts';
import { SitePolicies } from './site-policies.ts';
import { nowUs } from './time.ts';
import { Upstream } from './upstream.ts';

const RECEIVE_BYTES = 256 * 1024;
/** One listener gives way to other events after this many connections. */
const ACCEPTS_PER_TURN = 64;
const DRAIN_MS = 2000;
/** How long a node that goes away waits for another to take a connection. */
const LEAVING_MS = 10_000;
/** Between two rounds of housekeeping. */
const HOUSEKEEPING_MS = 100;
/** An engine is ready when all links are up, or after this: a node must serve when it is alone. */
const READY_WITHOUT_LINKS_MS = 3000;
const REPORTED_FLOWS = 2500;
/** With the access log off, one request in so many is reported, for the histograms. */
const SAMPLE_EVERY = 64;
const MAX_RECORDS = 20_000;
const NOT_CONTINUED = { offset: 0, headBytes: 0 };

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

/** A site as this engine serves it. */
interface Site {
  readonly config: SiteConfig;
  readonly content: Content | null;
  readonly upstream: Upstream | null;
  /** Nodes that serve it and can be reached; renewed when links come and go. */
  candidates: Candidate[];
}

export class Engine implements LinkHost {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly index: number;
  readonly clusterKey: Buffer;
  readonly loop = new Loop();
  readonly counters: Counters;
  readonly heads: HeadCache;
  readonly flows: Flows;
  readonly routes: Routes;
  readonly spread: Spread;
  readonly flowsBySlot = new Map<number, AnchorFlow>();
  readonly closingFlows = new Set<AnchorFlow>();
  readonly halfPipes = new Set<HalfPipe>();
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
  readonly setupDeadlines: Deadlines<AnchorHandling | PromisedHandling | RelayHandling | Migration>;
  readonly leavingDeadlines: Deadlines<Migration>;
  #drain: Drain | null = null;
  readonly #options: EngineOptions;
  /**
   * One for connections, links and upstreams each: handling what came on one may read from another before the bytes
   * of the first are used up.
   */
  readonly #memory = allocate(RECEIVE_BYTES);
  readonly #linkMemory = allocate(RECEIVE_BYTES);
  readonly #upstreamMemory = allocate(RECEIVE_BYTES);
  readonly #router: RouterEngine;
  readonly #peers: Peers;
  readonly #sites = new Map<SiteConfig, Site>();
  readonly #siteTable: SiteTable;
  readonly #catalogues: Catalogues;
  /** Public addresses, and the index of the node that owns each. */
  readonly #homes: Map<string, number>;
  readonly listeners: number[] = [];
  readonly #loads: Loads;
  readonly #policies: SitePolicies;
  readonly #bootId = randomBytes(8);
  /**
   * Whether the next response of a connection may be another node's, which is so as soon as one site of the cluster
   * hands requests off: then every response ends its segment.
   */
  readonly #sharesConnections: boolean;
  #records: AccessRecord[] = [];
  #sampled = 0;
  #housekeepingAtMs = 0;
  #ready = false;
  readonly #startedMs: number;

  constructor(options: EngineOptions) {
    const { config } = options;
    this.#options = options;
    this.config = config;
    this.index = options.index;
    this.self = config.nodes.findIndex((node) => node.name === options.node);
    this.clusterKey = options.clusterKey;
    this.counters = new Counters(options.counters[options.index]);
    this.receiveBuffer = this.#memory.bytes;
    this.receiveAddress = this.#memory.address;
    this.#startedMs = this.loop.nowMs;
    const { limits, timeouts } = config;
    this.heads = new HeadCache({
      headBytes: limits.headBytes,
      targetBytes: Math.min(8192, limits.headBytes),
      fields: limits.headFields,
    });
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
    this.#sharesConnections = config.sites.some(({ mechanism }) => mechanism !== 'local');
    this.#siteTable = new SiteTable(config.sites);
    this.#catalogues = new Catalogues(this.self, rootsOf(config, this.#name));
    for (const site of config.sites) this.#sites.set(site, this.#open(site));
    openRawSockets();
    this.guests = new Guests(this);
    this.diverted = new DivertedConnections(this);
    this.diverted.inherit();
    this.#peers = new Peers(config, this.self, this.index, this);
    this.#loads = new Loads(this, this.#peers, this.spread, options.counters);
    this.#policies = new SitePolicies(this, options.policies);
    this.#linksChanged();
    // Connections to other nodes' addresses come here when their router sends them on.
    const isServer = config.nodes[this.self].role === 'server';
    for (const address of config.nodes.flatMap((node) => node.public)) if (isServer) this.#listen(address);
    options.post({ type: 'listening' });
  }

  get linkReceiveBuffer(): Buffer {
    return this.#linkMemory.bytes;
  }

  get linkReceiveAddress(): number {
    return this.#linkMemory.address;
  }

  get nowMs(): number {
    return this.loop.nowMs;
  }

  get #name(): string {
    return this.config.nodes[this.self].name;
  }

  #open(config: SiteConfig): Site {
    const source = config.content[this.#name];
    const { limits, timeouts } = this.config;
    const upstream =
      source?.kind === 'upstream'
        ? new Upstream({
            endpoint: { address: parseAddress(source.upstream.host), port: source.upstream.port },
            loop: this.loop,
            receiveBuffer: this.#upstreamMemory.bytes,
            receiveAddress: this.#upstreamMemory.address,
            connectMs: timeouts.upstreamConnectMs,
            silenceMs: timeouts.upstreamSeconds * 1000,
            count: (name) => this.counters.add(name),
          })
        : null;
    const content =
      source?.kind === 'root'
        ? new Content({ root: source.root, memoryBytes: limits.cacheBytes, openFiles: limits.openFiles })
        : null;
    return { config, content, upstream, candidates: [] };
  }

  #listen(address: string): void {
    const fd = listenOn({ address: parseAddress(address), port: this.config.listen.port }, LISTEN_BACKLOG);
    // Accepted sockets inherit it.
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    this.listeners.push(fd);
    this.loop.add(fd, EPOLLIN, { ready: () => this.#accept(fd) });
  }

  #accept(listener: number): void {
    for (let i = 0; i < ACCEPTS_PER_TURN; i++) {
      const fd = acceptFrom(listener);
      if (fd < 0) return;
      if (this.connections.size >= this.config.limits.connections) {
        this.counters.add('connections_refused');
        this.refuse(fd, 503);
        libc.close(fd);
        continue;
      }
      this.counters.add('connections_accepted');
      // Most clients have sent their request by the time they are accepted.
      this.#take(new Connection(this, fd, this.#revived(fd)));
    }
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
      extraFields: this.#fields('local', 0),
    }).parts[0];
    if ('bytes' in part) libc.sendBytes(fd, part.bytes, part.bytes.length, 0x4000);
    this.#countStatus(status);
  }

  siteFor(host: string): SiteConfig | null {
    return this.#siteTable.find(host) ?? null;
  }

  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number {
    return this.#homes.get(address.toString('hex')) ?? -1;
  }

  isPublic(address: Buffer): boolean {
    return this.homeOf(address) >= 0;
  }

  linkToEngine(node: number, engine: number): Link | undefined {
    return this.#peers.linkToEngine(node, engine);
  }

  get links(): Iterable<Link> {
    return this.#peers.all;
  }

  /** Node and mechanism for a request that has just come. `stays`: here, if that is possible. */
  choose(head: RequestHead, config: SiteConfig | null, stays: boolean): Choice {
    const site = config === null ? undefined : this.#sites.get(config);
    const away = stays ? null : (this.#drain?.next() ?? null);
    if (away !== null) return { node: away, mechanism: 'migrate' };
    if (site === undefined || (stays && answers(site))) return { node: this.self, mechanism: 'local' };
    return this.#choose(site, head, this.#listed(site, head));
  }

  #choose(site: Site, head: RequestHead, candidates: Candidate[]): Choice {
    const { mechanism } = site.config;
    if (mechanism === 'local' || candidates.length === 0) return { node: this.self, mechanism: 'local' };
    const choice = this.#policies.of(site.config).choose(head, candidates, this.self);
    return typeof choice === 'number' ? { node: choice, mechanism } : choice;
  }

  /** The nodes that can answer a request. */
  #listed(site: Site, head: RequestHead): Candidate[] {
    return site.config.catalogue ? this.#holders(site, head) : site.candidates;
  }

  /** A node that goes away begins nothing elsewhere that it would have to wait for. */
  #keeps(site: Site): boolean {
    return this.#drain !== null && answers(site);
  }

  /** Whether a choice means that the connection goes to another node. */
  mayMove({ node, mechanism }: Choice): boolean {
    return moves(mechanism) && node !== this.self;
  }

  /** Begins to move a connection. Null: it stays. */
  migrate(connection: Connection, { node, mechanism }: Choice): Migration | null {
    const link = this.#linkForMove(connection, node);
    if (link === undefined) return null;
    const draining = this.#drain !== null;
    // The traditional handoff: not before everything sent is acknowledged.
    const whenAcknowledged = mechanism === 'drain';
    return Migration.start(this, connection, node, link, {
      serveFirst: !draining,
      draining,
      whenAcknowledged,
    });
  }

  /** At home one engine of several keeps the route; elsewhere the one that has a half-pipe can make room. */
  #linkForMove(connection: Connection, node: number): Link | undefined {
    const { engines } = this.config.nodes[node];
    if (engines === 1) return this.#peers.linkTo(node);
    const ends = endsOf(connection.fd);
    if (ends === null) return undefined;
    if (this.homeOf(ends.public.address) === node)
      return this.#peers.linkToEngine(node, routeEngine(endsKey(ends), engines));
    return connection.flow?.linkTo(node) ?? this.#peers.linkTo(node);
  }

  /** Field lines that every response carries when the configuration says so. */
  #fields(mechanism: string, durationUs: number): string {
    const { servedBy, serverTiming } = this.config.observe;
    let lines = servedBy ? `X-Served-By: ${this.#name}\r\n` : '';
    if (serverTiming)
      lines += `Server-Timing: handoff;desc=${mechanism};dur=${(durationUs / 1000).toFixed(3)}\r\n`;
    return lines;
  }

  /**
   * Begins to answer a request. `tried`: nodes that have failed it. `chosen`: by `choose`, or null when that was not
   * asked. Null: the connection had to be broken.
   */
  dispatch(
    connection: Connection,
    request: Request,
    siteConfig: SiteConfig | null,
    tried: readonly number[],
    chosen: Choice | null,
  ): Handling | null {
    const site = siteConfig === null ? undefined : this.#sites.get(siteConfig);
    if (site === undefined) return this.#local(connection, request, null);
    // That nobody has it is an answer; that nobody can be reached is another.
    const { candidates } = site;
    if (!answers(site) && candidates.length > 0 && this.#listed(site, request.head).length === 0)
      return this.#local(connection, request, null);
    if (!connection.fullyTried && !this.#keeps(site)) {
      const isFirst = tried.length === 0;
      const { node, mechanism } =
        (isFirst ? chosen : null) ??
        this.#choose(
          site,
          request.head,
          this.#listed(site, request.head).filter((c) => !tried.includes(c.index)),
        );
      // A connection that could not move is answered here, if that is possible.
      const isLocal = node === this.self || mechanism === 'local' || (moves(mechanism) && answers(site));
      const handling = isLocal ? null : this.#remote(connection, site, node, mechanism);
      if (handling !== null) return handling;
    }
    return this.#local(connection, request, site);
  }

  /** The candidates that have what is asked for, or may have it. */
  #holders(site: Site, head: RequestHead): Candidate[] {
    const names = documentNames(head.path);
    if (names === null || (head.method !== 'GET' && head.method !== 'HEAD')) return site.candidates;
    const { name } = site.config;
    const judged = site.candidates.map((c) => ({
      c,
      holding: this.#catalogues.holding(name, c.index, names),
    }));
    const sure = judged.some(({ holding }) => holding === 'yes');
    return judged
      .filter(({ holding }) => holding === 'yes' || (!sure && holding === 'unknown'))
      .map(({ c }) => c);
  }

  #remote(connection: Connection, site: Site, node: number, mechanism: MechanismName): Handling | null {
    const link = connection.flow?.linkTo(node) ?? this.#peers.linkTo(node);
    if (link === undefined) return null;
    const request = connection.retain();
    if (givesOutHalf(mechanism) && !request.bodyFollows) {
      const flow = connection.ensureFlow();
      if (flow?.makeRoom()) {
        if (mechanism === 'anchor') return AnchorHandling.start(this, connection, flow, request, node, link);
        const form = mechanism === 'clone' ? cloneForm(site.config.clone) : SPLIT_FORM;
        return PromisedHandling.start(this, connection, flow, request, node, link, form);
      }
      this.counters.add('handoffs_no_room');
      if (site.content !== null || site.upstream !== null) return null;
    }
    connection.flow?.beginOwn();
    return RelayHandling.start(this, connection, request, node, link, this.#sharesConnections);
  }

  #local(connection: Connection, request: Request, site: Site | null): Handling | null {
    connection.flow?.beginOwn();
    const mechanism =
      connection.guest !== null && site !== null && moves(site.config.mechanism) ? 'migrate' : 'local';
    const exchange = this.#exchange(site, request, mechanism, nowUs() - request.startUs);
    if (exchange === null) {
      connection.broken('the response cannot go on here');
      return null;
    }
    return new LocalHandling(this, connection, request, exchange, this.#sharesConnections, mechanism);
  }

  /** The answer to a request, or what is left of it; null when it is to go on and is another one here. */
  #exchange(
    site: Site | null,
    request: Pick<Request, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation'>,
    mechanism: string,
    durationUs: number,
  ): Exchange | null {
    const { continuation } = request;
    if (continuation === null) return this.#answer(site, request, mechanism, durationUs);
    // An upstream is not asked twice: what it answers now need not be what it answered then.
    if (site === null || site.content === null) return null;
    const exchange = this.#answer(site, request, mechanism, durationUs);
    if (exchange.goOnFrom(continuation)) return exchange;
    exchange.end();
    return null;
  }

  #answer(
    site: Site | null,
    request: Pick<Request, 'head' | 'body' | 'bodyFollows' | 'close'>,
    mechanism: string,
    durationUs: number,
  ): Exchange {
    const { head } = request;
    const { observe } = this.config;
    const extraFields = observe.servedBy || observe.serverTiming ? this.#fields(mechanism, durationUs) : '';
    const answer = { close: request.close, extraFields, nowMs: this.loop.wallMs };
    if (site?.content != null) return Exchange.of(site.content.respond(head, answer.nowMs, answer));
    if (site?.upstream != null) return site.upstream.request(head, request.body, request.bodyFollows, answer);
    if (site !== null) return Exchange.error(503, head, answer);
    return Exchange.of(textReply(404, '', { method: head.method, minor: head.minor, ...answer }));
  }

  /**
   * Serves a request for another node, or goes on with its response: the exchange's pump then holds exactly the bytes
   * that are left. Null: this node has nothing to serve it with, or has another body.
   */
  serve(
    setup: Pick<Setup, 'head' | 'body' | 'bodyFollows' | 'close' | 'continuation'>,
    mechanism: string,
  ): Exchange | null {
    const startUs = nowUs();
    const head = this.heads.parse(setup.head, 0, setup.head.length);
    if (head === null || head instanceof HeadError) return null;
    const config = this.siteFor(head.host);
    const site = config === null ? undefined : this.#sites.get(config);
    if (site === undefined || (site.content === null && site.upstream === null)) return null;
    const { body, bodyFollows, close, continuation } = setup;
    const request = { head, body, bodyFollows, close, continuation };
    return this.#exchange(site, request, mechanism, nowUs() - startUs);
  }

  /** The head of a request that has been parsed before. */
  parsed(headBytes: Buffer): RequestHead {
    const head = this.heads.parse(headBytes, 0, headBytes.length);
    assert(head !== null && !(head instanceof HeadError), 'serve() has parsed it');
    return head;
  }

  /** Whether this node has something to answer a site's requests with. */
  answers(config: SiteConfig | null): boolean {
    const site = config === null ? undefined : this.#sites.get(config);
    return site !== undefined && answers(site);
  }

  /** Whether a node other than `node` serves a site and can be reached; this one counts. */
  servedWithout(node: number, config: SiteConfig | null): boolean {
    const site = config === null ? undefined : this.#sites.get(config);
    return site?.candidates.some(({ index }) => index !== node) ?? false;
  }

  #countStatus(status: number): void {
    this.counters.add('requests');
    if (status < 300) this.counters.add('responses_2xx');
    else if (status < 400) this.counters.add('responses_3xx');
    else this.counters.add(status < 500 ? 'responses_4xx' : 'responses_5xx');
  }

  logRequest(connection: Connection, request: Request, outcome: Outcome): void {
    this.#countStatus(outcome.status);
    this.counters.add(`requests_${outcome.mechanism}`);
    const { offset, headBytes } = request.continuation ?? NOT_CONTINUED;
    this.counters.add('response_bytes', outcome.bytes + offset);
    const all = this.config.observe.accessLog !== null;
    if ((!all && ++this.#sampled % SAMPLE_EVERY !== 0) || this.#records.length >= MAX_RECORDS) return;
    this.#records.push({
      timeMs: this.loop.wallMs,
      client: connection.flow?.clientText ?? clientText(connection.fd),
      method: request.head.method,
      target: request.head.target,
      host: request.head.host,
      status: outcome.status,
      bytes: outcome.bytes + offset,
      bodyBytes: outcome.bodyBytes + offset - headBytes,
      anchor: this.#name,
      node: this.config.nodes[outcome.node].name,
      mechanism: outcome.mechanism,
      firstByteUs: outcome.firstByteUs,
      handoffUs: outcome.handoffUs,
      messages: outcome.messages?.count ?? -1,
      messageBytes: outcome.messages?.bytes ?? -1,
      durationUs: nowUs() - request.startUs,
    });
  }

  log(level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown>): void {
    this.#options.post({ type: 'log', level, message, fields: { engine: this.index, ...fields } });
  }

  // What links ask of their engine.

  hello(): Hello {
    return {
      type: FrameType.HELLO,
      protocol: PROTOCOL_VERSION,
      node: this.#name,
      engine: this.index,
      engines: this.config.nodes[this.self].engines,
      mac: this.#options.mac,
      clockMs: monotonicMs() >>> 0,
      bootId: this.#bootId,
    };
  }

  linkUp(link: Link, hello: Hello): boolean {
    if (!this.#peers.greeted(link, hello)) return false;
    this.#router.setPeer(link.node + 1, hello.mac);
    this.#catalogues.linkUp(link);
    this.log('info', 'link up', { node: hello.node, peerEngine: hello.engine });
    link.send(this.#loads.frame);
    this.#linksChanged();
    this.guests.linkUp(link);
    return true;
  }

  linkClosed(link: Link, reason: string, expected: boolean): void {
    this.#peers.closed(link);
    if (link.node >= 0 && !this.#peers.isUp(link.node)) this.diverted.nodeDown(link.node);
    this.#loads.linkClosed(link);
    this.#catalogues.linkDown(link, link.node < 0 || !this.#peers.isUp(link.node));
    if (link.peer !== null) {
      this.log(expected ? 'info' : 'warn', 'link down', { node: link.peer.node, reason });
      if (!expected) this.counters.add('links_failed');
    } else if (link.role === 'accept') {
      this.counters.add('links_refused');
      this.log('warn', 'backplane peer refused', { reason });
    }
    this.#linksChanged();
  }

  #linksChanged(): void {
    const { nodes } = this.config;
    for (const site of this.#sites.values()) {
      site.candidates = nodes
        .map(({ name }, index) => ({ name, index, load: this.#loads.of(index) }))
        .filter(({ name }) => site.config.content[name] !== undefined)
        .filter(({ index, load }) => index === this.self || (this.#peers.isUp(index) && load.accepting));
    }
    this.counters.set('links_up_now', this.#peers.up);
    this.#loads.spread();
  }

  /** Bytes of what a request is for, as another node's catalogue has it; null when none does. */
  listedBytes(site: string, path: string): number | null {
    const names = documentNames(path);
    return names === null ? null : this.#catalogues.sizeOf(site, names);
  }

  get connectionCount(): number {
    return this.connections.size;
  }

  /** New policies, for sites that are otherwise as configured. Throws PolicyError: then the old ones stay. */
  usePolicies(sites: readonly SiteConfig[], factories: PolicyFactories): void {
    this.#policies.use(sites, factories);
  }

  /** Whether other nodes may send connections and requests here. */
  get accepts(): boolean {
    return !this.stopping && this.config.nodes[this.self].role === 'server';
  }

  /** The nodes that can go on with this one's connections. */
  takers(): number[] {
    return this.config.nodes.flatMap(({ role }, index) => {
      const takes = role === 'server' && this.#peers.isUp(index) && this.#loads.of(index).accepting;
      return takes && index !== this.self ? [index] : [];
    });
  }

  open(link: Link, frame: Frame): void {
    switch (frame.type) {
      case FrameType.SETUP:
        if (frame.mechanism === SetupMechanism.RELAY) RelayTarget.setup(this, link, frame);
        else HalfPipe.setup(this, link, link.sinkOf(frame.request) as HalfPipe | null, frame);
        return;
      case FrameType.RESET:
        // We have let go of it already; the anchor waits for the word.
        if (!frame.onlyEpoch) link.send({ type: FrameType.RESET_OK, request: frame.request });
        return;
      case FrameType.MIGRATE:
        return Arrival.open(this, link, frame);
      case FrameType.ROUTE:
        return this.diverted.route(link, frame);
      case FrameType.CLEANUP:
        return this.diverted.cleanup(link, frame);
      case FrameType.CATALOGUE:
        return this.#catalogues.take(link.node, frame);
      case FrameType.LOAD:
        if (this.#loads.heard(link, frame)) this.#linksChanged();
        return;
      default:
        return;
    }
  }

  count(
    name: 'frames_sent' | 'frames_received' | 'backplane_bytes_sent' | 'backplane_bytes_received',
    by: number,
  ): void {
    this.counters.add(name, by);
  }

  watch(fd: number, events: number, source: Source): void {
    this.loop.add(fd, events, source);
  }

  forget(fd: number): void {
    this.loop.forget(fd);
  }

  /** Which half-pipes have everything acknowledged: the router says so, and every tick they are asked. */
  #collect(): void {
    this.#router.drainEvents((slot) => this.flowsBySlot.get(slot)?.current?.acknowledged?.());
    for (const pipe of this.uncollected) pipe.collect();
  }

  /** Runs until `stop`, then it returns true, or until the loop is paused. `turn` is called once a turn, for messages. */
  run(turn: () => void): boolean {
    const settle = () => this.#peers.flush();
    return this.loop.run(settle, () => {
      turn();
      return this.#tick();
    });
  }

  #tick(): boolean {
    const now = this.loop.nowMs;
    if (this.uncollected.size > 0) this.#collect();
    for (const handling of this.promised) handling.acknowledged();
    for (const takeOver of this.takeOvers) if (takeOver.tick(now)) this.takeOvers.delete(takeOver);
    for (const relay of this.blockedRelays) {
      this.blockedRelays.delete(relay);
      relay.drive();
    }
    for (const migration of this.migrations) if (migration.tick(now)) this.migrations.delete(migration);
    for (const arrival of this.arrivals) arrival.tick(now);
    this.#drain?.give();
    this.setupDeadlines.run(now);
    this.leavingDeadlines.run(now);
    let waiting =
      this.uncollected.size +
        this.promised.size +
        this.takeOvers.size +
        this.blockedRelays.size +
        this.setupDeadlines.size +
        this.migrations.size +
        this.arrivals.size >
      0;
    for (const site of this.#sites.values()) if (site.upstream?.tick()) waiting = true;
    if (now - this.#housekeepingAtMs >= HOUSEKEEPING_MS) this.#keepHouse(now);
    return waiting || this.#drain !== null;
  }

  #keepHouse(now: number): void {
    this.#housekeepingAtMs = now;
    this.#router.stayAlive();
    this.headDeadlines.run(now);
    this.idleDeadlines.run(now);
    this.stallDeadlines.run(now);
    this.drainDeadlines.run(now);
    this.#peers.tick(this.config.timeouts.peerMs);
    for (const flow of this.closingFlows) if (flow.release(now)) this.closingFlows.delete(flow);
    for (const flow of this.flowsBySlot.values()) flow.tick(now);
    for (const pipe of this.halfPipes) pipe.tick();
    this.guests.tick(now);
    this.diverted.tick(now);
    this.#catalogues.tick(now);
    this.counters.set('catalogue_documents_now', this.#catalogues.size);
    this.counters.set('connections_now', this.connections.size);
    this.counters.set('flows_now', this.flowsBySlot.size);
    this.counters.set('half_pipes_now', this.halfPipes.size);
    this.counters.set('guests_now', this.guests.size);
    this.counters.set('diverted_now', this.diverted.size);
    if (this.#records.length > 0) {
      this.#options.post({ type: 'access', records: this.#records });
      this.#records = [];
    }
    const ready = this.#peers.up >= this.#peers.expected || now - this.#startedMs > READY_WITHOUT_LINKS_MS;
    if (ready && !this.#ready) {
      this.#ready = true;
      this.#options.post({ type: 'ready', ready: true });
    }
    this.#loads.tick(this.#ready);
    if (this.#drain?.step(now)) this.#end(this.#drain);
  }

  /** SETUP and MIGRATE are refused. */
  get stopping(): boolean {
    return this.#drain !== null;
  }

  /** Connections end with their next response: no other node takes them. */
  get closing(): boolean {
    return this.#drain !== null && !this.#drain.leftRoutes;
  }

  /** Gives everything to the other nodes, or, alone, lets responses in progress end; until the deadline. */
  stop(deadlineMs: number): void {
    if (this.#drain !== null) return this.#drain.hurry(deadlineMs);
    this.#drain = new Drain(this, deadlineMs);
    this.#options.post({ type: 'ready', ready: false });
    this.#loads.report();
    this.#loads.spread();
  }

  stopListening(): void {
    for (const fd of this.listeners.splice(0)) {
      this.loop.forget(fd);
      libc.close(fd);
    }
  }

  #end({ leftRoutes }: Drain): void {
    this.stopListening();
    for (const arrival of [...this.arrivals]) arrival.discard();
    for (const connection of [...this.connections]) connection.discard();
    for (const flow of [...this.flowsBySlot.values()]) flow.discard();
    for (const pipe of [...this.halfPipes]) pipe.discard();
    this.guests.discard();
    this.#peers.close();
    this.#catalogues.close();
    for (const site of this.#sites.values()) {
      site.content?.close();
      site.upstream?.close();
    }
    this.#policies.close();
    this.#router.close();
    closeRawSockets();
    this.loop.stop();
    this.#options.post({ type: 'stopped', leftRoutes });
  }

  status(): EngineStatus {
    return {
      engine: this.index,
      connections: this.connections.size,
      flows: this.flowsBySlot.size,
      halfPipes: this.halfPipes.size,
      links: [...this.#peers.all].map((link) => ({
        node: link.peer?.node ?? '?',
        engine: link.peer?.engine ?? -1,
        up: link.up,
        queuedBytes: link.queuedBytes,
      })),
      loads: this.#loads.status(),
      spread: this.#loads.spreadStatus(),
      policies: this.#policies.status(),
    };
  }

  flowStatus(): FlowStatus[] {
    const flows = [...this.flowsBySlot.values()].slice(0, REPORTED_FLOWS).map((flow) => flow.status());
    const pipes = [...this.halfPipes].slice(0, REPORTED_FLOWS).map((pipe) => pipe.status());
    const arrivals = [...this.arrivals]
      .map((arrival) => arrival.status())
      .filter((status) => status !== null);
    return flows.concat(
      pipes,
      arrivals,
      this.guests.status(REPORTED_FLOWS),
      this.diverted.status(REPORTED_FLOWS),
    );
  }
}

/** The sites with a catalogue, and the directory that a node has of each. */
function rootsOf(config: ClusterConfig, node: string): Map<string, string | null> {
  const roots = new Map<string, string | null>();
  for (const site of config.sites) {
    const source = site.content[node];
    if (site.catalogue) roots.set(site.name, source?.kind === 'root' ? source.root : null);
  }
  return roots;
}

/** Mechanisms by which another node sends the out-half. */
function givesOutHalf(mechanism: MechanismName): boolean {
  return mechanism === 'anchor' || mechanism === 'clone' || mechanism === 'split';
}

/** Whether connections go to other nodes as a whole. */
function moves(mechanism: MechanismName): boolean {
  return mechanism === 'migrate' || mechanism === 'drain';
}

/** Whether this node has something to answer a site's requests with. */
function answers(site: Site): boolean {
  return site.content !== null || site.upstream !== null;
}

/** Null when the client has just reset the connection. */
function endsOf(fd: number): Ends | null {
  try {
    return { client: remoteEndpoint(fd), public: localEndpoint(fd) };
  } catch (error) {
    return unlessSocketDied(error, null);
  }
}

/** The client's address as text; `-` when it has just reset the connection. */
function clientText(fd: number): string {
  try {
    return formatEndpoint(remoteEndpoint(fd));
  } catch (error) {
    return unlessSocketDied(error, '-');
  }
}
