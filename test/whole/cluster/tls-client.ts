/** Clients of Node's own over TLS, run as `node tls-client.js JOB` in the client's namespace. Prints what came of it. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { Agent, type RequestOptions, request } from 'node:https';
import { connect as connectPlain } from 'node:net';
import { connect, type TLSSocket } from 'node:tls';
import { checkRamp, ramp } from '../../../src/tools/lab/ramp.ts';
import { Peer } from '../../protocol/tls/peer.ts';

export interface TlsJob {
  readonly what: 'keep-alive' | 'pipeline' | 'bodies' | 'resume' | 'flood' | 'visits';
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
  /** Of visits: those that resumed a session; the certificates that were shown, by their hashes. */
  resumed: number;
  certificates: string[];
}

const job = JSON.parse(process.argv[2]) as TlsJob;
const ca = readFileSync(job.authority);
const report: TlsReport = { failures: [], right: 0, connections: 0, resumed: 0, certificates: [] };
const PORT = 443;
/** Of a flood: so many are on their way at once, which the listener's queue has room for. */
const CONNECTING = 200;
const VISITORS = 4;

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

function secured(address: string, session?: Buffer, rejectUnauthorized = true): TLSSocket {
  const options = { host: address, port: PORT, servername: job.host, ca, rejectUnauthorized };
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

/** A hello without an end, and a whole one, behind which nothing comes. */
async function hellos(): Promise<readonly Buffer[]> {
  const peer = new Peer({ servername: job.host });
  const whole: Buffer[] = [];
  peer.wire.onBytes = (bytes) => whole.push(bytes);
  await peer.until(() => whole.length > 0);
  await peer.close();
  return [Buffer.from([22, 3, 1, 2, 0, 1, 0]), Buffer.concat(whole)];
}

/** Connections that say nothing, or one of the hellos; told apart by nobody. Ends when all were closed. */
async function flood(): Promise<void> {
  const [count] = job.sizes;
  const [half, whole] = await hellos();
  const ends: Promise<unknown>[] = [];
  let begun = 0;
  const connectOne = async (): Promise<void> => {
    while (begun < count) {
      const words = [null, half, whole][begun++ % 3];
      const socket = connectPlain(PORT, job.address);
      // A reset that was lost does not come again, unless something is said.
      socket.setKeepAlive(true, 1000);
      // A reset is an end as well.
      socket.on('error', () => {});
      const closed = new Promise((resolve) => socket.on('close', resolve));
      const connected = new Promise((resolve) => socket.on('connect', resolve));
      ends.push(closed);
      socket.resume();
      await Promise.race([connected, closed]);
      if (words !== null) socket.write(words);
    }
  };
  await Promise.all(Array.from({ length: CONNECTING }, connectOne));
  await Promise.all(ends);
  report.right = count;
}

/** Visits to both nodes in turn, half of them with the ticket of the one before, until the input ends. */
async function visits(): Promise<void> {
  let goesOn = true;
  process.stdin.on('end', () => {
    goesOn = false;
  });
  process.stdin.resume();
  const shown = new Set<string>();
  const [size] = job.sizes;
  const visitor = async (): Promise<void> => {
    let ticket: Buffer | undefined;
    for (let i = 0; goesOn; i++) {
      const session = i % 4 < 2 ? undefined : ticket;
      const socket = secured(i % 2 === 0 ? job.address : job.other, session, false);
      socket.on('session', (one: Buffer) => {
        ticket = one;
      });
      socket.on('secureConnect', () => {
        if (socket.isSessionReused()) report.resumed++;
        else shown.add(socket.getPeerCertificate().fingerprint256);
      });
      socket.write(`GET /${size}.bin HTTP/1.1\r\nHost: ${job.host}\r\nConnection: close\r\n\r\n`);
      const parts: Buffer[] = [];
      for await (const part of socket) parts.push(part);
      const bytes = Buffer.concat(parts);
      note(`visit ${i}`, isRamp(`/${size}.bin`, size, bytes.subarray(bytes.indexOf('\r\n\r\n') + 4)));
    }
  };
  await Promise.all(Array.from({ length: VISITORS }, visitor));
  report.certificates = [...shown];
}

const WORK = { 'keep-alive': keepAlive, pipeline, bodies, resume, flood, visits };
await WORK[job.what]();
console.log(JSON.stringify(report));
