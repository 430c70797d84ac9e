/**
 * A server whose new clients may go to boosters: whether they do (boost-switch.ts), and to which. Pure.
 *
 * A booster takes clients while it can be reached, says so, has said so lately, and has room. The rest, all when there
 * is none, come here as ever.
 */
import type { BoostConfig, ClusterConfig } from '../base/config/config.ts';
import { type BoostMode, BoostSwitch } from './boost-switch.ts';
import { LOAD_STALE_MS, type LoadTable } from './load.ts';
import type { BoostCause } from './quick-load.ts';

export interface BoostingOptions {
  readonly config: Pick<ClusterConfig, 'nodes'>;
  readonly self: number;
  readonly loads: Pick<LoadTable, 'of'>;
  readonly isUp: (node: number) => boolean;
}

/** What the admin API tells. */
export interface BoostStatus {
  readonly mode: BoostMode;
  readonly on: boolean;
  /** `by hand`, or what there was too much of; null while it is off. */
  readonly why: string | null;
  /** For how long the switch has been in that state; null: since the process started. */
  readonly forMs: number | null;
  /** The load that the switch saw last. */
  readonly loadPermille: number;
  /** Permille of new connections, by booster. */
  readonly boosters: Readonly<Record<string, number>>;
}

/** A booster with that load takes no more, until it is below the other. */
const FULL_PERMILLE = 950;
const ROOM_PERMILLE = 850;

export class Boosting {
  readonly #options: BoostingOptions;
  readonly #config: BoostConfig;
  readonly #switch: BoostSwitch;
  /** Indices of nodes. */
  readonly #boosters: readonly number[];
  readonly #full = new Set<number>();
  #loadPermille = 0;

  constructor(options: BoostingOptions) {
    const { nodes } = options.config;
    this.#options = options;
    this.#config = nodes[options.self].boost;
    this.#switch = new BoostSwitch(this.#config);
    this.#boosters = this.#config.boosters.map((name) => nodes.findIndex((node) => node.name === name));
  }

  set(mode: BoostMode): void {
    this.#switch.set(mode);
  }

  get state() {
    return this.#switch.state;
  }

  /** Looks at the own load. Returns whether it is on now and was not, or the other way round. */
  look(nowMs: number, permille: number, cause: BoostCause): boolean {
    this.#loadPermille = permille;
    return this.#switch.look(nowMs, permille, cause);
  }

  /** Where new connections go: permille by owner (node index + 1). The rest stays. */
  shares(nowMs: number): ReadonlyMap<number, number> {
    if (!this.#switch.state.on) return new Map();
    const able = this.#boosters.filter((node) => this.#takes(node, nowMs));
    return new Map(able.map((node) => [node + 1, this.#config.sharePermille / able.length]));
  }

  #takes(node: number, nowMs: number): boolean {
    const { isUp, loads } = this.#options;
    const { accepting, loadPermille, reportedAtMs } = loads.of(node);
    if (loadPermille >= FULL_PERMILLE) this.#full.add(node);
    if (loadPermille < ROOM_PERMILLE) this.#full.delete(node);
    const isHeard = reportedAtMs >= 0 && nowMs - reportedAtMs <= LOAD_STALE_MS;
    return isUp(node) && accepting && isHeard && !this.#full.has(node);
  }

  status(nowMs: number): BoostStatus {
    const { mode, state } = this.#switch;
    const { nodes } = this.#options.config;
    const shares = [...this.shares(nowMs)].map(([owner, permille]) => [
      nodes[owner - 1].name,
      Math.round(permille),
    ]);
    return {
      mode,
      on: state.on,
      why: state.why,
      forMs: Number.isFinite(state.sinceMs) ? Math.round(nowMs - state.sinceMs) : null,
      loadPermille: this.#loadPermille,
      boosters: Object.fromEntries(shares),
    };
  }
}
