/**
 * Connections that live on another node: their segments are diverted to it (rule divert), for as long as the entry is
 * there, whether or not this process is. One table for all engines of the node.
 */
import type { Endpoint } from '../../base/address.ts';
import { KernelMap } from '../linux/bpf.ts';
import { SystemError } from '../linux/errors.ts';
import { monotonicMs } from '../linux/monotonic.ts';
import type { Control } from './control.ts';
import { readFlowKey, writeFlowKey } from './flow-key.ts';
import { CONTROL_ROUTES, KEY_BYTES, OWNER_PARKED } from './layout.ts';

/** struct route. */
const ROUTE_BYTES = 4;
const SECOND_OFFSET = 2;
/** A connection whose SYN went by a route has been accepted by then, or is known to its owner's kernel. */
const SYN_QUIET_SECONDS = 2;

/** The second of CLOCK_MONOTONIC, modulo 2^16. */
function second(): number {
  return Math.floor(monotonicMs() / 1000) & 0xffff;
}

export interface Route {
  readonly client: Endpoint;
  readonly public: Endpoint;
  /** Node index + 1; OWNER_SELF: it is here, wherever its SYN was sent; OWNER_PARKED and more: it moves. */
  readonly owner: number;
}

export class Routes {
  readonly #map: KernelMap;
  readonly #control: Control;

  constructor(fd: number, control: Control) {
    this.#map = new KernelMap(fd, KEY_BYTES, ROUTE_BYTES);
    this.#control = control;
  }

  /** Diverts a connection to a node (index + 1; OWNER_SELF: keeps it here). False when the table is full: the connection has to stay. */
  set(client: Endpoint, pub: Endpoint, owner: number): boolean {
    this.#describe(client, pub, owner);
    return this.#unlessFull(() => this.#map.update());
  }

  #describe(client: Endpoint, pub: Endpoint, owner: number): void {
    this.#control.raise(CONTROL_ROUTES);
    writeFlowKey(this.#map.key.bytes, client, pub);
    // No SYN yet: as if one was sent half of the numbers' range ago.
    this.#map.value.bytes.writeUInt16LE(owner, 0);
    this.#map.value.bytes.writeUInt16LE((second() + 0x8000) & 0xffff, SECOND_OFFSET);
  }

  #unlessFull(store: () => void): boolean {
    try {
      store();
      return true;
    } catch (error) {
      if (error instanceof SystemError && error.code === 'E2BIG') return false;
      throw error;
    }
  }

  /**
   * Has what comes of a connection kept for an engine of this node (rule park). Returns what puts the former state back;
   * null when the table is full.
   */
  park(client: Endpoint, pub: Endpoint, engine: number): (() => void) | null {
    const owner = OWNER_PARKED | engine;
    this.#describe(client, pub, owner);
    let former: number | null = null;
    const isStored = this.#unlessFull(() => {
      // Most have no route. Who had one may have lost it in this moment: then there is nothing to put back.
      if (this.#map.insert()) return;
      if (this.#map.lookup()) former = this.#map.value.bytes.readUInt16LE(0);
      this.#describe(client, pub, owner);
      this.#map.update();
    });
    if (!isStored) return null;
    return () => {
      if (former === null) this.delete(client, pub);
      else this.set(client, pub, former);
    };
  }

  /** The node (index + 1) that a connection is diverted to; 0: to none. */
  owner(client: Endpoint, pub: Endpoint): number {
    writeFlowKey(this.#map.key.bytes, client, pub);
    return this.#map.lookup() ? this.#map.value.bytes.readUInt16LE(0) : 0;
  }

  /**
   * Ends the route to `owner`, who has seen the connection's end. False, and the route stays, when a SYN has gone by it
   * since a moment ago: there may be a next connection, of which its owner did not know yet.
   */
  end(client: Endpoint, pub: Endpoint, owner: number): boolean {
    writeFlowKey(this.#map.key.bytes, client, pub);
    const { bytes } = this.#map.value;
    const isOwners = () => bytes.readUInt16LE(0) === owner;
    const isQuiet = () => ((second() - bytes.readUInt16LE(SECOND_OFFSET)) & 0xffff) > SYN_QUIET_SECONDS;
    // A route that is needed is not taken away even for a moment: the rest of a handshake would meet the gap.
    if (!this.#map.lookup() || !isOwners()) return true;
    if (!isQuiet()) return false;
    if (!this.#map.take() || (isOwners() && isQuiet())) return true;
    // A SYN has gone by it since, or another engine has changed it.
    this.#map.update();
    return !isOwners();
  }

  delete(client: Endpoint, pub: Endpoint): void {
    writeFlowKey(this.#map.key.bytes, client, pub);
    this.#map.delete();
  }

  /** All routes, at one system call or more for each: for status, and for a start after a crash. */
  entries(): Route[] {
    const out: Route[] = [];
    for (const key of this.#map.keys()) {
      key.copy(this.#map.key.bytes);
      if (this.#map.lookup()) out.push({ ...readFlowKey(key), owner: this.#map.value.bytes.readUInt16LE(0) });
    }
    return out;
  }
}
