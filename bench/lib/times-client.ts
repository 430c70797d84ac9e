/**
 * A client that times each request, run in a lab's client namespace: `node times-client.js JOB` with the job as JSON;
 * prints a TimesReport as JSON. It asks for paths in turn over connections that are kept, or for as many requests as they
 * are told, each with one request under way: what is told is what a client of those waited, with no correction for
 * requests that it would have liked to send meanwhile (wrk's percentiles have one). With a rate requests come by the
 * clock, each on the connection that has rested longest, and wait when none rests: it tells both what they took, and
 * what they took from when they were due. Next to nothing is allocated while it measures, so its own collector takes
 * no part.
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
  /** Asked for in turn. */
  readonly paths: readonly string[];
  readonly connections: number;
  readonly seconds: number;
  /** Of a connection, the last of which says that it is; absent: it is kept. */
  readonly requests?: number;
  /** Requests a second, of all connections; absent: the next one as soon as the one before is answered. */
  readonly rate?: number;
}

export interface Times {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly mostUs: number;
}

/** From a request, or from connect() when it is the connection's first of several, to the last byte of its response. */
export interface TimesReport extends Times {
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** With a rate: from when they were due. */
  readonly fromDue: Times | null;
}

const BUFFER_BYTES = 1024 * 1024;
/** Requests that are timed at most. */
const MAX_TIMES = 2 ** 22;
const MS_PER_SECOND = 1000;
const US_PER_MS = 1000;
const FIRST_TIMEOUT_MS = 5000;
const WAIT_MS = 100;
const HEAD_END = Buffer.from('\r\n\r\n');

const job = JSON.parse(process.argv[2]) as TimesJob;
const [host, port = '80'] = job.endpoint.split(':');
const endpoint = { address: parseAddress(host), port: Number(port) };
const buffer = allocate(BUFFER_BYTES);
const times = new Float64Array(MAX_TIMES);
const timesFromDue = new Float64Array(job.rate === undefined ? 0 : MAX_TIMES);
const epoll = new Epoll();
let count = 0;

/** A request, and how long its response's body is: the same for all of them. */
interface Form {
  readonly request: Memory;
  readonly bodyBytes: number;
}

/** By descriptor: which use of its number it is, the requests sent, when the newest was, and what is to come of it; -1: all. */
const uses: number[] = [];
const asked: number[] = [];
const askedAt: number[] = [];
const toCome: number[] = [];
const bodyBytes: number[] = [];
/** With a rate: when the request was due; connections that rest, the longest first; how many are to be made yet. */
const dueAt: number[] = [];
const resting: number[] = [];
let unmade = 0;
let due = 0;
let requested = 0;

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
function learn(path: string, fields: string): Form {
  const text = `GET ${path} HTTP/1.1\r\nHost: bench\r\n${fields}\r\n`;
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
  return { request, bodyBytes: Number(length[1]) };
}

/**
 * Of the response whose first bytes are in the buffer. Heads differ in length: of a large file that it has not read yet
 * a node gives another validator.
 */
function headBytes(got: number): number {
  const end = buffer.bytes.indexOf(HEAD_END);
  if (end < 0 || end + HEAD_END.length > got) fail('a head came in pieces');
  return end + HEAD_END.length;
}

/** Begins a connection; its first request goes out when it is there. */
function begin(): number {
  const nowMs = performance.now();
  const fd = open();
  uses[fd] = ((uses[fd] ?? 0) + 1) | 0;
  asked[fd] = 0;
  askedAt[fd] = nowMs;
  epoll.add(fd, EPOLLIN | EPOLLOUT | EPOLLET, uses[fd]);
  return fd;
}

function ask(fd: number): void {
  const isLast = ++asked[fd] === job.requests;
  const forms = isLast ? LAST : KEPT;
  const form = forms[requested++ % forms.length];
  toCome[fd] = -1;
  bodyBytes[fd] = form.bodyBytes;
  if (!send(fd, form.request)) fail(`send: ${lastErrno()}`);
}

/** Reads what has come; the next request goes out when the response is whole. */
function read(fd: number): void {
  while (asked[fd] > 0) {
    const got = libc.recv(fd, buffer.address, BUFFER_BYTES, 0);
    if (got <= 0) {
      if (got < 0 && lastErrno() === EAGAIN) return;
      fail(got === 0 ? 'the connection was closed' : `recv: ${lastErrno()}`);
    }
    if (toCome[fd] < 0) toCome[fd] = headBytes(got) + bodyBytes[fd];
    toCome[fd] -= got;
    if (toCome[fd] < 0) fail('more came than was asked for');
    if (toCome[fd] > 0) {
      if (got < BUFFER_BYTES) return;
      continue;
    }
    const nowMs = performance.now();
    const isOver = asked[fd] === job.requests;
    if (count < MAX_TIMES) {
      if (job.rate !== undefined) timesFromDue[count] = nowMs - dueAt[fd];
      times[count++] = nowMs - askedAt[fd];
    }
    if (nowMs >= untilMs) return;
    if (isOver) libc.close(fd);
    if (job.rate !== undefined) {
      if (isOver) unmade++;
      else resting.push(fd);
      return;
    }
    if (isOver) {
      begin();
      return;
    }
    askedAt[fd] = nowMs;
    ask(fd);
  }
}

const KEPT = job.paths.map((path) => learn(path, ''));
const LAST = job.paths.map((path) => learn(path, 'Connection: close\r\n'));
const begunMs = performance.now();
const untilMs = begunMs + job.seconds * MS_PER_SECOND;
if (job.rate === undefined) for (let i = 0; i < job.connections; i++) begin();
else unmade = job.connections;

/** Begins the requests that are due, as far as a connection is there for them. */
function beginDue(rate: number): void {
  const nowMs = performance.now();
  for (;;) {
    const dueMs = begunMs + (due * MS_PER_SECOND) / rate;
    if (dueMs > nowMs || (unmade === 0 && resting.length === 0)) return;
    due++;
    if (unmade > 0) {
      unmade--;
      dueAt[begin()] = dueMs;
      continue;
    }
    const fd = resting.shift()!;
    dueAt[fd] = dueMs;
    askedAt[fd] = performance.now();
    ask(fd);
  }
}

while (performance.now() < untilMs) {
  // By the clock it looks without pause: what is late is to be the server's, not its own timer's.
  if (job.rate !== undefined) beginDue(job.rate);
  const events = epoll.wait(job.rate === undefined ? WAIT_MS : 0);
  for (let i = 0; i < events; i++) {
    const fd = epoll.fdOf(i);
    // Of a connection that has ended since.
    if (epoll.tagOf(i) !== uses[fd]) continue;
    if (asked[fd] === 0 && (epoll.eventsOf(i) & EPOLLOUT) !== 0) ask(fd);
    read(fd);
  }
}
const seconds = (performance.now() - begunMs) / MS_PER_SECOND;

function percentiles(all: Float64Array): Times {
  const sorted = all.subarray(0, count).sort();
  const percentile = (share: number): number =>
    (sorted[Math.min(count - 1, Math.floor(count * share))] ?? 0) * US_PER_MS;
  return {
    p50Us: percentile(0.5),
    p99Us: percentile(0.99),
    p999Us: percentile(0.999),
    mostUs: percentile(1),
  };
}

const report: TimesReport = {
  requests: count,
  requestsPerSecond: count / seconds,
  ...percentiles(times),
  fromDue: job.rate === undefined ? null : percentiles(timesFromDue),
};
console.log(JSON.stringify(report));
