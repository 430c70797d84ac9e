/** The test's end of holder.ts. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from '../../../src/tools/lab/lab.ts';
import type { Outcome } from './holder.ts';

const HOLDER = fileURLToPath(new URL('./holder.js', import.meta.url));

export class Holding {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(lab: Lab, address: string, host: string, path: string) {
    const argv = [process.execPath, HOLDER, address, host, path];
    this.#child = lab.spawn('client', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async #command(line: string): Promise<Outcome> {
    this.#child.stdin!.write(`${line}\n`);
    const { value, done } = await this.#lines.next();
    assert.ok(done !== true, `the holder ended at: ${line}`);
    return JSON.parse(value) as Outcome;
  }

  /** Opens connections, from client port `port` on when it is given; every one is answered. */
  async open(count: number, port?: number): Promise<readonly (string | null)[]> {
    const { nodes, problems } = await this.#command(`open ${count}${port === undefined ? '' : ` ${port}`}`);
    assert.deepEqual(problems, []);
    return nodes;
  }

  ask(): Promise<Outcome> {
    return this.#command('ask');
  }

  async reset(): Promise<void> {
    await this.#command('reset');
  }

  /** Ends the process, and its connections with it. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}

/** How often each node answered. */
export function tally(nodes: readonly (string | null)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const node of nodes) counts[node ?? 'ended'] = (counts[node ?? 'ended'] ?? 0) + 1;
  return counts;
}
