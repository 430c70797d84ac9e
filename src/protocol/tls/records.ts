/**
 * Protected records (RFC 8446, 5.2): what both directions of a session consist of after the handshake.
 *
 * | offset | bytes | field      | value |
 * |--------|-------|------------|-------|
 * | 0      | 1     | type       | 23 |
 * | 1      | 2     | version    | 03 03 |
 * | 3      | 2     | length     | of what follows |
 * | 5      | N     | content    | encrypted |
 * | 5+N    | 1     | type       | encrypted: what the content is |
 * | 6+N    | P     | padding    | encrypted zeros; Baton sends none |
 * | 6+N+P  | 16    | tag        | |
 *
 * nonce (12 bytes): the iv, XOR the record's number as u64 in its last bytes.
 */
import assert from 'node:assert';
import { Aead, NONCE_BYTES, TAG_BYTES } from '../../kernel/linux/aead.ts';
import { allocate, type Memory } from '../../kernel/linux/memory.ts';
import { Alert, TlsError } from './alerts.ts';
import { type TrafficKeys, wipeKeys } from './traffic.ts';

export const ContentType = { ALERT: 21, HANDSHAKE: 22, APPLICATION_DATA: 23 } as const;
export type ContentType = (typeof ContentType)[keyof typeof ContentType];

export const RECORD_HEADER_BYTES = 5;
/** Content of one record. */
export const MAX_CONTENT_BYTES = 2 ** 14;
const TYPE_BYTES = 1;
/** What Baton's records have beside their content. */
export const RECORD_OVERHEAD_BYTES = RECORD_HEADER_BYTES + TYPE_BYTES + TAG_BYTES;
/** The longest record that Baton sends. */
export const MAX_SEALED_BYTES = MAX_CONTENT_BYTES + RECORD_OVERHEAD_BYTES;
/** The longest that a client may send, header included. */
export const MAX_RECORD_BYTES = RECORD_HEADER_BYTES + MAX_CONTENT_BYTES + 256;

/**
 * Records that one key seals: of the largest AES-GCM bears 2^24.5 (RFC 8446, 5.5). Who holds the secret changes keys
 * long before (`UPDATE_RECORDS`); the difference is room for one response of a target, which cannot.
 */
export const MAX_KEY_RECORDS = 2 ** 24;
/** What is said beside data: KeyUpdate, alerts. */
const SPARE_RECORDS = 2 ** 10;

const nonce = allocate(NONCE_BYTES);

/** Sets the one nonce in memory: it is used before the next is made. */
function setNonce(iv: Buffer, number: number): void {
  iv.copy(nonce.bytes);
  const { view } = nonce;
  view.setUint32(4, view.getUint32(4) ^ Math.floor(number / 2 ** 32));
  view.setUint32(8, view.getUint32(8) ^ (number >>> 0));
}

/**
 * Seals records by one key, number after number. Two plaintexts under one number would give the key away: there is
 * one Sealer of a key, and whoever makes another one has wiped the one before (`WriteHalf`). To be freed.
 */
export class Sealer {
  readonly #keys: TrafficKeys;
  readonly #cipher: Aead;
  #number: number;
  #freed = false;

  /** The keys become this Sealer's, which wipes them. */
  constructor(keys: TrafficKeys) {
    this.#keys = keys;
    this.#cipher = new Aead(keys.suite.aead, 'seal', keys.key);
    this.#number = keys.number;
  }

  /** Of the next record. */
  get number(): number {
    return this.#number;
  }

  /**
   * Seals the content that lies at `at + RECORD_HEADER_BYTES`, as one record from `at` on; returns its length.
   * `bytes`: of the content, MAX_CONTENT_BYTES at most.
   */
  seal({ bytes: memory, address }: Memory, at: number, bytes: number, type: ContentType): number {
    assert(
      !this.#freed && this.#number < MAX_KEY_RECORDS + SPARE_RECORDS,
      'the key is held, and may seal more',
    );
    assert(bytes <= MAX_CONTENT_BYTES, 'a record has its limit');
    const content = at + RECORD_HEADER_BYTES;
    const sealedBytes = bytes + TYPE_BYTES + TAG_BYTES;
    memory[at] = ContentType.APPLICATION_DATA;
    memory[at + 1] = 3;
    memory[at + 2] = 3;
    memory[at + 3] = sealedBytes >> 8;
    memory[at + 4] = sealedBytes & 0xff;
    memory[content + bytes] = type;
    setNonce(this.#keys.iv, this.#number);
    this.#number++;
    this.#cipher.sealInPlace(nonce.address, address + content, bytes + TYPE_BYTES, RECORD_HEADER_BYTES);
    return RECORD_HEADER_BYTES + sealedBytes;
  }

  /** Forgets the key; nothing more is sealed. Idempotent. */
  free(): void {
    this.#freed = true;
    this.#cipher.free();
    wipeKeys(this.#keys);
  }
}

export interface Opened {
  readonly type: number;
  readonly content: Buffer;
}

/** Opens records, number after number. To be freed. */
export class Opener {
  readonly #keys: TrafficKeys;
  readonly #cipher: Aead;
  #number: number;

  /** The keys become this Opener's, which wipes them. */
  constructor(keys: TrafficKeys) {
    this.#keys = keys;
    this.#cipher = new Aead(keys.suite.aead, 'open', keys.key);
    this.#number = keys.number;
  }

  /** Of the next record. */
  get number(): number {
    return this.#number;
  }

  /** The record that fills `bytes` from `at` to `end`; its content is in memory of its own. Throws TlsError. */
  open(bytes: Buffer, at: number, end: number): Opened {
    const from = at + RECORD_HEADER_BYTES;
    if (end - from < TYPE_BYTES + TAG_BYTES)
      throw new TlsError('BAD_RECORD', Alert.BAD_RECORD_MAC, 'no room for a tag');
    setNonce(this.#keys.iv, this.#number);
    const inner = this.#cipher.open(nonce.bytes, bytes, from, end, RECORD_HEADER_BYTES);
    if (inner === null)
      throw new TlsError('BAD_RECORD', Alert.BAD_RECORD_MAC, `record ${this.#number} fails authentication`);
    this.#number++;
    if (inner.length > MAX_CONTENT_BYTES + TYPE_BYTES)
      throw new TlsError('RECORD_OVERFLOW', Alert.RECORD_OVERFLOW, `content of ${inner.length} bytes`);
    let typeAt = inner.length - 1;
    while (typeAt >= 0 && inner[typeAt] === 0) typeAt--;
    if (typeAt < 0) throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, 'a record without a type');
    return { type: inner[typeAt], content: inner.subarray(0, typeAt) };
  }

  /** Forgets the key. Idempotent. */
  free(): void {
    this.#cipher.free();
    wipeKeys(this.#keys);
  }
}
