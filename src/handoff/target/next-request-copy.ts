/** The head of a connection's next request, put together at a clone from the copies that rule follow sends. Pure. */
import { distance } from '../../kernel/tcp/sequence.ts';

/** A longer head is not taken. */
export const MAX_NEXT_HEAD_BYTES = 8192;

const NOTHING = Buffer.alloc(0);

export class NextRequestCopy {
  /** The client's number of its first byte. */
  readonly start: number;
  /** What has come of it, without gaps. */
  bytes: Buffer = NOTHING;

  constructor(start: number) {
    this.start = start;
  }

  /**
   * Takes what a copy holds from `sequence` on; the bytes are copied. False: something before it is missing, and does
   * not come again, or it is longer than is taken.
   */
  push(sequence: number, bytes: Buffer): boolean {
    const at = distance(this.start, sequence);
    if (at > this.bytes.length) return false;
    const fresh = bytes.subarray(Math.max(0, this.bytes.length - at));
    if (this.bytes.length + fresh.length > MAX_NEXT_HEAD_BYTES) return false;
    this.bytes = Buffer.concat([this.bytes, fresh]);
    return true;
  }
}
