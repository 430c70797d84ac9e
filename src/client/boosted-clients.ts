/** The clients that a booster has, by their origin: how many, and what each of them may ask for. */
import type { ClientLimitsConfig } from '../base/config/config.ts';
import type { Count } from '../base/counters.ts';
import { NumberTable } from '../base/number-table.ts';
import { isFullFor, turnedAwayFrom } from '../cluster/boost-shares.ts';
import { ClientLimits, type Ticket } from '../cluster/client-limits.ts';

export interface BoostedClientsPorts {
  readonly clock: { readonly nowMs: number };
  readonly count: Count;
  readonly limits: ClientLimitsConfig;
  /** limits.connections */
  readonly most: number;
  /** The node that owns the address which the client of a socket has connected to; -1: it has reset the connection. */
  originOf(fd: number): number;
  /** `isFull` says something else of an origin. */
  changed(): void;
}

interface BoostedClient {
  readonly origin: number;
  readonly ticket: Ticket;
}

export class BoostedClients {
  readonly #ports: BoostedClientsPorts;
  readonly #limits: ClientLimits;
  /** The clients, by their sockets. */
  readonly #all = new NumberTable<BoostedClient>();
  readonly #counts = new Map<number, number>();
  /** Origins that should send no more. */
  readonly #full = new Set<number>();

  constructor(ports: BoostedClientsPorts) {
    this.#ports = ports;
    this.#limits = new ClientLimits(ports.limits);
  }

  /** From now on these limits hold. */
  useLimits(limits: ClientLimitsConfig): void {
    this.#limits.use(limits);
  }

  /** How many clients of each origin, by its index; -1 stands for clients that had left before they were accepted. */
  get counts(): ReadonlyMap<number, number> {
    return this.#counts;
  }

  originOf(fd: number): number {
    return this.#all.get(fd)?.origin ?? -1;
  }

  /** The origin has as many clients here as it may have. */
  isFull(origin: number): boolean {
    return this.#full.has(origin);
  }

  /** A client has connected. Not null: it is turned away with that status. */
  admit(fd: number, address: Buffer): 429 | 503 | null {
    const { clock, count, most } = this.#ports;
    const origin = this.#ports.originOf(fd);
    const clients = this.#counts.get(origin) ?? 0;
    if (clients >= turnedAwayFrom(origin, this.#counts, most)) {
      count.add('connections_refused');
      return 503;
    }
    const ticket = this.#limits.connects(address, clock.nowMs);
    if (ticket === null) {
      count.add('connections_limited');
      return 429;
    }
    this.#all.set(fd, { origin, ticket });
    this.#counts.set(origin, clients + 1);
    this.#judge(origin);
    return null;
  }

  /** A request comes. False: the client asks for too much. */
  asks(fd: number): boolean {
    const client = this.#all.get(fd);
    if (client === undefined || this.#limits.asks(client.ticket, this.#ports.clock.nowMs)) return true;
    this.#ports.count.add('requests_limited');
    return false;
  }

  /** A client has its answer. */
  answered(fd: number): void {
    const client = this.#all.get(fd);
    if (client !== undefined) this.#limits.answered(client.ticket);
  }

  closed(fd: number): void {
    const client = this.#all.get(fd);
    if (client === undefined) return;
    const { origin, ticket } = client;
    this.#limits.answered(ticket);
    this.#all.delete(fd);
    const left = this.#counts.get(origin)! - 1;
    if (left > 0) this.#counts.set(origin, left);
    else this.#counts.delete(origin);
    for (const one of new Set([origin, ...this.#full])) this.#judge(one);
  }

  #judge(origin: number): void {
    const was = this.#full.has(origin);
    const isFull = isFullFor(origin, this.#counts, this.#ports.most, was);
    if (isFull === was) return;
    if (isFull) this.#full.add(origin);
    else this.#full.delete(origin);
    this.#ports.changed();
  }
}
