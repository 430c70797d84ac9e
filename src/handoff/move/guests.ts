/**
 * Guests: connections that have moved here. The node that owns their public address, their home, diverts their
 * segments to this one; it is told when a connection comes (ROUTE), and when it has ended (CLEANUP).
 *
 *   here --closed by us--> closing --FIN acknowledged, client's FIN come--> lingering --CLEANUP, CLEANUP_OK--> gone
 *     |--ended by a reset--> lingering                                          |
 *     |--moved on--> a forward, for a while (forwards.ts)        the client uses its port anew --> here
 *
 * A connection may be a guest at its own home: it has come back, and a route that leads here says so, where the
 * router would remember otherwise.
 */

import { Deadlines, type Timed } from '../../kernel/loop/deadlines.ts';
import { IDLE_MS } from '../../kernel/loop/loop.ts';
import type { Clock, Ticking } from '../../kernel/loop/ports.ts';
import { OWNER_SELF } from '../../kernel/router/layout.ts';
import type { Routes } from '../../kernel/router/routes.ts';
import { type CleanupOk, FrameType } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { FLOW_LINGER_LIMIT_MS, FLOW_LINGER_MS } from '../flow/agreed.ts';
import { type FlowStatus, type StatusOrigin, statusOf } from '../flow/flow-status.ts';
import { type FourTuple, tupleKey, tupleOfFrame, tupleToFrame } from '../flow/four-tuple.ts';
import { hasConnection, type SocketLook } from '../flow/socket-look.ts';
import type { Forwards } from './forwards.ts';

/** How often a guest that closes is looked at. */
const CLOSING_LOOK_MS = 100;

export interface Guest extends Timed {
  readonly ends: FourTuple;
  readonly key: string;
  /** Index of the node that owns the public address. */
  readonly home: number;
  readonly epoch: number;
  state: 'here' | 'closing' | 'lingering';
  /** The home knows that it is here. */
  announced: boolean;
  /** The socket while closing, which we only watch; else -1. */
  fd: number;
  /** When it began to close. */
  sinceMs: number;
  /** When the home was told first that it has ended; -1: not yet. */
  toldAtMs: number;
}

/** What a guest does to its socket when its connection ends. */
export interface GuestKernel {
  /** Sends FIN, behind what is to be sent. */
  shut(fd: number): void;
  /** Whether both ends are closed, or the connection was reset. */
  hasClosed(fd: number): boolean;
  /** Closes a socket: silently when both ends have closed, else with a reset. */
  drop(fd: number): void;
  /** What is not closed yet the kernel closes by itself. */
  leave(fd: number): void;
}

export interface GuestsPorts extends StatusOrigin {
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly routes: Pick<Routes, 'set' | 'delete' | 'owner'>;
  readonly sockets: SocketLook;
  readonly kernel: GuestKernel;
  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number;
  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined;
  /** All links that are up. */
  links(): Iterable<Link>;
  /** What knows of connections of own addresses that live elsewhere: this one is back. */
  readonly homeRoutes: { returned(ends: FourTuple): void };
  readonly forwards: Pick<Forwards, 'add'>;
}

export class Guests implements Ticking {
  readonly #ports: GuestsPorts;
  readonly #byKey = new Map<string, Guest>();
  readonly #closing = new Deadlines<Guest>(CLOSING_LOOK_MS, (guest) => this.#watch(guest));
  readonly #lingering = new Deadlines<Guest>(FLOW_LINGER_MS, (guest) => this.#letGo(guest));
  /** Some guest is not announced yet. */
  #owesNews = false;

  constructor(ports: GuestsPorts) {
    this.#ports = ports;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** How often a guest had moved when it came; null: there is no such guest. */
  epochOf(key: string): number | null {
    return this.#byKey.get(key)?.epoch ?? null;
  }

  /** A connection has come, its move is sure: from now on its segments come here. */
  arrive(ends: FourTuple, epoch: number): Guest {
    const ports = this.#ports;
    const home = ports.homeOf(ends.public.address);
    const key = tupleKey(ends);
    const sinceMs = ports.clock.nowMs;
    const guest: Guest = {
      places: [],
      ends,
      key,
      home,
      epoch,
      state: 'here',
      announced: false,
      fd: -1,
      sinceMs,
      toldAtMs: -1,
    };
    this.#drop(this.#byKey.get(key));
    this.#byKey.set(key, guest);
    if (home === ports.self) {
      ports.homeRoutes.returned(ends);
      ports.routes.set(ends.client, ends.public, OWNER_SELF);
      guest.announced = true;
    } else this.#announce(guest);
    return guest;
  }

  #linkHome(guest: { readonly home: number; readonly ends: FourTuple }): Link | undefined {
    return this.#ports.linkFor(guest.home, tupleKey(guest.ends));
  }

  #announce(guest: Guest): void {
    const flow = tupleToFrame(guest.ends);
    const sent = this.#linkHome(guest)?.send({ type: FrameType.ROUTE, flow, epoch: guest.epoch });
    guest.announced = sent === true;
    if (!guest.announced) this.#owesNews = true;
  }

  /** A node can be reached again: it may have forgotten, or never heard. */
  linkUp(link: Link): void {
    for (const guest of this.#byKey.values()) {
      if (guest.home !== link.node) continue;
      guest.announced = false;
      this.#owesNews = true;
    }
  }

  /** Takes over the closing of a guest's socket. */
  close(guest: Guest, fd: number): void {
    this.#ports.kernel.shut(fd);
    guest.fd = fd;
    this.#leave(guest, 'closing');
  }

  /** The guest's socket is gone already: reset by us or by the client. */
  ended(guest: Guest): void {
    this.#leave(guest, 'lingering');
  }

  #isReplaced(guest: Guest): boolean {
    return this.#byKey.get(guest.key) !== guest;
  }

  #leave(guest: Guest, state: 'closing' | 'lingering'): void {
    if (this.#isReplaced(guest)) return this.#closeSocket(guest);
    const { nowMs } = this.#ports.clock;
    guest.state = state;
    guest.sinceMs = nowMs;
    (state === 'closing' ? this.#closing : this.#lingering).set(guest, nowMs);
  }

  #stay(guest: Guest): void {
    this.#closing.clear(guest);
    this.#lingering.clear(guest);
  }

  /**
   * The client has opened a connection with the ends of a guest: the route is needed again, and moves are counted on,
   * or the home would take what it hears of the new connection for old. A guest that is `here` has not heard yet that
   * its connection is over; then the new one takes its place.
   */
  revive(ends: FourTuple): Guest | null {
    const key = tupleKey(ends);
    const guest = this.#byKey.get(key);
    if (guest === undefined) return null;
    if (guest.state === 'here') {
      const next = { ...guest, places: [] };
      this.#byKey.set(key, next);
      return next;
    }
    this.#closeSocket(guest);
    this.#stay(guest);
    guest.state = 'here';
    guest.toldAtMs = -1;
    return guest;
  }

  /** How many close, or have. */
  get leaving(): number {
    return this.#closing.size + this.#lingering.size;
  }

  /** A connection moves to `node`, by so many moves. What still comes here follows it until its home knows. */
  movedOn(
    ends: FourTuple,
    guest: Guest | null,
    { node, epoch }: { readonly node: number; readonly epoch: number },
  ): void {
    if (guest !== null && !this.#isReplaced(guest)) this.#byKey.delete(guest.key);
    this.#ports.forwards.add(ends, node, epoch);
  }

  turn(nowMs: number): void {
    this.#closing.runSome(nowMs);
    this.#lingering.runSome(nowMs);
  }

  get waitMs(): number {
    const { nowMs } = this.#ports.clock;
    return this.#closing.isDue(nowMs) || this.#lingering.isDue(nowMs) ? 0 : IDLE_MS;
  }

  round(): void {
    if (!this.#owesNews) return;
    this.#owesNews = false;
    for (const guest of this.#byKey.values()) if (!guest.announced) this.#announce(guest);
  }

  /** After the end of both halves the kernel holds what it needs by itself. */
  #watch(guest: Guest): void {
    const { nowMs } = this.#ports.clock;
    const isLate = nowMs - guest.sinceMs >= FLOW_LINGER_LIMIT_MS;
    if (!isLate && !this.#ports.kernel.hasClosed(guest.fd)) return this.#closing.set(guest, nowMs);
    this.#closeSocket(guest);
    this.#leave(guest, 'lingering');
  }

  /**
   * A client that uses its port anew may be in the middle of its handshake here, which no accept has shown yet: its
   * next segment still has to come by this route.
   */
  #letGo(guest: Guest): void {
    this.#lingering.set(guest, this.#ports.clock.nowMs);
    if (!hasConnection(this.#ports.sockets, guest.ends)) this.#cleanUp(guest);
  }

  #closeSocket(guest: Guest): void {
    if (guest.fd < 0) return;
    this.#ports.kernel.drop(guest.fd);
    guest.fd = -1;
  }

  #drop(guest: Guest | undefined): void {
    if (guest === undefined) return;
    this.#closeSocket(guest);
    this.#stay(guest);
    this.#byKey.delete(guest.key);
  }

  #cleanUp(guest: Guest): void {
    const { home, ends, epoch } = guest;
    if (home === this.#ports.self) {
      this.#drop(guest);
      const { routes } = this.#ports;
      // A next connection with the same ends may have come to another engine, and have gone elsewhere.
      if (routes.owner(ends.client, ends.public) === OWNER_SELF) routes.delete(ends.client, ends.public);
      return;
    }
    const frame = { type: FrameType.CLEANUP, flow: tupleToFrame(ends), epoch } as const;
    const { nowMs } = this.#ports.clock;
    if (guest.toldAtMs < 0) guest.toldAtMs = nowMs;
    // The home ends the routes of whom it knows for the owner, and a ROUTE behind this would be believed.
    if (!guest.announced) this.#announce(guest);
    // A home that has lost us waits a while, and ends the route by itself. One that hears us and does not answer will not.
    const link = this.#linkHome(guest);
    // Nodes that have had the connection send on what comes of it for as long as the home cannot be reached.
    if (link === undefined) for (const other of this.#ports.links()) other.send(frame);
    const isUnheard = link?.send(frame) !== true;
    if (isUnheard || nowMs - guest.toldAtMs >= FLOW_LINGER_LIMIT_MS) this.#drop(guest);
  }

  /** The home has ended the route. */
  cleanedUp(node: number, { flow, epoch }: CleanupOk): void {
    const guest = this.#byKey.get(tupleKey(tupleOfFrame(flow)));
    if (guest === undefined || guest.home !== node || guest.epoch !== epoch) return;
    if (guest.state === 'lingering') this.#drop(guest);
    // The client had used its port anew, so long ago that the home did not take its SYN for a reason to keep the route.
    else this.#announce(guest);
  }

  /**
   * The process stops. The kernel ends the sockets that are still closing; their homes end the routes to this node when
   * its links have been down for a while.
   */
  discard(): void {
    for (const guest of this.#lingering.items) this.#cleanUp(guest);
    for (const { fd } of this.#closing.items) this.#ports.kernel.leave(fd);
  }

  status(limit: number): FlowStatus[] {
    return [...this.#byKey.values()]
      .slice(0, limit)
      .map(({ ends, home, state }) => statusOf(this.#ports, { role: 'guest', state, ends, nodes: [home] }));
  }
}
