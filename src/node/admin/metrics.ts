/** Prometheus metrics of a node: `baton_*`, computed when they are asked for from counters that exist anyway. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { MECHANISM_ROWS } from '../../base/config/config.ts';
import { type Counters, ENGINE_COUNTERS } from '../../base/counters.ts';
import { TIMING_NUMBERS } from '../../client/access-batch.ts';
import type { CertificateStatus } from './api.ts';
import type { EngineClient } from './engines.ts';

/** From a fast answer on the same machine to one that hit several timeouts. */
const BUCKETS_SECONDS = [
  0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
  10,
];
const MICROSECONDS_PER_SECOND = 1_000_000;
const GAUGE_SUFFIX = '_now';

export interface MetricsOptions {
  readonly engines: readonly EngineClient[];
  /** The counters of each engine, by its number. */
  readonly counters: readonly Counters[];
  /** Hits of each router rule. */
  readonly routerCounters: () => Record<string, number>;
  /** What sites show to clients that speak TLS. */
  readonly certificates: () => readonly CertificateStatus[];
  /** Lines dropped, by log. */
  readonly droppedLines: () => Record<string, number>;
}

export interface Metrics {
  readonly registry: Registry;
  /** Feeds the histograms: an AccessBatch's `timings`. */
  observe(timings: Int32Array): void;
}

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  addEngines(registry, options);
  addLabelled(
    registry,
    'baton_router_rule_total',
    'Packets a router rule applied to',
    'rule',
    options.routerCounters,
  );
  addLabelled(registry, 'baton_log_lines_dropped_total', 'Log lines dropped', 'log', options.droppedLines);
  addCertificates(registry, options);
  addProcess(registry);
  const handoff = mechanismHistogram(
    registry,
    'baton_handoff_seconds',
    'Time from a request read to its SETUP answered',
  );
  const firstByte = mechanismHistogram(
    registry,
    'baton_first_byte_seconds',
    "Time from a request read to its response's first byte handed to the kernel",
  );
  return {
    registry,
    observe(timings) {
      for (let i = 0; i < timings.length; i += TIMING_NUMBERS) {
        const [number, handoffUs, firstByteUs] = timings.subarray(i, i + TIMING_NUMBERS);
        const mechanism = MECHANISM_ROWS[number];
        if (handoffUs >= 0) handoff.observe({ mechanism }, handoffUs / MICROSECONDS_PER_SECOND);
        if (firstByteUs >= 0) firstByte.observe({ mechanism }, firstByteUs / MICROSECONDS_PER_SECOND);
      }
    },
  };
}

function mechanismHistogram(registry: Registry, name: string, help: string): Histogram<'mechanism'> {
  return new Histogram({
    name,
    help,
    labelNames: ['mechanism'],
    buckets: BUCKETS_SECONDS,
    registers: [registry],
  });
}

function addEngines(registry: Registry, options: MetricsOptions): void {
  const registers = [registry];
  const labelNames = ['engine'] as const;
  for (const [name, help] of ENGINE_COUNTERS) {
    if (name.endsWith(GAUGE_SUFFIX)) {
      new Gauge({
        name: `baton_${name.slice(0, -GAUGE_SUFFIX.length)}`,
        help,
        labelNames,
        registers,
        collect() {
          options.counters.forEach((counters, engine) => {
            this.set({ engine }, counters.get(name));
          });
        },
      });
      continue;
    }
    new Counter({
      name: `baton_${name}_total`,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        options.counters.forEach((counters, engine) => {
          this.inc({ engine }, counters.get(name));
        });
      },
    });
  }
  new Gauge({
    name: 'baton_engine_ready',
    help: 'Whether the engine reported ready (1) or not (0)',
    labelNames,
    registers,
    collect() {
      for (const { engine, ready } of options.engines) this.set({ engine }, ready ? 1 : 0);
    },
  });
}

/** A counter of one label, whose values are read from elsewhere. */
function addLabelled(
  registry: Registry,
  name: string,
  help: string,
  label: string,
  read: () => Record<string, number>,
): void {
  new Counter({
    name,
    help,
    labelNames: [label],
    registers: [registry],
    collect() {
      this.reset();
      for (const [key, value] of Object.entries(read())) this.inc({ [label]: key }, value);
    },
  });
}

function addCertificates(registry: Registry, { certificates }: MetricsOptions): void {
  new Gauge({
    name: 'baton_certificate_days_left',
    help: 'Days until the first certificate of a site expires',
    labelNames: ['site'],
    registers: [registry],
    collect() {
      this.reset();
      for (const { site, daysLeft } of certificates()) this.set({ site }, daysLeft);
    },
  });
}

/** The process, all its threads together. prom-client's own set would keep a timer and a GC observer running. */
function addProcess(registry: Registry): void {
  const registers = [registry];
  new Counter({
    name: 'baton_process_cpu_seconds_total',
    help: 'CPU time of the process',
    labelNames: ['mode'],
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc({ mode: 'user' }, user / MICROSECONDS_PER_SECOND);
      this.inc({ mode: 'system' }, system / MICROSECONDS_PER_SECOND);
    },
  });
  new Gauge({
    name: 'baton_process_resident_memory_bytes',
    help: 'Resident memory of the process',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Gauge({
    name: 'baton_process_heap_used_bytes',
    help: 'JavaScript heap in use in the main thread',
    registers,
    collect() {
      this.set(process.memoryUsage().heapUsed);
    },
  });
  new Gauge({
    name: 'baton_process_start_time_seconds',
    help: 'When the process started, in seconds since the epoch',
    registers,
  }).set(Date.now() / 1000 - process.uptime());
}
