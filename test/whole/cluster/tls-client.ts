/** Clients of Node's own over TLS, run as `node tls-client.js JOB` in the client's namespace. Prints what came of it. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import { connect as connectPlain, type Socket } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { checkRamp, ramp } from '../../../src/tools/lab/ramp.ts';

export interface TlsJob {
  readonly what: 'keep-alive' | 'pipeline' | 'bodies' | 'resume' | 'flood';
  /** What is trusted. */
  readonly authority: string;
  readonly address: string;
  /** For resumption. */
  readonly other: string;
  readonly host: string;
  readonly sizes: readonly number[];
}

/** Failures in words; counts of what was right. */
export interface TlsReport {
  readonly failures: string[];
  right: number;
  connections: number;
}

const job = JSON.parse(process.argv[2]) as TlsJob;
const ca = readFileSync(job.authority);
const report: TlsReport = { failures: [], right: 0, connections: 0 };
const PORT = 443;

function note(what: string, isRight: boolean): void {
  if (isRight) report.right++;
  else report.failures.push(what);
}

async function fetched(
  options: RequestOptions,
  body: Buffer | null = null,
): Promise<{ response: IncomingMessage; bytes: Buffer; continued: boolean }> {
  const fixed = {
    host: job.address,
    port: PORT,
    servername: job.host,
    ca,
    checkServerIdentity: () => undefined,
  };
  const asked = request({ ...fixed, ...options, headers: { host: job.host, ...options.headers } });
  let continued = false;
  if (options.headers !== undefined && 'expect' in options.headers) {
    asked.flushHeaders();
    await once(asked, 'continue');
    continued = true;
  }
  asked.end(body);
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part);
  return { response, bytes: Buffer.concat(parts), continued };
}

const isRamp = (path: string, size: number, bytes: Buffer): boolean =>
  bytes.length === size && checkRamp(bytes, path, size) === -1;

async function keepAlive(): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const sockets = new Set<unknown>();
  agent.on('free', (socket) => sockets.add(socket));
  for (const size of [...job.sizes, ...job.sizes]) {
    const path = `/${size}.bin`;
    const { bytes } = await fetched({ agent, path });
    note(path, isRamp(path, size, bytes));
  }
  const size = Math.max(...job.sizes);
  const path = `/${size}.bin`;
  const head = await fetched({ agent, path, method: 'HEAD' });
  note('HEAD', head.bytes.length === 0 && head.response.headers['content-length'] === String(size));
  const part = await fetched({ agent, path, headers: { range: 'bytes=1000-1999' } });
  note('range', part.response.statusCode === 206 && part.bytes.equals(ramp(path, size).subarray(1000, 2000)));
  const missing = await fetched({ agent, path: '/missing' });
  note('404', missing.response.statusCode === 404);
  report.connections = sockets.size;
  agent.destroy();
}

function secured(address: string, session?: Buffer): TLSSocket {
  const options = { host: address, port: PORT, servername: job.host, ca };
  return connect({ ...options, ...(session && { session }), checkServerIdentity: () => undefined });
}

/** Everything is asked at once; the answers are read one by one. */
async function pipeline(): Promise<void> {
  const socket = secured(job.address);
  const asked = Array.from({ length: 5 }, () => job.sizes).flat();
  const get = (size: number) => `GET /${size}.bin HTTP/1.1\r\nHost: ${job.host}\r\n\r\n`;
  socket.write(asked.map(get).join(''));
  let bytes = Buffer.alloc(0);
  const waiting = [...asked];
  socket.on('data', (piece: Buffer) => {
    bytes = Buffer.concat([bytes, piece]);
    for (;;) {
      const end = bytes.indexOf('\r\n\r\n');
      const size = waiting[0];
      if (end < 0 || size === undefined || bytes.length < end + 4 + size) break;
      note(`/${size}.bin`, isRamp(`/${size}.bin`, size, bytes.subarray(end + 4, end + 4 + size)));
      bytes = bytes.subarray(end + 4 + size);
      waiting.shift();
    }
    if (waiting.length === 0) socket.end();
  });
  await once(socket, 'end');
  note('bytes behind the last answer', bytes.length === 0 && waiting.length === 0);
}

async function bodies(): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  for (const size of job.sizes) {
    const path = `/post/${size}`;
    const body = ramp(path, size);
    for (const headers of [{ 'content-length': size }, { 'content-length': size, expect: '100-continue' }]) {
      const { bytes, continued } = await fetched({ agent, path, method: 'POST', headers }, body);
      note(`${path} ${'expect' in headers}`, isRamp(path, size, bytes) && continued === 'expect' in headers);
    }
  }
  agent.destroy();
}

async function resume(): Promise<void> {
  const visit = async (address: string, session?: Buffer) => {
    const socket = secured(address, session);
    let ticket: Buffer | undefined;
    socket.on('session', (one: Buffer) => {
      ticket = one;
    });
    socket.write(`GET /1.bin HTTP/1.1\r\nHost: ${job.host}\r\nConnection: close\r\n\r\n`);
    socket.resume();
    await once(socket, 'end');
    return { ticket, isReused: socket.isSessionReused() };
  };
  let { ticket, isReused } = await visit(job.address);
  note('a first visit resumes nothing', !isReused && ticket !== undefined);
  for (const address of [job.other, job.address, job.other]) {
    ({ ticket, isReused } = await visit(address, ticket));
    note(`resumed at ${address}`, isReused && ticket !== undefined);
  }
}

/** Connections that say nothing, or half a hello; told apart by nobody. Ends when all were closed. */
async function flood(): Promise<void> {
  const [count] = job.sizes;
  const sockets = Array.from({ length: count }, (): Socket => connectPlain(PORT, job.address));
  // A reset is an end as well.
  const closed = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)));
  for (const [i, socket] of sockets.entries()) {
    socket.on('error', () => {});
    socket.on('connect', () => {
      if (i % 2 === 0) socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0]));
    });
    socket.resume();
  }
  await Promise.all(closed);
  report.right = count;
}

const WORK = { 'keep-alive': keepAlive, pipeline, bodies, resume, flood };
await WORK[job.what]();
console.log(JSON.stringify(report));
