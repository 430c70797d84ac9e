/**
 * SURGE's users, run in a lab's client as `node surge-client.js JOB` with the job as JSON. Prints a line when all of them
 * are there, and a SurgeReport as JSON at the end. A closed loop: each user has one request under way, or waits. Status
 * and length of every response are checked; the first that is wrong ends the run.
 */
import { parseAddress } from '../../src/base/address.ts';
import { EPOLLET, EPOLLIN, EPOLLOUT, Epoll } from '../../src/kernel/linux/epoll.ts';
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
import { surgeDocuments, User } from './surge.ts';

export interface SurgeJob {
  /** `ADDRESS:PORT`, IPv4. */
  readonly endpoint: string;
  readonly host: string;
  readonly users: number;
  readonly seconds: number;
  /** A connection for each request, as the paper has it; else each user keeps one. */
  readonly close: boolean;
}

export interface SurgeReport {
  readonly requests: number;
  /** Of bodies. */
  readonly bytes: number;
  readonly seconds: number;
  /** From the request, or from connect(), to the last byte. */
  readonly meanMs: number;
}

const BUFFER_BYTES = 1024 * 1024;
const MS_PER_SECOND = 1000;
/** Users are looked at as often. */
const LOOK_MS = 1;

const job = JSON.parse(process.argv[2]) as SurgeJob;
const documents = surgeDocuments();
const [host, port] = job.endpoint.split(':');
const endpoint = { address: parseAddress(host), port: Number(port) };
const buffer = allocate(BUFFER_BYTES);
const request = allocate(BUFFER_BYTES);
const epoll = new Epoll();
let [requests, bytes, totalMs] = [0, 0, 0];

function fail(why: string): never {
  console.error(`surge-client: ${why}`);
  process.exit(1);
}

type Phase = 'waits' | 'connects' | 'head' | 'body';

class Browser {
  readonly #user: User;
  readonly #index: number;
  #phase: Phase = 'waits';
  #fd = -1;
  /** The next request, or the one under way. */
  #document = 0;
  /** When the next request is due; when the one under way was made. */
  #atMs = 0;
  #head = '';
  #toCome = 0;

  constructor(index: number) {
    this.#index = index;
    this.#user = new User(index + 1);
    this.#wait(performance.now());
  }

  look(nowMs: number): void {
    if (this.#phase !== 'waits' || nowMs < this.#atMs) return;
    this.#atMs = nowMs;
    if (this.#fd >= 0) return this.#ask();
    this.#phase = 'connects';
    this.#fd = tcpSocket(endpoint.address);
    setOption(this.#fd, IPPROTO_TCP, TCP_NODELAY, 1);
    connectTo(this.#fd, endpoint);
    epoll.add(this.#fd, EPOLLIN | EPOLLOUT | EPOLLET, this.#index);
  }

  handle(fd: number, events: number): void {
    // Of a connection that has ended since.
    if (fd !== this.#fd) return;
    if (this.#phase === 'connects' && (events & EPOLLOUT) !== 0) this.#ask();
    while (this.#phase === 'head' || this.#phase === 'body') {
      const got = libc.recv(fd, buffer.address, BUFFER_BYTES, 0);
      if (got < 0 && lastErrno() === EAGAIN) return;
      if (got <= 0) fail(got === 0 ? 'the connection was closed' : `recv: ${lastErrno()}`);
      this.#take(got);
    }
  }

  #wait(nowMs: number): void {
    const { waitMs, document } = this.#user.next();
    this.#phase = 'waits';
    this.#document = document;
    this.#atMs = nowMs + waitMs;
  }

  #ask(): void {
    const { path } = documents[this.#document];
    const last = job.close ? 'Connection: close\r\n' : '';
    const length = request.bytes.write(`GET ${path} HTTP/1.1\r\nHost: ${job.host}\r\n${last}\r\n`, 'latin1');
    if (libc.send(this.#fd, request.address, length, MSG_NOSIGNAL) !== length) fail(`send: ${lastErrno()}`);
    this.#phase = 'head';
    this.#head = '';
  }

  #take(got: number): void {
    if (this.#phase === 'head') {
      // What is behind the head stays where it is: only its length matters.
      this.#head += buffer.bytes.toString('latin1', 0, got);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = /\r\ncontent-length: (\d+)/i.exec(this.#head.slice(0, end));
      const isRight = this.#head.startsWith('HTTP/1.1 200') && length !== null;
      if (!isRight || Number(length[1]) !== documents[this.#document].bytes) fail(this.#head.slice(0, end));
      this.#phase = 'body';
      this.#toCome = Number(length[1]) - (this.#head.length - end - 4);
    } else this.#toCome -= got;
    if (this.#toCome < 0) fail('more came than was asked for');
    if (this.#toCome === 0) this.#end();
  }

  #end(): void {
    const nowMs = performance.now();
    requests++;
    bytes += documents[this.#document].bytes;
    totalMs += nowMs - this.#atMs;
    if (job.close) {
      libc.close(this.#fd);
      this.#fd = -1;
    }
    this.#wait(nowMs);
  }
}

const browsers = Array.from({ length: job.users }, (_, index) => new Browser(index));
console.log('there');
const begunMs = performance.now();
const endMs = begunMs + job.seconds * MS_PER_SECOND;
for (let nowMs = begunMs; nowMs < endMs; nowMs = performance.now()) {
  for (const browser of browsers) browser.look(nowMs);
  const events = epoll.wait(LOOK_MS);
  for (let i = 0; i < events; i++) browsers[epoll.tagOf(i)].handle(epoll.fdOf(i), epoll.eventsOf(i));
}
const seconds = (performance.now() - begunMs) / MS_PER_SECOND;
const report: SurgeReport = { requests, bytes, seconds, meanMs: totalMs / requests };
console.log(JSON.stringify(report));
