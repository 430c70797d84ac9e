/** What an engine says of itself to the admin API. */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { BoostedClients } from '../../client/boosted-clients.ts';
import type { Connections } from '../../client/connections.ts';
import type { Views } from '../../cluster/exchange-views.ts';
import type { Loads } from '../../cluster/loads.ts';
import type { SitePolicies } from '../../cluster/policy/site-policies.ts';
import type { AnchorFlows } from '../../handoff/anchor/flows.ts';
import { type FlowStatus, statusOf } from '../../handoff/flow/flow-status.ts';
import type { Dispatcher } from '../../handoff/mechanism/dispatcher.ts';
import type { Guests } from '../../handoff/move/guests.ts';
import type { HomeRoutes } from '../../handoff/move/home-routes.ts';
import type { Moves } from '../../handoff/move/moves.ts';
import type { HalfPipes } from '../../handoff/target/half-pipes.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { Peers } from '../../protocol/backplane/peers.ts';
import type { Sites } from '../../serve/sites.ts';
import type { EngineStatus } from './messages.ts';

/** The most flows of each kind that are reported. */
const REPORTED_FLOWS = 2500;

export interface StatusPorts {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly config: Pick<ClusterConfig, 'nodes'>;
  readonly self: number;
  readonly index: number;
  readonly connections: Pick<Connections, 'size'>;
  readonly anchorFlows: Pick<AnchorFlows, 'size' | 'status'>;
  readonly halfPipes: Pick<HalfPipes, 'size' | 'status'>;
  readonly moves: Pick<Moves, 'status'>;
  readonly guests: Pick<Guests, 'status'>;
  readonly homeRoutes: Pick<HomeRoutes, 'status'>;
  readonly peers: Pick<Peers, 'all' | 'failures'>;
  readonly views: Pick<Views, 'status'>;
  readonly loads: Pick<Loads, 'status' | 'spreadStatus' | 'boostStatus'>;
  /** At a booster, its clients; null elsewhere. */
  readonly boosted: Pick<BoostedClients, 'counts'> | null;
  readonly policies: Pick<SitePolicies, 'status'>;
  readonly dispatcher: Pick<Dispatcher, 'auto'>;
  readonly sites: Pick<Sites, 'memories' | 'status'>;
}

export function engineStatus(ports: StatusPorts): EngineStatus {
  return {
    engine: ports.index,
    connections: ports.connections.size,
    flows: ports.anchorFlows.size,
    halfPipes: ports.halfPipes.size,
    links: [...ports.peers.all].map((link) => ({
      node: link.peer?.node ?? '?',
      engine: link.peer?.engine ?? -1,
      up: link.up,
      queuedBytes: link.queuedBytes,
    })),
    differences: ports.views.status(),
    linkFailures: ports.peers.failures.all.map(({ node, address, reason, advice, count, atMs }) => {
      return { node, address, reason, advice, count, ageMs: Math.round(ports.clock.nowMs - atMs) };
    }),
    loads: ports.loads.status(),
    spread: ports.loads.spreadStatus(),
    boost: ports.loads.boostStatus(),
    boosted: ports.boosted === null ? null : boostedStatus(ports, ports.boosted.counts),
    policies: ports.policies.status(),
    auto: ports.dispatcher.auto.status(),
    cached: Object.fromEntries(
      ports.config.nodes.map(({ name }, index) => [name, ports.sites.memories.sizeOf(index)]),
    ),
    sites: ports.sites.status(),
  };
}

function boostedStatus({ config }: StatusPorts, counts: ReadonlyMap<number, number>): Record<string, number> {
  return Object.fromEntries([...counts].map(([origin, count]) => [config.nodes[origin]?.name ?? '?', count]));
}

export function flowStatus(ports: StatusPorts): FlowStatus[] {
  const flows = ports.anchorFlows.status(REPORTED_FLOWS).map((parts) => statusOf(ports, parts));
  const pipes = ports.halfPipes.status(REPORTED_FLOWS).map((parts) => statusOf(ports, parts));
  return flows.concat(
    pipes,
    ports.moves.status(),
    ports.guests.status(REPORTED_FLOWS),
    ports.homeRoutes.status(REPORTED_FLOWS),
  );
}
