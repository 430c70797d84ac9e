/**
 * What it costs to let the pipe drain at each handoff (the half-pipe paper, section V.B): mechanism anchor against
 * mechanism drain, every request on another node than the one before. WAN: 175 ms and 4 % loss; LAN: neither.
 *
 * Requests are pipelined: only then are there bytes in the pipe when the next handoff comes. With one request at a
 * time, reported too, the client itself lets it drain.
 *
 * The paper's figures, beside ours in the README: 2 requests a connection +40 % throughput, lifetime 1440 -> 1055 ms;
 * 6 requests up to +65 %, 3489 -> 1972 ms.
 */
import { Baton } from './lib/baton.ts';
import { setClient } from './lib/client-settings.ts';
import { connections } from './lib/connections.ts';
import type { ConnectionsReport } from './lib/connections-client.ts';
import type { Report, Target } from './lib/result.ts';
import { Site, type SizeName } from './lib/site.ts';

const NODES = ['a', 'b', 'c'];
const MECHANISMS = ['anchor', 'drain'] as const;
const WAN = { delayMs: 175, lossPercent: 4 };
const JUMPS = [1, 2, 4, 6];
const SWEPT_REQUESTS = 4;
const SWEPT_SIZES: readonly SizeName[] = ['1k', '6k', '10k', '30k', '100k'];
const WINDOWS_KIB = [16, 100];
const WORKERS = { wan: 48, lan: 4 };
const SECONDS = { wan: 16, lan: 2 };
const KIB = 1024;

/** The paper's ratios, where it states them: by requests a connection. */
const THROUGHPUT: Readonly<Record<number, Target>> = { 2: '>= 1.4', 6: '>= 1.65' };
const LIFETIME: Readonly<Record<number, Target>> = { 2: '<= 0.73', 6: '<= 0.57' };

type Path = keyof typeof WORKERS;

/** The client's windows: the kernel gives half of the buffer as window. */
async function setWindow(baton: Baton, windowKib: number): Promise<void> {
  const bytes = 2 * windowKib * KIB;
  await setClient(baton, `net.ipv4.tcp_rmem=4096 ${bytes} ${bytes}`);
}

interface Step {
  readonly size: SizeName;
  readonly requests: number;
  readonly windowKib: number;
  readonly pipelined: boolean;
}

function stepsOf(path: Path): Step[] {
  const one = { size: '6k', windowKib: 16, pipelined: true } as const;
  const swept = (path === 'wan' ? WINDOWS_KIB : [100]).flatMap((windowKib) =>
    SWEPT_SIZES.map((size) => ({ ...one, size, windowKib, requests: SWEPT_REQUESTS })),
  );
  return [
    ...JUMPS.map((requests) => ({ ...one, requests })),
    ...swept,
    { ...one, requests: 6, pipelined: false },
  ];
}

export async function pipeDrain(report: Report): Promise<void> {
  const site = new Site(NODES);
  for (const path of ['wan', 'lan'] as const) {
    const batons: Baton[] = [];
    for (const [i, mechanism] of MECHANISMS.entries()) {
      const options = { name: `b${i + 1}`, nodes: NODES.length, root: site.root, mechanism };
      batons.push(await Baton.up(path === 'wan' ? { ...options, ...WAN } : options));
    }
    const failed = MECHANISMS.map(() => 0);
    for (const step of stepsOf(path)) {
      const results = [];
      for (const baton of batons) results.push(await run(baton, path, site, step));
      for (const [i, { failures }] of results.entries())
        for (const count of Object.values(failures)) failed[i] += count;
      compare(report, path, step, results);
    }
    // A client whose request is lost again and again meets a deadline: few, and the same with both.
    const [value, baseline] = failed;
    report({ name: `pipe-drain.${path}.failed`, value, unit: 'connections', baseline, target: null });
    for (const baton of batons) baton.down();
  }
}

async function run(baton: Baton, path: Path, site: Site, step: Step): Promise<ConnectionsReport> {
  const { size, requests, windowKib, pipelined } = step;
  await setWindow(baton, windowKib);
  const paths = Array.from({ length: requests }, (_, i) => site.path(size, i % 2 === 0 ? 'b' : 'c'));
  return connections(baton, { paths, pipelined, workers: WORKERS[path], seconds: SECONDS[path] });
}

function compare(report: Report, path: Path, step: Step, results: readonly ConnectionsReport[]): void {
  const { size, requests, windowKib, pipelined } = step;
  const [anchor, drain] = results;
  const how = pipelined ? '' : '.one-at-a-time';
  const name = `pipe-drain.${path}.${windowKib}k-window.${size}.x${requests}${how}`;
  const stated = path === 'wan' && size === '6k' && windowKib === 16 && pipelined;
  report({
    name: `${name}.throughput`,
    value: anchor.requestsInTime / SECONDS[path],
    unit: 'req/s',
    baseline: drain.requestsInTime / SECONDS[path],
    target: (stated && THROUGHPUT[requests]) || null,
  });
  report({
    name: `${name}.lifetime`,
    value: anchor.lifetimeMs.mean,
    unit: 'ms',
    baseline: drain.lifetimeMs.mean,
    target: (stated && LIFETIME[requests]) || null,
  });
}
