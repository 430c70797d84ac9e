/** What the admin API answers, as values: readiness, the node's status, its flows. */
import { release } from 'node:os';
import { type Counters, ENGINE_COUNTERS } from '../../base/counters.ts';
import type { FlowStatus } from '../../handoff/flow/flow-status.ts';
import type { EngineStatus } from '../engine/messages.ts';
import type { Answers, EngineClient } from './engines.ts';
import { VERSION } from './version.ts';

/** How reloads went so far. */
export interface ReloadStatus {
  readonly done: number;
  readonly failed: number;
  /** Why the last one failed; null when it did not, or there was none. */
  readonly error: string | null;
}

/** A site's certificates. */
export interface CertificateStatus {
  readonly site: string;
  /** The hosts that the certificates are for. */
  readonly names: readonly string[];
  /** When the first of them expires: RFC 3339, and whole days from now. */
  readonly expires: string;
  readonly daysLeft: number;
  /** Why newer files are not in force; null when there is nothing wrong with them. */
  readonly error: string | null;
}

/** Flows in one answer; more are counted in `omitted`. */
export const MAX_FLOWS_LISTED = 10_000;

export interface Readiness {
  readonly ready: boolean;
  /** Why not; empty when ready. */
  readonly reasons: readonly string[];
}

export interface Unanswered {
  readonly engine: number;
  readonly reason: string;
}

export interface NodeStatus {
  readonly node: string;
  readonly version: string;
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly kernel: string;
  readonly ready: boolean;
  /** The engines that answered. */
  readonly engines: readonly EngineStatus[];
  /** The engines that did not. */
  readonly unanswered: readonly Unanswered[];
  /** Every node of the cluster; up: this one, and those that some engine here has a link to. */
  readonly cluster: ReadonlyArray<{ readonly node: string; readonly up: boolean }>;
  /** Sums over the engines. */
  readonly counters: Record<string, number>;
  readonly router: Record<string, number>;
  /** How reloads of the configuration went. */
  readonly reload: ReloadStatus;
  /** The certificates of sites that are served over TLS. */
  readonly certificates: readonly CertificateStatus[];
}

export interface FlowList {
  readonly flows: readonly FlowStatus[];
  readonly omitted: number;
  readonly unanswered: readonly Unanswered[];
}

export interface StatusOptions {
  readonly node: string;
  readonly nodes: readonly string[];
  readonly engines: readonly EngineClient[];
  readonly counters: readonly Counters[];
  readonly routerCounters: () => Record<string, number>;
  readonly reload: () => ReloadStatus;
  readonly certificates: () => readonly CertificateStatus[];
}

/** Ready when there are engines and every one of them reported ready. */
export function readiness(engines: readonly EngineClient[]): Readiness {
  const reasons = engines.map((client) => client.notReadyReason).filter((reason) => reason !== null);
  if (engines.length === 0) reasons.push('there are no engines');
  return { ready: reasons.length === 0, reasons };
}

export async function nodeStatus(options: StatusOptions): Promise<NodeStatus> {
  const { node, engines } = options;
  const { answers, unanswered } = await queryAll(engines, 'status');
  const linked = new Set(
    answers.flatMap(({ links }) => links.filter((link) => link.up).map((link) => link.node)),
  );
  return {
    node,
    version: VERSION,
    pid: process.pid,
    uptimeSeconds: Math.floor(process.uptime()),
    kernel: release(),
    ready: readiness(engines).ready,
    engines: answers,
    unanswered,
    cluster: options.nodes.map((name) => ({ node: name, up: name === node || linked.has(name) })),
    counters: sumCounters(options.counters),
    router: options.routerCounters(),
    reload: options.reload(),
    certificates: options.certificates(),
  };
}

/** The flows of all engines, in the engines' order. */
export async function nodeFlows(engines: readonly EngineClient[]): Promise<FlowList> {
  const { answers, unanswered } = await queryAll(engines, 'flows');
  const flows: FlowStatus[] = [];
  let omitted = 0;
  for (const answer of answers) {
    const room = MAX_FLOWS_LISTED - flows.length;
    for (const flow of answer.slice(0, room)) flows.push(flow);
    omitted += Math.max(answer.length - room, 0);
  }
  return { flows, omitted, unanswered };
}

/** What became of a purge. */
export interface PurgeOutcome {
  /** Resources that were forgotten, of all engines. */
  readonly resources: number;
  readonly unanswered: readonly Unanswered[];
}

/** Has all engines forget stored responses of a site. */
export async function purgeAll(
  engines: readonly EngineClient[],
  site: string,
  path: string,
): Promise<PurgeOutcome> {
  const settled = await Promise.allSettled(engines.map((client) => client.purge(site, path)));
  let resources = 0;
  const unanswered: Unanswered[] = [];
  settled.forEach((result, i) => {
    if (result.status === 'fulfilled') resources += result.value;
    else unanswered.push({ engine: engines[i]!.engine, reason: (result.reason as Error).message });
  });
  return { resources, unanswered };
}

function sumCounters(all: readonly Counters[]): Record<string, number> {
  const sum = (name: (typeof ENGINE_COUNTERS)[number][0]) =>
    all.reduce((total, one) => total + one.get(name), 0);
  return Object.fromEntries(ENGINE_COUNTERS.map(([name]) => [name, sum(name)]));
}

async function queryAll<What extends keyof Answers>(
  engines: readonly EngineClient[],
  what: What,
): Promise<{ answers: Array<Answers[What]>; unanswered: Unanswered[] }> {
  const answers: Array<Answers[What]> = [];
  const unanswered: Unanswered[] = [];
  const settled = await Promise.allSettled(engines.map((client) => client.query(what)));
  settled.forEach((result, i) => {
    if (result.status === 'fulfilled') answers.push(result.value);
    else unanswered.push({ engine: engines[i]!.engine, reason: (result.reason as Error).message });
  });
  return { answers, unanswered };
}
