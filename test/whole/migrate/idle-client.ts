/**
 * Keep-alive connections that rest: `node idle-client.js JOB`. Each asks once; then "resting" is printed, and a line on
 * standard input has each ask again. Prints a RestReport as JSON.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Item } from '../cluster/client.ts';
import { type Answer, ResponseReader } from '../cluster/response-reader.ts';

export interface RestJob {
  readonly address: string;
  readonly connections: number;
  readonly item: Item;
  /** How often each asks after the rest. */
  readonly again: number;
}

export interface RestReport {
  readonly before: Record<string, number>;
  readonly after: Record<string, number>;
  readonly failures: readonly string[];
}

const SILENCE_MS = 15_000;
/** Connections opened at a time. */
const BATCH = 100;
const failures: string[] = [];

class Resting {
  readonly #socket: Socket;
  readonly #item: Item;
  readonly #reader: ResponseReader;
  #answered: (answer: Answer | null) => void = () => {};

  constructor(job: RestJob) {
    this.#item = job.item;
    this.#socket = connect({ host: job.address, port: 80, noDelay: true, autoSelectFamily: false });
    this.#reader = new ResponseReader(
      () => this.#item,
      (answer) => this.#answered(answer),
    );
    this.#socket.on('data', (bytes) => this.#reader.push(bytes));
    const ended = (reason: string) => {
      failures.push(reason);
      this.#answered(null);
    };
    this.#socket.on('error', (error) => ended(error.message));
    this.#socket.on('end', () => ended('FIN'));
  }

  async ask(): Promise<Answer | null> {
    const answer = new Promise<Answer | null>((done) => {
      const timer = setTimeout(() => {
        failures.push(`no answer for ${SILENCE_MS} ms`);
        done(null);
      }, SILENCE_MS);
      this.#answered = (one) => {
        clearTimeout(timer);
        if (one?.problem) failures.push(one.problem);
        done(one);
      };
    });
    this.#socket.write(`GET ${this.#item.path} HTTP/1.1\r\nHost: ${this.#item.host}\r\n\r\n`);
    return answer;
  }

  close(): void {
    this.#socket.removeAllListeners('end');
    this.#socket.end();
    this.#socket.resume();
  }
}

async function askAll(all: readonly Resting[], times: number): Promise<Record<string, number>> {
  const byNode: Record<string, number> = {};
  for (let i = 0; i < times; i++) {
    for (let at = 0; at < all.length; at += BATCH) {
      const answers = await Promise.all(all.slice(at, at + BATCH).map((one) => one.ask()));
      for (const answer of answers) if (answer) byNode[answer.node] = (byNode[answer.node] ?? 0) + 1;
    }
  }
  return byNode;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const job = JSON.parse(process.argv[2]) as RestJob;
  const all = Array.from({ length: job.connections }, () => new Resting(job));
  const before = await askAll(all, 1);
  process.stdout.write('resting\n');
  await once(process.stdin, 'data');
  const after = await askAll(all, job.again);
  const report: RestReport = { before, after, failures: failures.slice(0, 10) };
  for (const one of all) one.close();
  process.stdout.write(`${JSON.stringify(report)}\n`);
  process.stdin.destroy();
}
