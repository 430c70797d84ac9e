/**
 * The records of a response that a target seals, as the anchor keeps count of them: which numbers are the target's, and
 * where the write half comes back.
 */
import assert from 'node:assert';
import type { Announcement, DataDone } from '../../protocol/backplane/frames.ts';
import type { Continuation } from '../../protocol/http/continuation.ts';
import { recordCount, recordCountBefore } from '../../protocol/tls/record-layout.ts';
import { MAX_KEY_RECORDS } from '../../protocol/tls/records.ts';
import type { LentHalf } from '../../protocol/tls/traffic.ts';
import type { WriteHalf } from '../../protocol/tls/write-half.ts';

/** Records of a response before the one in which `continuation` goes on. */
export function recordsBefore(continuation: Continuation | null): number {
  return continuation === null ? 0 : recordCountBefore(continuation, continuation.offset);
}

export class LentRecords {
  readonly half: WriteHalf;
  /** Number of the response's first record, whoever seals it. */
  readonly first: number;
  /** The number behind the target's last record; null while the target has not said where it ends. */
  next: number | null = null;
  /** The number of the target's first record. */
  readonly #number: number;
  /** Bytes of that which the client has already. */
  readonly #cut: number;

  /** `half` is here: it is lent by `lend`. */
  constructor(half: WriteHalf, continuation: Continuation | null) {
    this.half = half;
    this.#number = half.number;
    this.#cut = half.cut;
    this.first = this.#number - recordsBefore(continuation);
  }

  lend(node: number): LentHalf {
    return this.half.lend(node);
  }

  /** The target has sealed nothing. */
  takeBackUnused(): void {
    this.half.takeBackUnused();
  }

  /** The target has said that it seals so many records. */
  announce(records: number): void {
    this.next = this.#number + records;
  }

  /** Takes the half back; the next number is the one behind what the target has announced. */
  takeBack(): void {
    assert(this.next !== null, 'it is announced');
    this.half.takeBack(this.next);
  }

  /** What `bytes` of the response in so many records take of the client's space. */
  wireBytes(bytes: number, records: number): number {
    return bytes + records * this.half.suite.overheadBytes - this.#cut;
  }

  /** Whether no target seals so many: what it says is wrong. */
  isTooMany(records: number): boolean {
    return records === 0 || this.#number + records > MAX_KEY_RECORDS;
  }
}

/** The records of what a target announces, or has sent. */
export function recordsOf({ bytes, bodyBytes }: Announcement | DataDone): number {
  return recordCount({ headBytes: bytes - bodyBytes, lengthBytes: bytes });
}
