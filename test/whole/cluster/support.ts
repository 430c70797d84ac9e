/** What the cluster tests share: labs with a site for each mechanism, the client, and what must be left: nothing. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MECHANISMS } from '../../../src/base/config/config.ts';
import type { FlowStatus } from '../../../src/handoff/flow/flow-status.ts';
import { Lab } from '../../../src/tools/lab/lab.ts';
import { type LabOptions, planLab } from '../../../src/tools/lab/plan.ts';
import { writeRamp } from '../../../src/tools/lab/sample-site.ts';
import type { Item, Job, Report } from './client.ts';

const CLIENT = fileURLToPath(new URL('./client.js', import.meta.url));
const POLL_MS = 100;
const CLIENT_TIMEOUT_MS = 90_000;
const ADMIN_PORT = '9900';
/** Of a node's first and second engine. */
const BACKPLANE_PORTS = ['7946', '7947'];
/** Flows stay for 2 s after their connection; FIN and its retransmissions need their time. */
const LEFT_TIMEOUT_MS = 10_000;

export const KIB = 1024;
export const MIB = 1024 * KIB;
/** `tcp_rmem` of a client whose kernel takes far less than 10 MiB when it stops reading: least, default, most. */
export const MODEST_BUFFER_BYTES = '4096 131072 2097152';

/** A directory with ramps of these sizes; `/N.bin` has N bytes. */
export function rampSite(sizes: readonly number[]): string {
  const root = mkdtempSync(join(tmpdir(), 'baton-cluster-'));
  for (const size of sizes) writeRamp(root, `${size}.bin`, size);
  return root;
}

export const item = (host: string, size: number): Item => ({ host, path: `/${size}.bin`, size });

/** `count` requests: sizes in turn, and the hosts in turn for each size. */
export function mix(count: number, sizes: readonly number[], hosts: readonly string[]): Item[] {
  return Array.from({ length: count }, (_, i) =>
    item(hosts[i % hosts.length], sizes[Math.floor(i / hosts.length) % sizes.length]),
  );
}

/**
 * Sites `anchor.test`, `relay.test` and so on, `auto.test` among them, each by that mechanism, nodes in turn; `pre.test`, which is `clone`
 * with pre-cloning; `hash.test`, which is `migrate` to one node for each path; and `extra` ones.
 */
export function sitesByMechanism(root: string, extra: readonly object[] = [], common: object = {}): string {
  const site = (name: string, fields: object) => ({
    name,
    hosts: [`${name}.test`],
    root,
    policy: 'round-robin',
    ...fields,
  });
  const others = MECHANISMS.filter((mechanism) => mechanism !== 'anchor');
  const sites = ['anchor', ...others, 'auto'].map((mechanism) => site(mechanism, { mechanism }));
  const pre = site('pre', { mechanism: 'clone', clone: { pre: true } });
  const hash = site('hash', { policy: 'hash', mechanism: 'migrate' });
  return `sites=${JSON.stringify([...sites, pre, hash, ...extra].map((one) => ({ ...common, ...one })))}`;
}

/** A lab and its site directory, both gone after `down`. */
export class Stand {
  readonly lab: Lab;
  readonly root: string;
  readonly #fds = new Map<string, Record<string, number>>();
  readonly #gone = new Set<string>();
  readonly #marked = new Map<string, Record<string, number>>();

  private constructor(lab: Lab, root: string) {
    this.lab = lab;
    this.root = root;
  }

  static async up(
    options: LabOptions & {
      sizes: readonly number[];
      sites?: readonly object[] | ((root: string) => object[]);
    },
  ): Promise<Stand> {
    const root = rampSite(options.sizes);
    const extra = typeof options.sites === 'function' ? options.sites(root) : options.sites;
    const certificates = planLab(options).certificates;
    const common = certificates && { tls: { cert: certificates.cert, key: certificates.key } };
    const set = [sitesByMechanism(root, extra, common ?? {}), ...(options.set ?? [])];
    try {
      const stand = new Stand(await Lab.up({ ...options, set }), root);
      for (const { name } of stand.lab.nodes) stand.#fds.set(name, stand.#descriptors(name));
      await stand.markResets();
      return stand;
    } catch (error) {
      rmSync(root, { recursive: true });
      throw error;
    }
  }

  down(): void {
    this.lab.down();
    rmSync(this.root, { recursive: true, force: true });
  }

  /** Runs the client to its end. */
  async run(job: Job, timeoutMs = CLIENT_TIMEOUT_MS): Promise<Report> {
    const argv = [process.execPath, CLIENT, JSON.stringify(job)];
    const { code, stdout, stderr } = await this.lab.exec('client', argv, { timeoutMs });
    assert.equal(code, 0, `the client ended with ${code}: ${stderr}`);
    return JSON.parse(stdout) as Report;
  }

  /** Runs the client; every request must be answered, every byte right. */
  async runRight(job: Job): Promise<Report> {
    const report = await this.run(job);
    this.assertAlive();
    assert.deepEqual(report.failures, []);
    if (job.durationMs === undefined) {
      assert.equal(report.answered, job.items.length * (job.connections ?? 1));
    }
    return report;
  }

  clientArgv(job: Job): string[] {
    return [process.execPath, CLIENT, JSON.stringify(job)];
  }

  /** How much of each kind a node's process has open, without files of the site, which it keeps for later. */
  #descriptors(node: string): Record<string, number> {
    const pid = this.lab.processOf(node)?.pid;
    assert.ok(pid, `node ${node} runs`);
    const directory = `/proc/${pid}/fd`;
    const kinds: Record<string, number> = {};
    for (const fd of readdirSync(directory)) {
      try {
        const link = readlinkSync(join(directory, fd));
        const kind = link.replace(/:?\[\d+\]$/, '');
        if (!link.startsWith(this.root)) kinds[kind] = (kinds[kind] ?? 0) + 1;
      } catch {
        // Closed since.
      }
    }
    return kinds;
  }

  /**
   * Client-facing sockets of a node, without those that are the kernel's alone and end by its own timers: listeners,
   * handshakes of clients that have left, and ends that wait for segments which were lost.
   */
  async #sockets(node: string): Promise<string[]> {
    const { stdout } = await this.lab.exec(node, ['ss', '-Htan', '-o']);
    return stdout.split('\n').filter((line) => {
      const [state, , , local, peer] = line.split(/\s+/);
      if (['', 'LISTEN', 'SYN-RECV'].includes(state) || line.includes('timer:(timewait')) return false;
      const ports = [local, peer].map((end) => end.slice(end.lastIndexOf(':') + 1));
      return !ports.includes(ADMIN_PORT) && !ports.some((port) => BACKPLANE_PORTS.includes(port));
    });
  }

  /** Fails with the log of a node whose process has ended. */
  assertAlive(): void {
    for (const { name } of this.lab.nodes) {
      if (this.#gone.has(name)) continue;
      assert.ok(this.lab.processOf(name), `node ${name} has died: ${this.lab.logTail(`${name}.log`)}`);
    }
  }

  /** Kills a node's process. */
  async kill(node: string): Promise<void> {
    this.#gone.add(node);
    await this.lab.kill(node);
  }

  /** Tells a node's process to stop, and waits until it has ended by itself. */
  async terminate(node: string): Promise<void> {
    this.#gone.add(node);
    this.lab.signal(node, 'SIGTERM');
    await this.lab.ended(node);
  }

  /** A node's process is about to end on purpose. */
  leaves(node: string): void {
    this.#gone.add(node);
  }

  /** Starts a killed node again; what it has open then is what it may have open later. */
  async start(node: string): Promise<void> {
    await this.lab.start(node);
    this.#gone.delete(node);
    this.#fds.set(node, this.#descriptors(node));
  }

  /** Everything of any connection that is still somewhere, in words. */
  async left(): Promise<string[]> {
    const found: string[] = [];
    this.assertAlive();
    for (const { name } of this.lab.nodes) {
      const flows = (await this.lab.admin(name, '/api/flows')) as FlowStatus[] | { flows: FlowStatus[] };
      for (const flow of Array.isArray(flows) ? flows : flows.flows) {
        found.push(`${name}: flow ${flow.role} ${flow.client} ${flow.state}`);
      }
      const { engines } = await this.lab.admin(name, '/api/status');
      for (const engine of engines) {
        if (engine.connections > 0) found.push(`${name}: ${engine.connections} connections`);
        if (engine.halfPipes > 0) found.push(`${name}: ${engine.halfPipes} half-pipes`);
        if (engine.flows > 0) found.push(`${name}: ${engine.flows} flow entries`);
      }
      found.push(...(await this.#sockets(name)).map((line) => `${name}: socket ${line}`));
      const before = this.#fds.get(name)!;
      for (const [kind, count] of Object.entries(this.#descriptors(name))) {
        if (count > (before[kind] ?? 0))
          found.push(`${name}: ${count} of ${kind}, ${before[kind] ?? 0} at first`);
      }
    }
    return found;
  }

  /** Fails when anything of a connection is left after a bounded time. */
  async nothingLeft(timeoutMs = LEFT_TIMEOUT_MS): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    let found = await this.left();
    while (found.length > 0 && performance.now() < endMs) {
      await delay(POLL_MS);
      found = await this.left();
    }
    assert.deepEqual(found.slice(0, 12), [], `${found.length} things are left`);
  }

  /** Waits until every node has sent something since: clients that were started are at it. */
  async everyNodeSends(): Promise<void> {
    const sent = (): Promise<number[]> =>
      Promise.all(
        this.lab.nodes.map(
          async ({ name }) => (await this.lab.admin(name, '/api/status')).counters.served_bytes,
        ),
      );
    const before = await sent();
    await this.until('every node sends', async () => (await sent()).every((bytes, i) => bytes > before[i]));
  }

  /** The sum of a counter over all nodes. */
  async total(counter: string): Promise<number> {
    let sum = 0;
    for (const { name } of this.lab.nodes)
      sum += (await this.lab.admin(name, '/api/status')).counters[counter];
    return sum;
  }

  /**
   * Segments that the nodes have sent twice, without tail loss probes: on a machine with fewer cores than busy
   * processes the kernels send those for what is late, not lost, and every one of them comes back as a duplicate
   * (DSACK). They measure the machine's load.
   */
  async retransmitted(): Promise<number> {
    let sum = 0;
    for (const { name } of this.lab.nodes) {
      const counters = await this.lab.counters(name);
      sum += Math.max(0, counters.TcpRetransSegs - (counters.TcpExtTCPLossProbes ?? 0));
    }
    return sum;
  }

  /** Retransmission timeouts of all nodes so far. */
  async timeouts(): Promise<number> {
    const counters = await Promise.all(this.lab.nodes.map(({ name }) => this.lab.counters(name)));
    return counters.reduce((sum, { TcpExtTCPTimeouts: timeouts }) => sum + timeouts, 0);
  }

  /** Segments that the client has dropped because they end beyond its window; Linux counts them since 6.16. */
  async beyondWindow(): Promise<number> {
    return (await this.lab.counters('client')).TcpExtBeyondWindow ?? 0;
  }

  async markResets(): Promise<void> {
    for (const { name } of this.lab.nodes) this.#marked.set(name, await this.lab.counters(name));
  }

  /** Fails when a node's kernel has sent a reset since the lab came up, or since `markResets`. */
  async noResets(): Promise<void> {
    const grown: Record<string, Record<string, number>> = {};
    for (const { name } of this.lab.nodes) {
      const [then, now] = [this.#marked.get(name)!, await this.lab.counters(name)];
      if (now.TcpOutRsts === then.TcpOutRsts) continue;
      // The kernel counts the reasons beside the resets.
      const reasons = Object.keys(now).filter((key) => /Abort|Rst|Reset|AttemptFails/.test(key));
      grown[name] = Object.fromEntries(
        reasons.filter((key) => now[key] !== then[key]).map((key) => [key, now[key] - (then[key] ?? 0)]),
      );
      // And the router what it has dropped, or made another of.
      const { router } = await this.lab.admin(name, '/api/status');
      for (const key of ['guard_rst', 'lease_ended', 'ended', 'no_range']) grown[name][key] = router[key];
    }
    assert.deepEqual(grown, {}, 'resets sent by nodes');
  }

  /**
   * Fails when a reset has left a node since `since`, as this has returned it before: what the guard has dropped has not
   * left. A segment that was on its way to the kernel when its connection moved is answered with one.
   */
  async noResetsLeft(since: Readonly<Record<string, number>> = {}): Promise<Record<string, number>> {
    const left: Record<string, number> = {};
    for (const { name } of this.lab.nodes) {
      const { router } = await this.lab.admin(name, '/api/status');
      left[name] = (await this.lab.counters(name)).TcpOutRsts - router.guard_rst;
      if (name in since) assert.equal(left[name], since[name], `resets that have left node ${name}`);
    }
    return left;
  }

  /** Sets one of the client's kernel's settings, `net.ipv4.NAME`. Returns what it was. */
  async setClient(name: string, value: string): Promise<string> {
    const file = `/proc/sys/net/ipv4/${name}`;
    const script = `cat ${file}; echo ${value} > ${file}`;
    const { code, stdout, stderr } = await this.lab.exec('client', ['sh', '-ec', script]);
    assert.equal(code, 0, stderr);
    return stdout.trim();
  }

  /** With a receive window of 4 KiB at the client: the kernel gives half of the buffer. */
  async withSmallWindow(work: () => Promise<void>): Promise<void> {
    const before = await this.setClient('tcp_rmem', '4096 8192 8192');
    try {
      await work();
    } finally {
      await this.setClient('tcp_rmem', before);
    }
  }

  /** Waits until a condition holds. */
  async until(what: string, condition: () => Promise<boolean>, timeoutMs = 15_000): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (!(await condition())) {
      assert.ok(performance.now() < endMs, `not within ${timeoutMs} ms: ${what}`);
      await delay(POLL_MS);
    }
  }
}
