/**
 * A client that times each request, run in a lab's client namespace: `node times-client.js JOB` with the job as JSON;
 * prints a TimesReport as JSON. It asks for one path over connections that are kept, or for as many requests as they are
 * told, each with one request under way: what is told is what a client of those waited, with no correction for requests
 * that it would have liked to send meanwhile (wrk's percentiles have one). Nothing is allocated while it measures, so
 * its own collector takes no part.
 */
import { parseAddress } from '../../src/base/address.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, Epoll } from '../../src/kernel/linux/epoll.ts';
import { EAGAIN, lastErrno } from '../../src/kernel/linux/errors.ts';
import * as libc from '../../src/kernel/linux/libc.ts';
import { allocate, type Memory } from '../../src/kernel/linux/memory.ts';
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
  /** Of a connection, the last of which says that it is; absent: it is kept. */
  readonly requests?: number;
}

export interface TimesReport {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** From a request, or from connect() when it is the connection's first of several, to the last byte of its response. */
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
const endpoint = { address: parseAddress(host), port: Number(port) };
const buffer = allocate(BUFFER_BYTES);
const times = new Float64Array(MAX_TIMES);
const epoll = new Epoll();
let count = 0;

/** A request, and how long its response is: the same for all of them. */
interface Form {
  readonly request: Memory;
  readonly length: number;
}

/** By descriptor: which use of its number it is, the requests sent, when the newest was, and what is to come of it. */
const uses: number[] = [];
const asked: number[] = [];
const askedAt: number[] = [];
const toCome: number[] = [];

function fail(why: string): never {
  console.error(`times-client: ${why}`);
  process.exit(1);
}

function open(): number {
  const fd = tcpSocket(endpoint.address);
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  connectTo(fd, endpoint);
  return fd;
}

function send(fd: number, { bytes, address }: Memory): boolean {
  return libc.send(fd, address, bytes.length, MSG_NOSIGNAL) === bytes.length;
}

/** A form of the request, by what is answered on a connection of its own. */
function learn(fields: string): Form {
  const text = `GET ${job.path} HTTP/1.1\r\nHost: bench\r\n${fields}\r\n`;
  const request = allocate(Buffer.byteLength(text));
  request.bytes.write(text);
  const endMs = performance.now() + FIRST_TIMEOUT_MS;
  const fd = open();
  while (!send(fd, request)) if (performance.now() > endMs) fail('no connection');
  let head = '';
  for (let end = -1; end < 0; end = head.indexOf('\r\n\r\n')) {
    if (performance.now() > endMs) fail('no response came');
    const got = libc.recv(fd, buffer.address, BUFFER_BYTES, 0);
    if (got < 0 && lastErrno() !== EAGAIN) fail(`recv: ${lastErrno()}`);
    if (got > 0) head += buffer.bytes.toString('latin1', 0, got);
  }
  libc.close(fd);
  const length = /content-length: (\d+)/i.exec(head);
  if (length === null || !head.startsWith('HTTP/1.1 200')) fail(head.slice(0, 40));
  return { request, length: head.indexOf('\r\n\r\n') + 4 + Number(length[1]) };
}

/** Begins a connection; its first request goes out when it is there. */
function begin(): void {
  const nowMs = performance.now();
  const fd = open();
  uses[fd] = ((uses[fd] ?? 0) + 1) | 0;
  asked[fd] = 0;
  askedAt[fd] = nowMs;
  epoll.add(fd, EPOLLIN | EPOLLOUT | EPOLLET, uses[fd]);
}

function ask(fd: number): void {
  const isLast = ++asked[fd] === job.requests;
  const { request, length } = isLast ? LAST : KEPT;
  toCome[fd] = length;
  if (!send(fd, request)) fail(`send: ${lastErrno()}`);
}

/** Reads what has come; the next request goes out when the response is whole. */
function read(fd: number): void {
  while (asked[fd] > 0) {
    const got = libc.recv(fd, buffer.address, BUFFER_BYTES, 0);
    if (got <= 0) {
      if (got < 0 && lastErrno() === EAGAIN) return;
      fail(got === 0 ? 'the connection was closed' : `recv: ${lastErrno()}`);
    }
    toCome[fd] -= got;
    if (toCome[fd] < 0) fail('more came than was asked for');
    if (toCome[fd] > 0) {
      if (got < BUFFER_BYTES) return;
      continue;
    }
    const nowMs = performance.now();
    if (count < MAX_TIMES) times[count++] = nowMs - askedAt[fd];
    if (nowMs >= untilMs) return;
    if (asked[fd] === job.requests) {
      libc.close(fd);
      return begin();
    }
    askedAt[fd] = nowMs;
    ask(fd);
  }
}

const KEPT = learn('');
const LAST = learn('Connection: close\r\n');
const begunMs = performance.now();
const untilMs = begunMs + job.seconds * MS_PER_SECOND;
for (let i = 0; i < job.connections; i++) begin();
while (performance.now() < untilMs) {
  const events = epoll.wait(WAIT_MS);
  for (let i = 0; i < events; i++) {
    const fd = epoll.fdOf(i);
    // Of a connection that has ended since.
    if (epoll.tagOf(i) !== uses[fd]) continue;
    if (asked[fd] === 0 && (epoll.eventsOf(i) & EPOLLOUT) !== 0) ask(fd);
    read(fd);
  }
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
