/**
 * A connection to an upstream, and what is on it: one request after the other.
 *
 *   connecting --> free --carry--> busy --the response is whole, keep--> free
 *       `--refused, timed out--> closed      `--else, or failed--> closed
 *
 * The socket is edge-triggered: what came with the last event is never told again. So the socket itself is asked before
 * a connection is used again (`isAlive`), and whoever fails to write reads: an error on write is told by no event.
 */

import type { Endpoint } from '../base/address.ts';
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import { EAGAIN, ECONNRESET, EINTR, errorName, lastErrno, SystemError } from '../kernel/linux/errors.ts';
import * as libc from '../kernel/linux/libc.ts';
import { allocate } from '../kernel/linux/memory.ts';
import { lastInfo, readInfo } from '../kernel/linux/repair-options.ts';
import {
  connectTo,
  IPPROTO_TCP,
  MSG_PEEK,
  pendingError,
  setOption,
  TCP_NODELAY,
  tcpSocket,
} from '../kernel/linux/socket.ts';
import type { Places } from '../kernel/loop/deadlines.ts';
import type { Loop, Source } from '../kernel/loop/loop.ts';
import { type Pump, type PumpState, SocketSink } from './byte-sink.ts';
import type { ReceiveMemory } from './receive-memory.ts';

/** How often what was received is given away before other connections have their turn. */
const READS_PER_TURN = 16;
/** A connection that the upstream has left open for so long it means to keep. */
const PROVEN_MS = 100;
/** Events by which the kernel tells that nothing more will come. */
const ENDS = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

const peeked = allocate(1);

/** The kernel counts our SYN as an acknowledged byte. */
const SYN_BYTES = 1;

/** Why a request got no response from a connection. */
export interface Failure {
  readonly reason: string;
  /** No byte of the request has reached the upstream: it may be sent again, whatever its method. */
  readonly unsent: boolean;
  /** What was waited for did not come in time. */
  readonly isLate: boolean;
}

/** A request, as the connection that carries it sees it. */
export interface Carried {
  /** What is to be sent; it may grow. */
  readonly outgoing: Pump;
  /** No more of the response is wanted now; `resume` when it is. */
  readonly paused: boolean;
  /** Some of `outgoing` was sent; `broken`: and the upstream takes no more of it. */
  wrote(state: PumpState): void;
  /**
   * Bytes [from, to) are the response's. They, and those before them, are its to use, and to change, until `settled`
   * returns.
   */
  received(bytes: Buffer, from: number, to: number): void;
  /** The bytes may be given away: others may be called now. */
  settled(): void;
  /** The upstream has closed. False: the response was not whole. */
  ended(): boolean;
  failed(failure: Failure): void;
}

/** What connections have in common. */
export interface ConnectionHost {
  readonly endpoint: Endpoint;
  readonly loop: Loop;
  readonly memory: ReceiveMemory;
  /** The connection cannot be used any more. */
  closed(connection: UpstreamConnection): void;
}

export class UpstreamConnection implements Source {
  readonly places: Places = [];
  readonly #host: ConnectionHost;
  readonly #fd: number;
  readonly #out: SocketSink;
  #carried: Carried | null = null;
  #isConnected = false;
  #isClosed = false;
  #isReading = false;
  /** The last event has told that the upstream has closed: it is read until that is there. */
  #hasEnded = false;
  /** A write was told of a reset, which a read is not told of any more. */
  #wasReset = false;
  /** Bytes sent for the requests before this one. */
  #sentBefore = 0;
  /** Requests that it has carried before this one. */
  #carriedBefore = 0;
  #freeSinceMs = 0;

  constructor(host: ConnectionHost) {
    const { endpoint, loop } = host;
    let fd = -1;
    try {
      fd = tcpSocket(endpoint.address);
      setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
      connectTo(fd, endpoint);
      loop.add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      // The request is not here yet.
      loop.defer(() => this.#fail(error.message, false));
    }
    this.#host = host;
    this.#fd = fd;
    this.#out = new SocketSink(fd, 'own');
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  /** Whether the upstream has neither closed it nor sent what nobody asked for. */
  get isAlive(): boolean {
    const got = libc.recv(this.#fd, peeked.address, 1, MSG_PEEK);
    return got < 0 && lastErrno() === EAGAIN;
  }

  /** Whether the connection has carried a request before this one: the upstream may have closed it meanwhile. */
  get wasUsed(): boolean {
    return this.#carriedBefore > 0;
  }

  /**
   * Whether the upstream is known to keep it open behind a response: it has done so before, or for some time. Without
   * that a FIN may be under way that it sent right behind its first.
   */
  get isProven(): boolean {
    return this.#carriedBefore > 1 || this.#host.loop.nowMs - this.#freeSinceMs >= PROVEN_MS;
  }

  /** Begins with a request; only while there is none. */
  carry(request: Carried): void {
    this.#carried = request;
    this.write();
  }

  /** The request on it is over. `keep`: the next byte on it is the next response's. */
  free(keep: boolean): void {
    const { sentBytes } = this.#carried!.outgoing;
    this.#carried = null;
    this.#carriedBefore++;
    this.#freeSinceMs = this.#host.loop.nowMs;
    this.#sentBefore += sentBytes;
    if (!keep) this.close();
  }

  ready(events: number): void {
    if (this.#isClosed) return;
    if ((events & ENDS) !== 0) this.#hasEnded = true;
    const broken = (events & (EPOLLERR | EPOLLHUP)) !== 0;
    if (!this.#isConnected) {
      if (broken) return this.#fail(`connect: ${errorName(pendingError(this.#fd))}`, false);
      if ((events & EPOLLOUT) === 0) return;
      this.#isConnected = true;
    }
    // No request is under way: the upstream has closed the connection, or is out of step.
    if (this.#carried === null) {
      if ((events & ~EPOLLOUT) !== 0) this.close();
      return;
    }
    if ((events & EPOLLOUT) !== 0 && !broken) this.write();
    if ((events & ~EPOLLOUT) !== 0) this.read();
  }

  /** Sends what there is of the request, and behind it `bytes`, which are copied if they have to wait. */
  write(bytes: Buffer | null = null): void {
    const carried = this.#carried;
    if (carried === null) return;
    const { outgoing } = carried;
    if (!this.#isConnected) {
      if (bytes !== null) outgoing.add({ bytes: Buffer.from(bytes) });
      return;
    }
    const state = bytes === null ? outgoing.run(this.#out) : outgoing.pass(bytes, this.#out);
    if (state === 'yield') this.#host.loop.defer(() => this.write());
    carried.wrote(state);
    if (state !== 'broken') return;
    this.#wasReset = this.#out.error === ECONNRESET;
    // The upstream may have answered before it closed, and no event tells that it did.
    this.#readLast();
  }

  #readLast(): void {
    const carried = this.#carried;
    if (this.#isReading || this.#host.memory.isInUse) return this.#later(() => this.#readLast());
    this.#hasEnded = true;
    this.read();
    if (carried !== null && this.#carried === carried && !carried.paused)
      this.#fail('connection broken', false);
  }

  /** While the same request is on it. */
  #later(action: () => void): void {
    const carried = this.#carried;
    this.#host.loop.defer(() => {
      if (this.#carried === carried) action();
    });
  }

  /** Reads what there is of the response, as long as it is wanted. */
  read(): void {
    const carried = this.#carried;
    // What takes the received bytes may ask for more at once: then the outer call reads on.
    if (carried === null || this.#isReading) return;
    if (this.#host.memory.isInUse) return this.#later(() => this.read());
    let left = READS_PER_TURN;
    this.#isReading = true;
    while (left > 0 && this.#carried === carried && !carried.paused && this.#receive(carried)) left--;
    this.#isReading = false;
    if (left === 0) this.#later(() => this.read());
  }

  /** Receives once. False: there is no more for now, or the connection has failed. */
  #receive(carried: Carried): boolean {
    const { memory } = this.#host;
    const got = memory.receive(this.#fd);
    if (got > 0) {
      memory.isInUse = true;
      try {
        carried.received(memory.bytes, memory.start, memory.start + got);
        carried.settled();
      } finally {
        memory.isInUse = false;
      }
      // What comes to a socket that was emptied comes with another event; what an event has told does not.
      return memory.isFilledBy(got) || this.#hasEnded;
    }
    if (got < 0) {
      const errno = lastErrno();
      if (errno === EINTR) return true;
      if (errno !== EAGAIN) this.#fail(errorName(errno), false);
      return false;
    }
    if (carried.ended()) carried.settled();
    else this.#fail('closed by the upstream', !this.#wasReset);
    return false;
  }

  /** The request has waited too long. What the kernel still holds of it may arrive, once there is a connection. */
  timedOut(): void {
    const reason = this.#isConnected ? 'silent' : 'connect timed out';
    this.#end({ reason, unsent: !this.#isConnected, isLate: true });
  }

  #fail(reason: string, byFin: boolean): void {
    if (!this.#isClosed) this.#end({ reason, unsent: this.#nothingArrived(byFin), isLate: false });
  }

  #end(failure: Failure): void {
    const carried = this.#carried;
    this.#carried = null;
    this.close();
    carried?.failed(failure);
  }

  /**
   * Whether nobody at the upstream can have read a byte of the request. A FIN acknowledges what came before it; a reset
   * may come from one who has read all, and acknowledged nothing yet.
   */
  #nothingArrived(byFin: boolean): boolean {
    if (!this.#isConnected || this.#carried?.outgoing.sentBytes === 0) return true;
    if (!byFin) return false;
    readInfo(this.#fd);
    return lastInfo.bytesAcknowledged() === (this.#sentBefore + SYN_BYTES) % 2 ** 32;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#host.closed(this);
    if (this.#fd < 0) return;
    this.#host.loop.forget(this.#fd);
    libc.close(this.#fd);
  }
}
