/** What the admin API says of a connection's entry in the router, at its anchor or at a target. */
import type { Engine } from '../engine/engine.ts';
import type { FlowStatus } from '../engine/messages.ts';
import { formatEndpoint } from '../linux/address.ts';
import { OWNER_SELF } from '../router/layout.ts';
import type { FlowRules } from '../router/ranges.ts';
import type { Ends } from './ends.ts';

/** The entry, and what only its owner knows of it. */
export interface StatusParts extends Pick<FlowStatus, 'role' | 'state'> {
  readonly entry: {
    readonly slot: number;
    readonly acknowledged: number;
    readonly rules: Pick<FlowRules, 'ranges'>;
  };
  readonly ends: Ends;
  /** The other nodes that have a part in it. */
  readonly nodes: readonly number[];
}

export function flowStatus(engine: Engine, parts: StatusParts): FlowStatus {
  const { entry, ends, role, state } = parts;
  const nameOf = (node: number): string => engine.config.nodes[node]?.name ?? '?';
  return {
    engine: engine.index,
    slot: entry.slot,
    role,
    client: formatEndpoint(ends.client),
    public: formatEndpoint(ends.public),
    nodes: parts.nodes.map(nameOf),
    state,
    acknowledged: entry.acknowledged,
    ranges: entry.rules.ranges.map(({ owner, start, end, open }) => ({
      node: nameOf(owner === OWNER_SELF ? engine.self : owner - 1),
      start,
      end: open ? null : end,
    })),
  };
}
