/**
 * WebStone's client, run in a lab's client namespace as `node webstone-client.js JOB`, the job as JSON; prints a
 * WebStoneReport as JSON. A closed loop: every connection asks, waits for the whole answer and asks again, or ends
 * and makes room for the next one. Every status and every byte is checked.
 *
 *     start        ramp                    end          last answer
 *       |-- not counted --|-- answers counted --|-- not counted --|
 */
import { Agent, type IncomingMessage, request } from 'node:http';
import { RampCheck } from '../../src/tools/lab/ramp.ts';
import { Random } from '../../src/tools/lab/random.ts';
import { CLASSES, type Document, documentOf, Mix } from './webstone-mix.ts';

export interface WebStoneJob {
  /** Addresses that connections go to in turn. */
  readonly endpoints: readonly string[];
  /** At a time. */
  readonly connections: number;
  readonly requestsAConnection: number;
  /**
   * The class whose requests move kept connections, or null. The first connections begin at any age, as if the run
   * had begun long ago: those that would have asked for such a document before ask for the head of one first.
   */
  readonly movedBy: number | null;
  readonly rampSeconds: number;
  readonly seconds: number;
  readonly seed: number;
}

export interface WebStoneReport {
  /** Answers in the counted time, by class. */
  readonly requests: readonly number[];
  /** Sum of their response times: from the request, of a new connection from connect(), to the last byte. */
  readonly totalMs: readonly number[];
  readonly failures: Readonly<Record<string, number>>;
}

const SILENCE_MS = 20_000;
const MS_PER_SECOND = 1000;

const job = JSON.parse(process.argv[2]) as WebStoneJob;
const mix = new Mix(job.seed);
/** Not the mix's own numbers again. */
const random = new Random(~job.seed);
const requests = CLASSES.map(() => 0);
const totalMs = CLASSES.map(() => 0);
const failures: Record<string, number> = {};
const countFromMs = performance.now() + job.rampSeconds * MS_PER_SECOND;
const endMs = countFromMs + job.seconds * MS_PER_SECOND;
let turn = 0;

/** One request; resolves when its whole answer is there and right, rejects else. */
function ask(
  host: string,
  agent: Agent,
  method: 'GET' | 'HEAD',
  document: Document,
  reused: boolean,
): Promise<void> {
  return new Promise((done, failed) => {
    const check = new RampCheck(document.path, document.bytes);
    const sent = request({ host, agent, method, path: document.path, timeout: SILENCE_MS });
    sent.on('timeout', () => sent.destroy(new Error('silence')));
    sent.on('error', failed);
    sent.on('response', (response: IncomingMessage) => {
      if (response.statusCode !== 200) failed(new Error(`status ${response.statusCode}`));
      // The agent makes up for a connection that was closed early; it counts all the same.
      else if (sent.reusedSocket !== reused) failed(new Error('connection closed early'));
      response.on('data', (bytes: Buffer) => check.push(bytes));
      response.on('error', failed);
      response.on('end', () => {
        if (method === 'HEAD' || check.complete) done();
        else failed(new Error('wrong body'));
      });
    });
    sent.end();
  });
}

async function connection(age: number): Promise<void> {
  const host = job.endpoints[turn++ % job.endpoints.length];
  const keepAlive = job.requestsAConnection > 1;
  const agent = new Agent({ keepAlive, maxSockets: 1 });
  try {
    let asked = false;
    const { movedBy } = job;
    if (movedBy !== null && random.next() > (1 - CLASSES[movedBy].percent / 100) ** age) {
      await ask(host, agent, 'HEAD', documentOf(movedBy, 0), false);
      asked = true;
    }
    for (let left = job.requestsAConnection - age; left > 0 && performance.now() < endMs; left--) {
      const document = mix.next();
      const askedAtMs = performance.now();
      await ask(host, agent, 'GET', document, asked);
      asked = true;
      const nowMs = performance.now();
      if (nowMs < countFromMs || nowMs >= endMs) continue;
      requests[document.class]++;
      totalMs[document.class] += nowMs - askedAtMs;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code ?? message;
    failures[why] = (failures[why] ?? 0) + 1;
  } finally {
    agent.destroy();
  }
}

async function worker(): Promise<void> {
  await connection(random.below(job.requestsAConnection));
  while (performance.now() < endMs) await connection(0);
}

await Promise.all(Array.from({ length: job.connections }, worker));
const report: WebStoneReport = { requests, totalMs, failures };
console.log(JSON.stringify(report));
