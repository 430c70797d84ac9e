/**
 * Which node a new connection to this node's public addresses goes to: the table that its router spreads them by.
 *
 *     front                  Maglev over the servers that can be reached and accept
 *     server                 this node; with redirect enabled, a share of it to lighter peers
 *     server that is boosted boosters, all or a share of it
 *     server that is ending  Maglev over the others, so that clients who come now are served by them
 *
 * A server keeps a second table ready as well: Maglev over the others, for when its process is killed (rule heirs).
 *
 * A front that reaches no server leaves its table as it is: it answers nobody itself, and they may come back.
 */
import type { ClusterConfig } from '../base/config/config.ts';
import type { Boosting } from './boosting.ts';
import { LOAD_STALE_MS, type LoadTable } from './load.ts';
import { maglevTable, type SpreadNode } from './maglev.ts';
import { type PeerLoad, Redirect, redirectTable } from './redirect.ts';

/** Where the table goes: the router's map. */
export interface SpreadMap {
  write(table: Uint8Array): void;
  writeHeirs(table: Uint8Array): void;
  setFront(on: boolean): void;
  setAway(nodes: readonly number[]): void;
}

export interface SpreadingOptions {
  readonly config: ClusterConfig;
  readonly self: number;
  readonly loads: LoadTable;
  readonly isUp: (node: number) => boolean;
  readonly map: SpreadMap;
  /** Null: there are no boosters for this node. */
  readonly boosting: Pick<Boosting, 'shares'> | null;
  /** Entries of the table; a prime. */
  readonly size: number;
}

const NO_SHARES: ReadonlyMap<number, number> = new Map();
const madeFromShares = (shares: ReadonlyMap<number, number>): string => JSON.stringify([...shares]);

export class Spreading {
  readonly #options: SpreadingOptions;
  readonly #isFront: boolean;
  readonly #redirect: Redirect | null;
  /** What the table was made from, as text. */
  #madeFrom = '';
  /** What the heirs' table was made from, as text; null: it has not been written. */
  #heirs: string | null = null;
  /** Nodes that cannot be reached, as text. */
  #away = '';
  #table: Uint8Array;
  /** Tables written because something changed, the first one not counted. */
  changes = 0;

  constructor(options: SpreadingOptions) {
    const { config, self } = options;
    this.#options = options;
    this.#isFront = config.nodes[self].role === 'front';
    this.#redirect = config.redirect.enabled && !this.#isFront ? new Redirect(config.redirect) : null;
    this.#table = new Uint8Array(options.size);
    options.map.setFront(this.#isFront);
    // A front goes on with what an earlier process left until it knows its servers.
    if (this.#isFront) return;
    options.map.write(this.#table);
    this.#madeFrom = madeFromShares(NO_SHARES);
  }

  /** Looks at loads and links. `settled`: links have had the time to come up. `ending`: this node takes no more. */
  look(nowMs: number, settled: boolean, ending: boolean): void {
    if (settled) this.#nameAway();
    if (this.#isFront) {
      if (settled && !ending) this.#spreadOver(this.#acceptingServers());
      return;
    }
    if (settled) this.#nameHeirs(this.#acceptingServers());
    if (ending) return this.#spreadOver(this.#acceptingServers());
    const own = this.#options.loads.of(this.#options.self).loadPermille;
    this.#redirect?.look(nowMs, own, this.#peerLoads(nowMs));
    const boosted = this.#options.boosting?.shares(nowMs) ?? NO_SHARES;
    const shares = boosted.size > 0 ? boosted : (this.#redirect?.shares ?? NO_SHARES);
    const madeFrom = madeFromShares(shares);
    if (madeFrom !== this.#madeFrom) this.#write(madeFrom, redirectTable(shares, this.#options.size));
  }

  #nameAway(): void {
    const { config, self, isUp, map } = this.#options;
    const away = [...config.nodes.keys()].filter((node) => node !== self && !isUp(node));
    const text = away.join(' ');
    if (text === this.#away) return;
    this.#away = text;
    map.setAway(away);
  }

  #acceptingServers(): SpreadNode[] {
    const { config, self, isUp, loads } = this.#options;
    return config.nodes
      .map(({ name, role }, index) => ({ name, role, index, owner: index + 1 }))
      .filter(({ role, index }) => role === 'server' && index !== self && isUp(index))
      .filter(({ index }) => loads.of(index).accepting);
  }

  #peerLoads(nowMs: number): PeerLoad[] {
    return this.#acceptingServers()
      .map(({ owner }) => ({ owner, load: this.#options.loads.of(owner - 1) }))
      .filter(({ load }) => nowMs - load.reportedAtMs <= LOAD_STALE_MS && load.reportedAtMs >= 0)
      .map(({ owner, load }) => ({ owner, loadPermille: load.loadPermille }));
  }

  #spreadOver(nodes: readonly SpreadNode[]): void {
    if (nodes.length === 0) return;
    const madeFrom = nodes.map((node) => node.name).join(' ');
    if (madeFrom !== this.#madeFrom) this.#write(madeFrom, maglevTable(nodes, this.#options.size));
  }

  /** Until links have had the time to come up, those of the process before stay. */
  #nameHeirs(nodes: readonly SpreadNode[]): void {
    const { map, size } = this.#options;
    const heirs = nodes.map((node) => node.name).join(' ');
    if (heirs === this.#heirs) return;
    this.#heirs = heirs;
    map.writeHeirs(nodes.length === 0 ? new Uint8Array(size) : maglevTable(nodes, size));
  }

  #write(madeFrom: string, table: Uint8Array): void {
    if (this.#madeFrom !== '') this.changes++;
    this.#madeFrom = madeFrom;
    this.#table = table;
    this.#options.map.write(table);
  }

  /** Permille of the table by node name, this node's own entries included. Empty while a front has made none. */
  shares(): Record<string, number> {
    if (this.#isFront && this.#madeFrom === '') return {};
    const { config, self, size } = this.#options;
    const counts = new Map<number, number>();
    for (const owner of this.#table) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    return Object.fromEntries(
      [...counts].map(([owner, count]) => [
        config.nodes[owner === 0 ? self : owner - 1].name,
        Math.round((1000 * count) / size),
      ]),
    );
  }

  get redirectedPermille(): number {
    return this.#redirect?.redirectedPermille ?? 0;
  }
}
