/**
 * New connections at a steady rate, each with one request, until a line comes on stdin: `node knocker.js URL HOST`. Says
 * `ready` after the first answer, then, when it is told to end, what became of each, as JSON.
 */
import { request } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Knock {
  readonly atMs: number;
  readonly tookMs: number;
  /** Who has answered; or what went wrong. */
  readonly node: string | null;
  readonly error: string;
}

/** 50 a second. */
const INTERVAL_MS = 20;
const TIMEOUT_MS = 8000;

async function main(): Promise<void> {
  const [url, host] = process.argv.slice(2);
  const done: Knock[] = [];
  let under = 0;
  let ready = false;
  const knock = () => {
    const atMs = Date.now();
    let ended = false;
    const end = (node: string | null, error: string) => {
      if (ended) return;
      ended = true;
      under--;
      done.push({ atMs, tookMs: Date.now() - atMs, node, error });
      if (!ready) process.stdout.write('ready\n');
      ready = true;
    };
    under++;
    const asked = request(url, { headers: { host }, agent: false, timeout: TIMEOUT_MS }, (response) => {
      response.resume();
      response.on('end', () => end(String(response.headers['x-served-by']), ''));
      response.on('error', (error) => end(null, error.message));
    });
    asked.on('error', (error: NodeJS.ErrnoException) => end(null, error.code ?? error.message));
    asked.on('timeout', () => asked.destroy(new Error('no answer')));
    asked.end();
  };
  const timer = setInterval(knock, INTERVAL_MS);
  for await (const _ of createInterface({ input: process.stdin })) break;
  clearInterval(timer);
  while (under > 0) await new Promise((done) => setTimeout(done, INTERVAL_MS));
  process.stdout.write(`${JSON.stringify(done)}\n`, () => process.exit(0));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
