/** Baton in a lab of its own, with what costs time and is not compared switched off. */
import { Lab } from '../../src/tools/lab/lab.ts';
import type { LabOptions } from '../../src/tools/lab/plan.ts';
import { atExit } from './cleanup.ts';
import { pinServer } from './processor.ts';
import type { Server } from './server.ts';

const QUIET = ['observe.accessLog=off', 'observe.servedBy=false', 'observe.serverTiming=false'];
/** Handoffs may fall back now and then; a figure for handoffs needs nearly all requests to be some. */
const MIN_HANDED_OFF = 0.99;

export class Baton implements Server {
  readonly name = 'baton';
  readonly lab: Lab;
  readonly endpoint: string;
  readonly scheme: Server['scheme'];
  readonly processes: ReadonlyMap<string, number>;
  /** Takes the lab down. */
  readonly down: () => void;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.down = atExit(() => lab.down());
    // Every client connects to node a.
    this.endpoint = lab.nodes[0].public[0];
    this.scheme = lab.plan.certificates === null ? 'http' : 'https';
    this.processes = new Map(lab.nodes.map(({ name }) => [name, lab.processOf(name)!.pid]));
    for (const pid of this.processes.values()) pinServer(pid);
  }

  static async up(options: LabOptions): Promise<Baton> {
    return new Baton(await Lab.up({ policy: 'hash', ...options, set: [...QUIET, ...(options.set ?? [])] }));
  }

  log(node: string): string {
    return this.lab.logTail(`${node}.log`);
  }

  async #counters(): Promise<Record<string, number>> {
    return (await this.lab.admin('a', '/api/status')).counters;
  }

  /** Runs `measure` and makes sure that its requests were handed off, by whatever mechanism keeps the connection here. */
  async handingOff<T>(measure: () => Promise<T>): Promise<T> {
    const before = await this.#counters();
    const result = await measure();
    const after = await this.#counters();
    const requests = after.requests - before.requests;
    const handedOff = requests - (after.requests_local - before.requests_local);
    if (requests > 0 && handedOff >= Math.floor(requests * MIN_HANDED_OFF)) return result;
    throw new Error(`baton: only ${handedOff} of ${requests} requests were handed off`);
  }
}
