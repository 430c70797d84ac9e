/**
 * What the main thread and an engine say to each other. An engine never waits for the main thread: it reads its
 * port between two rounds of its loop, woken by an eventfd.
 */

/** Main thread to engine. */
export type ToEngine =
  | { readonly type: 'query'; readonly id: number; readonly what: 'status' | 'flows' }
  /** Accept nothing more, finish what is under way within `deadlineMs`, then say `stopped`. */
  | { readonly type: 'stop'; readonly deadlineMs: number };

/** Engine to main thread. */
export type FromEngine =
  | { readonly type: 'listening' }
  | { readonly type: 'ready'; readonly ready: boolean }
  | { readonly type: 'reply'; readonly id: number; readonly value: EngineStatus | FlowStatus[] }
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
