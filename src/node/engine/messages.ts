/**
 * What the main thread and an engine say to each other. An engine never waits for the main thread: it reads its
 * port between two rounds of its loop, woken by an eventfd.
 */

import type { Changeable } from '../../base/config/config.ts';
import type { AccessBatch } from '../../client/access-batch.ts';
import type { BoostMode } from '../../cluster/boost-switch.ts';
import type { BoostStatus } from '../../cluster/boosting.ts';
import type { NodeLoadStatus } from '../../cluster/load.ts';
import type { FlowStatus } from '../../handoff/flow/flow-status.ts';
import type { AutoStatus } from '../../handoff/mechanism/auto.ts';
import type { Credentials } from '../../protocol/tls/contexts.ts';
import type { SiteStatus } from '../../serve/sites.ts';
import type { Explanation } from './explain.ts';

/** Main thread to engine. */
export type ToEngine =
  | { readonly type: 'query'; readonly id: number; readonly what: 'status' | 'flows' }
  /** How would a GET be answered? `target`: path and query. Answered with `explained`. */
  | { readonly type: 'explain'; readonly id: number; readonly host: string; readonly target: string }
  /** Take the policies of these sites, in the configuration's order, and the limits; answered with `taken`. */
  | ({ readonly type: 'policies'; readonly id: number } & Changeable)
  /** Take these certificates, all that there are; answered with `taken`. Keys are wiped after that. */
  | { readonly type: 'certificates'; readonly id: number; readonly credentials: readonly Credentials[] }
  /** Forget stored responses of a site; answered with `purged`. */
  | { readonly type: 'purge'; readonly id: number; readonly site: string; readonly path: string }
  /** What stands for the bytes of a file that was asked about; null: nobody can vouch for them. */
  | { readonly type: 'digest'; readonly id: number; readonly digest: string | null }
  /** New clients are to go to boosters, or not, or as the load says. */
  | { readonly type: 'boost'; readonly mode: BoostMode }
  /** Accept nothing more, finish what is under way within `deadlineMs`, then say `stopped`. */
  | { readonly type: 'stop'; readonly deadlineMs: number };

/** Engine to main thread. */
export type FromEngine =
  | { readonly type: 'listening' }
  | { readonly type: 'ready'; readonly ready: boolean }
  | { readonly type: 'reply'; readonly id: number; readonly value: EngineStatus | FlowStatus[] }
  /** A text: why the request would be refused. */
  | { readonly type: 'explained'; readonly id: number; readonly value: Explanation | string }
  /** `error`: why policies or certificates were not taken; null when they were. */
  | { readonly type: 'taken'; readonly id: number; readonly error: string | null }
  /** How many resources were forgotten. */
  | { readonly type: 'purged'; readonly id: number; readonly resources: number }
  /** A large file is to be read; its descriptor stays open until the answer. */
  | {
      readonly type: 'digest';
      readonly id: number;
      readonly fd: number;
      readonly version: string;
      readonly sizeBytes: number;
    }
  | { readonly type: 'access'; readonly batch: AccessBatch }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Record<string, unknown>;
    }
  /** `leftRoutes`: connections live on elsewhere through this node's router, which has to stay. */
  | { readonly type: 'stopped'; readonly leftRoutes: boolean };

export interface LinkStatus {
  readonly node: string;
  readonly engine: number;
  readonly up: boolean;
  readonly queuedBytes: number;
}

export interface LinkFailureStatus {
  readonly node: string;
  readonly address: string;
  readonly reason: string;
  /** What to do about it; empty when nothing is known. */
  readonly advice: string;
  /** How often the link has failed so in a row. */
  readonly count: number;
  readonly ageMs: number;
}

export interface EngineStatus {
  readonly engine: number;
  readonly connections: number;
  readonly flows: number;
  readonly halfPipes: number;
  readonly links: LinkStatus[];
  /** For each node whose configuration differs from this one's: what differs. */
  readonly differences: Record<string, readonly string[]>;
  /** Nodes to which links do not come up, with the newest reason. */
  readonly linkFailures: LinkFailureStatus[];
  /** Every node's load as this engine knows it, its own included. */
  readonly loads: NodeLoadStatus[];
  /** Where new connections to this node's addresses go: permille by node. Null at engines that do not decide it. */
  readonly spread: Record<string, number> | null;
  /** Whether new clients of this node go to boosters. Null: there are none for it, or another engine decides. */
  readonly boost: BoostStatus | null;
  /** At a booster: its clients, by their origin. Null elsewhere. */
  readonly boosted: Record<string, number> | null;
  /** For each site, its policy's name, or the file of its module. */
  readonly policies: Record<string, string>;
  /** What mechanism auto has chosen, and what it has learnt. */
  readonly auto: AutoStatus;
  /**
   * For each node, how many documents are known to be in its memory (of this node, in this engine's). Counted where the
   * policy is `cached`.
   */
  readonly cached: Record<string, number>;
  /** The sites with an upstream. */
  readonly sites: SiteStatus[];
}
