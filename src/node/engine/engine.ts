/**
 * One engine: a thread that accepts, answers and hands off. Here its parts are made and get to know each other, each the
 * few functions of others that it uses, and here they are taken apart. What goes by the clock is in housekeeping.ts.
 */
import type { Changeable, ClusterConfig } from '../../base/config/config.ts';
import { Counters } from '../../base/counters.ts';
import { AccessRecords } from '../../client/access-records.ts';
import { Connections } from '../../client/connections.ts';
import { Listeners } from '../../client/listeners.ts';
import { Addresses } from '../../cluster/addresses.ts';
import { Views } from '../../cluster/exchange-views.ts';
import { Loads } from '../../cluster/loads.ts';
import type { PolicyFactories } from '../../cluster/policy/create.ts';
import { Dispatcher } from '../../handoff/mechanism/dispatcher.ts';
import { EPOLLIN } from '../../kernel/linux/epoll.ts';
import { Loop, type Source } from '../../kernel/loop/loop.ts';
import type { RouterHandles } from '../../kernel/router/router-engine.ts';
import { Peers } from '../../protocol/backplane/peers.ts';
import type { Credentials } from '../../protocol/tls/contexts.ts';
import { TlsAcceptor } from '../../protocol/tls/handshake.ts';
import { AnswerParts } from './answer-parts.ts';
import { boostedClients } from './boosted.ts';
import { CLIENT_SOCKETS } from './client-sockets.ts';
import { Drain } from './drain.ts';
import { EngineLog } from './engine-log.ts';
import { type ExplainPorts, explain } from './explain.ts';
import { HandoffParts } from './handoff-parts.ts';
import { Housekeeping } from './housekeeping.ts';
import { takeInbound } from './inbound.ts';
import { KernelParts } from './kernel-parts.ts';
import { Links, type LinksPorts } from './links.ts';
import { Members } from './members.ts';
import type { FromEngine, ToEngine } from './messages.ts';
import { Returning } from './returning.ts';
import { engineStatus, flowStatus, type StatusPorts } from './status.ts';

export interface EngineOptions {
  readonly config: ClusterConfig;
  readonly node: string;
  readonly index: number;
  readonly clusterKey: Buffer;
  /** By site that is served over TLS. */
  readonly credentials: readonly Credentials[];
  readonly mac: Buffer;
  /** Of every engine of the node, by index; this engine writes its own only. */
  readonly counters: readonly SharedArrayBuffer[];
  readonly router: RouterHandles;
  /** What the sites' policy modules make policies with. */
  readonly policies: PolicyFactories;
  readonly post: (message: FromEngine) => void;
}

/** What the worker sends an engine to deal with at once; policies it imports first, and then has them used. */
export type EngineMessage = Exclude<ToEngine, { type: 'policies' }>;

export class Engine {
  readonly #loop: Loop;
  readonly #post: (message: FromEngine) => void;
  readonly #kernel: KernelParts;
  readonly #answers: AnswerParts;
  readonly #handoff: HandoffParts;
  readonly #peers: Peers;
  /** What follows when links come and go, and who takes their frames. */
  readonly #linked: LinksPorts;
  readonly #views: Views;
  readonly #loads: Loads;
  readonly #members: Members;
  readonly #listeners: Listeners;
  readonly #connections: Connections;
  readonly #access: AccessRecords;
  /** Null: no client speaks TLS with this node. */
  readonly #tls: TlsAcceptor | null = null;
  readonly #drain: Drain;
  readonly #housekeeping: Housekeeping;
  /** What it says of itself, and how it would answer. */
  readonly #reported: StatusPorts & ExplainPorts;

  /** The order of what is done to the kernel and the network counts; parts that come later are asked for when needed. */
  constructor(options: EngineOptions) {
    const { config, index, post, mac, clusterKey } = options;
    const self = config.nodes.findIndex((node) => node.name === options.node);
    const { name, role } = config.nodes[self];
    this.#post = post;
    const loop = new Loop(config.engine.spinUs);
    this.#loop = loop;
    const counters = new Counters(options.counters[index]);
    const engineLog = new EngineLog(index, loop, post);
    /** What most parts get: time, counters, who this is, and where lines go. */
    const common = {
      clock: loop,
      count: counters,
      counters,
      later: loop,
      watch: loop,
      config,
      self,
      index,
      log: engineLog.say,
    };
    const addresses = new Addresses(config);
    const isStopping = (): boolean => this.#drain.hasBegun;
    const linkOf = (node: number, connection: { readonly key: string | null }) =>
      this.#members.linkOf(node, connection);
    const hearRouter = () => this.#housekeeping.hearRouter();
    this.#kernel = new KernelParts({ ...common, router: options.router, hearRouter });

    this.#answers = new AnswerParts({ ...common, loop, factories: options.policies, post });
    const { sites, policies, repeatableChoices } = this.#answers;
    const { catalogues, memories } = sites;
    this.#access = new AccessRecords(config, name, counters, post);

    // The two sides of a handoff, and whole moves.
    this.#handoff = new HandoffParts({
      ...common,
      kernel: this.#kernel,
      addresses,
      sites,
      access: this.#access,
      repeatableChoices,
      connections: {
        hasRoom: () => this.#connections.hasRoom,
        adopt: (fd, arrived) => this.#connections.adopt(fd, arrived),
      },
      accepts: () => !isStopping() && role === 'server',
      isStopping,
      linkFor: (node, key) => this.#members.linkFor(node, key),
      linkOf,
    });
    const { handoffs, guests, moves } = this.#handoff;
    // The other nodes.
    const views = new Views(common);
    this.#views = views;
    const links = new Links({ ...common, mac, clusterKey }, () => this.#linked);
    this.#peers = new Peers(config, self, index, links);
    // Before the router stops sending new connections to others, as the process before this one had it do. Connections
    // to other nodes' addresses come here when their router sends them on.
    this.#listeners = new Listeners(loop, config.limits.stallSeconds * 1000, (fd, client, isSecure) =>
      this.#connections.accept(fd, client, isSecure),
    );
    if (role !== 'front') this.#listeners.listen(config);
    if (role !== 'front' && config.listen.tlsPort !== null)
      this.#tls = new TlsAcceptor(options.credentials, clusterKey, loop);
    const boosted = boostedClients(common, addresses, () => this.#loads.report());
    this.#loads = new Loads(
      {
        ...common,
        get nowMs() {
          return loop.nowMs;
        },
        isStopping,
        connections: () => this.#connections.size,
        cpuMs: () => loop.cpuMs,
        firstByteMs: () => this.#access.firstByteMs,
        listeners: this.#listeners,
        isFullFor: (node) => boosted?.isFull(node) ?? false,
      },
      this.#peers,
      this.#kernel.router.spread,
      options.counters,
    );
    const loads = this.#loads;
    const peers = this.#peers;
    this.#members = new Members({ ...common, gauges: counters, peers, loads, views, sites });

    const known = {
      ...this.#handoff,
      catalogues,
      memories,
      views,
      peers,
      loads,
      membersChanged: () => this.#members.changed(),
    };
    this.#linked = {
      ...known,
      setPeer: (owner, address) => this.#kernel.router.setPeer(owner, address),
      take: (link, frame) => takeInbound(known, link, frame),
    };

    // The clients.
    const dispatcher = new Dispatcher({
      ...common,
      ...this.#handoff,
      sites,
      repeatableChoices,
      policies,
      sizeOf: (site, head) => policies.sizeOf(site, head),
      loadOf: (node) => loads.of(node),
      linkOf,
      mayMoveTo: (node) => views.mayMove(node),
      nextTaker: () => this.#drain.next(),
      isLeaving: isStopping,
      boosted,
    });
    this.#connections = new Connections({
      ...common,
      sockets: CLIENT_SOCKETS,
      sites,
      dispatcher,
      flows: this.#handoff.anchorFlows,
      handoffs,
      guests,
      access: this.#access,
      boosted,
      tls: this.#tls,
      startMove: (connection, to) => moves.start(connection, to),
      isClosing: () => this.#drain.isClosing,
    });

    // What goes by the clock.
    const parts = {
      ...common,
      connections: this.#connections,
      listeners: this.#listeners,
      ...this.#handoff,
      peers,
      views,
      loads,
      policies,
      sites,
      returning: boosted && new Returning(boosted, this.#connections, loads, moves),
    };
    this.#drain = new Drain({
      ...parts,
      router: this.#kernel.router,
      takers: () => this.#members.takers(),
      over: (leftRoutes) => this.#end(leftRoutes),
    });
    this.#housekeeping = new Housekeeping({
      ...parts,
      router: this.#kernel.router,
      drain: this.#drain,
      catalogues,
      memories,
      access: this.#access,
      log: engineLog,
      gauges: counters,
      post,
    });
    this.#reported = { ...parts, dispatcher, boosted };
    this.#members.changed();
    post({ type: 'listening' });
  }

  /** Has the loop look after a descriptor of the worker's. */
  watch(fd: number, source: Source): void {
    this.#loop.add(fd, EPOLLIN, source);
  }

  /** Runs until it has stopped, then it returns true, or until it is paused. `turn` is called once a turn. */
  run(turn: () => void): boolean {
    const settle = () => this.#peers.flush();
    return this.#loop.run(settle, () => {
      turn();
      return this.#housekeeping.tick();
    });
  }

  /** Leaves `run` after this turn, to be called again soon: the thread has promises to see to. */
  pause(): void {
    this.#loop.pause();
  }

  /** What may change while it runs. Throws PolicyError: then all is as before. */
  usePolicies({ sites, clientLimits }: Changeable, factories: PolicyFactories): void {
    this.#answers.policies.use(sites, factories);
    this.#connections.ports.boosted?.useLimits(clientLimits);
    this.#views.renew(sites, this.#peers.all);
    this.#members.changed();
  }

  /** A message of the main thread. */
  take(message: EngineMessage): void {
    switch (message.type) {
      case 'stop':
        return this.#stop(message.deadlineMs);
      case 'boost':
        return this.#loads.boost(message.mode);
      case 'certificates': {
        const error = this.#tls?.use(message.credentials)?.message ?? null;
        return this.#post({ type: 'taken', id: message.id, error });
      }
      case 'digest':
        return this.#answers.digests.take(message.id, message.digest);
      case 'query': {
        const value = message.what === 'status' ? engineStatus(this.#reported) : flowStatus(this.#reported);
        return this.#post({ type: 'reply', id: message.id, value });
      }
      case 'explain': {
        const value = explain(this.#reported, message.host, message.target);
        return this.#post({ type: 'explained', id: message.id, value });
      }
      case 'purge': {
        const resources = this.#answers.sites.purge(message.site, message.path);
        return this.#post({ type: 'purged', id: message.id, resources });
      }
    }
  }

  /** Gives everything to the other nodes, or, alone, lets responses in progress end; until the deadline. */
  #stop(deadlineMs: number): void {
    if (this.#drain.hasBegun) return this.#drain.hurry(deadlineMs);
    this.#drain.begin(deadlineMs);
    this.#post({ type: 'ready', ready: false });
    this.#loads.report();
    this.#loads.spread();
  }

  /** Ends what is left: the drain is over. */
  #end(leftRoutes: boolean): void {
    this.#listeners.close();
    const { moves, anchorFlows, halfPipes, guests } = this.#handoff;
    moves.discard();
    this.#connections.endHandshakes();
    for (const connection of this.#connections.all) connection.broken('the node stops');
    anchorFlows.discard();
    halfPipes.discard();
    guests.discard();
    this.#peers.close();
    this.#answers.close();
    this.#kernel.close();
    halfPipes.close();
    this.#loop.stop();
    this.#access.flush();
    this.#post({ type: 'stopped', leftRoutes });
  }
}
