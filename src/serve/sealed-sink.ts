/**
 * A socket of a TLS connection, for one response: takes its plaintext and sends records. A record is sealed once; what
 * the socket does not take of it waits here, one record at most.
 *
 * A response of known length has its records where `record-layout.ts` says. Of another one a record ends where nothing
 * more is there for the moment.
 */
import assert from 'node:assert';
import * as libc from '../kernel/linux/libc.ts';
import type { FilePart } from '../protocol/http/reply.ts';
import { contentBytesAt, type Layout } from '../protocol/tls/record-layout.ts';
import {
  CONTENT_AT,
  ContentType,
  MAX_CONTENT_BYTES,
  MAX_KEY_RECORDS,
  type Sealer,
  sealingMemory,
} from '../protocol/tls/records.ts';
import { BROKEN, type ByteSink } from './byte-sink.ts';

const NOTHING = Buffer.alloc(0);

/** The record that is being made, of whichever connection: nothing is left in it between two calls. */
const scratch = sealingMemory();
const content = scratch.bytes.subarray(CONTENT_AT);

/** Who holds the write half: this node has it, for as long as the response lasts. */
export interface SealingHalf {
  readonly sealer: Sealer;
  /** Bytes of the next record that the client has from elsewhere. */
  readonly cut: number;
}

export class SealedSink implements ByteSink {
  readonly #socket: ByteSink;
  readonly #half: SealingHalf;
  /** Null: the length is not known. */
  readonly #layout: Layout | null;
  /** Plaintext of a record that is not whole. */
  #held = NOTHING;
  /** Sealed, and not taken by the socket. */
  #rest = NOTHING;
  /** The response ends with what waits. */
  #isLast = false;
  /** Bytes of the response in whole records. */
  #offset = 0;
  /** Bytes that the socket has taken. */
  wireBytes = 0;
  /** Records that are sealed. */
  records = 0;

  constructor(socket: ByteSink, half: SealingHalf, layout: Layout | null) {
    this.#socket = socket;
    this.#half = half;
    this.#layout = layout;
  }

  /** Content of the record that is being made, when it is whole. */
  get #contentBytes(): number {
    return this.#layout === null ? MAX_CONTENT_BYTES : contentBytesAt(this.#layout, this.#offset);
  }

  send(bytes: Buffer, from: number, more: boolean, last: boolean): number {
    const failure = this.flush();
    if (failure < 0) return failure;
    const whole = this.#contentBytes;
    const taken = Math.min(whole - this.#held.length, bytes.length - from);
    const end = from + taken;
    const filled = this.#held.length + taken;
    const isEnd = end === bytes.length;
    if (filled < whole && (more || this.#layout !== null)) {
      assert(isEnd && !last, 'a response has its length');
      this.#held = Buffer.concat([this.#held, bytes.subarray(from, end)]);
      return taken;
    }
    this.#held.copy(content, 0);
    bytes.copy(content, this.#held.length, from, end);
    this.#held = NOTHING;
    return this.#seal(filled, more || !isEnd, last && isEnd) === BROKEN ? BROKEN : taken;
  }

  sendFile(fd: number, offset: number, length: number, last: boolean, state: FilePart['state']): number {
    const failure = this.flush();
    if (failure < 0) return failure;
    const whole = this.#contentBytes;
    const held = this.#held.length;
    const taken = Math.min(whole - held, length);
    if (libc.pread(fd, scratch.address + CONTENT_AT + held, taken, offset) !== taken) return BROKEN;
    // Another node may go on with this very record, from its copy of what the file was.
    if (this.#layout !== null && !state.isUnwritten(fd)) return BROKEN;
    this.#held.copy(content, 0);
    if (held + taken < whole && this.#layout !== null) {
      this.#held = Buffer.from(content.subarray(0, held + taken));
      return taken;
    }
    this.#held = NOTHING;
    const isEnd = taken === length;
    return this.#seal(held + taken, !isEnd, last && isEnd) === BROKEN ? BROKEN : taken;
  }

  /** Seals the content in the scratch record, and sends what the socket takes. */
  #seal(bytes: number, more: boolean, last: boolean): number {
    const { sealer, cut: from } = this.#half;
    if (sealer.number >= MAX_KEY_RECORDS) return BROKEN;
    const record = sealer.seal(scratch, bytes, ContentType.APPLICATION_DATA);
    this.records++;
    this.#offset += bytes;
    this.#isLast = last;
    assert(
      from === 0 || (this.#layout !== null && from < record.length),
      'the client has a part of this very record',
    );
    return this.#push(record, from, more);
  }

  /** BLOCKED: a rest waits. */
  #push(record: Buffer, from: number, more: boolean): number {
    let at = from;
    while (at < record.length) {
      const sent = this.#socket.send(record, at, more, this.#isLast);
      if (sent < 0) {
        this.#rest = Buffer.from(record.subarray(at));
        return sent;
      }
      at += sent;
      this.wireBytes += sent;
    }
    this.#rest = NOTHING;
    return 0;
  }

  flush(): number {
    return this.#rest.length === 0 ? 0 : this.#push(this.#rest, 0, false);
  }
}
