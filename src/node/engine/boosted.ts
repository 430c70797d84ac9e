/** The clients that an engine of a booster has. */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Count } from '../../base/counters.ts';
import { BoostedClients } from '../../client/boosted-clients.ts';
import type { Addresses } from '../../cluster/addresses.ts';
import { publicAddressOf } from '../../handoff/flow/four-tuple.ts';

export interface BoostedPorts {
  readonly clock: { readonly nowMs: number };
  readonly count: Count;
  readonly config: ClusterConfig;
  readonly self: number;
}

/** Null at a node that is no booster. `changed`: whether there is room for an origin's. */
export function boostedClients(
  ports: BoostedPorts,
  addresses: Pick<Addresses, 'homeOf'>,
  changed: () => void,
): BoostedClients | null {
  const { nodes, clientLimits, limits } = ports.config;
  if (nodes[ports.self].role !== 'booster') return null;
  return new BoostedClients({
    ...ports,
    limits: clientLimits,
    most: limits.connections,
    originOf: (fd) => addresses.homeOf(publicAddressOf(fd)),
    changed,
  });
}
