/**
 * A client that times each request, run in a lab's client namespace: `node times-client.js JOB` with the job as JSON;
 * prints a TimesReport as JSON. It asks for one path over kept connections, each of which has one request under way:
 * what is told is what a client of those waited, with no correction for requests that it would have liked to send
 * meanwhile (wrk's percentiles have one). Nothing is allocated while it measures, so its own collector takes no part.
 */
import { parseAddress } from '../../src/base/address.ts';
import { EPOLLET, EPOLLIN, Epoll } from '../../src/kernel/linux/epoll.ts';
import { EAGAIN, lastErrno } from '../../src/kernel/linux/errors.ts';
import * as libc from '../../src/kernel/linux/libc.ts';
import { allocate } from '../../src/kernel/linux/memory.ts';
import {
  connectTo,
  IPPROTO_TCP,
  MSG_NOSIGNAL,
  setOption,
  TCP_NODELAY,
  tcpSocket,
} from '../../src/kernel/linux/socket.ts';

export interface TimesJob {
  /** `ADDRESS` or `ADDRESS:PORT`, IPv4. */
  readonly endpoint: string;
  readonly path: string;
  readonly connections: number;
  readonly seconds: number;
}

export interface TimesReport {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** From a request to the last byte of its response. */
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly mostUs: number;
}

const BUFFER_BYTES = 1024 * 1024;
/** Requests that are timed at most. */
const MAX_TIMES = 2 ** 22;
const MS_PER_SECOND = 1000;
const US_PER_MS = 1000;
const FIRST_TIMEOUT_MS = 5000;
const WAIT_MS = 100;

const job = JSON.parse(process.argv[2]) as TimesJob;
const [host, port = '80'] = job.endpoint.split(':');
const request = allocate(Buffer.byteLength(`GET ${job.path} HTTP/1.1\r\nHost: bench\r\n\r\n`));
request.bytes.write(`GET ${job.path} HTTP/1.1\r\nHost: bench\r\n\r\n`);
const buffer = allocate(BUFFER_BYTES);
const times = new Float64Array(MAX_TIMES);
const epoll = new Epoll();
/** By descriptor: when its request was sent, in ms, and how many bytes of the answer are to come. */
const askedAt: number[] = [];
const toCome: number[] = [];
let count = 0;

function fail(why: string): never {
  console.error(`times-client: ${why}`);
  process.exit(1);
}

function ask(fd: number, nowMs: number): void {
  askedAt[fd] = nowMs;
  const sent = libc.send(fd, request.address, request.bytes.length, MSG_NOSIGNAL);
  if (sent !== request.bytes.length) fail(`send: ${lastErrno()}`);
}

/** A response that has come whole: its length, which all of this path have. */
function firstLength(fd: number): number {
  const endMs = performance.now() + FIRST_TIMEOUT_MS;
  let got = 0;
  for (let whole = Number.POSITIVE_INFINITY; got < whole; ) {
    if (performance.now() > endMs) fail('no whole response came');
    const more = libc.recv(fd, buffer.address + got, BUFFER_BYTES - got, 0);
    if (more === 0) fail('the connection was closed');
    if (more < 0) {
      if (lastErrno() !== EAGAIN) fail(`recv: ${lastErrno()}`);
      epoll.wait(WAIT_MS);
      continue;
    }
    got += more;
    const text = buffer.bytes.toString('latin1', 0, Math.min(got, 4096));
    const end = text.indexOf('\r\n\r\n');
    if (end < 0) continue;
    if (!text.startsWith('HTTP/1.1 200')) fail(text.slice(0, 40));
    whole = end + 4 + Number(/content-length: (\d+)/i.exec(text)![1]);
    if (whole > BUFFER_BYTES) fail('the response is too large to be timed');
  }
  return got;
}

function open(): number {
  const fd = tcpSocket(parseAddress(host));
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  connectTo(fd, { address: parseAddress(host), port: Number(port) });
  epoll.add(fd, EPOLLIN | EPOLLET);
  const endMs = performance.now() + FIRST_TIMEOUT_MS;
  while (libc.send(fd, request.address, request.bytes.length, MSG_NOSIGNAL) < 0) {
    if (performance.now() > endMs) fail('no connection');
    epoll.wait(1);
  }
  return fd;
}

/** Reads what has come; the next request goes out when the response is whole. */
function read(fd: number, length: number, untilMs: number): void {
  for (;;) {
    const got = libc.recv(fd, buffer.address, BUFFER_BYTES, 0);
    if (got <= 0) {
      if (got < 0 && lastErrno() === EAGAIN) return;
      fail(got === 0 ? 'the connection was closed' : `recv: ${lastErrno()}`);
    }
    toCome[fd] -= got;
    if (toCome[fd] < 0) fail('more came than was asked for');
    if (toCome[fd] === 0) {
      const nowMs = performance.now();
      if (count < MAX_TIMES) times[count++] = nowMs - askedAt[fd];
      if (nowMs >= untilMs) return;
      toCome[fd] = length;
      ask(fd, nowMs);
    }
    if (got < BUFFER_BYTES) return;
  }
}

const fds = Array.from({ length: job.connections }, open);
const lengths = fds.map(firstLength);
if (lengths.some((length) => length !== lengths[0])) fail('responses of different lengths');
const begunMs = performance.now();
const untilMs = begunMs + job.seconds * MS_PER_SECOND;
for (const fd of fds) {
  toCome[fd] = lengths[0];
  ask(fd, performance.now());
}
while (performance.now() < untilMs) {
  const events = epoll.wait(WAIT_MS);
  for (let i = 0; i < events; i++) read(epoll.fdOf(i), lengths[0], untilMs);
}
const seconds = (performance.now() - begunMs) / MS_PER_SECOND;
const sorted = times.subarray(0, count).sort();
const percentile = (share: number): number =>
  (sorted[Math.min(count - 1, Math.floor(count * share))] ?? 0) * US_PER_MS;
const report: TimesReport = {
  requests: count,
  requestsPerSecond: count / seconds,
  p50Us: percentile(0.5),
  p99Us: percentile(0.99),
  p999Us: percentile(0.999),
  mostUs: percentile(1),
};
console.log(JSON.stringify(report));
