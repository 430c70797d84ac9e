/**
 * A socket of a TLS connection, for one response: takes its plaintext and sends records, several at once: a record for
 * each call of the kernel makes packets of a record each, which cost three times as much. A record is sealed once; what
 * the socket does not take waits here, BATCH_RECORDS at most.
 *
 * A response of known length has its records where `record-layout.ts` says. Of another one a record ends where nothing
 * more is there for the moment.
 */
import assert from 'node:assert';
import * as libc from '../kernel/linux/libc.ts';
import { allocate } from '../kernel/linux/memory.ts';
import type { FilePart } from '../protocol/http/reply.ts';
import { contentBytesAt, type Layout, type SentRecords } from '../protocol/tls/record-layout.ts';
import {
  ContentType,
  contentAt,
  MAX_CONTENT_BYTES,
  MAX_KEY_RECORDS,
  MAX_SEALED_BYTES,
  type Sealer,
} from '../protocol/tls/records.ts';
import { BROKEN, type ByteSink } from './byte-sink.ts';

const NOTHING = Buffer.alloc(0);
/** Records that the socket gets at once. */
const BATCH_RECORDS = 8;
/** Sealed bytes, a response's head, that wait for what follows at once: the socket gets both together. */
const MAX_AHEAD_BYTES = 4096;

/** The records that are being made, of whichever connection: nothing is left in it between two calls. */
const scratch = allocate(MAX_AHEAD_BYTES + BATCH_RECORDS * MAX_SEALED_BYTES);

/** What holds the write half, which is this node's for as long as the response lasts. */
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
  /** The socket was not asked yet: what waits goes with what follows. */
  #isAhead = false;
  /** The response ends with what waits. */
  #isLast = false;
  /** Bytes of the response in whole records. */
  #offset = 0;
  /** Bytes that the socket has taken. */
  wireBytes = 0;
  /** Records that are sealed. */
  records = 0;
  /** What the first of them was sealed by; null: nothing is sealed. */
  #first: { readonly sealer: Sealer; readonly number: number; readonly cut: number } | null = null;

  constructor(socket: ByteSink, half: SealingHalf, layout: Layout | null) {
    this.#socket = socket;
    this.#half = half;
    this.#layout = layout;
  }

  /** Content of the record that begins at byte `offset` of the response, when it is whole. */
  #contentBytes(offset: number): number {
    return this.#layout === null ? MAX_CONTENT_BYTES : contentBytesAt(this.#layout, offset);
  }

  send(bytes: Buffer, from: number, more: boolean, last: boolean): number {
    const start = this.#begin();
    if (start < 0) return start;
    const taken = this.#fill(start, bytes.length - from, (at, some, before) => {
      bytes.copy(scratch.bytes, at, from + before, from + before + some);
      return true;
    });
    const isEnd = from + taken === bytes.length;
    const result = this.#sendOn(start, taken, more || this.#layout !== null, more || !isEnd, last && isEnd);
    return result === BROKEN ? BROKEN : taken;
  }

  sendFile(fd: number, offset: number, length: number, last: boolean, state: FilePart['state']): number {
    const start = this.#begin();
    if (start < 0) return start;
    const taken = this.#fill(
      start,
      length,
      (at, some, before) => libc.pread(fd, scratch.address + at, some, offset + before) === some,
    );
    if (taken < 0) return BROKEN;
    // Another node may have to go on within these records, and could do so only with the bytes that the file had.
    if (this.#layout !== null && !state.isUnwritten(fd)) return BROKEN;
    const isEnd = taken === length;
    const result = this.#sendOn(start, taken, this.#layout !== null, !isEnd, last && isEnd);
    return result === BROKEN ? BROKEN : taken;
  }

  /** Where in the scratch the next record begins, behind what is to go with it; BLOCKED, BROKEN. */
  #begin(): number {
    if (this.#half.sealer.number >= MAX_KEY_RECORDS) return BROKEN;
    return this.#isAhead ? this.#rest.copy(scratch.bytes) : this.flush();
  }

  /**
   * Has `fill` put as much of `length` bytes as there is room for where the records from `start` on have their content.
   * Returns how many that are; BROKEN: it could not.
   */
  #fill(start: number, length: number, fill: (at: number, bytes: number, before: number) => boolean): number {
    const { number, suite } = this.#half.sealer;
    const records = Math.min(BATCH_RECORDS, MAX_KEY_RECORDS - number);
    let [at, offset, held, taken] = [start, this.#offset, this.#held.length, 0];
    for (let i = 0; i < records && taken < length; i++) {
      const whole = this.#contentBytes(offset);
      const some = Math.min(whole - held, length - taken);
      if (!fill(at + contentAt(suite) + held, some, taken)) return BROKEN;
      taken += some;
      offset += whole;
      at += whole + suite.overheadBytes;
      held = 0;
    }
    return taken;
  }

  /**
   * Seals the `taken` bytes that were filled in, and sends the records with what was to go with them; or these are to
   * go with what follows. `mayHold`: a record that is not whole waits for the rest of its content.
   */
  #sendOn(start: number, taken: number, mayHold: boolean, more: boolean, last: boolean): number {
    const { cut, sealer } = this.#half;
    this.#first ??= { sealer, number: sealer.number, cut };
    const first = this.#contentBytes(this.#offset) + sealer.suite.overheadBytes;
    const end = this.#seal(start, taken, mayHold);
    assert(this.#held.length === 0 || !last, 'a response has its length');
    if (end === start) return 0;
    const isKnown = this.#layout !== null && start === 0 && cut < first;
    assert(cut === 0 || isKnown, 'the client has a part of this very record');
    // The length of a relayed response is not known before its end.
    this.#isLast = last || this.#offset === this.#layout?.lengthBytes;
    const records = scratch.bytes.subarray(cut, end);
    if (!more || records.length > MAX_AHEAD_BYTES) return this.#push(records, more);
    this.#rest = Buffer.from(records);
    this.#isAhead = true;
    return 0;
  }

  /** Returns where the last whole record ends. */
  #seal(start: number, taken: number, mayHold: boolean): number {
    const { sealer } = this.#half;
    let at = start;
    for (let left = taken; left > 0; ) {
      const held = this.#held.length;
      const whole = this.#contentBytes(this.#offset);
      const bytes = Math.min(whole, held + left);
      const content = at + contentAt(sealer.suite);
      this.#held.copy(scratch.bytes, content);
      this.#held = NOTHING;
      left -= bytes - held;
      if (bytes < whole && mayHold) {
        this.#held = Buffer.from(scratch.bytes.subarray(content, content + bytes));
        break;
      }
      at += sealer.seal(scratch, at, bytes, ContentType.APPLICATION_DATA);
      this.records++;
      this.#offset += bytes;
    }
    return at;
  }

  /** BLOCKED: a rest waits. */
  #push(records: Buffer, more: boolean): number {
    this.#isAhead = false;
    let at = 0;
    while (at < records.length) {
      const sent = this.#socket.send(records, at, more, this.#isLast);
      if (sent < 0) {
        this.#rest = Buffer.from(records.subarray(at));
        return sent;
      }
      at += sent;
      this.wireBytes += sent;
    }
    this.#rest = NOTHING;
    return 0;
  }

  /** How far it is; null: its length is not known, nothing of it is sealed, or another record lies between its own. */
  get sent(): SentRecords | null {
    const { sealer } = this.#half;
    if (this.#layout === null || this.#first === null || sealer !== this.#first.sealer) return null;
    const { number, cut } = this.#first;
    if (sealer.number !== number + this.records) return null;
    return { number, wire: cut + this.wireBytes, lengthBytes: this.#layout.lengthBytes };
  }

  flush(): number {
    return this.#rest.length === 0 ? 0 : this.#push(this.#rest, false);
  }
}
