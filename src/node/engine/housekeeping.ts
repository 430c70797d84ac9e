/**
 * What an engine does by the clock: in every turn of its loop, for what waits for a deadline or a router event, and
 * every 100 ms, for everything else that time changes. It also says how soon the next turn has to come.
 */

import { QUICK_TICK_MS, TICK_MS } from '../../kernel/loop/loop.ts';
import type { RouterEngine } from '../../kernel/router/router-engine.ts';
import type { Engine } from './engine.ts';
import type { FromEngine } from './messages.ts';

/** Between two rounds of housekeeping. */
const HOUSEKEEPING_MS = 100;
/** An engine is ready when all links are up, or after this: a node must serve when it is alone. */
const READY_WITHOUT_LINKS_MS = 3000;

export class Housekeeping {
  readonly #engine: Engine;
  readonly #router: RouterEngine;
  readonly #post: (message: FromEngine) => void;
  readonly #startedMs: number;
  #keptAtMs = 0;
  #ready = false;

  constructor(engine: Engine, router: RouterEngine, post: (message: FromEngine) => void) {
    this.#engine = engine;
    this.#router = router;
    this.#post = post;
    this.#startedMs = engine.loop.nowMs;
  }

  /** Called once a turn. Returns within how many milliseconds it wants to be called again. */
  tick(): number {
    const engine = this.#engine;
    const { loop, halfPipes, handoffs, relayed, loads, migrations, arrivals } = engine;
    const { setupDeadlines, leavingDeadlines } = engine;
    const now = loop.nowMs;
    if (halfPipes.isWaiting) this.hearRouter();
    handoffs.turn(now);
    relayed.turn();
    loads.turn();
    for (const migration of migrations) if (migration.tick(now)) migrations.delete(migration);
    for (const arrival of arrivals) arrival.tick(now);
    engine.drain?.give();
    setupDeadlines.run(now);
    leavingDeadlines.run(now);
    if (now - this.#keptAtMs >= HOUSEKEEPING_MS) this.#keep(now);
    const upstreamsWait = engine.sites.tick();
    if (migrations.size > 0) return QUICK_TICK_MS;
    const sets = [setupDeadlines, arrivals];
    const waits = upstreamsWait || engine.drain !== null || sets.some(({ size }) => size > 0);
    return waits ? TICK_MS : Math.min(handoffs.waitMs, halfPipes.waitMs, relayed.waitMs, loads.waitMs);
  }

  /** Which responses are acknowledged, and what clients send next: the router says so, and every tick it is asked. */
  hearRouter(): void {
    const { anchorFlows, halfPipes } = this.#engine;
    this.#router.drainEvents(
      (slot) => anchorFlows.acknowledged(slot),
      (slot, bytes) => halfPipes.followed(slot, bytes),
    );
    halfPipes.turn();
  }

  #keep(now: number): void {
    const engine = this.#engine;
    const { anchorFlows, halfPipes } = engine;
    this.#keptAtMs = now;
    this.#router.stayAlive();
    engine.connections.round(now);
    engine.peers.tick(engine.config.timeouts.peerMs);
    anchorFlows.round(now);
    halfPipes.round(now);
    engine.guests.tick(now);
    engine.homeRoutes.tick(now);
    engine.sites.catalogues.tick(now);
    engine.sites.memories.tick(now, (site) => engine.policies.asksMemory(site));
    this.#count();
    engine.logLeftOut();
    this.#report(now);
    engine.loads.tick(this.#ready);
    if (engine.drain?.step(now)) engine.end(engine.drain);
  }

  #count(): void {
    const { counters, sites, connections, anchorFlows, halfPipes, guests, homeRoutes } = this.#engine;
    sites.count();
    counters.set('catalogue_documents_now', sites.catalogues.size);
    counters.set('cached_documents_now', sites.memories.size);
    counters.set('connections_now', connections.size);
    counters.set('flows_now', anchorFlows.size);
    counters.set('half_pipes_now', halfPipes.size);
    counters.set('guests_now', guests.size);
    counters.set('diverted_now', homeRoutes.size);
  }

  /** To the main thread. */
  #report(now: number): void {
    const { access, peers, views, config } = this.#engine;
    access.flush();
    const isTogether = peers.up >= peers.expected && views.size >= config.nodes.length - 1;
    const isReady = isTogether || now - this.#startedMs > READY_WITHOUT_LINKS_MS;
    if (!isReady || this.#ready) return;
    this.#ready = true;
    this.#post({ type: 'ready', ready: true });
  }
}
