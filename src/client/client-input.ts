/**
 * What a client has sent: read from its socket into one buffer that all connections of an engine share, and held here
 * as far as nobody has used it when that is read into again. The socket is edge-triggered, so what it may still have
 * is known here, too.
 */
import { EPOLLIN, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import type { Memory } from '../kernel/linux/memory.ts';
import type { Channel } from './channel.ts';
import { EMPTY } from './sockets.ts';

const NOTHING = Buffer.alloc(0);

export class ClientInput {
  readonly #channel: Pick<Channel, 'receive' | 'isDrained' | 'unreadBytes'>;
  /** The buffer that all connections read into: what was read is gone with the next read. */
  readonly #buffer: Memory;
  readonly #taken: (bytes: number) => void;
  /** Bytes read and not yet used. */
  #held: Buffer = NOTHING;
  /** The socket may have more. */
  readable = false;
  /** The client's FIN has come; what it sent before may still be unread. */
  ended = false;

  /** `taken`: told how many bytes of the socket were read. */
  constructor(
    channel: Pick<Channel, 'receive' | 'isDrained' | 'unreadBytes'>,
    buffer: Memory,
    taken: (bytes: number) => void,
  ) {
    this.#channel = channel;
    this.#buffer = buffer;
    this.#taken = taken;
  }

  /** What the loop says of the socket. */
  hear(events: number): void {
    if ((events & EPOLLRDHUP) !== 0) this.ended = true;
    if ((events & EPOLLIN) !== 0) this.readable = true;
  }

  /** What has been read and not used. */
  get held(): Buffer {
    return this.#held;
  }

  /** The client has sent more than was used, as far as is known. */
  get hasMore(): boolean {
    return this.#held.length > 0 || this.readable;
  }

  /** Whether bytes have come that were not read. Asks the kernel, so the client's FIN alone does not count. */
  get hasUnread(): boolean {
    if (this.#held.length > 0) return true;
    return this.readable && (!this.ended || this.#channel.unreadBytes > 0);
  }

  /** Reads once. Returns how many bytes have come, 0 at the client's end, EMPTY or FAILED. */
  receive(): number {
    const got = this.#channel.receive(this.#buffer, this.#taken);
    if (got === EMPTY) this.readable = false;
    if (got < 0) return got;
    if (got === 0) this.ended = true;
    // A short read has emptied the socket: what comes later is a new event. A FIN behind it is not.
    if (got === 0 || (this.#channel.isDrained && !this.ended)) this.readable = false;
    return got;
  }

  /**
   * Gives away what is held, and behind it the `got` bytes that were received last: the first `held.length + got` bytes
   * of what is returned, valid until the next read.
   */
  take(got: number): Buffer {
    const { bytes } = this.#buffer;
    if (this.#held.length === 0) return bytes;
    const held = this.#held;
    this.#held = NOTHING;
    return got === 0 ? held : Buffer.concat([held, bytes.subarray(0, got)]);
  }

  /** Holds bytes [at, end) of what was taken. */
  hold(bytes: Buffer, at: number, end: number): void {
    this.#held = at < end ? Buffer.from(bytes.subarray(at, end)) : NOTHING;
  }

  drop(): void {
    this.#held = NOTHING;
  }
}
