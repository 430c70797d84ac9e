/** The sockets of a node, without a kernel: what each has sent and heard, and what the parts of an engine do to it. */
import assert from 'node:assert/strict';
import { type ClientSockets, EMPTY, FAILED } from '../../../src/client/sockets.ts';
import type { SocketKernel } from '../../../src/handoff/anchor/own-socket.ts';
import type { GuestKernel } from '../../../src/handoff/move/guests.ts';
import type { MoveKernel } from '../../../src/handoff/move/move-ports.ts';
import type { HalfPipeKernel } from '../../../src/handoff/target/half-pipe-ports.ts';
import { ECONNRESET, SystemError } from '../../../src/kernel/linux/errors.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import { distance } from '../../../src/kernel/router/ranges.ts';
import { type ConnectionState, STATE_VERSION } from '../../../src/kernel/tcp/state.ts';
import { capture } from '../anchor/stand.ts';
import { CLIENT_START, type Client, type Segment, Sender, START } from './wire.ts';

const FIRST_FD = 1000;
const EADDRNOTAVAIL = 99;
const WINDOW_BYTES = 65_535;

/** For how long the client of a socket that owes it something has acknowledged nothing. */
class Silence {
  /** What it had acknowledged at the last look, and since when that is so, or nothing is owed. */
  #acknowledged = -1;
  #sinceMs = 0;

  forMs({ acknowledged, queued }: Sender, nowMs: number): number {
    if (queued === 0 || acknowledged !== this.#acknowledged) {
      this.#acknowledged = acknowledged;
      this.#sinceMs = nowMs;
    }
    return nowMs - this.#sinceMs;
  }
}

/** A half-pipe's. */
interface Pipe {
  readonly sender: Sender;
  readonly port: number;
  /** TCP_USER_TIMEOUT. */
  limitMs: number;
  readonly silence: Silence;
}

/** A connection's own socket. */
export class Socket {
  readonly client: Client;
  readonly sender: Sender;
  arrived = Buffer.alloc(0);
  /** Bytes of the client that have come, from the connection's first on. */
  total = 0;
  /** The client's FIN has come. */
  hasEnded = false;
  /** In repair and deaf. */
  isFrozen = false;
  /** It says nothing more. */
  isShut = false;
  /** The client has reset the connection, or has acknowledged nothing for too long: every call says so. */
  hasFailed = false;
  readonly #silence = new Silence();
  /** TCP_USER_TIMEOUT. */
  limitMs: number;

  constructor(client: Client, sender: Sender, limitMs: number) {
    this.client = client;
    this.sender = sender;
    this.limitMs = limitMs;
  }

  /** Nothing is heard, and nothing is sent any more. */
  fail(): void {
    this.hasFailed = true;
    this.sender.isClosed = true;
    this.arrived = Buffer.alloc(0);
  }

  /** The kernel gives up now: the client has acknowledged nothing for too long. In repair it does not look. */
  givesUp(nowMs: number): boolean {
    if (this.hasFailed || this.isFrozen) return false;
    return this.#silence.forMs(this.sender, nowMs) > this.limitMs;
  }

  /** What it has of the client, as the client counts; its FIN included. */
  get received(): number {
    return this.total + (this.hasEnded ? 1 : 0);
  }

  /** What has come in order it takes. Returns whether there was something new. */
  take({ at, bytes, isEnd }: Segment): boolean {
    const before = this.received;
    if (at > this.total) return false;
    const fresh = bytes.subarray(this.total - at);
    this.arrived = Buffer.concat([this.arrived, fresh]);
    this.total += fresh.length;
    if (isEnd && at + bytes.length === this.total) this.hasEnded = true;
    return this.received > before;
  }

  /** As its kernel would be read. */
  state(): ConnectionState {
    const { client, sender, arrived } = this;
    const { queue, unsent } = sender;
    const receiveSequence = (CLIENT_START + this.total) >>> 0;
    const window = {
      sendWl1: receiveSequence,
      sendWindow: sender.window,
      maxWindow: Math.max(sender.window, WINDOW_BYTES),
      receiveWindow: WINDOW_BYTES,
      receiveWup: receiveSequence,
    };
    return {
      version: STATE_VERSION,
      ...client.ends,
      mss: 1448,
      options: { sack: true, timestamps: true, sendScale: 7, receiveScale: 7 },
      receiveBufferKib: 0,
      sendSequence: sender.number(sender.written),
      receiveSequence,
      sendQueue: queue.subarray(0, queue.length - unsent),
      unsentQueue: queue.subarray(queue.length - unsent),
      receiveQueue: arrived,
      window,
      advertisedEdge: (receiveSequence + WINDOW_BYTES) >>> 0,
      timestamp: 5000,
      finReceived: this.hasEnded,
      finSent: false,
      congestion: { window: 10, srttUs: 0 },
    };
  }
}

/** What the sockets of a node need of it. */
export interface SocketsHost {
  readonly clock: { readonly nowMs: number };
  /** TCP_USER_TIMEOUT of the listeners: accepted sockets have it. */
  readonly stallMs: number;
  /** Asks a client what it has, if the router lets that out. */
  probe(client: Client): void;
  reset(client: Client): void;
  /** The client with these ends. */
  clientAt(port: number): Client;
}

export class Sockets {
  readonly #host: SocketsHost;
  /** Of connections that live here, or are on their way here. */
  readonly own = new Map<number, Socket>();
  /** Of half-pipes. */
  readonly pipes = new Map<number, Pipe>();
  /** Of all half-pipes. */
  #limitMs = Number.POSITIVE_INFINITY;
  /** Their connections were given to other nodes, or were let go again before they were here. */
  readonly given = new Set<Client>();
  /** They are closed, and still owe something, with when the client last took some of it. */
  readonly orphans = new Map<Socket, number>();
  #nextFd = FIRST_FD;

  constructor(host: SocketsHost) {
    this.#host = host;
  }

  accept(client: Client): number {
    const { edge, ack } = client.acknowledgement;
    return this.#add(new Socket(client, new Sender(START, distance(ack, edge)), this.#host.stallMs));
  }

  #add(socket: Socket): number {
    const fd = this.#nextFd++;
    this.own.set(fd, socket);
    return fd;
  }

  /** The socket of a client's connection. */
  of(client: Client): { fd: number; socket: Socket } | null {
    for (const [fd, socket] of this.own) if (socket.client === client) return { fd, socket };
    return null;
  }

  /** Of a connection that no client's connection of an engine has any more: of one that has moved here it may be shut. */
  stateOf(port: number): number {
    const shut = [...this.own.values()].find(
      ({ client, isShut }) => isShut && client.ends.client.port === port,
    );
    if (shut !== undefined && !shut.hasFailed)
      return shut.sender.queued > 0 ? TcpState.FIN_WAIT1 : TcpState.FIN_WAIT2;
    const isOwed = [...this.orphans.keys()].some(({ client }) => client.ends.client.port === port);
    return isOwed ? TcpState.FIN_WAIT1 : TcpState.CLOSE;
  }

  #own(fd: number): Socket {
    const socket = this.own.get(fd);
    assert(socket !== undefined, `descriptor ${fd} is no client’s`);
    return socket;
  }

  /** Of a call that only a connected socket answers. */
  #connected(fd: number): Socket {
    const socket = this.#own(fd);
    if (socket.hasFailed) throw new SystemError('getsockopt', ECONNRESET);
    return socket;
  }

  /** The clients' sockets that their kernel gives up now. */
  givenUp(nowMs: number): number[] {
    return [...this.own].filter(([, socket]) => socket.givesUp(nowMs)).map(([fd]) => fd);
  }

  readonly client: ClientSockets = {
    receive: (fd, { bytes }) => {
      const socket = this.own.get(fd);
      if (socket === undefined || socket.hasFailed) return FAILED;
      if (socket.arrived.length === 0) return socket.hasEnded ? 0 : EMPTY;
      const got = socket.arrived.copy(bytes);
      socket.arrived = socket.arrived.subarray(got);
      return got;
    },
    unreadBytes: (fd) => this.#own(fd).arrived.length,
    queuedBytes: (fd) => (this.#own(fd).hasFailed ? 0 : this.#own(fd).sender.queued),
    out: (fd) => this.#own(fd).sender,
    ends: (fd) => (this.#own(fd).hasFailed ? null : this.#own(fd).client.ends),
    shut: () => {},
    close: (fd) => {
      const socket = this.#own(fd);
      if (socket.sender.queued > 0 && !socket.hasFailed) this.orphans.set(socket, this.#host.clock.nowMs);
      this.own.delete(fd);
    },
    finish: (fd) => this.client.close(fd),
    abort: (fd) => {
      this.#host.reset(this.#own(fd).client);
      this.own.delete(fd);
    },
    limitSilence: (fd, limitMs) => {
      this.#own(fd).limitMs = limitMs;
    },
    turnAway: () => assert.fail('there is room for every client'),
  };

  readonly anchor: SocketKernel = {
    capture: (fd) => {
      const { client, sender, total } = this.#connected(fd);
      return capture({
        ...client.ends,
        countStart: sender.start,
        writeSequence: sender.number(sender.written),
        acknowledged: sender.number(sender.acknowledged),
        receiveSequence: (CLIENT_START + total) >>> 0,
        sendWindow: sender.window,
      });
    },
    unreadBytes: (fd) => this.#own(fd).arrived.length,
    probe: (fd) => this.#host.probe(this.#connected(fd).client),
    setSendWindow: (fd, windowOf) => {
      const { sender } = this.#connected(fd);
      sender.window = windowOf(sender.queued);
    },
    delayAcknowledgements: () => {},
    limitFinWait: () => {},
    reset: (ends) => this.#host.reset(this.#host.clientAt(ends.client.port)),
  };

  #pipeOf(fd: number): Pipe {
    const pipe = this.pipes.get(fd);
    assert(pipe !== undefined, `descriptor ${fd} is no half-pipe’s`);
    return pipe;
  }

  #pipe(fd: number): Sender {
    return this.#pipeOf(fd).sender;
  }

  /** The kernel has given up: the client has acknowledged nothing for so long. */
  #hasStalled({ sender, silence, limitMs }: Pipe): boolean {
    return silence.forMs(sender, this.#host.clock.nowMs) > limitMs;
  }

  #endPipe(fd: number): void {
    this.#pipe(fd).isClosed = true;
    this.pipes.delete(fd);
  }

  readonly target: HalfPipeKernel = {
    restore: (seed, spare) => {
      const fd = spare >= 0 ? spare : this.#nextFd++;
      const sender = new Sender(seed.sequence, seed.sendWindow);
      const { port } = seed.client;
      // A spare one keeps its options.
      const limitMs = spare >= 0 ? this.#limitMs : Number.POSITIVE_INFINITY;
      this.pipes.set(fd, { sender, port, limitMs, silence: new Silence() });
      return { fd, clockOffset: 0, limitsTimeout: false, wasSpare: spare >= 0 };
    },
    limitStall: (fd, limitMs) => {
      this.#pipeOf(fd).limitMs = limitMs;
      this.#limitMs = limitMs;
    },
    setSendWindow: (fd, windowOf) => {
      const sender = this.#pipe(fd);
      sender.window = windowOf(sender.queued);
    },
    queuedBytes: (fd) => this.#pipe(fd).queued,
    info: (fd) => ({
      state: () => (this.#hasStalled(this.#pipeOf(fd)) ? TcpState.CLOSE : TcpState.ESTABLISHED),
      pathMtu: () => 1500,
      congestionWindow: () => 10,
      srttUs: () => 0,
    }),
    takeError: () => 0,
    out: (fd) => this.#pipe(fd),
    closeSilently: (fd) => this.#endPipe(fd),
    empty: (fd) => this.#endPipe(fd),
    close: () => {},
  };

  readonly move: MoveKernel = {
    ends: (fd) => (this.#own(fd).hasFailed ? null : this.#own(fd).client.ends),
    queuedBytes: (fd) => this.#connected(fd).sender.queued,
    unsentBytes: (fd) => this.#connected(fd).sender.unsent,
    unreadBytes: (fd) => this.#own(fd).arrived.length,
    freeze: (fd) => {
      const socket = this.#connected(fd);
      assert(!socket.isFrozen, 'it moves once at a time');
      socket.isFrozen = true;
      return socket.state();
    },
    thaw: (fd) => {
      const socket = this.#own(fd);
      socket.isFrozen = false;
      this.#host.probe(socket.client);
    },
    restore: (state) => this.#restore(state),
    release: (fd, state) => {
      if (state.unsentQueue.length > 0) this.#own(fd).sender.send(state.unsentQueue, 0, false, true);
    },
    probe: (fd) => this.#host.probe(this.#connected(fd).client),
    closeSilently: (fd) => {
      this.given.add(this.#own(fd).client);
      this.own.delete(fd);
    },
  };

  #restore(state: ConnectionState): number {
    const client = this.#host.clientAt(state.client.port);
    const isTaken =
      this.of(client) !== null ||
      [...this.orphans.keys()].some((orphan) => orphan.client === client) ||
      [...this.pipes.values()].some(({ port }) => port === state.client.port);
    if (isTaken) throw new SystemError('bind', EADDRNOTAVAIL);
    const queued = state.sendQueue.length + state.unsentQueue.length;
    const sender = new Sender((state.sendSequence - queued) >>> 0, state.window.sendWindow);
    const socket = new Socket(client, sender, Number.POSITIVE_INFINITY);
    if (state.sendQueue.length > 0) socket.sender.refill(state.sendQueue);
    socket.arrived = Buffer.from(state.receiveQueue);
    socket.total = distance(CLIENT_START, state.receiveSequence);
    socket.hasEnded = state.finReceived;
    return this.#add(socket);
  }

  readonly guest: GuestKernel = {
    shut: (fd) => {
      this.#own(fd).isShut = true;
    },
    hasClosed: (fd) => {
      const { hasFailed, hasEnded, sender } = this.#own(fd);
      return hasFailed || (sender.queued === 0 && hasEnded);
    },
    drop: (fd) => {
      const { client, sender, hasEnded, hasFailed } = this.#own(fd);
      if (!hasFailed && (sender.queued > 0 || !hasEnded)) this.#host.reset(client);
      this.own.delete(fd);
    },
    leave: (fd) => this.client.close(fd),
  };
}
