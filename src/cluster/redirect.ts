/**
 * SYN redirect: how much of a loaded node's new connections go to lighter nodes. Pure: loads and the time are
 * arguments, a table is the result.
 *
 *     load   1000 |
 *                 |   above high: one step more to the lightest peer, if that is below low
 *           high -+-
 *                 |   between: nothing changes
 *            low -+-
 *                 |   below low: one step less
 *               0 |
 *
 * It does not flap: loads are smoothed, a step moves at most as much load as lies between low and high (the
 * configuration sees to that), and the next step waits until the last one shows. Only a peer that is gone loses its
 * share at once.
 */

export interface RedirectOptions {
  /** Own load above which connections are redirected, 0 to 1000. */
  readonly highPermille: number;
  /** Own load below which they come back, and a peer's load up to which it gets more. */
  readonly lowPermille: number;
}

/** A peer that can be reached, accepts, and has reported its load lately. */
export interface PeerLoad {
  /** Node index + 1. */
  readonly owner: number;
  readonly loadPermille: number;
}

/** The share of all new connections that one step moves. */
export const STEP_PERMILLE = 100;
/** Between two steps: reports come every 500 ms, and their average needs a few. */
export const HOLD_MS = 2000;
/** A node keeps at least a step for itself. */
export const MAX_REDIRECTED_PERMILLE = 1000 - STEP_PERMILLE;
/** Time constant of the averages. */
const SMOOTHING_MS = 1000;

export class Redirect {
  readonly #options: RedirectOptions;
  /** Permille of new connections, by the node that owns the address; nodes without a share are not in it. */
  readonly #shares = new Map<number, number>();
  /** Smoothed loads by owner, 0 for the own one, which starts from nothing: a busy start is no load. */
  readonly #smoothed = new Map<number, number>([[0, 0]]);
  #lookedAtMs = -1;
  #steppedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: RedirectOptions) {
    this.#options = options;
  }

  /** Where new connections go: permille by owner. The rest stays. */
  get shares(): ReadonlyMap<number, number> {
    return this.#shares;
  }

  get redirectedPermille(): number {
    let sum = 0;
    for (const share of this.#shares.values()) sum += share;
    return sum;
  }

  /** Looks at the loads; one step at most. Returns whether the shares have changed. */
  look(nowMs: number, ownPermille: number, peers: readonly PeerLoad[]): boolean {
    const { highPermille, lowPermille } = this.#options;
    const gone = this.#forgetAllBut(peers);
    const own = this.#smooth(nowMs, 0, ownPermille);
    const loads = new Map(peers.map((p) => [p.owner, this.#smooth(nowMs, p.owner, p.loadPermille)]));
    this.#lookedAtMs = nowMs;
    if (nowMs - this.#steppedAtMs < HOLD_MS) return gone;
    const busiest = busiestOf(this.#shares, loads);
    let step = 0;
    let owner = 0;
    if (own < lowPermille || (busiest !== null && loads.get(busiest)! > highPermille)) {
      step = -STEP_PERMILLE;
      owner = busiest ?? 0;
    } else if (own > highPermille && this.redirectedPermille < MAX_REDIRECTED_PERMILLE) {
      step = STEP_PERMILLE;
      owner = lightestOf(loads, lowPermille) ?? 0;
    }
    if (owner === 0) return gone;
    const share = (this.#shares.get(owner) ?? 0) + step;
    if (share > 0) this.#shares.set(owner, share);
    else this.#shares.delete(owner);
    this.#steppedAtMs = nowMs;
    return true;
  }

  #forgetAllBut(peers: readonly PeerLoad[]): boolean {
    const here = new Set(peers.map((peer) => peer.owner));
    for (const owner of this.#smoothed.keys())
      if (owner !== 0 && !here.has(owner)) this.#smoothed.delete(owner);
    let changed = false;
    for (const owner of this.#shares.keys()) {
      if (!here.has(owner)) changed = this.#shares.delete(owner) || changed;
    }
    return changed;
  }

  /** Exponential average: what is SMOOTHING_MS old counts 1/e. */
  #smooth(nowMs: number, owner: number, permille: number): number {
    const before = this.#smoothed.get(owner);
    const passedMs = this.#lookedAtMs < 0 ? 0 : nowMs - this.#lookedAtMs;
    const weight = 1 - Math.exp(-passedMs / SMOOTHING_MS);
    const value = before === undefined ? permille : before + weight * (permille - before);
    this.#smoothed.set(owner, value);
    return value;
  }
}

/** The node with the highest load among those that have a share; null when none has. */
function busiestOf(shares: ReadonlyMap<number, number>, loads: ReadonlyMap<number, number>): number | null {
  let busiest: number | null = null;
  for (const owner of shares.keys()) {
    if (busiest === null || loads.get(owner)! > loads.get(busiest)!) busiest = owner;
  }
  return busiest;
}

/** The one with the lowest load, if that is below `limit`. */
function lightestOf(loads: ReadonlyMap<number, number>, limit: number): number | null {
  let lightest: number | null = null;
  for (const [owner, load] of loads) {
    if (load < limit && (lightest === null || load < loads.get(lightest)!)) lightest = owner;
  }
  return lightest;
}

/** The table for such shares: owners, 0 for this node. A connection's place in it is a hash, so order is no matter. */
export function redirectTable(shares: ReadonlyMap<number, number>, size: number): Uint8Array {
  const table = new Uint8Array(size);
  let at = 0;
  for (const [owner, permille] of [...shares].sort(([a], [b]) => a - b)) {
    const end = Math.min(size, at + Math.round((size * permille) / 1000));
    table.fill(owner, at, end);
    at = end;
  }
  return table;
}
