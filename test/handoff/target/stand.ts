/** The target's side without a kernel: the router's table, sockets, links and what serves requests are models. */
import assert from 'node:assert/strict';
import { parseAddress } from '../../../src/base/address.ts';
import { Counters } from '../../../src/base/counters.ts';
import type { HalfPipeKernel } from '../../../src/handoff/target/half-pipe-ports.ts';
import { HalfPipes } from '../../../src/handoff/target/half-pipes.ts';
import type { Answered } from '../../../src/handoff/target/relayed-request.ts';
import { type Boosted, RelayedRequests } from '../../../src/handoff/target/relayed-requests.ts';
import { EPOLLERR } from '../../../src/kernel/linux/epoll.ts';
import { SystemError } from '../../../src/kernel/linux/errors.ts';
import type { HalfPipeSeed } from '../../../src/kernel/linux/half-pipe.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import type { Source } from '../../../src/kernel/loop/loop.ts';
import {
  FrameType,
  isCarried,
  RejectReason,
  type Setup,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import { Streams } from '../../../src/protocol/backplane/streams.ts';
import { HeadCache } from '../../../src/protocol/http/head-cache.ts';
import type { Response } from '../../../src/protocol/http/reply.ts';
import { DEFAULT_HEAD_LIMITS } from '../../../src/protocol/http/request.ts';
import { BLOCKED, BROKEN, type ByteSink } from '../../../src/serve/byte-sink.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import type { Site, Sites } from '../../../src/serve/sites.ts';
import { LinkModel } from '../anchor/stand.ts';
import { TableModel } from '../table.ts';

export const SELF = 1;
const ANCHOR = 0;
/** Numbers of both directions wrap in the middle of what is sent. */
export const START = 0xffff_ff00;
export const CLIENT_START = 0xffff_fff0;
export const ID = 3;
export const MOST = 2;
/** What the anchor's choice goes by. */
export const DIGEST = 77;
export const HEAD = Buffer.from('GET /1k.bin HTTP/1.1\r\nHost: a\r\n\r\n');
const ETIMEDOUT = 110;
const EADDRNOTAVAIL = 99;

/** A half-pipe's socket in the kernel. */
class SocketModel implements ByteSink {
  readonly seed: HalfPipeSeed;
  sent = '';
  /** Bytes that the client has not acknowledged. */
  queued = 0;
  /** Bytes that it still takes. */
  room = Number.POSITIVE_INFINITY;
  window: number;
  error = 0;
  broken = false;
  state: number = TcpState.ESTABLISHED;

  constructor(seed: HalfPipeSeed) {
    this.seed = seed;
    this.window = seed.sendWindow;
  }

  send(bytes: Buffer, from: number): number {
    if (this.broken) return BROKEN;
    const length = Math.min(bytes.length - from, this.room);
    if (length === 0) return BLOCKED;
    this.sent += bytes.toString('latin1', from, from + length);
    this.queued += length;
    this.room -= length;
    return length;
  }

  sendFile(): number {
    assert.fail('responses are in memory');
  }

  flush(): number {
    return 0;
  }
}

/** The kernel: its sockets by descriptor, and how the ones that are gone went. */
class KernelModel implements HalfPipeKernel {
  readonly open = new Map<number, SocketModel>();
  /** The kernel has a socket with these endpoints. */
  isTaken = false;
  made = 0;
  readonly gone: string[] = [];
  #nextFd = 100;

  of(fd: number): SocketModel {
    const socket = this.open.get(fd);
    assert(socket !== undefined, `descriptor ${fd} is no socket`);
    return socket;
  }

  restore(seed: HalfPipeSeed, spare: number) {
    if (this.isTaken) throw new SystemError('connect', EADDRNOTAVAIL);
    const fd = spare >= 0 ? spare : this.#nextFd++;
    this.made++;
    this.open.set(fd, new SocketModel(seed));
    return { fd, clockOffset: 0, limitsTimeout: false, wasSpare: spare >= 0 };
  }

  limitStall(): void {}

  setSendWindow = (fd: number, windowOf: (queued: number) => number): void => {
    const socket = this.of(fd);
    if (socket.broken) throw new SystemError('setsockopt', ETIMEDOUT);
    socket.window = windowOf(socket.queued);
  };

  queuedBytes(fd: number): number {
    return this.of(fd).queued;
  }

  info(fd: number) {
    const { state } = this.of(fd);
    return { state: () => state, pathMtu: () => 1500, congestionWindow: () => 20, srttUs: () => 300 };
  }

  takeError(fd: number): number {
    return this.of(fd).error;
  }

  out(fd: number): ByteSink {
    return this.of(fd);
  }

  #end(fd: number, how: string): void {
    this.of(fd);
    this.open.delete(fd);
    this.gone.push(how);
  }

  closeSilently(fd: number): void {
    this.#end(fd, 'closed');
  }

  empty(fd: number): void {
    this.#end(fd, 'spare');
  }

  close(): void {}
}

/** A response in memory, and whether it was given back. */
export class Answer {
  released = 0;
  readonly exchange: Exchange;
  readonly response: Response;
  readonly text: string;

  constructor(bytes: number, close = false) {
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`;
    this.text = head + 'x'.repeat(bytes);
    this.response = {
      status: 200,
      parts: [{ bytes: Buffer.from(this.text) }],
      lengthBytes: this.text.length,
      bodyBytes: bytes,
      close,
      body: 'inline',
      release: () => {
        this.released++;
      },
    };
    this.exchange = Exchange.of(this.response);
  }
}

export class TargetStand {
  readonly clock = { nowMs: 1_000_000, exactMs: () => this.clock.nowMs };
  readonly counters = new Counters();
  readonly table = new TableModel();
  readonly kernel = new KernelModel();
  readonly link = new LinkModel(ANCHOR);
  readonly pipes: HalfPipes;
  readonly streams: Streams;
  readonly relayed: RelayedRequests;
  /** Of boosters' requests, in the order of their ends. */
  readonly boosted: Array<Boosted & Answered> = [];
  /** What the next request is answered with. */
  serves: Exchange | RejectReason = RejectReason.NOT_SERVED;
  stopping = false;
  ours = true;
  /** By this node's policy: which node the next request is for, and what that goes by. */
  next = { digest: DIGEST, node: SELF };
  readonly #watched = new Map<number, Source>();
  #deferred: Array<() => void> = [];

  constructor() {
    const { clock, counters: count, table, kernel } = this;
    const later = {
      defer: (task: () => void) => {
        this.#deferred.push(task);
      },
    };
    const watch = {
      add: (fd: number, _events: number, source: Source) => {
        this.#watched.set(fd, source);
      },
      give: (fd: number, source: Source) => {
        this.#watched.set(fd, source);
      },
      forget: (fd: number) => {
        this.#watched.delete(fd);
      },
    };
    const heads = new HeadCache(DEFAULT_HEAD_LIMITS);
    const served = {
      heads,
      serve: () => this.serves,
      find: (): Partial<Site> => ({ content: {} as Site['content'] }),
      parsed: (head: Buffer) => heads.parse(head, 0, head.length),
    };
    const sites = served as unknown as Sites;
    const repeatableChoices = { of: () => ({ digest: this.next.digest, nodeFor: () => this.next.node }) };
    const isStopping = () => this.stopping;
    this.pipes = new HalfPipes({
      clock,
      count,
      later,
      watch,
      table,
      kernel,
      sites,
      repeatableChoices,
      engine: 0,
      self: SELF,
      most: MOST,
      stallSeconds: 60,
      canServe: () => this.ours,
      isStopping,
      log: () => {},
    });
    const boosted = (asked: Boosted, answered: Answered) => void this.boosted.push({ ...asked, ...answered });
    const streams = new Streams({ later });
    this.streams = streams;
    this.relayed = new RelayedRequests({ count, streams, sites, most: MOST, isStopping, boosted });
  }

  /** A SETUP comes, as it comes in. */
  setup(changes: Partial<Setup> = {}, block: Partial<NonNullable<Setup['halfPipe']>> = {}): void {
    const frame: Setup = {
      type: FrameType.SETUP,
      request: ID,
      epoch: 1,
      mechanism: SetupMechanism.ANCHOR,
      http10: false,
      close: false,
      bodyFollows: false,
      sentAtMs: this.clock.nowMs,
      halfPipe: {
        clientAddress: parseAddress('10.0.0.9'),
        clientPort: 40_000,
        publicAddress: parseAddress('10.0.0.1'),
        publicPort: 80,
        family: 4,
        sack: true,
        timestamps: true,
        ecn: false,
        mss: 1448,
        sendScale: 7,
        receiveScale: 7,
        sequence: START,
        acknowledge: CLIENT_START,
        receiveWindow: 65_535,
        sendWindow: 65_535,
        maxWindow: 65_535,
        tsval: 1000,
        tsecr: 2000,
        congestionWindow: 10,
        srttUs: 0,
        ...block,
      },
      client: null,
      secure: false,
      continuation: null,
      keep: null,
      seal: null,
      estimates: null,
      site: 0,
      head: HEAD,
      body: Buffer.alloc(0),
      ...changes,
    };
    if (isCarried(frame.mechanism)) this.relayed.setup(this.link.link, frame);
    else this.pipes.setup(this.link.link, this.pipes.of(this.link.link, frame.request), frame);
  }

  /** Runs what was put off: the links have been flushed. */
  settle(): this {
    while (this.#deferred.length > 0) for (const task of this.#deferred.splice(0)) task();
    return this;
  }

  /** Time passes, in turns of 10 ms. */
  pass(ms: number): this {
    for (const endMs = this.clock.nowMs + ms; this.clock.nowMs < endMs; ) {
      this.clock.nowMs += 10;
      this.turn();
      if (this.clock.nowMs % 100 === 0) this.pipes.round(this.clock.nowMs);
    }
    return this;
  }

  turn(): this {
    this.pipes.turn();
    this.streams.turn();
    return this.settle();
  }

  /** Of the only half-pipe. */
  get slot(): number {
    const [status] = this.pipes.status(MOST);
    assert(status?.entry !== undefined, 'there is a half-pipe');
    return status.entry.slot;
  }

  get state(): string {
    return this.pipes.status(MOST)[0]?.state ?? 'none';
  }

  get fd(): number {
    const fds = [...this.kernel.open.keys()];
    assert.equal(fds.length, 1, 'one socket is open');
    return fds[0];
  }

  get socket(): SocketModel {
    return this.kernel.of(this.fd);
  }

  /** What the router goes by. */
  get rules() {
    const rules = this.table.rules.get(this.slot);
    assert(rules !== undefined);
    return rules;
  }

  /** The client acknowledges all before `end`, to the router and to the socket. */
  acknowledge(end: number): this {
    this.table.acknowledge(this.slot, end);
    this.socket.queued = 0;
    return this.turn();
  }

  /** The socket takes more, or has failed. */
  ready(events: number): this {
    const source = this.#watched.get(this.fd);
    assert(source !== undefined, 'somebody waits for the socket');
    source.ready(events);
    return this.settle();
  }

  /** TCP_USER_TIMEOUT is over. */
  stall(): this {
    this.socket.error = ETIMEDOUT;
    return this.ready(EPOLLERR);
  }

  /** Nothing of any half-pipe is left. */
  assertGone(): void {
    assert.equal(this.pipes.size, 0);
    assert.equal(this.pipes.isWaiting, false);
    assert.equal(this.kernel.open.size, 0, 'no socket is open');
    assert.equal(this.table.free, 4, 'no slot is taken');
  }
}
