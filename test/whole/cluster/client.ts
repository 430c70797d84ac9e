/**
 * A client for cluster tests, run inside the lab's client namespace: `node client.js JOB` with the job as JSON.
 * Speaks HTTP/1.1 over plain sockets so that it decides about segments, pipelining and how it leaves, checks every
 * byte of every body against its ramp, and prints a Report as JSON.
 */
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import * as tls from 'node:tls';
import { fileURLToPath } from 'node:url';
import { ramp } from '../../../src/tools/lab/ramp.ts';
import { type Answer, ResponseReader } from './response-reader.ts';

/** One request. The body of its answer must be the ramp of `path` and `size`. */
export interface Item {
  readonly host: string;
  readonly path: string;
  readonly size: number;
  /** The ramp of `path` and this size is sent as a POST. */
  readonly bodyBytes?: number;
}

export interface Job {
  readonly address: string;
  readonly items: readonly Item[];
  /** The port of https, and this cipher suite. */
  readonly suite?: string;
  /** Connections at a time, each with all items; default 1. */
  readonly connections?: number;
  /** Requests sent before their answers; default 1. */
  readonly pipeline?: number;
  /** Requests sent before their answers are written one by one, at most so many microseconds behind each other. */
  readonly behindUs?: number;
  /** Requests are written in pieces of this size, each a segment. */
  readonly segmentBytes?: number;
  /** Start over with the items until this has passed; what is under way ends. */
  readonly durationMs?: number;
  /** Then go on until so many are answered on all connections, for at most SLOW_FACTOR times as long. */
  readonly atLeast?: number;
  /** A new connection for each item. */
  readonly each?: boolean;
  /** HTTP/1.0 without keep-alive: the server closes, and the client waits for that. */
  readonly http10?: boolean;
  /** Between an answer and the next request. */
  readonly thinkMs?: number;
  /** Nothing is read for this long at first. */
  readonly pauseMs?: number;
  /** No progress for this long fails the connection; default 8 s. */
  readonly silenceMs?: number;
  /**
   * Says so on stderr, a line `at N` each, when connection 0 has received so many bytes. At each it reads on when a line
   * on stdin has come for it.
   */
  readonly marks?: readonly number[];
  /** Leave after this many bytes: half-close and read on, reset, or stop reading and stay. */
  readonly leave?: { readonly afterBytes: number; readonly how: 'fin' | 'rst' | 'stall' };
}

export interface Report {
  readonly answered: number;
  readonly bytes: number;
  readonly byMechanism: Record<string, number>;
  readonly byNode: Record<string, number>;
  /** Milliseconds from a request to the end of its answer, ascending. */
  readonly tookMs: number[];
  /** Traffic secrets of its TLS connections, in hexadecimal. */
  readonly secrets: readonly string[];
  /** What went wrong, in words; empty when every request was answered with the right bytes. */
  readonly failures: string[];
}

const SILENCE_MS = 8_000;
/** How long the server may take to close: its connection may be on the move, for which a node that leaves takes 10 s. */
const CLOSE_MS = 11_000;
const MAX_FAILURES = 6;
/** How much slower a machine may be that has much else to do. */
const SLOW_FACTOR = 10;
const US_PER_MS = 1000;

/** Lines that have come: so many of what others do at marks is done. */
const done = { faults: 0, wake: (): void => {} };

const answers: Answer[] = [];
const failures: string[] = [];
const secrets: string[] = [];
const tookMs: number[] = [];

function requestBytes(item: Item, http10 = false): Buffer {
  const { host, path, bodyBytes } = item;
  const version = http10 ? 'HTTP/1.0' : 'HTTP/1.1';
  if (bodyBytes === undefined) return Buffer.from(`GET ${path} ${version}\r\nHost: ${host}\r\n\r\n`);
  const head = `POST ${path} HTTP/1.1\r\nHost: ${host}\r\nContent-Length: ${bodyBytes}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), ramp(path, bodyBytes)]);
}

async function write(socket: Socket, bytes: Buffer, segmentBytes: number | undefined): Promise<void> {
  for (let at = 0; at < bytes.length; at += segmentBytes ?? bytes.length) {
    const piece = bytes.subarray(at, at + (segmentBytes ?? bytes.length));
    await new Promise<void>((done) => socket.write(piece, () => done()));
  }
}

/** Timers are not as fine. */
function spin(us: number): void {
  const untilMs = performance.now() + us / US_PER_MS;
  while (performance.now() < untilMs);
}

function open({ address: host, suite, items }: Job): Socket {
  if (suite === undefined) return connect({ host, port: 80, noDelay: true, autoSelectFamily: false });
  const version = suite.startsWith('TLS_') ? 'TLSv1.3' : 'TLSv1.2';
  const options = { ciphers: suite, minVersion: version, maxVersion: version } as const;
  const socket = tls.connect({
    host,
    port: 443,
    servername: items[0].host,
    rejectUnauthorized: false,
    ...options,
  });
  socket.on('keylog', (line: Buffer) => secrets.push(line.toString().trim().split(' ')[2]));
  return socket.setNoDelay(true);
}

/** Reads no further until so many faults are over: on a busy machine the response could be over before. */
function hold(socket: Socket, faults: number, silenceMs: number): void {
  if (done.faults >= faults) return;
  socket.pause();
  socket.setTimeout(0);
  done.wake = () => {
    if (done.faults < faults) return;
    done.wake = () => {};
    socket.setTimeout(silenceMs);
    socket.resume();
  };
}

function hearOfFaults(): void {
  createInterface({ input: process.stdin }).on('line', () => {
    done.faults++;
    done.wake();
  });
}

/** Whether a job with a duration that began then is over. */
function hasPassed({ durationMs, atLeast = 0 }: Job, startedMs: number): boolean {
  if (durationMs === undefined) return false;
  const ms = performance.now() - startedMs;
  return ms > durationMs && (answers.length >= atLeast || ms > durationMs * SLOW_FACTOR);
}

/** Resolves when the connection has ended or every item is answered. */
async function converse(job: Job, index: number): Promise<void> {
  const name = `connection ${index}`;
  const marks = index === 0 ? [...(job.marks ?? [])] : [];
  let passed = 0;
  const socket = open(job);
  const waiting: { item: Item; startedMs: number }[] = [];
  const startedMs = performance.now();
  let wake = (): void => {};
  let ended: string | null = null;
  let received = 0;
  let port = 0;
  let left = false;
  const isOver = () => hasPassed(job, startedMs);
  const reader = new ResponseReader(
    () => waiting[0]?.item,
    (answer) => {
      const { item, startedMs: sentMs } = waiting.shift()!;
      answers.push(answer);
      tookMs.push(performance.now() - sentMs);
      if (answer.problem !== null) failures.push(`${name} ${item.host} ${item.path}: ${answer.problem}`);
      wake();
    },
  );
  const silenceMs = job.silenceMs ?? SILENCE_MS;
  socket.setTimeout(silenceMs, () => socket.destroy(new Error('nothing came for too long')));
  const end = (reason: string): void => {
    ended ??= reason;
    wake();
  };
  socket.once('connect', () => {
    port = socket.localPort!;
  });
  socket.on('error', (error) => end(error.message));
  socket.on('close', () => end('closed'));
  socket.on('end', () => {
    reader.end();
    end('FIN');
  });
  socket.on('data', (bytes) => {
    received += bytes.length;
    for (; marks.length > 0 && received >= marks[0]; passed++) {
      process.stderr.write(`at ${marks.shift()}\n`);
      hold(socket, passed + 1, silenceMs);
    }
    try {
      reader.push(bytes);
    } catch (error) {
      failures.push(`${name}: ${(error as Error).message}`);
      socket.destroy();
      return;
    }
    if (job.leave === undefined || left || received < job.leave.afterBytes) return;
    left = true;
    if (job.leave.how === 'rst') socket.resetAndDestroy();
    else if (job.leave.how === 'fin') socket.end();
    else {
      socket.setTimeout(0);
      socket.pause();
      // A socket that does not read does not keep the process.
      setInterval(() => {}, 1000);
      process.stderr.write('stalled\n');
    }
  });
  if (job.pauseMs !== undefined) {
    socket.pause();
    setTimeout(() => socket.resume(), job.pauseMs);
  }
  const pause = () =>
    new Promise<void>((done) => {
      wake = done;
    });
  const depth = job.pipeline ?? 1;
  let sent = 0;
  const total = job.durationMs === undefined ? job.items.length : Number.POSITIVE_INFINITY;
  while (ended === null && (sent < total || waiting.length > 0)) {
    if (sent < total && waiting.length < depth && !isOver()) {
      if (sent > 0 && job.thinkMs !== undefined) await delay(job.thinkMs);
      const batch: Buffer[] = [];
      while (sent < total && waiting.length < depth) {
        const item = job.items[sent++ % job.items.length];
        waiting.push({ item, startedMs: performance.now() });
        const bytes = requestBytes(item, job.http10);
        if (job.behindUs === undefined) batch.push(bytes);
        else {
          socket.write(bytes);
          spin(job.behindUs * Math.random());
        }
      }
      if (batch.length > 0) await write(socket, Buffer.concat(batch), job.segmentBytes);
      continue;
    }
    if (waiting.length === 0) break;
    await pause();
  }
  if (job.leave === undefined && waiting.length > 0) {
    const { item } = waiting[0];
    failures.push(
      `${name} ${item.host} ${item.path}: connection ended (${ended}) with ${waiting.length} requests open,` +
        ` ${sent} sent, ${received} bytes received, answer: ${reader.progress},` +
        ` port ${port}, ${new Date().toISOString()}`,
    );
  }
  if (ended === null && job.http10) await pause();
  socket.end();
  socket.resume();
  // The client closes first, then the server: both ends of the connection are part of the test.
  if (ended === null)
    await Promise.race([
      new Promise((done) => socket.once('close', done)),
      delay(CLOSE_MS, undefined, { ref: false }),
    ]);
  if (ended === null && job.leave === undefined) failures.push(`${name}: the server never closed`);
  socket.destroy();
}

/** Each item on a connection of its own, one after the other; again and again when the job has a duration. */
async function oneByOne(job: Job, index: number): Promise<void> {
  const { durationMs, ...rest } = job;
  const startedMs = performance.now();
  do {
    for (const only of job.items) {
      if (failures.length >= MAX_FAILURES) return;
      await converse({ ...rest, items: [only] }, index);
    }
  } while (durationMs !== undefined && !hasPassed(job, startedMs));
}

function count(key: 'mechanism' | 'node'): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const answer of answers) counts[answer[key]] = (counts[answer[key]] ?? 0) + 1;
  return counts;
}

async function main(): Promise<void> {
  const job = JSON.parse(process.argv[2]) as Job;
  const runs = Array.from({ length: job.connections ?? 1 }, (_, i) =>
    job.each ? oneByOne(job, i) : converse(job, i),
  );
  if (job.marks !== undefined) hearOfFaults();
  await Promise.all(runs);
  process.stdin.destroy();
  const report: Report = {
    answered: answers.length,
    bytes: answers.reduce((sum, answer) => sum + answer.bodyBytes, 0),
    byMechanism: count('mechanism'),
    byNode: count('node'),
    tookMs: tookMs.map((ms) => Math.round(ms * 10) / 10).sort((x, y) => x - y),
    secrets,
    failures: failures.slice(0, MAX_FAILURES),
  };
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
