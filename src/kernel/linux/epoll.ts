/** epoll(7): one instance per engine, events read into one preallocated buffer. */
import { check, EINTR, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';

export const EPOLLIN = 0x1;
export const EPOLLOUT = 0x4;
export const EPOLLERR = 0x8;
export const EPOLLHUP = 0x10;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 2 ** 31;

/** The socket is of no use any more, and has nothing left to read. */
export function hasFailed(events: number): boolean {
  return (events & EPOLLERR) !== 0 || (events & (EPOLLHUP | EPOLLIN)) === EPOLLHUP;
}

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CLOEXEC = 0o2000000;
const MAX_EVENTS = 512;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_WORDS = process.arch === 'x64' ? 3 : 4;
const DATA_WORD = process.arch === 'x64' ? 1 : 2;

export class Epoll {
  readonly fd = check('epoll_create1', libc.epollCreate1(EPOLL_CLOEXEC));
  readonly #events = allocate(MAX_EVENTS * EVENT_WORDS * 4);
  readonly #words = new Int32Array(
    this.#events.bytes.buffer,
    this.#events.bytes.byteOffset,
    MAX_EVENTS * EVENT_WORDS,
  );
  readonly #change = allocate(EVENT_WORDS * 4);

  #control(operation: number, fd: number, events: number, tag: number): void {
    this.#change.bytes.writeUInt32LE(events >>> 0, 0);
    this.#change.bytes.writeInt32LE(fd, DATA_WORD * 4);
    this.#change.bytes.writeInt32LE(tag, (DATA_WORD + 1) * 4);
    check('epoll_ctl', libc.epollCtl(this.fd, operation, fd, this.#change.address));
  }

  /** `tag`: 32 bits that come back with every event of this registration. */
  add(fd: number, events: number, tag = 0): void {
    this.#control(EPOLL_CTL_ADD, fd, events, tag);
  }

  remove(fd: number): void {
    this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /** Waits at most `timeoutMs` (-1: forever) and returns how many events there are. */
  wait(timeoutMs: number): number {
    const count = libc.epollWait(this.fd, this.#events.address, MAX_EVENTS, timeoutMs);
    if (count < 0) {
      if (lastErrno() === EINTR) return 0;
      throw new SystemError('epoll_wait', lastErrno());
    }
    return count;
  }

  /** The descriptor of event `index` of the last wait. */
  fdOf(index: number): number {
    return this.#words[index * EVENT_WORDS + DATA_WORD];
  }

  /** The tag that the descriptor of event `index` of the last wait was added with. */
  tagOf(index: number): number {
    return this.#words[index * EVENT_WORDS + DATA_WORD + 1];
  }

  /** The event bits of event `index` of the last wait. */
  eventsOf(index: number): number {
    return this.#words[index * EVENT_WORDS];
  }

  close(): void {
    libc.close(this.fd);
  }
}
