/** A whole cluster with a client on one machine. Tests, benchmarks and `baton lab` use it through this class. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseConfig } from '../../base/config/load.ts';
import { makeCertificates } from './authority.ts';
import { parseCounters } from './counters.ts';
import { LabError } from './error.ts';
import { collect, type ExecOptions, type ExecResult } from './exec.ts';
import type { HopCounters } from './hop.ts';
import { buildNetwork, inClient, inNamespace, shapeWithNetem } from './network.ts';
import {
  ADMIN_PORT,
  certificateNames,
  type LabNode,
  type LabOptions,
  type LabPlan,
  labConfig,
  planLab,
} from './plan.ts';
import { removeLab, requireRoot } from './remove.ts';
import { writeSampleSite } from './sample-site.ts';
import { bootId, type LabState, requireState, writeState } from './state.ts';
import { identify, isAlive, type ProcessId, signal } from './system.ts';

const READY_TIMEOUT_MS = 20_000;
const POLL_MS = 20;
/** Each look at a node that starts is a process or two more, which it has to share the machine with. */
const READY_POLL_MS = 100;
const KILL_TIMEOUT_MS = 10_000;
const ADMIN_TIMEOUT_SECONDS = 5;
const LOG_TAIL_LINES = 15;
const STATUS_OF = ['curl', '-s', '-m', '1', '-o', '/dev/null', '-w', '%{http_code}'];
const HOP_FILE = 'hop.json';
const MAIN = fileURLToPath(new URL('../cli/main.js', import.meta.url));
const HOP = fileURLToPath(new URL('./hop.js', import.meta.url));

export interface NodeStatus {
  readonly name: string;
  readonly namespace: string;
  readonly address: string;
  readonly public: readonly string[];
  /** Null when no process of this node runs. */
  readonly pid: number | null;
  readonly ready: boolean;
}

export interface LabStatus {
  readonly name: string;
  readonly phase: 'building' | 'up';
  readonly directory: string;
  readonly nodes: readonly NodeStatus[];
  readonly client: LabPlan['client'];
  /** What clients are to trust; null: the nodes speak no TLS. */
  readonly authority: string | null;
  readonly shaper: 'netem' | 'hop' | null;
  readonly hop: { readonly forth: HopCounters; readonly back: HopCounters } | null;
}

export class Lab {
  #state: LabState;

  private constructor(state: LabState) {
    this.#state = state;
  }

  get plan(): LabPlan {
    return this.#state.plan;
  }

  get name(): string {
    return this.plan.name;
  }

  get nodes(): readonly LabNode[] {
    return this.plan.nodes;
  }

  /**
   * Builds a lab and starts its nodes; resolves when every node is ready. What an earlier lab of that name left, a
   * running one included, is removed first. Throws ConfigError for settings that are wrong, and LabError; then
   * nothing is left behind.
   */
  static async up(options: LabOptions = {}): Promise<Lab> {
    const plan = planLab(options);
    const root = options.root === undefined ? join(plan.directory, 'root') : resolve(options.root);
    const config = labConfig(plan, options, root);
    const parsed = parseConfig(config, plan.configFile);
    if (!existsSync(root) && options.root !== undefined) {
      throw new LabError('LAB_OPTION', `no directory ${root} to serve`);
    }
    requireRoot();
    removeLab(plan.name);
    const command = options.command === undefined ? serveCommand : options.command;
    const lab = new Lab({
      version: 1,
      bootId: bootId(),
      phase: 'building',
      builder: identify(process.pid)!,
      plan,
      shaper: null,
      hop: null,
      commands: Object.fromEntries(
        command === null ? [] : plan.nodes.map((node) => [node.name, command(node, plan)]),
      ),
      processes: {},
    });
    writeState(lab.#state);
    try {
      writeFileSync(plan.configFile, config);
      if (options.root === undefined) writeSampleSite(root);
      if (plan.certificates !== null)
        makeCertificates(dirname(plan.certificates.cert), certificateNames(plan, parsed));
      buildNetwork(plan);
      await lab.#shape();
      for (const name of Object.keys(lab.#state.commands)) lab.#spawnNode(name);
      await Promise.all(Object.keys(lab.#state.commands).map((name) => lab.ready(name)));
      lab.#update({ phase: 'up' });
    } catch (error) {
      lab.down();
      throw error;
    }
    return lab;
  }

  /** A lab that is up already. */
  static attach(name: string): Lab {
    return new Lab(requireState(name));
  }

  /** Takes a lab down from any state. Tells whether there was anything. */
  static remove(name: string): boolean {
    return removeLab(name);
  }

  #update(change: Partial<LabState>): void {
    this.#state = { ...this.#state, ...change };
    writeState(this.#state);
  }

  /** Starts a process that outlives this one, in a namespace, its output going to a log. */
  #detach(namespace: string, argv: readonly string[], log: string): ProcessId {
    const fd = openSync(join(this.plan.directory, log), 'a');
    try {
      const [file, ...rest] = inNamespace(namespace, argv);
      const child = spawn(file, rest, { detached: true, stdio: ['ignore', fd, fd] });
      child.unref();
      // The process may have ended by now: then it is a zombie until this process's event loop waits for it.
      const id = child.pid === undefined ? undefined : identify(child.pid);
      if (id === undefined) throw new LabError('LAB_COMMAND', `${argv.join(' ')} could not be started`);
      return id;
    } finally {
      closeSync(fd);
    }
  }

  async #shape(): Promise<void> {
    const { plan } = this;
    if (plan.hopNamespace === null) return;
    if (shapeWithNetem(plan)) return this.#update({ shaper: 'netem' });
    const file = join(plan.directory, HOP_FILE);
    const settings = [plan.delayMs / 2, plan.lossPercent, plan.seed].map(String);
    const hop = this.#detach(
      plan.hopNamespace,
      [process.execPath, HOP, 'client0', 'net0', ...settings, file],
      'hop.log',
    );
    this.#update({ shaper: 'hop', hop });
    await this.#until('the hop', hop, 'hop.log', async () => existsSync(file));
  }

  /** Waits for a condition that a process is to bring about. */
  async #until(what: string, id: ProcessId, log: string, condition: () => Promise<boolean>): Promise<void> {
    const endMs = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      if (await condition()) return;
      const ended = !isAlive(id);
      if (ended || performance.now() > endMs) {
        const reason = ended ? 'ended' : `was not ready after ${READY_TIMEOUT_MS / 1000} s`;
        throw new LabError('LAB_NOT_READY', `${what} ${reason}; the end of its log:\n${this.logTail(log)}`);
      }
      await delay(READY_POLL_MS);
    }
  }

  /** The last lines of a log in the lab's directory: `a.log`, `hop.log`. */
  logTail(log: string): string {
    const file = join(this.plan.directory, log);
    const text = existsSync(file) ? readFileSync(file, 'utf8').trimEnd() : '';
    return text === '' ? '(empty)' : text.split('\n').slice(-LOG_TAIL_LINES).join('\n');
  }

  node(name: string): LabNode {
    const node = this.nodes.find((candidate) => candidate.name === name);
    if (node !== undefined) return node;
    const known = this.nodes.map((candidate) => candidate.name).join(', ');
    throw new LabError(
      'LAB_OPTION',
      `no node ${JSON.stringify(name)} in lab ${this.name}; nodes are ${known}`,
    );
  }

  #spawnNode(name: string): void {
    const { namespace } = this.node(name);
    const argv = this.#state.commands[name];
    if (argv === undefined)
      throw new LabError('LAB_OPTION', `lab ${this.name} was built without node processes`);
    const id = this.#detach(namespace, argv, `${name}.log`);
    this.#update({ processes: { ...this.#state.processes, [name]: id } });
  }

  /** The node's process, undefined when it does not run. */
  processOf(name: string): ProcessId | undefined {
    this.node(name);
    const id = this.#state.processes[name];
    return id !== undefined && isAlive(id) ? id : undefined;
  }

  /** Sends a signal to a node's process: SIGSTOP, SIGCONT, SIGTERM ... */
  signal(name: string, signalName: NodeJS.Signals): void {
    const id = this.processOf(name);
    if (id === undefined) throw new LabError('LAB_OPTION', `node ${name} does not run`);
    signal(id, signalName);
  }

  /** SIGKILL, and wait until the process is gone. Nothing when it does not run. */
  async kill(name: string): Promise<void> {
    const id = this.processOf(name);
    if (id === undefined) return;
    signal(id, 'SIGKILL');
    await this.ended(name);
  }

  /** Resolves when the node's process has ended (after a signal). */
  async ended(name: string, timeoutMs = KILL_TIMEOUT_MS): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (this.processOf(name) !== undefined) {
      if (performance.now() > endMs)
        throw new LabError('LAB_NOT_READY', `node ${name} still runs after ${timeoutMs} ms`);
      await delay(POLL_MS);
    }
  }

  /** Starts a node's process again and waits until it is ready. Nothing when it runs. */
  async start(name: string): Promise<void> {
    if (this.processOf(name) !== undefined) return;
    this.#spawnNode(name);
    await this.ready(name);
  }

  /** Resolves when the node's admin API says that it is ready. */
  async ready(name: string): Promise<void> {
    const id = this.#state.processes[name];
    if (id === undefined) throw new LabError('LAB_OPTION', `node ${name} was never started`);
    await this.#until(`node ${name}`, id, `${name}.log`, () => this.#isReady(name));
  }

  async #isReady(name: string): Promise<boolean> {
    const url = `http://127.0.0.1:${ADMIN_PORT}/readyz`;
    const { stdout } = await this.exec(name, [...STATUS_OF, url]);
    return stdout === '200';
  }

  /** The network namespace of a node, of `client` or of `router`. */
  #namespaceOf(host: string): string {
    const { client, routerNamespace } = this.plan;
    if (host === 'client') return client.namespace;
    return host === 'router' && routerNamespace !== null ? routerNamespace : this.node(host).namespace;
  }

  /** What a host's command line becomes on this machine. `host`: a node's name, `client`, or `router` if there is one. */
  argv(host: string, argv: readonly string[]): string[] {
    return host === 'client' ? inClient(this.plan, argv) : inNamespace(this.#namespaceOf(host), argv);
  }

  /** Starts a command on a host. The process is the command itself: its pid and signals are the command's. */
  spawn(host: string, argv: readonly string[], options: SpawnOptions = {}): ChildProcess {
    const [file, ...rest] = this.argv(host, argv);
    return spawn(file, rest, options);
  }

  /** Runs a command on a host to its end. Rejects only when it cannot be started. */
  exec(host: string, argv: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const child = this.spawn(host, argv, {
      stdio: 'pipe',
      ...(options.env === undefined ? {} : { env: options.env }),
    });
    return collect(child, options);
  }

  /** GET from a node's admin API, as text. Throws LabError when the answer is not 2xx. */
  async adminText(name: string, path: string): Promise<string> {
    const url = `http://127.0.0.1:${ADMIN_PORT}${path}`;
    const timeout = String(ADMIN_TIMEOUT_SECONDS);
    const result = await this.exec(name, ['curl', '-sS', '-f', '-m', timeout, url]);
    if (result.code === 0) return result.stdout;
    throw new LabError('LAB_COMMAND', `node ${name}: GET ${path}: ${result.stderr.trim()}`);
  }

  /** GET from a node's admin API, as JSON. The caller knows its shape. */
  // biome-ignore lint/suspicious/noExplicitAny: every path has its own shape
  async admin(name: string, path: string): Promise<any> {
    return JSON.parse(await this.adminText(name, path));
  }

  /** The kernel's TCP/IP counters of a host, named as nstat(8) does: TcpOutRsts, TcpExtPAWSEstab ... */
  async counters(host: string): Promise<Record<string, number>> {
    const files = ['snmp', 'netstat', 'snmp6'].map((name) => `/proc/net/${name}`);
    const command = inNamespace(this.#namespaceOf(host), ['cat', ...files]);
    return parseCounters((await collect(spawn(command[0], command.slice(1)), {})).stdout);
  }

  /** What the user-space hop did; null when there is none. At most 0.2 s old. */
  hopCounters(): LabStatus['hop'] {
    const file = join(this.plan.directory, HOP_FILE);
    return this.#state.shaper === 'hop' && existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : null;
  }

  async status(): Promise<LabStatus> {
    const { plan, shaper, phase } = this.#state;
    const nodes = plan.nodes.map(async (node): Promise<NodeStatus> => {
      const id = this.processOf(node.name);
      const ready = id !== undefined && (await this.#isReady(node.name));
      const { name, namespace, address } = node;
      return { name, namespace, address, public: node.public, pid: id?.pid ?? null, ready };
    });
    const { name, directory, client, certificates } = plan;
    return {
      name,
      phase,
      directory,
      nodes: await Promise.all(nodes),
      client,
      authority: certificates?.authority ?? null,
      shaper,
      hop: this.hopCounters(),
    };
  }

  /** Ends every process of the lab and removes all of it. Twice does no harm. Synchronous, for exit handlers. */
  down(): void {
    removeLab(this.name);
  }
}

function serveCommand(node: LabNode, plan: LabPlan): readonly string[] {
  return [process.execPath, MAIN, 'serve', '--config', plan.configFile, '--node', node.name];
}
