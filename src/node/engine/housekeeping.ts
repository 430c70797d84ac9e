/**
 * What an engine does by the clock: in every turn of its loop, for what waits for a deadline or a router event, and
 * every 100 ms, for everything else that time changes. It also says how soon the next turn has to come.
 */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Counters } from '../../base/counters.ts';
import type { Connections } from '../../client/connections.ts';
import type { Catalogues } from '../../cluster/exchange-catalogues.ts';
import type { Memories } from '../../cluster/exchange-memories.ts';
import type { Views } from '../../cluster/exchange-views.ts';
import type { Loads } from '../../cluster/loads.ts';
import type { SitePolicies } from '../../cluster/policy/site-policies.ts';
import type { AnchorFlows } from '../../handoff/anchor/flows.ts';
import type { Handoffs } from '../../handoff/anchor/handoffs.ts';
import type { Forwards } from '../../handoff/move/forwards.ts';
import type { Guests } from '../../handoff/move/guests.ts';
import type { HomeRoutes } from '../../handoff/move/home-routes.ts';
import type { Moves } from '../../handoff/move/moves.ts';
import type { HalfPipes } from '../../handoff/target/half-pipes.ts';
import { TICK_MS } from '../../kernel/loop/loop.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { RouterEngine } from '../../kernel/router/router-engine.ts';
import type { Peers } from '../../protocol/backplane/peers.ts';
import type { Streams } from '../../protocol/backplane/streams.ts';
import type { Sites } from '../../serve/sites.ts';
import type { Drain } from './drain.ts';
import type { EngineLog } from './engine-log.ts';
import type { FromEngine } from './messages.ts';
import type { Returning } from './returning.ts';

/** Between two rounds of housekeeping. */
export const HOUSEKEEPING_MS = 100;
/** An engine is ready when all links are up, or after this: a node must serve when it is alone. */
const READY_WITHOUT_LINKS_MS = 3000;

/** The parts of an engine that time passes in, and what it says of them to the main thread. */
export interface HousekeepingPorts {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly config: Pick<ClusterConfig, 'nodes' | 'timeouts'>;
  readonly router: Pick<RouterEngine, 'drainEvents' | 'stayAlive'>;
  readonly halfPipes: Pick<HalfPipes, 'followed' | 'isWaiting' | 'turn' | 'waitMs' | 'round' | 'size'>;
  readonly handoffs: Pick<Handoffs, 'turn' | 'waitMs'>;
  readonly streams: Pick<Streams, 'turn' | 'waitMs'>;
  readonly moves: Pick<Moves, 'turn' | 'waitMs'>;
  readonly drain: Pick<Drain, 'turn' | 'waitMs' | 'round'>;
  readonly connections: Pick<Connections, 'turn' | 'waitMs' | 'round' | 'size' | 'handshakes'>;
  /** At a booster: what sends clients back to their origins. Null elsewhere. */
  readonly returning: Pick<Returning, 'round'> | null;
  readonly peers: Pick<Peers, 'tick' | 'up' | 'expected'>;
  readonly anchorFlows: Pick<AnchorFlows, 'acknowledged' | 'turn' | 'waitMs' | 'round' | 'size'>;
  readonly guests: Pick<Guests, 'turn' | 'waitMs' | 'round' | 'size'>;
  readonly forwards: Pick<Forwards, 'turn' | 'waitMs'>;
  readonly homeRoutes: Pick<HomeRoutes, 'tick' | 'size'>;
  readonly sites: Pick<Sites, 'tick' | 'count'>;
  readonly catalogues: Pick<Catalogues, 'tick' | 'size'>;
  readonly memories: Pick<Memories, 'tick' | 'size'>;
  readonly policies: Pick<SitePolicies, 'asksMemory'>;
  readonly views: Pick<Views, 'size'>;
  readonly loads: Pick<Loads, 'turn' | 'waitMs' | 'tick'>;
  readonly access: { flush(): void };
  readonly log: Pick<EngineLog, 'round'>;
  readonly gauges: Pick<Counters, 'set'>;
  post(message: FromEngine): void;
}

export class Housekeeping {
  readonly #parts: HousekeepingPorts;
  readonly #startedMs: number;
  #keptAtMs = 0;
  #ready = false;

  constructor(parts: HousekeepingPorts) {
    this.#parts = parts;
    this.#startedMs = parts.clock.nowMs;
  }

  /** Called once a turn. Returns within how many milliseconds it wants to be called again. */
  tick(): number {
    const { clock, halfPipes, handoffs, streams, loads, moves, drain, sites } = this.#parts;
    const { connections, anchorFlows, guests, forwards } = this.#parts;
    const now = clock.nowMs;
    if (halfPipes.isWaiting) this.hearRouter();
    handoffs.turn(now);
    streams.turn();
    loads.turn();
    moves.turn(now);
    connections.turn(now);
    anchorFlows.turn(now);
    guests.turn(now);
    forwards.turn(now);
    drain.turn();
    if (now - this.#keptAtMs >= HOUSEKEEPING_MS) this.#keep(now);
    const upstreamsWait = sites.tick();
    const waitMs = Math.min(
      handoffs.waitMs,
      halfPipes.waitMs,
      streams.waitMs,
      loads.waitMs,
      moves.waitMs,
      connections.waitMs,
      anchorFlows.waitMs,
      guests.waitMs,
      forwards.waitMs,
      drain.waitMs,
    );
    return upstreamsWait ? Math.min(waitMs, TICK_MS) : waitMs;
  }

  /** Which responses are acknowledged, and what clients send next: the router says so, and every tick it is asked. */
  hearRouter(): void {
    const { router, anchorFlows, halfPipes } = this.#parts;
    router.drainEvents(
      (slot) => anchorFlows.acknowledged(slot),
      (slot, bytes) => halfPipes.followed(slot, bytes),
    );
    halfPipes.turn();
  }

  /** The drain is last: it may end the engine. */
  #keep(now: number): void {
    const parts = this.#parts;
    this.#keptAtMs = now;
    parts.router.stayAlive();
    parts.connections.round(now);
    parts.peers.tick(parts.config.timeouts.peerMs);
    parts.anchorFlows.round(now);
    parts.halfPipes.round(now);
    parts.guests.round();
    parts.homeRoutes.tick(now);
    parts.catalogues.tick(now);
    parts.memories.tick(now, (site) => parts.policies.asksMemory(site));
    this.#count();
    parts.log.round(now);
    this.#report(now);
    parts.loads.tick(this.#ready);
    parts.returning?.round();
    parts.drain.round(now);
  }

  #count(): void {
    const parts = this.#parts;
    const { gauges } = parts;
    parts.sites.count();
    gauges.set('catalogue_documents_now', parts.catalogues.size);
    gauges.set('cached_documents_now', parts.memories.size);
    gauges.set('connections_now', parts.connections.size);
    gauges.set('tls_handshakes_now', parts.connections.handshakes);
    gauges.set('flows_now', parts.anchorFlows.size);
    gauges.set('half_pipes_now', parts.halfPipes.size);
    gauges.set('guests_now', parts.guests.size);
    gauges.set('diverted_now', parts.homeRoutes.size);
  }

  /** Tells the main thread what has changed. */
  #report(now: number): void {
    const { access, peers, views, config, post } = this.#parts;
    access.flush();
    const isTogether = peers.up >= peers.expected && views.size >= config.nodes.length - 1;
    const isReady = isTogether || now - this.#startedMs > READY_WITHOUT_LINKS_MS;
    if (!isReady || this.#ready) return;
    this.#ready = true;
    post({ type: 'ready', ready: true });
  }
}
