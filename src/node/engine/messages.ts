/**
 * What the main thread and an engine say to each other. An engine never waits for the main thread: it reads its
 * port between two rounds of its loop, woken by an eventfd.
 */

import type { SiteConfig } from '../../base/config/config.ts';
import type { NodeLoad } from '../../cluster/load.ts';

/** Main thread to engine. */
export type ToEngine =
  | { readonly type: 'query'; readonly id: number; readonly what: 'status' | 'flows' }
  /** Take the policies of these sites, in the configuration's order; answered with `policies`. */
  | { readonly type: 'policies'; readonly id: number; readonly sites: readonly SiteConfig[] }
  /** Accept nothing more, finish what is under way within `deadlineMs`, then say `stopped`. */
  | { readonly type: 'stop'; readonly deadlineMs: number };

/** Engine to main thread. */
export type FromEngine =
  | { readonly type: 'listening' }
  | { readonly type: 'ready'; readonly ready: boolean }
  | { readonly type: 'reply'; readonly id: number; readonly value: EngineStatus | FlowStatus[] }
  /** `error`: why the policies were not taken; null when they were. */
  | { readonly type: 'policies'; readonly id: number; readonly error: string | null }
  | { readonly type: 'access'; readonly records: AccessRecord[] }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Record<string, unknown>;
    }
  /** `leftRoutes`: connections live on elsewhere through this node's router, which has to stay. */
  | { readonly type: 'stopped'; readonly leftRoutes: boolean };

/** One answered request, as logged by its anchor. Times are microseconds; -1 when it does not apply. */
export interface AccessRecord {
  /** Wall clock, milliseconds since the epoch. */
  readonly timeMs: number;
  readonly client: string;
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly status: number;
  /** Response bytes, head included, and body alone. */
  readonly bytes: number;
  readonly bodyBytes: number;
  readonly anchor: string;
  /** The node that answered. */
  readonly node: string;
  readonly mechanism: string;
  /** Request read to response's first byte handed to the kernel. */
  readonly firstByteUs: number;
  /** Request read to SETUP answered. */
  readonly handoffUs: number;
  /** Frames about it between the nodes, and their bytes; -1 where they are not counted. */
  readonly messages: number;
  readonly messageBytes: number;
  /** Request read to the whole response handed to the kernel. */
  readonly durationUs: number;
}

export interface LinkStatus {
  readonly node: string;
  readonly engine: number;
  readonly up: boolean;
  readonly queuedBytes: number;
}

export interface EngineStatus {
  readonly engine: number;
  readonly connections: number;
  readonly flows: number;
  readonly halfPipes: number;
  readonly links: LinkStatus[];
  /** Every node's load as this engine knows it, its own included. */
  readonly loads: NodeLoadStatus[];
  /** Where new connections to this node's addresses go: permille by node. Null at engines that do not decide it. */
  readonly spread: Record<string, number> | null;
  /** By site: a policy's name, or the file of its module. */
  readonly policies: Record<string, string>;
  /** By node: documents known to be in its memory; of this node, in this engine's. Counted where policy is `cached`. */
  readonly cached: Record<string, number>;
}

export interface NodeLoadStatus extends Omit<NodeLoad, 'reportedAtMs'> {
  readonly node: string;
  /** Milliseconds since the newest report; null when there is none. */
  readonly ageMs: number | null;
}

/** One flow in the router, as its node sees it. */
export interface FlowStatus {
  readonly engine: number;
  /** In the router's table; -1: none. */
  readonly slot: number;
  /** home: diverted to the node that has it; guest: came from another node; arriving: on its way here. */
  readonly role: 'anchor' | 'target' | 'home' | 'guest' | 'arriving';
  readonly client: string;
  readonly public: string;
  /** The other nodes that take part. */
  readonly nodes: string[];
  readonly state: string;
  readonly acknowledged: number;
  readonly ranges: Array<{ readonly node: string; readonly start: number; readonly end: number | null }>;
}
