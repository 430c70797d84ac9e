/**
 * An engine's load of the last moment, for the switch that gives new clients to boosters: the reports to other nodes
 * come too late for that. Looked at every QUICK_LOOK_MS, over the last two looks.
 */
import type { Counters } from '../base/counters.ts';
import { LoadMeter } from './load.ts';

export const QUICK_LOOK_MS = 25;

/** What is asked of the engine. */
export interface QuickLoadHost {
  readonly nowMs: number;
  readonly connectionCount: number;
  cpuMs(): number;
  /** Connections that the kernel has ready and nobody has accepted yet. */
  acceptQueue(): number;
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
    return true;
  }
}
