/**
 * Where the processor time of a handed-off request of 1 KB goes, on kept connections and on new ones: system calls and
 * switches of both nodes' processes, packets through their interfaces and the client's, and what the router's programs
 * take (kernel.bpf_stats_enabled). Nothing of it depends on how fast the machine is, but for the times. System calls are
 * counted by perf, whose tracepoints need tracefs; without it they are left out.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { run } from '../src/tools/lab/system.ts';
import { Baton } from './lib/baton.ts';
import { atExit } from './lib/cleanup.ts';
import type { Report } from './lib/result.ts';
import { Site } from './lib/site.ts';
import { type Load, load } from './lib/wrk.ts';

const NODES = ['a', 'b'];
const MECHANISMS = ['anchor', 'clone', 'relay'] as const;
const CONNECTIONS = 32;
const SECONDS = 1;
/** perf attaches to every thread first. */
const PERF_STARTS_MS = 500;
const BPF_STATS = 'kernel.bpf_stats_enabled';
const NS_PER_US = 1000;

interface BpfTime {
  readonly runs: number;
  readonly ns: number;
}

/** What all of the router's programs on this machine have run. */
function bpfTime(): BpfTime {
  const programs = JSON.parse(run(['bpftool', '-j', 'prog', 'show'])) as Array<{
    readonly name?: string;
    readonly run_cnt?: number;
    readonly run_time_ns?: number;
  }>;
  let [runs, ns] = [0, 0];
  for (const { name, run_cnt = 0, run_time_ns = 0 } of programs) {
    if (!name?.startsWith('baton_')) continue;
    runs += run_cnt;
    ns += run_time_ns;
  }
  return { runs, ns };
}

/** Packets that a host's Ethernet interface has received and sent. */
async function packets(baton: Baton, host: string): Promise<number> {
  const { stdout } = await baton.lab.exec(host, ['cat', '/proc/net/dev']);
  const line = stdout.split('\n').find((candidate) => candidate.trim().startsWith('eth0:'));
  const fields = line!.trim().split(/\s+/);
  return Number(fields[2]) + Number(fields[10]);
}

/** What node a has counted: a busy machine has some requests answered there. */
async function counted(baton: Baton): Promise<{ requests: number; local: number }> {
  const { counters } = await baton.lab.admin('a', '/api/status');
  return { requests: counters.requests, local: counters.requests_local };
}

/** How often a process's threads gave their core up, or lost it. */
function switches(pid: number): number {
  let total = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8');
    for (const [, count] of status.matchAll(/voluntary_ctxt_switches:\s+(\d+)/g)) total += Number(count);
  }
  return total;
}

/** System calls of a process during `measure`; -1: nobody can count them here. */
async function systemCalls<T>(pid: number, measure: () => Promise<T>): Promise<{ calls: number; result: T }> {
  const argv = ['stat', '-x', ',', '-e', 'raw_syscalls:sys_enter', '-p', String(pid)];
  const perf: ChildProcess = spawn('perf', argv, { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  perf.stderr!.on('data', (data: Buffer) => {
    text += data.toString();
  });
  // Where there is no perf it ends with an error, and says nothing.
  const ended = once(perf, 'close').catch(() => undefined);
  await delay(PERF_STARTS_MS);
  const result = await measure();
  perf.kill('SIGINT');
  await ended;
  const count = Number.parseInt(text, 10);
  return { calls: Number.isNaN(count) ? -1 : count, result };
}

async function breakDown(
  report: Report,
  baton: Baton,
  name: string,
  measure: () => Promise<Load>,
): Promise<void> {
  const pids = NODES.map((node) => [node, baton.processes.get(node)!] as const);
  const hosts = ['client', ...NODES];
  const tell = (what: string, value: number, unit: string) =>
    report({ name: `breakdown.${name}.${what}`, value, unit, baseline: null, target: null });
  await measure();
  run(['sysctl', '-q', '-w', `${BPF_STATS}=1`]);
  const bpf = bpfTime();
  const packetsBefore = await Promise.all(hosts.map((host) => packets(baton, host)));
  const switchesBefore = pids.map(([, pid]) => switches(pid));
  const before = await counted(baton);
  const { requests, machineCpuNs, cpuNs } = await measure();
  const after = await counted(baton);
  const switchesAfter = pids.map(([, pid]) => switches(pid));
  const packetsAfter = await Promise.all(hosts.map((host) => packets(baton, host)));
  const { runs, ns } = bpfTime();
  run(['sysctl', '-q', '-w', `${BPF_STATS}=0`]);
  const all = after.requests - before.requests;
  tell('share', (all - (after.local - before.local)) / all, 'of the requests were handed off');
  tell('machine', machineCpuNs / NS_PER_US / requests, 'us of processor time/request');
  for (const [node, pid] of pids) {
    tell(`processor.${node}`, cpuNs[node] / NS_PER_US / requests, 'us of processor time/request');
    const { calls, result } = await systemCalls(pid, measure);
    if (calls >= 0) tell(`calls.${node}`, calls / result.requests, 'system calls/request');
  }
  for (const [at, [node]] of pids.entries())
    tell(`switches.${node}`, (switchesAfter[at] - switchesBefore[at]) / requests, 'switches/request');
  for (const [at, host] of hosts.entries())
    tell(`packets.${host}`, (packetsAfter[at] - packetsBefore[at]) / requests, 'packets/request');
  tell('router.runs', (runs - bpf.runs) / requests, 'runs of its programs/request');
  tell('router.time', (ns - bpf.ns) / NS_PER_US / requests, 'us/request');
}

export async function breakdown(report: Report): Promise<void> {
  const off = atExit(() => run(['sysctl', '-q', '-w', `${BPF_STATS}=0`]));
  const site = new Site(NODES);
  const paths = [site.path('1k', 'b')];
  for (const mechanism of MECHANISMS) {
    const baton = await Baton.up({ name: 'b1', nodes: NODES.length, root: site.root, mechanism });
    for (const close of [false, true]) {
      const options = { paths, connections: CONNECTIONS, seconds: SECONDS, close };
      const name = `${mechanism}.${close ? 'new' : 'kept'}`;
      await breakDown(report, baton, name, () => load(baton, options));
    }
    baton.down();
  }
  off();
}
