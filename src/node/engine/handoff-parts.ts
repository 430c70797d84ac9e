/** The handoff in an engine: as an anchor, as a target, and with whole connections that move. */
import { formatAddress } from '../../base/address.ts';
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Count } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { AccessRecords } from '../../client/access-records.ts';
import type { Addresses } from '../../cluster/addresses.ts';
import type { RepeatableChoices } from '../../cluster/policy/repeatable-choice.ts';
import { AnchorFlows } from '../../handoff/anchor/flows.ts';
import { Handoffs } from '../../handoff/anchor/handoffs.ts';
import type { FourTuple } from '../../handoff/flow/four-tuple.ts';
import { Forwards } from '../../handoff/move/forwards.ts';
import { Guests } from '../../handoff/move/guests.ts';
import { HomeRoutes } from '../../handoff/move/home-routes.ts';
import type { MovePorts } from '../../handoff/move/move-ports.ts';
import { Moves } from '../../handoff/move/moves.ts';
import { HalfPipes } from '../../handoff/target/half-pipes.ts';
import { RelayedRequests } from '../../handoff/target/relayed-requests.ts';
import type { Clock, Later, Watch } from '../../kernel/loop/ports.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { Streams } from '../../protocol/backplane/streams.ts';
import type { Sites } from '../../serve/sites.ts';
import { HALF_PIPE_KERNEL } from './half-pipe-kernel.ts';
import type { KernelParts } from './kernel-parts.ts';
import { GUEST_KERNEL, MOVE_KERNEL } from './move-kernel.ts';
import { socketKernel } from './socket-kernel.ts';

export interface HandoffPartsPorts
  extends Pick<MovePorts, 'connections' | 'accepts' | 'isStopping' | 'linkFor' | 'linkOf'> {
  readonly clock: Clock & { readonly wallMs: number };
  readonly count: Count;
  readonly later: Later;
  readonly watch: Watch;
  readonly config: ClusterConfig;
  /** Index of the node, and of the engine. */
  readonly self: number;
  readonly index: number;
  readonly log: Log;
  readonly kernel: KernelParts;
  /** All links that are up. */
  links(): Iterable<Link>;
  readonly addresses: Addresses;
  readonly sites: Sites;
  readonly access: Pick<AccessRecords, 'boosted'>;
  readonly repeatableChoices: RepeatableChoices;
}

export class HandoffParts {
  readonly anchorFlows: AnchorFlows;
  readonly handoffs: Handoffs;
  readonly halfPipes: HalfPipes;
  readonly streams: Streams;
  readonly relayed: RelayedRequests;
  readonly guests: Guests;
  readonly forwards: Forwards;
  readonly homeRoutes: HomeRoutes;
  readonly moves: Moves;

  constructor(ports: HandoffPartsPorts) {
    const { addresses, kernel, config, index } = ports;
    const { limits, timeouts } = config;
    const { sockets, parked } = kernel;
    const { flows: table, routes } = kernel.router;
    const homeOf = (address: Buffer): number => addresses.homeOf(address);
    const canServe = ({ client, public: pub }: FourTuple): boolean => addresses.canServe(client, pub);
    this.anchorFlows = new AnchorFlows({
      ...ports,
      table,
      sockets,
      engine: index,
      halfPipes: limits.halfPipes,
      kernel: socketKernel(parked),
    });
    this.handoffs = new Handoffs({ ...ports, setupMs: timeouts.setupMs, peerMs: timeouts.peerMs });
    this.halfPipes = new HalfPipes({
      ...ports,
      table,
      kernel: HALF_PIPE_KERNEL,
      engine: index,
      most: limits.flows,
      stallSeconds: limits.stallSeconds,
      canServe,
    });
    this.streams = new Streams(ports);
    this.relayed = new RelayedRequests({
      ...ports,
      streams: this.streams,
      most: limits.connections,
      boosted(asked, answered) {
        const client = asked.client === null ? '-' : formatAddress(asked.client);
        const site = ports.sites.find(asked.head.host)?.config.name ?? null;
        ports.access.boosted(client, asked, site, answered, ports.clock.wallMs);
      },
    });
    this.forwards = new Forwards({ ...ports, routes, homeOf });
    const { forwards } = this;
    this.homeRoutes = new HomeRoutes({
      ...ports,
      routes,
      sockets,
      homeOf,
      canServe,
      guests: { epochOf: (key) => this.guests.epochOf(key) },
      forwards,
    });
    const { homeRoutes } = this;
    this.guests = new Guests({
      ...ports,
      kernel: GUEST_KERNEL,
      routes,
      sockets,
      homeOf,
      homeRoutes,
      forwards,
    });
    homeRoutes.inherit();
    this.moves = new Moves({
      ...ports,
      kernel: MOVE_KERNEL,
      table,
      guests: this.guests,
      forwards,
      homeRoutes,
      parked,
      homeOf,
      canServe,
      claim: (ends, slot) => this.halfPipes.claim(ends, slot),
    });
  }
}
