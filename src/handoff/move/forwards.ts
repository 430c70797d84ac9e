/**
 * Connections that have moved on from here to a third node. Until their home knows, what clients send still comes here:
 * so this node's router sends it on.
 *
 *   moved on --the home can be reached: it knows by then (FLOW_LINGER_MS)--------------> gone
 *        |--the home cannot, the owner can: this is the way--> the owner says the end--> gone
 *        `--neither can (LOST_LIMIT_MS), or the connection comes back-----------------> gone
 */
import { Deadlines, type Timed } from '../../kernel/loop/deadlines.ts';
import { IDLE_MS } from '../../kernel/loop/loop.ts';
import type { Clock, Ticking } from '../../kernel/loop/ports.ts';
import type { Routes } from '../../kernel/router/routes.ts';
import { distance } from '../../kernel/tcp/sequence.ts';
import type { Cleanup } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { FLOW_LINGER_MS, LOST_LIMIT_MS } from '../flow/agreed.ts';
import { type FourTuple, tupleKey, tupleOfFrame } from '../flow/four-tuple.ts';

/** How often each is looked at. */
const LOOK_MS = 1000;

interface Forward extends Timed {
  readonly ends: FourTuple;
  readonly key: string;
  readonly node: number;
  readonly home: number;
  /** Moves of the connection when it went there; 0 for what a predecessor left. */
  readonly epoch: number;
  /** When it was needed last, as far as is known. */
  sinceMs: number;
}

export interface ForwardsPorts {
  /** Index of this node. */
  readonly self: number;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly routes: Pick<Routes, 'set' | 'delete' | 'owner'>;
  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number;
  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined;
}

export class Forwards implements Ticking {
  readonly #ports: ForwardsPorts;
  readonly #byKey = new Map<string, Forward>();
  readonly #looks = new Deadlines<Forward>(LOOK_MS, (forward) => this.#look(forward));

  constructor(ports: ForwardsPorts) {
    this.#ports = ports;
  }

  /** A connection moves to `node`, by so many moves. At home it has a route already (home-routes.ts). */
  add(ends: FourTuple, node: number, epoch: number): void {
    const { homeOf, self, routes } = this.#ports;
    if (homeOf(ends.public.address) === self) return;
    // At home, too, the way to here ends only when the move is confirmed. It takes what this node sends back (rule arrived).
    routes.set(ends.client, ends.public, node + 1);
    this.#keep(ends, node, epoch);
  }

  /**
   * A predecessor has sent a connection on, a moment ago maybe: whoever got it may not know yet whether it has it, and
   * goes by what comes of it.
   */
  inherit(ends: FourTuple, node: number): void {
    this.#keep(ends, node, 0);
  }

  #keep(ends: FourTuple, node: number, epoch: number): void {
    const key = tupleKey(ends);
    const home = this.#ports.homeOf(ends.public.address);
    const sinceMs = this.#ports.clock.nowMs;
    const forward: Forward = { ends, key, node, home, epoch, sinceMs, places: [] };
    this.#forget(key);
    this.#byKey.set(key, forward);
    this.#looks.set(forward, sinceMs);
  }

  #forget(key: string): void {
    const forward = this.#byKey.get(key);
    if (forward === undefined) return;
    this.#byKey.delete(key);
    this.#looks.clear(forward);
  }

  /** A connection is here, or may be: what any engine of this node forwarded of it before must not go away again. */
  stop(ends: FourTuple): void {
    this.#forget(tupleKey(ends));
    const { homeOf, self, routes } = this.#ports;
    if (homeOf(ends.public.address) !== self) routes.delete(ends.client, ends.public);
  }

  /** A connection has ended that this node has sent on, if it has had no more moves than that: its home is not there. */
  ended({ flow, epoch }: Cleanup): void {
    const forward = this.#byKey.get(tupleKey(tupleOfFrame(flow)));
    if (forward !== undefined && distance(forward.epoch, epoch) >= 0) this.#end(forward);
  }

  turn(nowMs: number): void {
    this.#looks.runSome(nowMs);
  }

  get waitMs(): number {
    return this.#looks.isDue(this.#ports.clock.nowMs) ? 0 : IDLE_MS;
  }

  round(): void {
    // Each has its time in a turn.
  }

  #look(forward: Forward): void {
    const { home, node, key } = forward;
    const { linkFor, clock } = this.#ports;
    const { nowMs } = clock;
    // The new owner tells the home as soon as it can be reached; until then this is the way.
    const homeKnows = home === node || linkFor(home, key) !== undefined;
    if (!homeKnows && linkFor(node, key) !== undefined) forward.sinceMs = nowMs;
    const isOver = nowMs - forward.sinceMs >= (homeKnows ? FLOW_LINGER_MS : LOST_LIMIT_MS);
    if (isOver) this.#end(forward);
    else this.#looks.set(forward, nowMs);
  }

  #end({ ends, node, key }: Forward): void {
    this.#forget(key);
    const { client, public: pub } = ends;
    // It may have come back to another engine here since, and gone elsewhere.
    if (this.#ports.routes.owner(client, pub) === node + 1) this.#ports.routes.delete(client, pub);
  }
}
