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
import { connectionsWithoutFailure } from './lib/connections.ts';
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
const SECONDS = { wan: 8, lan: 2 };
const KIB = 1024;

/** The paper's ratios, where it states them: by requests a connection. */
const THROUGHPUT: Readonly<Record<number, Target>> = { 2: '>= 1.4', 6: '>= 1.65' };
const LIFETIME: Readonly<Record<number, Target>> = { 2: '<= 0.73', 6: '<= 0.57' };

type Path = keyof typeof WORKERS;

/** The client's windows: the kernel gives half of the buffer as window. */
async function setWindow(baton: Baton, windowKib: number): Promise<void> {
  const bytes = 2 * windowKib * KIB;
  const setting = `net.ipv4.tcp_rmem=4096 ${bytes} ${bytes}`;
  const { code, stderr } = await baton.lab.exec('client', ['sysctl', '-q', '-w', setting]);
  if (code !== 0) throw new Error(`sysctl: ${stderr}`);
}

export async function pipeDrain(report: Report): Promise<void> {
  const site = new Site(NODES);
  const pathsFor = (size: SizeName, requests: number): string[] =>
    Array.from({ length: requests }, (_, i) => site.path(size, i % 2 === 0 ? 'b' : 'c'));
  for (const path of ['wan', 'lan'] as const) {
    const batons: Baton[] = [];
    for (const [i, mechanism] of MECHANISMS.entries()) {
      const options = { name: `b${i + 1}`, nodes: NODES.length, root: site.root, mechanism };
      batons.push(await Baton.up(path === 'wan' ? { ...options, ...WAN } : options));
    }
    for (const requests of JUMPS)
      await compare(report, batons, path, '6k', pathsFor('6k', requests), 16, true);
    for (const windowKib of path === 'wan' ? WINDOWS_KIB : [100])
      for (const size of SWEPT_SIZES)
        await compare(report, batons, path, size, pathsFor(size, SWEPT_REQUESTS), windowKib, true);
    await compare(report, batons, path, '6k', pathsFor('6k', 6), 16, false);
    for (const baton of batons) baton.down();
  }
}

async function compare(
  report: Report,
  batons: readonly Baton[],
  path: Path,
  size: SizeName,
  paths: readonly string[],
  windowKib: number,
  pipelined: boolean,
): Promise<void> {
  const results = [];
  for (const baton of batons) {
    await setWindow(baton, windowKib);
    const job = { paths, pipelined, workers: WORKERS[path], seconds: SECONDS[path] };
    results.push(await connectionsWithoutFailure(baton, job));
  }
  const [anchor, drain] = results;
  const how = pipelined ? '' : '.one-at-a-time';
  const name = `pipe-drain.${path}.${windowKib}k-window.${size}.x${paths.length}${how}`;
  const stated = path === 'wan' && size === '6k' && windowKib === 16 && pipelined;
  report({
    name: `${name}.throughput`,
    value: anchor.requests / anchor.seconds,
    unit: 'req/s',
    baseline: drain.requests / drain.seconds,
    target: (stated && THROUGHPUT[paths.length]) || null,
  });
  report({
    name: `${name}.lifetime`,
    value: anchor.lifetimeMs.mean,
    unit: 'ms',
    baseline: drain.lifetimeMs.mean,
    target: (stated && LIFETIME[paths.length]) || null,
  });
}
