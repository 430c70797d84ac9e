/** A server that is boosted, or not, as a benchmark says. */
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { BoostMode } from '../../src/cluster/boost-switch.ts';
import type { Lab } from '../../src/tools/lab/lab.ts';

const OPERATOR = fileURLToPath(new URL('./boost-operator.js', import.meta.url));

export class Boosting {
  readonly #lab: Lab;
  readonly #operator: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  /** Of node a, with booster x. */
  constructor(lab: Lab) {
    this.#lab = lab;
    this.#operator = lab.spawn('a', [process.execPath, OPERATOR, 'a'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#answers = createInterface({ input: this.#operator.stdout! })[Symbol.asyncIterator]();
  }

  async say(mode: BoostMode): Promise<void> {
    this.#operator.stdin!.write(`${mode}\n`);
    await this.#answers.next();
  }

  async #goesTo(): Promise<string[]> {
    return Object.keys((await this.#lab.admin('a', '/api/status')).engines[0].spread);
  }

  /** Says it, and waits until new clients go there. */
  async put(mode: 'on' | 'off'): Promise<void> {
    await this.say(mode);
    const to = mode === 'on' ? 'x' : 'a';
    // The engine looks 40 times a second.
    while ((await this.#goesTo()).join() !== to);
  }

  end(): void {
    this.#operator.kill('SIGKILL');
  }
}
