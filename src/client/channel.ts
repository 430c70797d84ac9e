/** What a client's connection is read from and written to: its socket, or TLS on it (tls-channel.ts). */
import type { MovingResponse } from '../handoff/move/movable.ts';
import type { WayOut } from '../handoff/request/way-out.ts';
import type { Memory } from '../kernel/linux/memory.ts';
import type { MovedResponse } from '../protocol/backplane/frames.ts';
import type { TlsSession } from '../protocol/tls/session.ts';
import type { Behind, ByteSink } from '../serve/byte-sink.ts';
import type { ClientSockets } from './sockets.ts';

/** What is known of a connection's TLS. */
export interface TlsFacts {
  /** The version as OpenSSL names it. */
  readonly version: string;
  readonly suite: string;
  /** The session was resumed by a ticket. */
  readonly resumed: boolean;
}

export interface Channel extends WayOut {
  readonly fd: number;
  /** Null: what comes and goes is in the clear. */
  readonly tls: TlsFacts | null;
  /**
   * Reads once into the buffer. Returns how many bytes have come, 0 at the client's end, EMPTY or FAILED. `taken` is told
   * how many bytes of the socket that took.
   */
  receive(into: Memory, taken: (bytes: number) => void): number;
  /** The last read has emptied the socket. */
  readonly isDrained: boolean;
  /** Bytes that have come and were not read. */
  readonly unreadBytes: number;
  /** `claimsOut`: has this node's socket send next, before anything is said that is no response's; false: not now. */
  speaksBy(claimsOut: () => boolean): void;
  /**
   * Whether the connection may move with `held` bytes that were read and not answered: nothing waits, nothing is half
   * said but for the response in whose middle it is, if it is in one.
   */
  mayMove(held: Buffer, isInResponse: boolean): boolean;
  /** A response in progress, with what else it takes to go on with it elsewhere; null: it is to be out here. */
  moving(response: MovedResponse | null): MovingResponse | null;
  /** What another node goes on with; null: in the clear there is nothing. */
  session(held: Buffer): TlsSession | null;
  /** The socket takes bytes again. False: it has failed. */
  flush(): boolean;
  /** Tells the client that nothing follows; FIN is to come next. `atOnce`: that goes with it. */
  end(atOnce: boolean): void;
  /** Does the same, and sends FIN. */
  shut(): void;
  /** The connection is over, or lives elsewhere. Idempotent. */
  forget(): void;
}

/** A channel without TLS. */
export class SocketChannel implements Channel {
  readonly fd: number;
  readonly tls = null;
  readonly half = null;
  readonly #sockets: ClientSockets;
  isDrained = false;

  constructor(fd: number, sockets: ClientSockets) {
    this.fd = fd;
    this.#sockets = sockets;
  }

  receive(into: Memory, taken: (bytes: number) => void): number {
    const got = this.#sockets.receive(this.fd, into);
    this.isDrained = got < into.bytes.length;
    if (got > 0) taken(got);
    return got;
  }

  get unreadBytes(): number {
    return this.#sockets.unreadBytes(this.fd);
  }

  speaksBy(): void {
    // What is said comes from elsewhere.
  }

  mayLend(): boolean {
    return true;
  }

  out(behind: Behind): ByteSink {
    return this.#sockets.out(this.fd, behind);
  }

  mayMove(): boolean {
    return true;
  }

  moving(response: MovedResponse | null): MovingResponse | null {
    return response && { ...response, records: null };
  }

  session(): null {
    return null;
  }

  flush(): boolean {
    return true;
  }

  end(): void {
    // FIN says it.
  }

  shut(): void {
    this.#sockets.shut(this.fd);
  }

  forget(): void {
    // Nothing is secret.
  }
}
