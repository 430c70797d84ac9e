/** Load from wrk in a lab's client, and what it and the servers spent on it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { scratchDirectory } from './cleanup.ts';
import { reusePorts } from './client-settings.ts';
import { cpuNs, machineCpuNs, pinnedClient } from './processor.ts';
import type { Server } from './server.ts';

const REQUEST_TIMEOUT_SECONDS = 10;
/** Beyond the duration: wrk waits for nothing after it. */
const END_TIMEOUT_MS = 10_000;

export interface LoadOptions {
  /** Asked for in turn by every connection. */
  readonly paths: readonly string[];
  readonly connections: number;
  /** Whole seconds. */
  readonly seconds: number;
  /** A new connection for each request. */
  readonly close?: boolean;
  /** One request in so many, of all connections together, is its connection's last. */
  readonly closeEvery?: number;
  /** Addresses that clients connect to, each an equal share of them; default: the server's endpoint. */
  readonly endpoints?: readonly string[];
}

export interface Load {
  readonly requests: number;
  /** Received, response heads included. */
  readonly bytes: number;
  readonly requestsPerSecond: number;
  readonly bytesPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  /** Processor time of the client. */
  readonly clientCpuNs: number;
  /** Processor time by node. */
  readonly cpuNs: Readonly<Record<string, number>>;
  /** Of the whole machine, the client and whatever else ran included. */
  readonly machineCpuNs: number;
}

/** Processor time of the busiest node. */
export const busiestNs = ({ cpuNs }: Load): number => Math.max(...Object.values(cpuNs));

/** Requests a second of it. */
export const capacity = (round: Load): number => (round.requests * 1e9) / busiestNs(round);

/** What the script below prints. */
interface Summary {
  readonly durationUs: number;
  readonly requests: number;
  readonly bytes: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly errors: Readonly<Record<string, number>>;
}

const SUMMARY_MARK = 'SUMMARY ';
const DONE = `
function done(summary, latency)
  local e = summary.errors
  local errors = string.format('{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}',
    e.connect, e.read, e.write, e.status, e.timeout)
  print(string.format('${SUMMARY_MARK}{"durationUs":%d,"requests":%d,"bytes":%.0f,"p50":%d,"p99":%d,"p999":%d,"errors":%s}',
    summary.duration, summary.requests, summary.bytes, latency:percentile(50), latency:percentile(99),
    latency:percentile(99.9), errors))
end
`;

/**
 * Lua that asks for several paths in turn, and has one request in so many end its connection. wrk does without for one
 * path and connections that stay, at less cost to itself.
 */
function inTurn(paths: readonly string[], closeEvery: number | undefined): string {
  if (paths.length === 1 && closeEvery === undefined) return '';
  return `
local kept, last, turn = {}, {}, 0
function init()
  for i, path in ipairs({ ${paths.map((path) => `"${path}"`).join(', ')} }) do
    kept[i] = wrk.format(nil, path)
    last[i] = wrk.format(nil, path, { ["Host"] = wrk.headers["Host"], ["Connection"] = "close" })
  end
end
function request()
  turn = turn + 1
  local i = turn % #kept + 1
  return ${closeEvery === undefined ? '' : `turn % ${closeEvery} == 0 and last[i] or `}kept[i]
end
`;
}

/** bash's own measure of a command: user and system time, in seconds. */
const TIMED = 'TIMEFORMAT=\'CLIENT %3U %3S\'; time "$@"';
const CLIENT_TIME = /^CLIENT (\S+) (\S+)$/m;

/** Lua that gives each of wrk's threads an address of its own. */
function among(endpoints: readonly string[]): string {
  if (endpoints.length === 1) return '';
  return `
local endpoints, threads = { ${endpoints.map((endpoint) => `"${endpoint}"`).join(', ')} }, 0
function setup(thread)
  threads = threads % #endpoints + 1
  thread.addr = wrk.lookup(endpoints[threads], "80")[1]
end
`;
}

async function runWrk(server: Server, options: LoadOptions): Promise<Summary & { clientCpuNs: number }> {
  const script = join(scratchDirectory(), 'wrk.lua');
  const { connections, seconds, endpoints = [server.endpoint] } = options;
  writeFileSync(script, among(endpoints) + inTurn(options.paths, options.closeEvery) + DONE);
  const argv = ['wrk', `-t${endpoints.length}`, `-c${connections}`, `-d${seconds}s`, '-s', script];
  argv.push('--timeout', `${REQUEST_TIMEOUT_SECONDS}s`);
  if (options.close) argv.push('-H', 'Connection: close');
  argv.push(`${server.scheme}://${server.endpoint}${options.paths[0]}`);
  const timeoutMs = seconds * 1000 + END_TIMEOUT_MS;
  const timed = ['bash', '-c', TIMED, 'bash', ...pinnedClient(argv)];
  const result = await server.lab.exec('client', timed, { timeoutMs });
  const line = result.stdout.split('\n').find((candidate) => candidate.startsWith(SUMMARY_MARK));
  const spent = CLIENT_TIME.exec(result.stderr);
  if (result.code === 0 && line !== undefined && spent !== null) {
    const clientCpuNs = (Number(spent[1]) + Number(spent[2])) * 1e9;
    return { ...JSON.parse(line.slice(SUMMARY_MARK.length)), clientCpuNs };
  }
  throw new Error(
    `${server.name}: ${argv.join(' ')} ended with ${result.code}\n${result.stdout}${result.stderr}`,
  );
}

export function spentBy(server: Server, node: string): number {
  try {
    return cpuNs(server.processes.get(node)!);
  } catch (error) {
    const { message } = error as Error;
    throw new Error(`${server.name}: node ${node} has ended (${message}); its log:\n${server.log(node)}`);
  }
}

/** One round. Throws when a single request failed: figures of a system that fails requests mean nothing. */
export async function load(server: Server, options: LoadOptions): Promise<Load> {
  const spent = () => new Map([...server.processes.keys()].map((node) => [node, spentBy(server, node)]));
  if (options.close || options.closeEvery !== undefined) await reusePorts(server);
  const [before, machineBefore] = [spent(), machineCpuNs()];
  const { durationUs, requests, bytes, p50, p99, p999, errors, clientCpuNs } = await runWrk(server, options);
  const [after, machineAfter] = [spent(), machineCpuNs()];
  const failed = Object.entries(errors).filter(([, count]) => count > 0);
  if (failed.length > 0 || requests === 0) {
    const list = failed.map(([kind, count]) => `${count} ${kind}`).join(', ') || 'no request done';
    throw new Error(
      `${server.name}: ${options.paths.join(' ')}: errors beside ${requests} requests: ${list}`,
    );
  }
  const perSecond = 1e6 / durationUs;
  return {
    requests,
    bytes,
    requestsPerSecond: requests * perSecond,
    bytesPerSecond: bytes * perSecond,
    p50Us: p50,
    p99Us: p99,
    p999Us: p999,
    clientCpuNs,
    cpuNs: Object.fromEntries([...after].map(([node, ns]) => [node, ns - before.get(node)!])),
    machineCpuNs: machineAfter - machineBefore,
  };
}
