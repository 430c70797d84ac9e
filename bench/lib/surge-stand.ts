/**
 * SURGE's users before a server, and before Baton with that server as its upstream, in one lab: node a is the origin,
 * node x its booster.
 *
 *     direct     users -> the server
 *     engine     users -> a's engine -> the server
 *     cache      users -> a's engine, which has a cache -> the server
 *     booster    users -> x -> a's engine, which has a cache -> the server
 *
 * The origin has the first core to itself, users, booster and the switch between them have the last; what comes for one of
 * them is received on its core (RPS), so that the kernel's work for it is not the sender's, as it would be over veth.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { inNamespace } from '../../src/tools/lab/network.ts';
import { writeRamp } from '../../src/tools/lab/sample-site.ts';
import { run } from '../../src/tools/lab/system.ts';
import { Baton } from './baton.ts';
import { Boosting } from './boosting.ts';
import { atExit, scratchDirectory } from './cleanup.ts';
import { reusePorts } from './client-settings.ts';
import { nginxConfig } from './nginx-config.ts';
import {
  CLIENT_CORE,
  cpuNs,
  pinClient,
  pinnedClient,
  pinServer,
  SERVER_CORE,
  softirqNs,
} from './processor.ts';
import { surgeDocuments } from './surge.ts';
import type { SurgeJob, SurgeReport } from './surge-client.ts';

const ORIGIN = fileURLToPath(new URL('./surge-origin.js', import.meta.url));
const CLIENT = fileURLToPath(new URL('./surge-client.js', import.meta.url));
const CACHE = { bytes: 128 * 1024 * 1024, objectBytes: 2 * 1024 * 1024 };
/** Where nodes connect to each other, unless they are told otherwise. */
const LINK_PORT = 7946;
const POLL_MS = 20;
const READY_TIMEOUT_MS = 10_000;
/** For so long the origin's core is looked at without users. */
const IDLE_MS = 500;

/** By name: the port at which they listen. */
export const SERVERS = { node: 8090, nginx: 8091 } as const;
export type ServerName = keyof typeof SERVERS;
export const STEPS = ['direct', 'engine', 'cache', 'booster'] as const;
export type StepName = (typeof STEPS)[number];

/** What a request costs, on average. */
export interface RequestCost {
  /** Of the origin's processes: the server's, and Baton's but for `direct`. */
  readonly cpuUs: number;
  /**
   * Of the origin's core, in soft interrupts, less what it is without users: mostly the reception of packets. What of it
   * interrupts the origin's processes is in their time, too.
   */
  readonly softirqUs: number;
  /** Packets at the origin's interface. Those that its router only sends on to the booster are in both. */
  readonly received: number;
  readonly sent: number;
  /** Of those received: what came on its links to other nodes, and of that what is an acknowledgement alone. */
  readonly onLinks: number;
  readonly acknowledgements: number;
  readonly requestsPerSecond: number;
  readonly meanMs: number;
  readonly bytes: number;
}

const hostOf = (server: ServerName, hasCache: boolean): string => `${server}${hasCache ? '-cache' : ''}.test`;

const sites = (Object.keys(SERVERS) as ServerName[]).flatMap((server) =>
  [false, true].map((hasCache) => ({
    name: `${server}${hasCache ? '-cache' : ''}`,
    hosts: [hostOf(server, hasCache)],
    upstream: `127.0.0.1:${SERVERS[server]}`,
    mechanism: 'local',
    ...(hasCache && { cache: CACHE }),
  })),
);

/** What comes to a namespace's interfaces is received on that core. */
function receiveOn(core: number, namespace: string): void {
  const mask = (1 << core).toString(16);
  const script = `mount -t sysfs sysfs /sys; for file in /sys/class/net/*/queues/rx-0/rps_cpus; do echo ${mask} > $file; done`;
  run(['unshare', '-m', ...inNamespace(namespace, ['sh', '-e', '-c', script])]);
}

export class SurgeStand {
  readonly #baton: Baton;
  readonly #boosting: Boosting;
  readonly #servers = new Map<ServerName, ChildProcess>();
  readonly #ends: Array<() => void> = [];

  private constructor(baton: Baton) {
    this.#baton = baton;
    this.#boosting = new Boosting(baton.lab);
  }

  static async up(servers: readonly ServerName[]): Promise<SurgeStand> {
    const set = [`sites=${JSON.stringify(sites)}`];
    const stand = new SurgeStand(await Baton.up({ name: 'b1', nodes: 1, boosters: 1, set }));
    pinClient(stand.#baton.processes.get('x')!);
    stand.#steer();
    await reusePorts(stand.#baton);
    for (const server of servers) await stand.#start(server);
    return stand;
  }

  /** The switch between them is not the origin's work. */
  #steer(): void {
    const { plan } = this.#baton.lab;
    receiveOn(SERVER_CORE, plan.nodes.find(({ name }) => name === 'a')!.namespace);
    const others = plan.nodes.filter(({ name }) => name !== 'a').map(({ namespace }) => namespace);
    for (const one of [...others, plan.client.namespace, plan.bridgeNamespace]) receiveOn(CLIENT_CORE, one);
  }

  async #start(server: ServerName): Promise<void> {
    const argv =
      server === 'nginx' ? nginxArgv(SERVERS.nginx) : [process.execPath, ORIGIN, String(SERVERS.node)];
    const child = this.#baton.lab.spawn('a', argv, { stdio: ['ignore', 'ignore', 'inherit'] });
    // SIGTERM: an nginx that is killed leaves its worker behind.
    this.#ends.push(atExit(() => child.kill('SIGTERM')));
    this.#servers.set(server, child);
    const url = `http://${this.#endpointOf(server, 'direct')}/surge/0`;
    const curl = ['curl', '-sS', '-f', '-o', '/dev/null', '-m', '1', url];
    const endMs = performance.now() + READY_TIMEOUT_MS;
    while ((await this.#baton.lab.exec('client', curl)).code !== 0) {
      if (performance.now() > endMs) throw new Error(`${server} does not answer at ${url}`);
      await delay(POLL_MS);
    }
    pinServer(child.pid!);
  }

  #endpointOf(server: ServerName, step: StepName): string {
    if (step === 'direct') return `${this.#baton.lab.node('a').address}:${SERVERS[server]}`;
    return `${this.#baton.endpoint}:80`;
  }

  /**
   * Packets of the size that is on a wire, which are put together where they arrive (GRO), as network cards do: else a
   * packet that is counted is what the kernel gives to the card, up to 64 KiB.
   */
  countOnTheWire(on: boolean): void {
    const { plan } = this.#baton.lab;
    const state = on ? 'off' : 'on';
    const settings = ['tso', state, 'gso', state, 'gro', on ? 'on' : 'off'];
    for (const namespace of [...plan.nodes.map((node) => node.namespace), plan.client.namespace])
      run(inNamespace(namespace, ['ethtool', '-K', 'eth0', ...settings]));
  }

  /** One run: users of a server, as a step has it. */
  async run(
    server: ServerName,
    step: StepName,
    load: Pick<SurgeJob, 'users' | 'seconds' | 'close'>,
  ): Promise<RequestCost> {
    await this.#boosting.put(step === 'booster' ? 'on' : 'off');
    const hasCache = step === 'cache' || step === 'booster';
    const job: SurgeJob = {
      ...load,
      endpoint: this.#endpointOf(server, step),
      host: hostOf(server, hasCache),
    };
    const idle = await this.#idleShare();
    const argv = pinnedClient([process.execPath, CLIENT, JSON.stringify(job)]);
    const client = this.#baton.lab.spawn('client', argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = createInterface({ input: client.stdout! })[Symbol.asyncIterator]();
    const line = async (): Promise<string> => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`${server}, ${step}: the users have ended early`);
      return value;
    };
    await line();
    const before = await this.#look(server, step);
    const report = JSON.parse(await line()) as SurgeReport;
    const after = await this.#look(server, step);
    const { requests, seconds, meanMs } = report;
    const grown = (of: (look: typeof before) => number) => (of(after) - of(before)) / requests;
    return {
      cpuUs: grown(({ cpu }) => cpu) / 1000,
      softirqUs: grown(({ softirq, atMs }) => softirq - idle * atMs * 1e6) / 1000,
      received: grown(({ received }) => received),
      sent: grown(({ sent }) => sent),
      onLinks: grown(({ onLinks }) => onLinks),
      acknowledgements: grown(({ acknowledgements }) => acknowledgements),
      requestsPerSecond: requests / seconds,
      meanMs,
      bytes: report.bytes / requests,
    };
  }

  /** Of the origin's core, what soft interrupts take without users. */
  async #idleShare(): Promise<number> {
    const [beforeNs, beforeMs] = [softirqNs(SERVER_CORE), performance.now()];
    await delay(IDLE_MS);
    return (softirqNs(SERVER_CORE) - beforeNs) / ((performance.now() - beforeMs) * 1e6);
  }

  async #look(server: ServerName, step: StepName) {
    const own = cpuNs(this.#servers.get(server)!.pid!);
    const baton = step === 'direct' ? 0 : cpuNs(this.#baton.processes.get('a')!);
    const [softirq, atMs] = [softirqNs(SERVER_CORE), performance.now()];
    const { stdout } = await this.#baton.lab.exec('a', ['cat', '/proc/net/dev']);
    const line = stdout.split('\n').find((one) => one.trim().startsWith('eth0:'))!;
    const [, received, , , , , , , , sent] = line.split(':')[1].trim().split(/\s+/).map(Number);
    return { cpu: own + baton, softirq, atMs, received, sent, ...(await this.#heardOnLinks()) };
  }

  /** Segments that came on the links of the origin, and those of them without data. */
  async #heardOnLinks(): Promise<{ onLinks: number; acknowledgements: number }> {
    const filter = `( sport = :${LINK_PORT} or dport = :${LINK_PORT} )`;
    const { stdout } = await this.#baton.lab.exec('a', ['ss', '-tinH', 'state', 'established', filter]);
    const sum = (name: string) =>
      [...stdout.matchAll(new RegExp(`\\b${name}:(\\d+)`, 'g'))].reduce(
        (all, [, count]) => all + Number(count),
        0,
      );
    const onLinks = sum('segs_in');
    return { onLinks, acknowledgements: onLinks - sum('data_segs_in') };
  }

  down(): void {
    this.#boosting.end();
    for (const end of this.#ends) end();
    this.#baton.down();
  }
}

function nginxArgv(port: number): string[] {
  const directory = mkdtempSync(join(scratchDirectory(), 'nginx-surge-'));
  mkdirSync(join(directory, 'surge'));
  for (const { path, bytes } of surgeDocuments()) writeRamp(directory, path.slice(1), bytes);
  const config = join(directory, 'nginx.conf');
  const server = `server { listen ${port} backlog=4096; root ${directory}; expires 1h; }`;
  writeFileSync(config, nginxConfig(directory, server));
  return ['nginx', '-e', 'stderr', '-c', config];
}
