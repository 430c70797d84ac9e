/**
 * What one client, and the network it is in, may ask of a booster: connections and requests a second, and requests at
 * once. Pure: addresses and the time are arguments. Who asks for too much is stopped here, and the origin does not see it.
 *
 * A bucket holds what is allowed in a second, and fills evenly: whoever finds it empty may come again a second later.
 * The table holds MAX_ENTRIES addresses and as many networks: the one heard of longest ago is forgotten, and starts anew.
 */
import { isMapped } from '../base/address.ts';
import type { ClientLimitsConfig } from '../base/config/config.ts';

export const MAX_ENTRIES = 65_536;
/** How many bytes of an IPv4 address, as ::ffff:a.b.c.d, name the client (all) and its network (a /24). */
const BYTES_4 = { perAddress: 16, perNetwork: 15 } as const;
/** An IPv6 client has a /64 to choose addresses from; a site with many has a /56. */
const BYTES_6 = { perAddress: 8, perNetwork: 7 } as const;

const MS_PER_SECOND = 1000;

/** What is left of a second's worth. */
class Bucket {
  #left = Number.POSITIVE_INFINITY;
  #atMs = 0;

  /** Whether there is one. `perSecond`: null is no limit. */
  has(perSecond: number | null, nowMs: number): boolean {
    if (perSecond === null) return true;
    const passedMs = Math.max(0, nowMs - this.#atMs);
    this.#left = Math.min(perSecond, this.#left + (passedMs * perSecond) / MS_PER_SECOND);
    this.#atMs = nowMs;
    return this.#left >= 1;
  }

  take(): void {
    this.#left--;
  }
}

/** An address, or a network. */
class Entry {
  readonly connections = new Bucket();
  readonly requests = new Bucket();
  inFlight = 0;
}

/** A client's connection, and what it counts for. */
export interface Ticket {
  readonly perAddress: Entry;
  readonly perNetwork: Entry;
  /** A request of it is in progress. */
  isAsking: boolean;
}

const KINDS = ['perAddress', 'perNetwork'] as const;

export class ClientLimits {
  #config: ClientLimitsConfig;
  readonly #tables = { perAddress: new Map<string, Entry>(), perNetwork: new Map<string, Entry>() };

  constructor(config: ClientLimitsConfig) {
    this.#config = config;
  }

  /** From now on the limits of `config` hold. */
  use(config: ClientLimitsConfig): void {
    this.#config = config;
  }

  get size(): number {
    return this.#tables.perAddress.size + this.#tables.perNetwork.size;
  }

  /** A client connects. Null: it has connected too often. */
  connects(address: Buffer, nowMs: number): Ticket | null {
    const bytes = isMapped(address) ? BYTES_4 : BYTES_6;
    const key = address.toString('latin1');
    const [perAddress, perNetwork] = KINDS.map((kind) =>
      entryOf(this.#tables[kind], key.slice(0, bytes[kind])),
    );
    const ticket = { perAddress, perNetwork, isAsking: false };
    const may = KINDS.map((kind) =>
      ticket[kind].connections.has(this.#config[kind].connectionsPerSecond, nowMs),
    );
    if (may.includes(false)) return null;
    for (const kind of KINDS) ticket[kind].connections.take();
    return ticket;
  }

  /** A request comes on that connection. False: there were too many, or are. */
  asks(ticket: Ticket, nowMs: number): boolean {
    const may = KINDS.map((kind) => {
      const { requestsPerSecond, inFlight } = this.#config[kind];
      const { requests, inFlight: now } = ticket[kind];
      return requests.has(requestsPerSecond, nowMs) && (inFlight === null || now < inFlight);
    });
    if (may.includes(false)) return false;
    ticket.isAsking = true;
    for (const kind of KINDS) {
      ticket[kind].requests.take();
      ticket[kind].inFlight++;
    }
    return true;
  }

  /** The request in progress, if there is one, has its answer, or its connection has ended. */
  answered(ticket: Ticket): void {
    if (!ticket.isAsking) return;
    ticket.isAsking = false;
    for (const kind of KINDS) ticket[kind].inFlight--;
  }
}

/** The one that was heard of last is the last of the map. */
function entryOf(all: Map<string, Entry>, key: string): Entry {
  const entry = all.get(key) ?? new Entry();
  all.delete(key);
  if (all.size >= MAX_ENTRIES) all.delete(all.keys().next().value!);
  all.set(key, entry);
  return entry;
}
