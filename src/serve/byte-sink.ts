/**
 * What sends the out-half. A response is a few parts; a Pump moves them into a ByteSink as far as it takes them.
 * The client's socket at the anchor, a half-pipe's socket at a target and a relayed request are ByteSinks.
 */
import assert from 'node:assert';
import { EAGAIN, EINTR, lastErrno } from '../kernel/linux/errors.ts';
import * as libc from '../kernel/linux/libc.ts';
import { allocate } from '../kernel/linux/memory.ts';
import { MSG_EOR, MSG_MORE, MSG_NOSIGNAL } from '../kernel/linux/socket.ts';
import type { FilePart, Part } from '../protocol/http/reply.ts';

/** Nothing is taken now; the owner is told when to go on. */
export const BLOCKED = -1;
/** Nothing will ever be taken again. */
export const BROKEN = -2;

export interface ByteSink {
  /** Takes bytes [from, bytes.length). `more`: other parts follow at once; `last`: the response ends with them. */
  send(bytes: Buffer, from: number, more: boolean, last: boolean): number;
  /** Takes bytes of a file that was in `state`. Returns how many, BLOCKED or BROKEN (also when it has become shorter). */
  sendFile(fd: number, offset: number, length: number, last: boolean, state: FilePart['state']): number;
  /** Passes on what it has taken and still holds; BLOCKED: not all of it. */
  flush(): number;
}

/**
 * What comes behind a response: bytes of the same socket; or maybe another node's, so that no segment may hold bytes of
 * two responses; or FIN, which is sent right behind the last byte and with it.
 */
export type Behind = 'own' | 'anyone' | 'end';

/** The tail of a file that is sent by send(), because sendfile() cannot mark the end of a record. */
const TAIL_BYTES = 4096;
const SENDFILE_BYTES = 1024 * 1024;

const tail = allocate(TAIL_BYTES);
const fileOffset = allocate(8);
const offsetWords = new Uint32Array(fileOffset.bytes.buffer);

const LAST_FLAGS: Readonly<Record<Behind, number>> = { own: 0, anyone: MSG_EOR, end: MSG_MORE };

/** A connected socket. */
export class SocketSink implements ByteSink {
  readonly fd: number;
  /**
   * Whether a response ends its segment (MSG_EOR): the next byte of this socket may belong elsewhere in the client's
   * sequence space.
   */
  readonly #records: boolean;
  /** What the end of a response is sent with. */
  readonly #lastFlags: number;

  /** Why nothing is taken any more, as an errno; 0 where it is not the socket's fault. */
  error = 0;

  constructor(fd: number, behind: Behind) {
    this.fd = fd;
    this.#records = behind === 'anyone';
    this.#lastFlags = LAST_FLAGS[behind];
  }

  #outcome(result: number): number {
    if (result > 0) return result;
    if (result === 0) return BROKEN;
    const errno = lastErrno();
    if (errno === EAGAIN || errno === EINTR) return BLOCKED;
    this.error = errno;
    return BROKEN;
  }

  send(bytes: Buffer, from: number, more: boolean, last: boolean): number {
    const flags = MSG_NOSIGNAL | (more ? MSG_MORE : 0) | (last ? this.#lastFlags : 0);
    const rest = from === 0 ? bytes : bytes.subarray(from);
    return this.#outcome(libc.sendBytes(this.fd, rest, rest.length, flags));
  }

  sendFile(fd: number, offset: number, length: number, last: boolean): number {
    if (last && this.#records && length <= TAIL_BYTES) {
      const got = libc.pread(fd, tail.address, length, offset);
      if (got !== length) return BROKEN;
      return this.#outcome(libc.send(this.fd, tail.address, length, MSG_NOSIGNAL | MSG_EOR));
    }
    const whole = last && this.#records ? length - TAIL_BYTES : length;
    offsetWords[0] = offset >>> 0;
    offsetWords[1] = Math.floor(offset / 2 ** 32);
    return this.#outcome(libc.sendfile(this.fd, fd, fileOffset.address, Math.min(whole, SENDFILE_BYTES)));
  }

  flush(): number {
    return 0;
  }
}

export type PumpState = 'done' | 'blocked' | 'broken' | 'waiting' | 'yield';

/** What is left of a file is looked at before it is handed over: the client must not take it for whole if it is not. */
const LAST_BYTES = SENDFILE_BYTES;
/** A pump gives way to other connections after this much in one turn. */
const TURN_BYTES = 4 * 1024 * 1024;

const NO_PARTS: readonly Part[] = [];

const lengthOf = (part: Part): number => ('bytes' in part ? part.bytes.length : part.length);

/** Parts on their way into a ByteSink. */
export class Pump {
  /** A response's own list while there is nothing else: it is not written to. */
  #parts: readonly Part[] = NO_PARTS;
  /** Parts that came one by one; null: none have. */
  #added: Part[] | null = null;
  #at = 0;
  #offset = 0;
  #final: boolean;
  /** Bytes that the sink has taken. */
  sentBytes = 0;
  /** Bytes in parts that wait. */
  queuedBytes = 0;
  /** The file that was looked at in this run; -1: none. What is handed over at once needs one look. */
  #lookedAt = -1;
  /** The sink is broken because somebody wrote to the file: the client may have bytes of two versions. */
  fileChanged = false;

  /** `final`: no part will be added. */
  constructor(parts: readonly Part[], final: boolean) {
    this.#final = false;
    for (const part of parts) this.add(part);
    this.#final = final;
  }

  add(part: Part): void {
    const length = lengthOf(part);
    if (length === 0) return;
    if (this.#added === null) {
      this.#added = [...this.#parts];
      this.#parts = this.#added;
    }
    this.#added.push(part);
    this.queuedBytes += length;
  }

  /** Adds bytes that are good for this moment only, and moves what it can; what is left of them is copied. */
  pass(bytes: Buffer, out: ByteSink): PumpState {
    this.add({ bytes });
    const state = this.run(out);
    const added = this.#added;
    if (bytes.length === 0 || added === null) return state;
    const last = added.length - 1;
    const from = this.#at === last ? this.#offset : 0;
    added[last] = { bytes: Buffer.from(bytes.subarray(from)) };
    if (this.#at === last) this.#offset = 0;
    return state;
  }

  /** Takes all parts of a response, `bytes` together; no others follow. */
  take(parts: readonly Part[], bytes: number): void {
    if (this.#parts === NO_PARTS && parts.every(lengthOf)) {
      this.#parts = parts;
      this.queuedBytes = bytes;
    } else for (const part of parts) this.add(part);
    this.#final = true;
  }

  /** Leaves out the next `bytes` of what is queued: they are out already, from elsewhere. */
  skip(bytes: number): void {
    assert(bytes <= this.queuedBytes, 'it is queued');
    this.queuedBytes -= bytes;
    for (let left = bytes; left > 0; ) {
      const part = this.#parts[this.#at];
      const rest = lengthOf(part) - this.#offset;
      if (left < rest) {
        this.#offset += left;
        return;
      }
      left -= rest;
      this.#offset = 0;
      this.#at++;
    }
  }

  /** No part follows. */
  finish(): void {
    this.#final = true;
  }

  get finished(): boolean {
    return this.#final && this.#at === this.#parts.length;
  }

  /** Moves what it can. `waiting`: for parts; `blocked`: for the sink; `yield`: call again in the next turn. */
  run(out: ByteSink): PumpState {
    const until = this.sentBytes + TURN_BYTES;
    this.#lookedAt = -1;
    while (this.#at < this.#parts.length) {
      if (this.sentBytes >= until) return 'yield';
      const part = this.#parts[this.#at];
      const final = this.#at === this.#parts.length - 1;
      const last = final && this.#final;
      const taken =
        'bytes' in part ? out.send(part.bytes, this.#offset, !final, last) : this.#sendFile(out, part, last);
      if (taken < 0) return taken === BLOCKED ? 'blocked' : 'broken';
      this.sentBytes += taken;
      this.queuedBytes -= taken;
      this.#offset += taken;
      if (this.#offset < lengthOf(part)) continue;
      this.#offset = 0;
      this.#at++;
    }
    this.#parts = NO_PARTS;
    this.#added = null;
    this.#at = 0;
    const left = out.flush();
    if (left < 0) return left === BLOCKED ? 'blocked' : 'broken';
    return this.#final ? 'done' : 'waiting';
  }

  #sendFile(out: ByteSink, { fd, offset, length, state }: FilePart, last: boolean): number {
    const left = length - this.#offset;
    const looks = left <= LAST_BYTES && this.#lookedAt !== fd;
    if (looks) this.#lookedAt = fd;
    const taken =
      looks && !state.isUnwritten(fd) ? BROKEN : out.sendFile(fd, offset + this.#offset, left, last, state);
    if (taken === BROKEN) this.fileChanged = !state.isUnwritten(fd);
    return taken;
  }
}
