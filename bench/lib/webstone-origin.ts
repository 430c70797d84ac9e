/**
 * The HTTP server behind a node, run in its namespace as `node webstone-origin.js JOB`, the job as JSON: WebStone's
 * documents (byte ramps) from a simulated memory and disk. `/counters` tells how many requests of each class it had,
 * and how many of those went to the disk. Prints a line when it listens.
 */
import { createServer, type ServerResponse } from 'node:http';
import { ramp } from '../../src/tools/lab/ramp.ts';
import { CLASSES, Mix, parsePath, WARMING_SEED } from './webstone-mix.ts';
import { NODE_STORAGE, Storage } from './webstone-storage.ts';

export interface OriginJob {
  readonly port: number;
  /** What this node will be asked for mostly; its memory is filled accordingly. */
  readonly classes: readonly number[];
}

/** By class. */
export interface OriginCounters {
  readonly requests: number[];
  readonly misses: number[];
}

const WARMING_REQUESTS = 20_000;
const BACKLOG = 4096;

const job = JSON.parse(process.argv[2]) as OriginJob;
const storage = new Storage(NODE_STORAGE);
storage.warm(new Mix(WARMING_SEED), WARMING_REQUESTS, job.classes);
const counters: OriginCounters = { requests: CLASSES.map(() => 0), misses: CLASSES.map(() => 0) };

function answer(response: ServerResponse, body: Buffer): void {
  response.setHeader('content-length', body.length);
  response.end(body);
}

const server = createServer((request, response) => {
  const path = request.url!;
  if (path === '/counters') return answer(response, Buffer.from(JSON.stringify(counters)));
  const document = parsePath(path);
  if (document === undefined) {
    response.statusCode = 404;
    return answer(response, Buffer.alloc(0));
  }
  if (request.method === 'HEAD') {
    response.setHeader('content-length', document.bytes);
    response.end();
    return;
  }
  counters.requests[document.class]++;
  if (!storage.has(document)) counters.misses[document.class]++;
  const nowMs = performance.now();
  const readyAtMs = storage.read(document, nowMs);
  const send = () => answer(response, ramp(document.path, document.bytes));
  if (readyAtMs <= nowMs) send();
  else setTimeout(send, readyAtMs - nowMs);
});
server.listen({ port: job.port, host: '127.0.0.1', backlog: BACKLOG }, () => console.log('listening'));
