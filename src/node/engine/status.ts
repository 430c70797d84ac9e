/** What an engine says of itself to the admin API. */

import { type FlowStatus, statusOf } from '../../handoff/flow/flow-status.ts';
import type { Engine } from './engine.ts';
import type { EngineStatus } from './messages.ts';

/** Of each kind. */
const REPORTED_FLOWS = 2500;

export function engineStatus(engine: Engine): EngineStatus {
  return {
    engine: engine.index,
    connections: engine.connections.size,
    flows: engine.anchorFlows.size,
    halfPipes: engine.halfPipes.size,
    links: [...engine.peers.all].map((link) => ({
      node: link.peer?.node ?? '?',
      engine: link.peer?.engine ?? -1,
      up: link.up,
      queuedBytes: link.queuedBytes,
    })),
    differences: engine.views.status(),
    linkFailures: engine.peers.failures.all.map(({ node, address, reason, advice, count, atMs }) => {
      return { node, address, reason, advice, count, ageMs: Math.round(engine.nowMs - atMs) };
    }),
    loads: engine.loads.status(),
    spread: engine.loads.spreadStatus(),
    boost: engine.loads.boostStatus(),
    boosted: engine.boosted === null ? null : boostedStatus(engine, engine.boosted.counts),
    policies: engine.policies.status(),
    auto: engine.dispatcher.auto.status(),
    cached: Object.fromEntries(
      engine.config.nodes.map(({ name }, index) => [name, engine.sites.memories.sizeOf(index)]),
    ),
    sites: engine.sites.status(),
  };
}

function boostedStatus({ config }: Engine, counts: ReadonlyMap<number, number>): Record<string, number> {
  return Object.fromEntries([...counts].map(([origin, count]) => [config.nodes[origin]?.name ?? '?', count]));
}

export function flowStatus(engine: Engine): FlowStatus[] {
  const flows = engine.anchorFlows.status(REPORTED_FLOWS).map((parts) => statusOf(engine, parts));
  const pipes = engine.halfPipes.status(REPORTED_FLOWS).map((parts) => statusOf(engine, parts));
  const arrivals = [...engine.arrivals]
    .map((arrival) => arrival.status())
    .filter((status) => status !== null);
  return flows.concat(
    pipes,
    arrivals,
    engine.guests.status(REPORTED_FLOWS),
    engine.homeRoutes.status(REPORTED_FLOWS),
  );
}
