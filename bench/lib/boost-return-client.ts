/**
 * The clients of the benchmark boost-return, run in a lab's client as `node boost-return-client.js ADDRESS COUNT`: COUNT
 * connections, each of which asks every THINK_MS, for SESSION_MS from when all are connected, which it says by a line.
 * At the end it prints what came of it as JSON.
 */
import { Agent, get } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

export interface Asked {
  readonly requests: number;
  /** Not answered with 200 and the whole body on the connection that there was. */
  readonly failed: number;
  readonly slowestMs: number;
}

const THINK_MS = 100;
const SESSION_MS = 10_000;
const BYTES = 1024;

const [address, count] = [process.argv[2], Number(process.argv[3])];
let requests = 0;
let failed = 0;
let slowestMs = 0;

/** Asks once. `isKept`: by the connection that there is. */
function ask(agent: Agent, isKept: boolean): Promise<void> {
  requests++;
  const startMs = performance.now();
  return new Promise((resolve) => {
    const done = (isRight: boolean) => {
      if (!isRight) failed++;
      slowestMs = Math.max(slowestMs, performance.now() - startMs);
      resolve();
    };
    const request = get({ host: address, path: '/1k.bin', agent }, (response) => {
      let bytes = 0;
      response.on('data', (piece: Buffer) => {
        bytes += piece.length;
      });
      response.on('error', () => done(false));
      response.on('end', () =>
        done(response.statusCode === 200 && bytes === BYTES && request.reusedSocket === isKept),
      );
    });
    request.on('error', () => done(false));
  });
}

const agents = Array.from({ length: count }, () => new Agent({ keepAlive: true, maxSockets: 1 }));
for (const agent of agents) await ask(agent, false);
process.stdout.write('connected\n');
const endMs = performance.now() + SESSION_MS;
await Promise.all(
  agents.map(async (agent, i) => {
    // Not all of them at once.
    await delay((THINK_MS * i) / count);
    while (performance.now() < endMs) {
      await ask(agent, true);
      await delay(THINK_MS);
    }
    agent.destroy();
  }),
);
process.stdout.write(`${JSON.stringify({ requests, failed, slowestMs } satisfies Asked)}\n`);
