import type { Count } from '../../base/counters.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { FlowTable } from '../flow/table.ts';
import type { Closed } from './flow-closing.ts';

/** What has the flows, and what all of them share. */
export interface FlowOwner {
  readonly clock: Clock;
  readonly count: Count;
  readonly table: FlowTable;
  /** Index of the engine: the router tells it what the flows wait for. */
  readonly engine: number;
  /** limits.halfPipes */
  readonly halfPipes: number;
  /** The connection is closed: what is left of the flow. Returns what is called when a target is lost. */
  closed(closed: Closed): () => void;
  /** Nothing is left of the flow. */
  gone(slot: number): void;
}
