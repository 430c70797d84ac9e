/**
 * A memo of request heads by their exact bytes. Clients on persistent connections send the same head again and
 * again; finding it costs a hash over a sample of the bytes and one comparison of all of them.
 *
 *   slots[hash & mask] -> { bytes, head }      one head a slot; a newer one replaces it
 *   seen[hash & mask]  -> hash                 a head is kept only when it comes the second time in a row,
 *                                              so heads that come once push nothing out
 */
import { type HeadError, type HeadLimits, parseRequestHead, type RequestHead } from './request.ts';

/** A power of two. */
const SLOTS = 1024;
const MAX_CACHED_HEAD_BYTES = 2048;
/** Every byte up to here is part of the hash (it is where the target stands), then every eighth. */
const HASHED_PREFIX_BYTES = 64;
const SAMPLE_STEP_BYTES = 8;
/** Up to this length a loop is quicker than the call into Buffer.compare. */
const LOOP_COMPARE_BYTES = 96;

interface Slot {
  readonly bytes: Buffer;
  readonly head: RequestHead;
}

export class HeadCache {
  readonly #limits: HeadLimits;
  readonly #slots: (Slot | undefined)[] = new Array(SLOTS).fill(undefined);
  readonly #seen = new Int32Array(SLOTS);
  /** The bytes of the head that was given out last, in memory that stays as it is; null: they are not remembered. */
  lastBytes: Buffer | null = null;

  constructor(limits: HeadLimits) {
    this.#limits = limits;
  }

  /** As `parseRequestHead` with this cache's limits: the same result for the same bytes. */
  parse(buf: Buffer, start: number, end: number, scanned: number = start): RequestHead | HeadError | null {
    const length = end - start;
    this.lastBytes = null;
    if (length > MAX_CACHED_HEAD_BYTES) return parseRequestHead(buf, start, end, this.#limits, scanned);
    const hash = sampleHash(buf, start, end);
    const index = hash & (SLOTS - 1);
    const slot = this.#slots[index];
    if (slot !== undefined && slot.bytes.length === length && sameBytes(slot.bytes, buf, start, end)) {
      this.lastBytes = slot.bytes;
      return slot.head;
    }
    const head = parseRequestHead(buf, start, end, this.#limits, scanned);
    if (head !== null && 'method' in head && head.headLength === length) {
      if (this.#seen[index] === hash) {
        this.#slots[index] = { bytes: Buffer.from(buf.subarray(start, end)), head };
      }
      this.#seen[index] = hash;
    }
    return head;
  }
}

function sampleHash(buf: Buffer, start: number, end: number): number {
  let hash = end - start;
  const prefixEnd = Math.min(end, start + HASHED_PREFIX_BYTES);
  let at = start;
  for (; at < prefixEnd; at++) hash = Math.imul(hash ^ buf[at], 0x01000193);
  for (; at < end; at += SAMPLE_STEP_BYTES) hash = Math.imul(hash ^ buf[at], 0x01000193);
  return hash ^ (hash >>> 15);
}

function sameBytes(bytes: Buffer, buf: Buffer, start: number, end: number): boolean {
  if (bytes.length > LOOP_COMPARE_BYTES) return bytes.compare(buf, start, end) === 0;
  for (let i = 0; i < bytes.length; i++) if (bytes[i] !== buf[start + i]) return false;
  return true;
}
