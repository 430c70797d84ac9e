/**
 * Two servers that split requests with each other, as in the paper of Rawal, Karne and Wijesinha: each delegates a
 * share of its clients' requests. One request a connection.
 *
 * The paper raises the load until a server is saturated, and counts. Here all nodes share one machine, so a system's
 * capacity is what its busiest node could do with a core for itself: requests over that node's processor time, its
 * process and the kernel's receiving for it.
 */
import { Baton } from './baton.ts';
import { type Load, load } from './wrk.ts';

export const NODES = ['a', 'b'];
const CONNECTIONS = 32;
/** Of the share that is to be delegated, which tables that are full may lower. */
const MIN_SHARE = 0.98;

/** Who has clients: node a alone, or both. */
export type Way = 'one-way' | 'both-ways';

export class Splitting {
  readonly baton: Baton;
  readonly percent: number;

  private constructor(baton: Baton, percent: number) {
    this.baton = baton;
    this.percent = percent;
  }

  static async up(name: string, root: string, percent: number, rate?: string): Promise<Splitting> {
    const policy = percent === 0 ? 'local' : `{ name: delegate, percent: ${percent} }`;
    const set = [`sites.0.policy=${policy}`];
    return new Splitting(
      await Baton.up({
        name,
        nodes: NODES.length,
        root,
        mechanism: 'split',
        set,
        ...(rate === undefined ? {} : { rate }),
      }),
      percent,
    );
  }

  /** Requests of all nodes, and how many of them were split. */
  async #counts(): Promise<{ requests: number; split: number }> {
    const sum = { requests: 0, split: 0 };
    for (const { name } of this.baton.lab.nodes) {
      const { counters } = await this.baton.lab.admin(name, '/api/status');
      sum.requests += counters.requests;
      sum.split += counters.requests_split;
    }
    return sum;
  }

  /** One round. Throws when fewer requests were split than should be. */
  async load(way: Way, path: string, seconds: number): Promise<Load> {
    const nodes = way === 'one-way' ? this.baton.lab.nodes.slice(0, 1) : this.baton.lab.nodes;
    const endpoints = nodes.map((node) => node.public[0]);
    const before = await this.#counts();
    const result = await load(this.baton, {
      paths: [path],
      connections: CONNECTIONS,
      seconds,
      close: true,
      endpoints,
    });
    const after = await this.#counts();
    const requests = after.requests - before.requests;
    const split = after.split - before.split;
    // Requests under way at either end of the round are counted as one or the other.
    if (split >= ((requests * this.percent) / 100) * MIN_SHARE - CONNECTIONS) return result;
    throw new Error(
      `${this.baton.name}: ${split} of ${requests} requests were split, not ${this.percent} percent`,
    );
  }

  down(): void {
    this.baton.down();
  }
}
