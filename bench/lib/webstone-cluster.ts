/** A cluster for WebStone: Baton in a lab, and behind each node an origin with a memory and a disk of its own. */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Baton } from './baton.ts';
import { atExit } from './cleanup.ts';
import { pinnedClient } from './processor.ts';
import type { WebStoneJob, WebStoneReport } from './webstone-client.ts';
import type { OriginCounters, OriginJob } from './webstone-origin.ts';

const CLIENT = fileURLToPath(new URL('./webstone-client.js', import.meta.url));
const ORIGIN = fileURLToPath(new URL('./webstone-origin.js', import.meta.url));
const ORIGIN_PORT = 8000;
/** Beyond the duration: requests that were begun are finished. */
const END_TIMEOUT_MS = 30_000;

/** Requests of some classes are bound to a node, and go there wherever they arrive. */
export interface Binding {
  readonly classes: readonly number[];
  readonly node: string;
}

export interface ClusterShape {
  /** Of the lab. */
  readonly name: string;
  readonly nodes: number;
  /** Nodes whose addresses clients connect to in turn. */
  readonly entrances: readonly string[];
  /** Null: every request is answered where it arrives. */
  readonly binding: Binding | null;
  /** Classes that each node answers mostly, in the nodes' order. */
  readonly served: ReadonlyArray<readonly number[]>;
}

/** One site, answered by the origins: `local`, or a class policy that falls back to it. */
function sites(binding: Binding | null): string {
  const rules =
    binding === null ? [] : [{ regex: `^/class[${binding.classes.join('')}]/`, nodes: [binding.node] }];
  const policy = binding === null ? 'local' : { name: 'class', rules, fallback: 'local' };
  const upstream = `127.0.0.1:${ORIGIN_PORT}`;
  return JSON.stringify([{ name: 'webstone', hosts: ['*'], upstream, policy, mechanism: 'migrate' }]);
}

export class WebStoneCluster {
  readonly #shape: ClusterShape;
  readonly #baton: Baton;
  readonly #ends: Array<() => void> = [];

  private constructor(shape: ClusterShape, baton: Baton) {
    this.#shape = shape;
    this.#baton = baton;
  }

  static async up(shape: ClusterShape): Promise<WebStoneCluster> {
    const { name, nodes, binding } = shape;
    const baton = await Baton.up({ name, nodes, set: [`sites=${sites(binding)}`] });
    const cluster = new WebStoneCluster(shape, baton);
    for (const [i, node] of baton.lab.nodes.entries()) await cluster.#origin(node.name, shape.served[i]);
    return cluster;
  }

  async #origin(node: string, classes: readonly number[]): Promise<void> {
    const job: OriginJob = { port: ORIGIN_PORT, classes };
    const argv = [process.execPath, ORIGIN, JSON.stringify(job)];
    const child = this.#baton.lab.spawn(node, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#ends.push(atExit(() => child.kill('SIGKILL')));
    const ended = once(child, 'exit').then(() => {
      throw new Error(`the origin of node ${node} has ended`);
    });
    ended.catch(() => {});
    await Promise.race([once(child.stdout!, 'data'), ended]);
  }

  /** One run. Throws when a single request failed. */
  async run(load: Omit<WebStoneJob, 'endpoints'>): Promise<WebStoneReport> {
    const { lab } = this.#baton;
    const endpoints = this.#shape.entrances.map((name) => lab.node(name).public[0]);
    const job: WebStoneJob = { ...load, endpoints };
    const timeoutMs = (job.rampSeconds + job.seconds) * 1000 + END_TIMEOUT_MS;
    const argv = pinnedClient([process.execPath, CLIENT, JSON.stringify(job)]);
    const { code, stdout, stderr } = await lab.exec('client', argv, { timeoutMs });
    if (code !== 0) throw new Error(`${this.#shape.name}: client ended with ${code}\n${stderr}`);
    const report = JSON.parse(stdout) as WebStoneReport;
    if (Object.keys(report.failures).length > 0)
      throw new Error(`${this.#shape.name}: failed requests: ${JSON.stringify(report.failures)}`);
    return report;
  }

  /** What each origin has counted, by node. */
  async counters(): Promise<ReadonlyMap<string, OriginCounters>> {
    const counters = new Map<string, OriginCounters>();
    for (const { name } of this.#baton.lab.nodes) {
      const url = `http://127.0.0.1:${ORIGIN_PORT}/counters`;
      const { code, stdout, stderr } = await this.#baton.lab.exec(name, ['curl', '-sS', '-f', url]);
      if (code !== 0) throw new Error(`${this.#shape.name}: origin of ${name}: ${stderr}`);
      counters.set(name, JSON.parse(stdout) as OriginCounters);
    }
    return counters;
  }

  down(): void {
    for (const end of this.#ends) end();
    this.#baton.down();
  }
}
