/**
 * The connections of this node's public addresses that live elsewhere: for each a route in the router, and a record
 * here of who has it. Of several engines each keeps those that `engineFor` gives it.
 *
 *   given away here, or ROUTE  --> routed --ROUTE of a later epoch--> routed (to the new owner)
 *                                    |--CLEANUP, no SYN of late--> gone (CLEANUP_OK)
 *                                    `--owner's link down--> lost --ROUTE within LOST_LIMIT_MS--> routed
 *                                                              `--> gone: a client then gets this kernel's reset
 *
 * Routes outlive the process. The next one takes them for lost, until their owners announce them again.
 */

import { formatEndpoint } from '../../base/address.ts';
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Count } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import { OWNER_SELF } from '../../kernel/router/layout.ts';
import type { Routes } from '../../kernel/router/routes.ts';
import { distance } from '../../kernel/tcp/sequence.ts';
import { type Cleanup, FrameType, type Route } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { LOST_LIMIT_MS } from '../flow/agreed.ts';
import { type FlowStatus, type StatusOrigin, statusOf } from '../flow/flow-status.ts';
import { engineFor, type FourTuple, tupleKey, tupleOfFrame } from '../flow/four-tuple.ts';
import { hasConnection, type SocketLook } from '../flow/socket-look.ts';
import type { Forwards } from './forwards.ts';

interface HomeRoute {
  readonly ends: FourTuple;
  readonly node: number;
  /** Moves of the connection; 0 for a route that a predecessor left. */
  readonly epoch: number;
  /** When it was lost; -1 while its owner's link is up. */
  lostAtMs: number;
}

export interface HomeRoutesPorts extends StatusOrigin {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly count: Count;
  readonly log: Log;
  readonly config: Pick<ClusterConfig, 'nodes'>;
  readonly routes: Pick<Routes, 'entries' | 'set' | 'delete' | 'owner' | 'end'>;
  readonly sockets: SocketLook;
  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number;
  /** Whether a connection can be one that this cluster serves. */
  canServe(ends: FourTuple): boolean;
  /** Moves of a connection that is a guest here; null: it is none. */
  readonly guests: { epochOf(key: string): number | null };
  readonly forwards: Pick<Forwards, 'inherit'>;
}

export class HomeRoutes {
  readonly #ports: HomeRoutesPorts;
  readonly #byKey = new Map<string, HomeRoute>();

  constructor(ports: HomeRoutesPorts) {
    this.#ports = ports;
  }

  get size(): number {
    return this.#byKey.size;
  }

  #keeps(key: string): boolean {
    const { config, self, index } = this.#ports;
    return engineFor(key, config.nodes[self].engines) === index;
  }

  /** Takes up what a predecessor left. */
  inherit(): void {
    const { config, self, routes, forwards } = this.#ports;
    for (const { client, public: pub, owner } of routes.entries()) {
      const ends = { client, public: pub };
      const key = tupleKey(ends);
      if (!this.#keeps(key)) continue;
      const node = owner - 1;
      const home = this.#ports.homeOf(pub.address);
      const leads = node >= 0 && node < config.nodes.length && node !== self && home >= 0;
      if (!leads) routes.delete(client, pub);
      else if (home !== self) forwards.inherit(ends, node);
      else this.#byKey.set(key, { ends, node, epoch: 0, lostAtMs: this.#ports.clock.nowMs });
    }
  }

  /** Routes a connection that is given to `node`. False: no room for the route, it has to stay. */
  divert(ends: FourTuple, node: number, epoch: number): boolean {
    if (!this.#ports.routes.set(ends.client, ends.public, node + 1)) return false;
    const key = tupleKey(ends);
    // The engine that keeps this connection's record makes it when the owner's ROUTE comes.
    if (this.#keeps(key)) this.#byKey.set(key, { ends, node, epoch, lostAtMs: -1 });
    return true;
  }

  /** A node says that it has a connection. */
  route(link: Link, frame: Route): void {
    const ports = this.#ports;
    const ends = tupleOfFrame(frame.flow);
    if (ports.homeOf(ends.public.address) !== ports.self || !ports.canServe(ends)) {
      ports.count.add('routes_refused');
      return;
    }
    const key = tupleKey(ends);
    const known = this.#byKey.get(key);
    // It may have come back here meanwhile.
    const here = ports.guests.epochOf(key);
    if (here !== null && distance(here, frame.epoch) <= 0) return;
    if (known !== undefined && known.epoch !== 0) {
      const newer = distance(known.epoch, frame.epoch);
      if (newer < 0 || (newer === 0 && known.node !== link.node)) return;
    }
    if (this.#isHere(ends)) {
      ports.count.add('routes_refused');
      return;
    }
    if (!this.divert(ends, link.node, frame.epoch)) {
      ports.count.add('routes_refused');
      ports.log('warn', 'no room for a route', { client: formatEndpoint(ends.client) });
    }
  }

  /**
   * Whether this node's kernel has the connection itself, and no engine has given it away: who gives one away sets its
   * route first. Whoever says then that it is there means one that is over, whose port the client uses anew (its route
   * was lost meanwhile), or is no friend.
   */
  #isHere(ends: FourTuple): boolean {
    const owner = this.#ports.routes.owner(ends.client, ends.public);
    return (owner === 0 || owner === OWNER_SELF) && hasConnection(this.#ports.sockets, ends);
  }

  /** A connection has ended at its owner. One that cannot reach the home tells everybody: only that answers. */
  cleanup(link: Link, frame: Cleanup): void {
    const ends = tupleOfFrame(frame.flow);
    if (this.#ports.homeOf(ends.public.address) !== this.#ports.self) return;
    const key = tupleKey(ends);
    const known = this.#byKey.get(key);
    // The owner's ROUTE comes before its CLEANUP. A route to another node is not this one's to end.
    if (known?.node === link.node) {
      // The client may use its port anew: unanswered, the owner looks again.
      if (!this.#ports.routes.end(ends.client, ends.public, known.node + 1)) return;
      this.#byKey.delete(key);
    }
    link.send({ type: FrameType.CLEANUP_OK, flow: frame.flow, epoch: frame.epoch });
  }

  /** A connection is here again; whoever has it sees to its route. */
  returned(ends: FourTuple): void {
    this.#byKey.delete(tupleKey(ends));
  }

  #end(route: HomeRoute): void {
    const { client, public: pub } = route.ends;
    this.#byKey.delete(tupleKey(route.ends));
    if (this.#ports.routes.owner(client, pub) === route.node + 1) this.#ports.routes.delete(client, pub);
  }

  /** The last link to a node is gone. */
  nodeDown(node: number): void {
    const now = this.#ports.clock.nowMs;
    for (const route of this.#byKey.values()) {
      if (route.node === node && route.lostAtMs < 0) route.lostAtMs = now;
    }
  }

  tick(nowMs: number): void {
    for (const route of this.#byKey.values()) {
      if (route.lostAtMs < 0 || nowMs - route.lostAtMs < LOST_LIMIT_MS) continue;
      this.#ports.count.add('routes_lost');
      this.#end(route);
    }
  }

  status(limit: number): FlowStatus[] {
    return [...this.#byKey.values()].slice(0, limit).map(({ ends, node, lostAtMs }) => {
      const state = lostAtMs < 0 ? 'diverted' : 'lost';
      return statusOf(this.#ports, { role: 'home', state, ends, nodes: [node] });
    });
  }
}
