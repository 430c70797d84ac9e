/** The load of this engine, and of its node's other engines: measured, counted, and put into the table of loads. */
import { type EngineLoad, LOAD_INTERVAL_MS, LoadMeter, type LoadTable } from '../cluster/load.ts';
import { acceptQueueOf } from '../linux/accept-queue.ts';
import { threadCpuMs } from '../linux/thread-time.ts';
import { Counters } from './counters.ts';

export class OwnLoad {
  readonly #table: LoadTable;
  readonly #self: number;
  readonly #index: number;
  /** Of every engine of the node, by index. Each engine writes its own only. */
  readonly #counters: readonly Counters[];
  readonly #meter = new LoadMeter();
  #measuredAtMs = Number.NEGATIVE_INFINITY;
  #last = { cpuPermille: 0, requestsPerSecond: 0, acceptQueue: 0 };

  constructor(table: LoadTable, self: number, index: number, counters: readonly SharedArrayBuffer[]) {
    this.#table = table;
    this.#self = self;
    this.#index = index;
    this.#counters = counters.map((buffer) => new Counters(buffer));
  }

  /** Whether it is time to measure and to report again. */
  isDue(nowMs: number): boolean {
    return nowMs - this.#measuredAtMs >= LOAD_INTERVAL_MS;
  }

  /** The load as last measured. */
  current(connections: number, accepting: boolean): EngineLoad {
    return { ...this.#last, connections, accepting };
  }

  /** Measures, and puts it into the table. */
  measure(nowMs: number, listeners: readonly number[], connections: number, accepting: boolean): void {
    this.#measuredAtMs = nowMs;
    const own = this.#counters[this.#index];
    const { cpuPermille, requestsPerSecond } = this.#meter.rates(nowMs, threadCpuMs(), own.get('requests'));
    const acceptQueue = listeners.reduce((sum, fd) => sum + acceptQueueOf(fd), 0);
    own.set('cpu_permille_now', cpuPermille);
    own.set('requests_per_second_now', requestsPerSecond);
    own.set('accept_queue_now', acceptQueue);
    this.#last = { cpuPermille, requestsPerSecond, acceptQueue };
    this.#counters.forEach((counters, engine) => {
      const isOwn = engine === this.#index;
      const report = isOwn ? this.current(connections, accepting) : { ...loadOf(counters), accepting };
      this.#table.report(this.#self, engine, report, nowMs);
    });
  }
}

function loadOf(counters: Counters): Omit<EngineLoad, 'accepting'> {
  return {
    connections: counters.get('connections_now'),
    cpuPermille: counters.get('cpu_permille_now'),
    requestsPerSecond: counters.get('requests_per_second_now'),
    acceptQueue: counters.get('accept_queue_now'),
  };
}
