/**
 * How loaded the nodes of the cluster are, by their own word (LOAD). Pure: frames and the time come as arguments.
 *
 *     LOAD of each engine of a node, every LOAD_INTERVAL_MS  ->  one NodeLoad for the node, kept up to date in place
 */

export interface NodeLoadStatus extends Omit<NodeLoad, 'reportedAtMs'> {
  readonly node: string;
  /** Milliseconds since the newest report; null when there is none. */
  readonly ageMs: number | null;
}

/** Between two reports of an engine. */
export const LOAD_INTERVAL_MS = 500;
/** A report older than this says nothing about now: four were missed. */
export const LOAD_STALE_MS = 4 * LOAD_INTERVAL_MS;
/** The accept queue of each listener; net.core.somaxconn may lower it. */
export const LISTEN_BACKLOG = 4096;

/** What one engine reports. */
export interface EngineLoad {
  readonly connections: number;
  /** The share of one processor that the engine's thread takes, 0 to 1000. */
  readonly cpuPermille: number;
  readonly requestsPerSecond: number;
  /** Connections that the kernel has ready and nobody has accepted yet. */
  readonly acceptQueue: number;
  /** Takes new connections and handoffs. */
  readonly accepting: boolean;
}

/** A node's load as others see it. The object stays the same for a node; its fields change with every report. */
export interface NodeLoad {
  /** Sums over the node's engines. */
  readonly connections: number;
  readonly requestsPerSecond: number;
  readonly acceptQueue: number;
  /** The processor share of its busiest engine. */
  readonly cpuPermille: number;
  /** The load of its busiest engine, 0 to 1000: CPU, accept queue or connections, whichever is nearest to its bound. */
  readonly loadPermille: number;
  /** False when an engine of it says so. True while nothing is known. */
  readonly accepting: boolean;
  /** Monotonic milliseconds of the newest report; -1 when there is none. */
  readonly reportedAtMs: number;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** What an engine has least left of. */
export type LoadCause = 'processor' | 'accept queue' | 'connections';

/** What a load is made of. */
type Used = Pick<EngineLoad, 'cpuPermille' | 'acceptQueue' | 'connections'>;

/** An engine's load as one number, 0 to 1000: the largest share of what it has that is used, and of what. */
export function loadOf(used: Used, connectionsLimit: number): { permille: number; cause: LoadCause } {
  const connections = (1000 * used.connections) / connectionsLimit;
  const queue = (1000 * used.acceptQueue) / LISTEN_BACKLOG;
  const most = Math.max(used.cpuPermille, queue, connections);
  const other = most === connections ? 'connections' : 'accept queue';
  return {
    permille: Math.min(1000, Math.round(most)),
    cause: most === used.cpuPermille ? 'processor' : other,
  };
}

/** The number alone. */
export function loadPermille(used: Used, connectionsLimit: number): number {
  return loadOf(used, connectionsLimit).permille;
}

export class LoadTable {
  readonly #connectionsLimit: number;
  /** The engines' reports: by node, then by engine. */
  readonly #reports: ReadonlyArray<Map<number, { readonly load: EngineLoad; readonly atMs: number }>>;
  readonly #nodes: ReadonlyArray<Writable<NodeLoad>>;

  /** `nodes`: how many the cluster has. `connectionsLimit`: of each engine. */
  constructor(nodes: number, connectionsLimit: number) {
    this.#connectionsLimit = connectionsLimit;
    this.#reports = Array.from({ length: nodes }, () => new Map());
    this.#nodes = this.#reports.map(unknownLoad);
  }

  /** A report has come. Returns whether the node's `accepting` has changed. */
  report(node: number, engine: number, load: EngineLoad, nowMs: number): boolean {
    this.#reports[node].set(engine, { load, atMs: nowMs });
    return this.#update(node);
  }

  /** The link to an engine is gone, and with it what it said. Returns as `report`. */
  forget(node: number, engine: number): boolean {
    this.#reports[node].delete(engine);
    return this.#update(node);
  }

  /** A node's load; always the same object. */
  of(node: number): NodeLoad {
    return this.#nodes[node];
  }

  #update(node: number): boolean {
    const next = unknownLoad();
    for (const { load, atMs } of this.#reports[node].values()) {
      next.connections += load.connections;
      next.requestsPerSecond += load.requestsPerSecond;
      next.acceptQueue += load.acceptQueue;
      next.cpuPermille = Math.max(next.cpuPermille, load.cpuPermille);
      next.loadPermille = Math.max(next.loadPermille, loadPermille(load, this.#connectionsLimit));
      next.accepting &&= load.accepting;
      next.reportedAtMs = Math.max(next.reportedAtMs, atMs);
    }
    const changed = this.#nodes[node].accepting !== next.accepting;
    Object.assign(this.#nodes[node], next);
    return changed;
  }
}

/** The load of a node that has not reported yet. */
export function unknownLoad(): Writable<NodeLoad> {
  return {
    connections: 0,
    requestsPerSecond: 0,
    acceptQueue: 0,
    cpuPermille: 0,
    loadPermille: 0,
    accepting: true,
    reportedAtMs: -1,
  };
}

/** Rates of one engine between two looks at counters that only grow. */
export class LoadMeter {
  #atMs = -1;
  #cpuMs = 0;
  #requests = 0;

  /** `cpuMs`: processor time of the thread so far; `requests`: answered so far. The first call gives no rates. */
  rates(nowMs: number, cpuMs: number, requests: number): { cpuPermille: number; requestsPerSecond: number } {
    const passedMs = this.#atMs < 0 ? 0 : nowMs - this.#atMs;
    const rate = (grown: number) => (passedMs > 0 ? Math.max(0, Math.round((1000 * grown) / passedMs)) : 0);
    const cpuPermille = Math.min(1000, rate(cpuMs - this.#cpuMs));
    const requestsPerSecond = rate(requests - this.#requests);
    this.#atMs = nowMs;
    this.#cpuMs = cpuMs;
    this.#requests = requests;
    return { cpuPermille, requestsPerSecond };
  }
}
