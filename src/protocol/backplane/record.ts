/**
 * Sealed records: what the stream between two nodes consists of after the handshake. Each direction has its own
 * AES-128-GCM key and counts its records; the count is the nonce and is not sent, so that a record that is
 * altered, replayed, reordered or sent back fails to open.
 *
 * | offset | bytes | field      | value |
 * |--------|-------|------------|-------|
 * | 0      | 4     | length     | of the whole record, 20 to 262144; authenticated as associated data |
 * | 4      | N     | ciphertext | a batch of whole frames; empty: the sender's last record |
 * | 4+N    | 16    | tag        | |
 *
 * nonce (12 bytes): 4 bytes 0, then the record's number in its direction as u64.
 */
import { hkdfSync } from 'node:crypto';
import { AEAD_KEY_BYTES, Aead, NONCE_BYTES, TAG_BYTES } from '../../kernel/linux/aead.ts';
import { addressOf, allocate } from '../../kernel/linux/memory.ts';
import { SessionError } from './errors.ts';

export const MAX_RECORD_BYTES = 256 * 1024;
export const RECORD_HEADER_BYTES = 4;
export const RECORD_OVERHEAD_BYTES = RECORD_HEADER_BYTES + TAG_BYTES;
/** Plaintext of one record. */
export const MAX_BATCH_BYTES = MAX_RECORD_BYTES - RECORD_OVERHEAD_BYTES;
/**
 * After this many records both ends replace the direction's key by one derived from it. Of the largest records
 * that is 2^34 AES blocks under one key: an attacker's advantage stays under 2^-60 (RFC 8446, 5.5, has 2^34.5).
 */
export const REKEY_RECORDS = 2 ** 20;
/** Records of a direction in one session; far below where the number would leave 53 bits. */
export const MAX_SESSION_RECORDS = 2 ** 48;

const CIPHER = 'aes-128-gcm';
export const RECORD_KEY_BYTES = AEAD_KEY_BYTES[CIPHER];

/** The key and the count of one direction, the same at both ends. */
export class RecordKeys {
  readonly nonce = Buffer.alloc(NONCE_BYTES);
  key: Buffer;
  #count: number;
  #cipher: Aead | null = null;

  /** `count`: the number of the next record; 0 for a new session. */
  constructor(key: Buffer, count = 0) {
    this.key = key;
    this.#count = count;
    this.#setNonce();
  }

  /** The next record's number. */
  get count(): number {
    return this.#count;
  }

  /** The key at work; an end uses it in one direction only. */
  cipher(direction: 'seal' | 'open'): Aead {
    this.#cipher ??= new Aead(CIPHER, direction, this.key);
    return this.#cipher;
  }

  /** Gives back what the cipher holds. */
  forget(): void {
    this.#cipher?.free();
    this.#cipher = null;
  }

  /** Throws before a nonce could be used twice. */
  check(): void {
    if (this.#count >= MAX_SESSION_RECORDS) throw new SessionError('EXHAUSTED', `${this.#count} records`);
  }

  /** To be called after each record. */
  advance(): void {
    this.#count++;
    if (this.#count % REKEY_RECORDS === 0) {
      const info = 'baton backplane 1 next key';
      this.key = Buffer.from(hkdfSync('sha256', this.key, Buffer.alloc(0), info, RECORD_KEY_BYTES));
      this.forget();
    }
    this.#setNonce();
  }

  #setNonce(): void {
    this.nonce.writeUInt32BE(Math.floor(this.#count / 2 ** 32), 4);
    this.nonce.writeUInt32BE(this.#count >>> 0, 8);
  }
}

/**
 * Seals `plaintext` as the next record at `into[at]`; returns the offset after it. The caller has made sure of
 * the room and of at most MAX_BATCH_BYTES.
 */
export function sealRecord(keys: RecordKeys, plaintext: Buffer, into: Buffer, at: number): number {
  keys.check();
  const end = at + RECORD_OVERHEAD_BYTES + plaintext.length;
  into.writeUInt32BE(end - at, at);
  keys.cipher('seal').seal(keys.nonce, plaintext, into, at + RECORD_HEADER_BYTES, RECORD_HEADER_BYTES);
  keys.advance();
  return end;
}

/** The length that a record's first four bytes announce; throws SessionError when no record has it. */
export function recordLength(bytes: Buffer, at: number): number {
  const length = bytes.readUInt32BE(at);
  if (length > MAX_RECORD_BYTES) throw new SessionError('TOO_LARGE', `record of ${length} bytes`);
  if (length < RECORD_OVERHEAD_BYTES) throw new SessionError('MALFORMED', `record of ${length} bytes`);
  return length;
}

/** The plaintext of the record that was opened last, of whatever session. */
const opened = allocate(MAX_BATCH_BYTES);

/**
 * Opens the record that fills `bytes` from `at` to `end`. Returns its plaintext, in memory that all records are opened
 * into: new memory for each would have the kernel zero its pages.
 */
export function openRecord(keys: RecordKeys, bytes: Buffer, at: number, end: number): Buffer {
  keys.check();
  const from = addressOf(bytes) + at + RECORD_HEADER_BYTES;
  const length = end - at - RECORD_OVERHEAD_BYTES;
  const cipher = keys.cipher('open');
  if (!cipher.openTo(opened.address, addressOf(keys.nonce), from, length, RECORD_HEADER_BYTES))
    throw new SessionError('BAD_RECORD', `record ${keys.count} fails authentication`);
  keys.advance();
  return opened.bytes.subarray(0, length);
}
