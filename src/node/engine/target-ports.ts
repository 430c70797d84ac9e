/** What an engine lends to what it sends for other nodes: half-pipes and relayed requests. */
import { formatAddress } from '../../base/address.ts';
import type { HalfPipesPorts } from '../../handoff/target/half-pipes.ts';
import type { RelayedRequestsPorts } from '../../handoff/target/relayed-requests.ts';
import type { Engine } from './engine.ts';
import { HALF_PIPE_KERNEL } from './half-pipe-kernel.ts';

export function halfPipesPorts(engine: Engine): HalfPipesPorts {
  const { loop, counters, flows, sites, repeatableChoices, index, self } = engine;
  const { flows: most, stallSeconds } = engine.config.limits;
  return {
    clock: loop,
    count: counters,
    later: loop,
    watch: loop,
    table: flows,
    kernel: HALF_PIPE_KERNEL,
    sites,
    repeatableChoices,
    engine: index,
    self,
    most,
    stallSeconds,
    canServe: (ends) => engine.canServe(ends),
    isStopping: () => engine.stopping,
    log: (level, message, fields) => engine.log(level, message, fields),
  };
}

export function relayedRequestsPorts(engine: Engine): RelayedRequestsPorts {
  const { loop, counters, sites, config } = engine;
  const { connections: most } = config.limits;
  return {
    count: counters,
    later: loop,
    sites,
    most,
    isStopping: () => engine.stopping,
    boosted(asked, answered) {
      const client = asked.client === null ? '-' : formatAddress(asked.client);
      const site = sites.find(asked.head.host)?.config.name ?? null;
      engine.access.boosted(client, asked, site, answered, loop.wallMs);
    },
  };
}
