/**
 * One engine: a thread that accepts, answers and hands off. Here its parts are made and get to know each other, each the
 * few functions of others that it uses, and here they are taken apart. What goes by the clock is in housekeeping.ts.
 */
import type { Changeable } from '../../base/config/config.ts';
import { AccessRecords } from '../../client/access-records.ts';
import { Connections } from '../../client/connections.ts';
import { Listeners } from '../../client/listeners.ts';
import { Addresses } from '../../cluster/addresses.ts';
import type { PolicyFactories } from '../../cluster/policy/create.ts';
import { Dispatcher } from '../../handoff/mechanism/dispatcher.ts';
import { EPOLLIN } from '../../kernel/linux/epoll.ts';
import type { Loop, Source } from '../../kernel/loop/loop.ts';
import { TlsAcceptor } from '../../protocol/tls/handshake.ts';
import { AnswerParts } from './answer-parts.ts';
import { basicsOf, type EngineOptions } from './basics.ts';
import { CLIENT_SOCKETS } from './client-sockets.ts';
import { ClusterParts } from './cluster-parts.ts';
import { Drain } from './drain.ts';
import { type ExplainPorts, explain } from './explain.ts';
import { HandoffParts } from './handoff-parts.ts';
import { Housekeeping } from './housekeeping.ts';
import { KernelParts } from './kernel-parts.ts';
import type { FromEngine, ToEngine } from './messages.ts';
import { Returning } from './returning.ts';
import { engineStatus, flowStatus, type StatusPorts } from './status.ts';

/** What the worker sends an engine to deal with at once; policies it imports first, and then has them used. */
export type EngineMessage = Exclude<ToEngine, { type: 'policies' }>;

export class Engine {
  readonly #loop: Loop;
  readonly #post: (message: FromEngine) => void;
  readonly #kernel: KernelParts;
  readonly #answers: AnswerParts;
  readonly #handoff: HandoffParts;
  readonly #cluster: ClusterParts;
  readonly #listeners: Listeners;
  readonly #connections: Connections;
  readonly #access: AccessRecords;
  /** Null: no client speaks TLS with this node. */
  readonly #tls: TlsAcceptor | null;
  readonly #drain: Drain;
  readonly #housekeeping: Housekeeping;
  /** What it says of itself, and how it would answer. */
  readonly #reported: StatusPorts & ExplainPorts;

  /** The order of what is done to the kernel and the network counts; parts that come later are asked for when needed. */
  constructor(options: EngineOptions) {
    const basics = basicsOf(options);
    const { config, self, loop, counters, post } = basics;
    const { name, role } = config.nodes[self];
    this.#post = post;
    this.#loop = loop;
    const addresses = new Addresses(config);
    const isStopping = (): boolean => this.#drain.hasBegun;
    const hearRouter = () => this.#housekeeping.hearRouter();
    this.#kernel = new KernelParts({ ...basics, router: options.router, hearRouter });
    const { router } = this.#kernel;

    this.#answers = new AnswerParts({ ...basics, factories: options.policies });
    const { sites, policies, repeatableChoices } = this.#answers;
    this.#access = new AccessRecords(config, name, counters, post);

    this.#handoff = new HandoffParts({
      ...basics,
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
      links: () => this.#cluster.peers.all,
      linkFor: (node, key) => this.#cluster.members.linkFor(node, key),
      linkOf: (node, connection) => this.#cluster.members.linkOf(node, connection),
    });
    const { moves } = this.#handoff;

    // Before the router stops sending new connections to others, as the process before this one had it do. Connections
    // to other nodes' addresses come here when their router sends them on.
    this.#listeners = new Listeners(loop, config.limits.stallSeconds * 1000, (fd, client, isSecure) =>
      this.#connections.accept(fd, client, isSecure),
    );
    const listens = role !== 'front';
    if (listens) this.#listeners.listen(config);
    const secures = listens && config.listen.tlsPort !== null;
    this.#tls = secures ? new TlsAcceptor(options.credentials, options.clusterKey, loop) : null;

    this.#cluster = new ClusterParts({
      ...basics,
      mac: options.mac,
      clusterKey: options.clusterKey,
      shared: options.counters,
      addresses,
      sites,
      kernel: this.#kernel,
      handoff: this.#handoff,
      listeners: this.#listeners,
      isStopping,
      connections: () => this.#connections.size,
      firstByteMs: () => this.#access.firstByteMs,
    });
    const { loads, members, views, boosted } = this.#cluster;

    const dispatcher = new Dispatcher({
      ...basics,
      ...this.#handoff,
      sites,
      repeatableChoices,
      policies,
      sizeOf: (site, head) => policies.sizeOf(site, head),
      loadOf: (node) => loads.of(node),
      callsPerKib: options.callsPerKib,
      linkOf: (node, connection) => members.linkOf(node, connection),
      mayMoveTo: (node) => views.mayMove(node),
      nextTaker: () => this.#drain.next(),
      isLeaving: isStopping,
      boosted,
    });
    this.#connections = new Connections({
      ...basics,
      ...this.#handoff,
      flows: this.#handoff.anchorFlows,
      sockets: CLIENT_SOCKETS,
      sites,
      dispatcher,
      access: this.#access,
      boosted,
      tls: this.#tls,
      startMove: (connection, to) => moves.start(connection, to),
      isClosing: () => this.#drain.isClosing,
    });

    const parts = {
      ...basics,
      ...this.#handoff,
      ...this.#cluster,
      router,
      connections: this.#connections,
      listeners: this.#listeners,
      policies,
      sites,
      returning: boosted && new Returning(boosted, this.#connections, loads, moves),
    };
    this.#drain = new Drain({
      ...parts,
      takers: () => members.takers(),
      over: (leftRoutes) => this.#end(leftRoutes),
    });
    this.#housekeeping = new Housekeeping({
      ...parts,
      drain: this.#drain,
      catalogues: sites.catalogues,
      memories: sites.memories,
      access: this.#access,
      log: basics.engineLog,
      gauges: counters,
    });
    this.#reported = { ...parts, dispatcher };
    members.changed();
    post({ type: 'listening' });
  }

  /** Has the loop look after a descriptor of the worker's. */
  watch(fd: number, source: Source): void {
    this.#loop.add(fd, EPOLLIN, source);
  }

  /** Runs until it has stopped, then it returns true, or until it is paused. `turn` is called once a turn. */
  run(turn: () => void): boolean {
    const settle = () => this.#cluster.peers.flush();
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
    this.#cluster.boosted?.useLimits(clientLimits);
    this.#cluster.views.renew(sites, this.#cluster.peers.all);
    this.#cluster.members.changed();
  }

  /** A message of the main thread. */
  take(message: EngineMessage): void {
    switch (message.type) {
      case 'stop':
        return this.#stop(message.deadlineMs);
      case 'boost':
        return this.#cluster.loads.boost(message.mode);
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
    this.#cluster.loads.report();
    this.#cluster.loads.spread();
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
    this.#cluster.peers.close();
    this.#answers.close();
    this.#kernel.close();
    halfPipes.close();
    this.#loop.stop();
    this.#access.flush();
    this.#post({ type: 'stopped', leftRoutes });
  }
}
