/**
 * A client that holds many connections, run inside the lab's client namespace: `node holder.js ADDRESS HOST PATH`.
 * Each line on standard input is a command, each line on standard output its outcome (Outcome as JSON):
 *
 *     open N [PORT]   opens N connections more, from PORT on when it is given; each makes a request
 *     ask             every connection that is open makes a request
 *     reset           resets all
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** What became of each connection, in the order in which they were opened. */
export interface Outcome {
  /** The node that answered; null: the connection has ended. */
  readonly nodes: readonly (string | null)[];
  /** Why connections ended or answers were wrong; the first few. */
  readonly problems: readonly string[];
}

/** Connections that wait for an answer at a time. */
const AT_A_TIME = 200;
const SILENCE_MS = 10_000;
const MAX_PROBLEMS = 5;

class Held {
  readonly #socket: Socket;
  #text = '';
  #answered: (node: string | null, problem?: string) => void = () => {};
  #ended = false;

  constructor(address: string, port: number | undefined) {
    const from = port === undefined ? {} : { localPort: port };
    this.#socket = connect({ host: address, port: 80, noDelay: true, autoSelectFamily: false, ...from });
    this.#socket.setEncoding('latin1');
    this.#socket.on('data', (text: string) => this.#take(text));
    this.#socket.on('error', (error) => this.#end(error.message));
    this.#socket.on('close', () => this.#end('closed'));
  }

  #take(text: string): void {
    this.#text += text;
    const head = this.#text.indexOf('\r\n\r\n');
    if (head < 0) return;
    const length = Number(/^content-length: (\d+)/im.exec(this.#text)?.[1]);
    if (this.#text.length < head + 4 + length) return;
    const node = /^x-served-by: (\S+)/im.exec(this.#text)?.[1] ?? '?';
    const status = this.#text.slice(0, 15);
    this.#text = '';
    this.#answered(node, status === 'HTTP/1.1 200 OK' ? undefined : status);
  }

  #end(reason: string): void {
    this.#ended = true;
    this.#answered(null, reason);
  }

  ask(request: string, answered: (node: string | null, problem?: string) => void): void {
    if (this.#ended) return answered(null);
    const timer = setTimeout(() => this.#socket.destroy(new Error('no answer')), SILENCE_MS);
    this.#answered = (node, problem) => {
      this.#answered = () => {};
      clearTimeout(timer);
      answered(node, problem);
    };
    this.#socket.write(request);
  }

  reset(): void {
    this.#socket.resetAndDestroy();
  }
}

async function main(): Promise<void> {
  const [address, host, path] = process.argv.slice(2);
  const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
  let held: Held[] = [];

  async function ask(makers: readonly (() => Held)[]): Promise<Outcome> {
    const nodes: (string | null)[] = makers.map(() => null);
    const problems: string[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let i = next++; i < makers.length; i = next++) {
        await new Promise<void>((done) => {
          makers[i]().ask(request, (node, problem) => {
            nodes[i] = node;
            if (problem !== undefined && problems.length < MAX_PROBLEMS) problems.push(`${i}: ${problem}`);
            done();
          });
        });
      }
    };
    await Promise.all(Array.from({ length: AT_A_TIME }, worker));
    return { nodes, problems };
  }

  const say = (outcome: Outcome) => process.stdout.write(`${JSON.stringify(outcome)}\n`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, count, port] = line.split(' ');
    if (command === 'open') {
      const makers = Array.from({ length: Number(count) }, (_, i) => () => {
        const one = new Held(address, port === undefined ? undefined : Number(port) + i);
        held.push(one);
        return one;
      });
      say(await ask(makers));
    } else if (command === 'ask') {
      say(await ask(held.map((one) => () => one)));
    } else {
      for (const one of held) one.reset();
      held = [];
      say({ nodes: [], problems: [] });
    }
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
