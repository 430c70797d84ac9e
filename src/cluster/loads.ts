/**
 * What this engine knows of loads, and what it does about them: it measures its own, tells its peers, keeps what they
 * tell, and (the node's first engine) has the router spread new connections accordingly.
 */

import type { ClusterConfig } from '../base/config/config.ts';
import { Counters } from '../base/counters.ts';
import { acceptQueueOf } from '../kernel/linux/accept-queue.ts';
import { IDLE_MS } from '../kernel/loop/loop.ts';
import { SPREAD_SIZE, type Spread } from '../kernel/router/spread.ts';
import type { Load } from '../protocol/backplane/frames.ts';
import { FrameType } from '../protocol/backplane/frames.ts';
import type { Link } from '../protocol/backplane/link.ts';
import type { Peers } from '../protocol/backplane/peers.ts';
import type { BoostMode } from './boost-switch.ts';
import { Boosting, type BoostStatus } from './boosting.ts';
import {
  type EngineLoad,
  LOAD_INTERVAL_MS,
  LoadMeter,
  LoadTable,
  type NodeLoad,
  type NodeLoadStatus,
} from './load.ts';
import { type BoostCause, QUICK_LOOK_MS, QuickLoad, quickLoadOf } from './quick-load.ts';
import { Spreading } from './spreading.ts';

/** What is asked of the engine. */
export interface LoadHost {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly index: number;
  readonly nowMs: number;
  /** Takes no new connections any more. */
  isStopping(): boolean;
  /** How many clients' connections this engine has. */
  connections(): number;
  /** Processor time of the thread, for what it has done. */
  cpuMs(): number;
  /** For how long half of the newest requests have waited for their answer to begin. */
  firstByteMs(): number;
  readonly listeners: { readonly fds: readonly number[] };
  /** At a booster: whether it takes no more clients of that node. */
  isFullFor(node: number): boolean;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
}

export class Loads {
  readonly #host: LoadHost;
  readonly #peers: Peers;
  readonly #table: LoadTable;
  /** The counters of every engine of the node, by index. An engine writes only its own. */
  readonly #counters: readonly Counters[];
  readonly #meter = new LoadMeter();
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  #measured = { cpuPermille: 0, requestsPerSecond: 0, acceptQueue: 0 };
  /** Null at all engines but the first: the router has one table for the node. */
  readonly #spreading: Spreading | null;
  /** Null at all engines but the first, and where no booster takes clients of this node. */
  readonly #boosting: Boosting | null;
  /** Null: nobody has to know it. */
  readonly #quick: QuickLoad | null;
  /** Nodes that take back their clients of boosters. */
  readonly #takingBack = new Set<number>();
  /** Links have had the time to come up. */
  #settled = false;

  constructor(host: LoadHost, peers: Peers, spread: Spread, counters: readonly SharedArrayBuffer[]) {
    const { config, self } = host;
    this.#host = host;
    this.#peers = peers;
    this.#counters = counters.map((buffer) => new Counters(buffer));
    const loads = new LoadTable(config.nodes.length, config.limits.connections);
    this.#table = loads;
    const isUp = (node: number) => peers.isUp(node);
    const isFirst = host.index === 0;
    const isBoosted = config.nodes[self].boost.boosters.length > 0;
    const boosting = isFirst && isBoosted ? new Boosting({ config, self, loads, isUp }) : null;
    this.#boosting = boosting;
    this.#spreading = isFirst
      ? new Spreading({ config, self, loads, isUp, boosting, map: spread, size: SPREAD_SIZE })
      : null;
    this.#quick = isBoosted ? new QuickLoad(this.#looks(), this.#counters[host.index]) : null;
  }

  #looks(): ConstructorParameters<typeof QuickLoad>[0] {
    const host = this.#host;
    return {
      get nowMs() {
        return host.nowMs;
      },
      get connectionCount() {
        return host.connections();
      },
      cpuMs: host.cpuMs,
      firstByteMs: host.firstByteMs,
      acceptQueue: () => this.#acceptQueue,
    };
  }

  get #acceptQueue(): number {
    return this.#host.listeners.fds.reduce((sum, fd) => sum + acceptQueueOf(fd), 0);
  }

  /** A node's load; always the same object, kept up to date. */
  of(node: number): NodeLoad {
    return this.#table.of(node);
  }

  /** This engine's load, as it is reported to a node. */
  frameFor(node: number): Load {
    const own = this.#own;
    const accepting = own.accepting && !this.#host.isFullFor(node);
    return { type: FrameType.LOAD, ...own, accepting, takesBack: this.#takesBack };
  }

  /** Once new clients come here, and as long as there is time for more. */
  get #takesBack(): boolean {
    const { config, self } = this.#host;
    const { return: returns, offPermille } = config.nodes[self].boost;
    if (!returns || this.#host.isStopping() || this.#counters[0].get('boost_on_now') > 0) return false;
    return this.#table.of(self).loadPermille < offPermille;
  }

  /** A node's clients, which this booster has, may go back to it. */
  takesBack(node: number): boolean {
    return this.#takingBack.has(node);
  }

  get #own(): EngineLoad {
    const { config, self } = this.#host;
    const accepting = !this.#host.isStopping() && config.nodes[self].role !== 'front';
    return { ...this.#measured, connections: this.#host.connections(), accepting };
  }

  /** A peer's report. Returns whether the node's `accepting` has changed. */
  heard(link: Link, load: Load): boolean {
    if (load.takesBack) this.#takingBack.add(link.node);
    else this.#takingBack.delete(link.node);
    return this.#table.report(link.node, link.peer!.engine, load, this.#host.nowMs);
  }

  /** A link is gone, and what its peer said with it. */
  linkClosed(link: Link): void {
    if (link.node < 0 || link.peer === null) return;
    this.#table.forget(link.node, link.peer.engine);
    this.#takingBack.delete(link.node);
  }

  /** Called once a turn: whether new clients are to go to boosters has to be known soon. */
  turn(): void {
    if (this.#quick?.look() && this.#boosting !== null) this.#switch(this.#boosting);
  }

  get waitMs(): number {
    return this.#quick === null ? IDLE_MS : QUICK_LOOK_MS;
  }

  /** Sets the switch to boosters: by hand on or off, or as the load says. */
  boost(mode: BoostMode): void {
    this.#boosting?.set(mode);
  }

  /** Looks at the busiest engine. */
  #switch(boosting: Boosting): void {
    const { nowMs, config, self } = this.#host;
    const { firstByteMs } = config.nodes[self].boost;
    const bounds = { connections: config.limits.connections, firstByteMs };
    let permille = 0;
    let cause: BoostCause = 'processor';
    for (const counters of this.#counters) {
      const load = quickLoadOf(counters, bounds);
      if (load.permille > permille) ({ permille, cause } = load);
    }
    if (!boosting.look(nowMs, permille, cause)) return;
    const { on, why } = boosting.state;
    this.#host.log('info', on ? 'new clients go to boosters' : 'new clients come here again', {
      why: why ?? 'the load is low',
      loadPermille: permille,
    });
    const own = this.#counters[this.#host.index];
    own.set('boost_on_now', on ? 1 : 0);
    own.add('boost_switches');
    this.spread();
    this.report();
  }

  /** Measures and reports when it is time; `settled`: links have had the time to come up. */
  tick(settled: boolean): void {
    const settles = settled && !this.#settled;
    this.#settled = settled;
    const isDue = this.#host.nowMs - this.#measuredAtMs >= LOAD_INTERVAL_MS;
    if (isDue) {
      this.#measure();
      this.report();
    }
    if (isDue || settles) this.spread();
  }

  /** Tells every peer. */
  report(): void {
    for (const link of this.#peers.all) if (link.up) link.send(this.frameFor(link.node));
  }

  /** Looks where new connections are to go: loads, links or this node's own state have changed. */
  spread(): void {
    if (this.#spreading === null) return;
    this.#spreading.look(this.#host.nowMs, this.#settled, this.#host.isStopping());
    const own = this.#counters[this.#host.index];
    own.set('redirected_permille_now', this.#spreading.redirectedPermille);
    own.set('spread_changes', this.#spreading.changes);
  }

  #measure(): void {
    const { nowMs, self, index } = this.#host;
    const own = this.#counters[index];
    this.#measuredAtMs = nowMs;
    const { cpuPermille, requestsPerSecond } = this.#meter.rates(
      nowMs,
      this.#host.cpuMs(),
      own.get('requests'),
    );
    const acceptQueue = this.#acceptQueue;
    this.#measured = { cpuPermille, requestsPerSecond, acceptQueue };
    own.set('cpu_permille_now', cpuPermille);
    own.set('requests_per_second_now', requestsPerSecond);
    own.set('accept_queue_now', acceptQueue);
    const load = this.#own;
    this.#counters.forEach((counters, engine) => {
      const report = engine === index ? load : { ...countedLoad(counters), accepting: load.accepting };
      this.#table.report(self, engine, report, nowMs);
    });
  }

  /** Every node's load, in the configuration's order. */
  status(): NodeLoadStatus[] {
    const { config, nowMs } = this.#host;
    return config.nodes.map(({ name }, index) => {
      const { reportedAtMs, ...load } = this.#table.of(index);
      return { node: name, ...load, ageMs: reportedAtMs < 0 ? null : nowMs - reportedAtMs };
    });
  }

  /** Permille of new connections by node; null where another engine decides. */
  spreadStatus(): Record<string, number> | null {
    return this.#spreading?.shares() ?? null;
  }

  /** Null: there are no boosters for this node, or another engine decides. */
  boostStatus(): BoostStatus | null {
    return this.#boosting?.status(this.#host.nowMs) ?? null;
  }
}

/** The load of another engine of this node, by its counters. */
function countedLoad(counters: Counters): Omit<EngineLoad, 'accepting'> {
  return {
    connections: counters.get('connections_now'),
    cpuPermille: counters.get('cpu_permille_now'),
    requestsPerSecond: counters.get('requests_per_second_now'),
    acceptQueue: counters.get('accept_queue_now'),
  };
}
