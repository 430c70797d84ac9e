/**
 * An engine's load of the last moment, for the switch that gives new clients to boosters: the reports to other nodes
 * come too late for that. Looked at every QUICK_LOOK_MS, over the last two looks.
 */
import type { Counters } from '../base/counters.ts';
import { type LoadCause, LoadMeter, loadOf } from './load.ts';

export const QUICK_LOOK_MS = 25;

/** What an engine has too much of. */
export type BoostCause = LoadCause | 'time to first byte';

/** An engine's load for that switch, as one number, and by what. `bounds`: what is as much as 1000 permille. */
export function quickLoadOf(
  counters: Pick<Counters, 'get'>,
  bounds: { readonly connections: number; readonly firstByteMs: number | null },
): { permille: number; cause: BoostCause } {
  const used = {
    cpuPermille: counters.get('quick_cpu_permille_now'),
    acceptQueue: counters.get('accept_queue_now'),
    connections: counters.get('connections_now'),
  };
  const load = loadOf(used, bounds.connections);
  if (bounds.firstByteMs === null) return load;
  const waits = Math.min(1000, Math.round((1000 * counters.get('first_byte_ms_now')) / bounds.firstByteMs));
  return waits > load.permille ? { permille: waits, cause: 'time to first byte' } : load;
}

/** What is asked of the engine. */
export interface QuickLoadHost {
  readonly nowMs: number;
  readonly connectionCount: number;
  cpuMs(): number;
  /** Connections that the kernel has ready and nobody has accepted yet. */
  acceptQueue(): number;
  /** For how long half of the newest requests have waited for their answer to begin. */
  firstByteMs(): number;
}

export class QuickLoad {
  readonly #host: QuickLoadHost;
  readonly #counters: Pick<Counters, 'set'>;
  /** Each over two looks, in turn. */
  readonly #meters = [new LoadMeter(), new LoadMeter()] as const;
  #lookedAtMs = Number.NEGATIVE_INFINITY;
  #looks = 0;

  constructor(host: QuickLoadHost, counters: Pick<Counters, 'set'>) {
    this.#host = host;
    this.#counters = counters;
  }

  /** Looks when it is time. Returns whether it was. */
  look(): boolean {
    const { nowMs, connectionCount } = this.#host;
    if (nowMs - this.#lookedAtMs < QUICK_LOOK_MS) return false;
    this.#lookedAtMs = nowMs;
    const meter = this.#meters[this.#looks++ % 2];
    this.#counters.set('quick_cpu_permille_now', meter.rates(nowMs, this.#host.cpuMs(), 0).cpuPermille);
    this.#counters.set('accept_queue_now', this.#host.acceptQueue());
    this.#counters.set('connections_now', connectionCount);
    this.#counters.set('first_byte_ms_now', Math.round(this.#host.firstByteMs()));
    return true;
  }
}
