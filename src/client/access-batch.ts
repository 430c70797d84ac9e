/**
 * Lines of the access log and times of requests, on their way to the main thread. Bytes are gathered as they come, so
 * that no moment has more to do than another: handing over a batch is one small message, whatever is in it.
 */
import { MECHANISM_ROWS, type MechanismRow } from '../base/config/config.ts';

const BATCH_BYTES = 32 * 1024;
/** UTF-8 takes no more for a character of a string. */
const MAX_CHARACTER_BYTES = 3;
/** Mechanism, handoffUs, firstByteUs. */
export const TIMING_NUMBERS = 3;
const MAX_TIMINGS = 512;
const MAX_INT32 = 2 ** 31 - 1;
/** Batches that the main thread has not taken yet; more lines are dropped, and counted. */
const MAX_UNTAKEN = 256;

export interface AccessBatch {
  /** Whole lines, UTF-8. */
  readonly bytes: Uint8Array;
  readonly lines: number;
  /** Lines that were dropped before these. */
  readonly dropped: number;
  /**
   * For each request, three numbers: its mechanism's place in MECHANISM_ROWS, handoffUs, firstByteUs (-1: does not
   * apply).
   */
  readonly timings: Int32Array;
  /** The main thread counts here what it has taken. */
  readonly taken: SharedArrayBuffer;
}

export class AccessBatches {
  readonly #post: (batch: AccessBatch) => void;
  readonly #bytes = Buffer.allocUnsafe(BATCH_BYTES);
  readonly #timings = new Int32Array(TIMING_NUMBERS * MAX_TIMINGS);
  readonly #taken = new Int32Array(new SharedArrayBuffer(4));
  #used = 0;
  #lines = 0;
  #numbers = 0;
  #dropped = 0;
  #posted = 0;

  constructor(post: (batch: AccessBatch) => void) {
    this.#post = post;
  }

  addLine(line: string): void {
    const size = line.length * MAX_CHARACTER_BYTES;
    if (this.#used + size > BATCH_BYTES) this.flush();
    if (size > BATCH_BYTES) {
      this.#give(Buffer.from(line), 1);
      return;
    }
    this.#used += this.#bytes.write(line, this.#used, 'utf8');
    this.#lines++;
  }

  addTiming(mechanism: MechanismRow, handoffUs: number, firstByteUs: number): void {
    if (this.#numbers === this.#timings.length) this.flush();
    this.#timings[this.#numbers++] = MECHANISM_ROWS.indexOf(mechanism);
    this.#timings[this.#numbers++] = Math.min(handoffUs, MAX_INT32);
    this.#timings[this.#numbers++] = Math.min(firstByteUs, MAX_INT32);
  }

  /** Hands over what there is. */
  flush(): void {
    if (this.#lines === 0 && this.#numbers === 0) return;
    this.#give(this.#bytes.subarray(0, this.#used), this.#lines);
    this.#used = 0;
    this.#lines = 0;
    this.#numbers = 0;
  }

  #give(bytes: Buffer, lines: number): void {
    const untaken = (this.#posted - Atomics.load(this.#taken, 0)) | 0;
    if (untaken >= MAX_UNTAKEN) {
      this.#dropped += lines;
      return;
    }
    this.#posted = (this.#posted + 1) | 0;
    const taken = this.#taken.buffer as SharedArrayBuffer;
    const timings = this.#timings.slice(0, this.#numbers);
    // A copy of just these bytes: a message takes the whole of what a view is on.
    this.#post({ bytes: new Uint8Array(bytes), lines, dropped: this.#dropped, timings, taken });
    this.#dropped = 0;
  }
}
