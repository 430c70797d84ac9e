/** What the admin API says of a connection that more than one node has a part in. */

import { formatEndpoint } from '../../base/address.ts';
import { OWNER_SELF } from '../../kernel/router/layout.ts';
import type { FlowRules } from '../../kernel/router/ranges.ts';
import type { FourTuple } from './four-tuple.ts';

/** One flow in the router, as its node sees it. */
export interface FlowStatus {
  readonly engine: number;
  /** The slot in the router's table; -1: none. */
  readonly slot: number;
  /** home: diverted to the node that has it; guest: came from another node; arriving: on its way here. */
  readonly role: 'anchor' | 'target' | 'home' | 'guest' | 'arriving';
  readonly client: string;
  readonly public: string;
  /** The other nodes that take part. */
  readonly nodes: string[];
  readonly state: string;
  /** What the newest response is is known: another node may go on with it. */
  readonly identified: boolean;
  readonly acknowledged: number;
  readonly ranges: Array<{ readonly node: string; readonly start: number; readonly end: number | null }>;
}

/** The node and engine that say it. */
export interface StatusOrigin {
  /** Of the engine. */
  readonly index: number;
  /** Of the node. */
  readonly self: number;
  readonly config: { readonly nodes: readonly { readonly name: string }[] };
}

/** What only its owner knows of it. */
export interface StatusParts
  extends Pick<FlowStatus, 'role' | 'state'>,
    Partial<Pick<FlowStatus, 'identified'>> {
  readonly ends: FourTuple;
  /** The other nodes that have a part in it. */
  readonly nodes: readonly number[];
  /** The flow's entry in the router's table, with its ranges; absent: it is not there. */
  readonly entry?: {
    readonly slot: number;
    readonly acknowledged: number;
    readonly rules?: Pick<FlowRules, 'ranges'>;
  };
}

export function statusOf(origin: StatusOrigin, parts: StatusParts): FlowStatus {
  const { role, state, ends, nodes, entry, identified = false } = parts;
  const nameOf = (node: number): string => origin.config.nodes[node]?.name ?? '?';
  const ranges = entry?.rules?.ranges ?? [];
  return {
    engine: origin.index,
    slot: entry?.slot ?? -1,
    role,
    client: formatEndpoint(ends.client),
    public: formatEndpoint(ends.public),
    nodes: nodes.map(nameOf),
    state,
    identified,
    acknowledged: entry?.acknowledged ?? 0,
    ranges: ranges.map(({ owner, start, end, open }) => ({
      node: nameOf(owner === OWNER_SELF ? origin.self : owner - 1),
      start,
      end: open ? null : end,
    })),
  };
}
