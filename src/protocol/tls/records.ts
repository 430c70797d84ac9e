/**
 * Protected records: what both directions of a session consist of after the handshake. Of TLS 1.3 (RFC 8446, 5.2):
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
 * Of TLS 1.2 (RFC 5246, 6.2.3.3; RFC 5288; RFC 7905); X is 8 with AES, 0 with ChaCha20:
 *
 * | offset | bytes | field      | value |
 * |--------|-------|------------|-------|
 * | 0      | 1     | type       | what the content is |
 * | 1      | 2     | version    | 03 03 |
 * | 3      | 2     | length     | of what follows |
 * | 5      | X     | nonce      | its last 8 bytes |
 * | 5+X    | N     | content    | encrypted |
 * | 5+X+N  | 16    | tag        | |
 *
 * nonce (12 bytes): the iv, XOR the record's number as u64 in its last bytes. What the tag stands for beside the content
 * is the header with TLS 1.3; with 1.2 it is the number, type and version, and the content's length.
 */
import assert from 'node:assert';
import { Aead, NONCE_BYTES, TAG_BYTES } from '../../kernel/linux/aead.ts';
import { addressOf, allocate, type Memory } from '../../kernel/linux/memory.ts';
import { Alert, TlsError } from './alerts.ts';
import { RECORD_HEADER_BYTES, SUITES, type Suite } from './suites.ts';
import { type TrafficKeys, wipeKeys } from './traffic.ts';

export const ContentType = { ALERT: 21, HANDSHAKE: 22, APPLICATION_DATA: 23 } as const;
export type ContentType = (typeof ContentType)[keyof typeof ContentType];

/** Content of one record. */
export const MAX_CONTENT_BYTES = 2 ** 14;
const TYPE_BYTES = 1;
const NUMBER_BYTES = 8;
/** The longest that Baton sends, of any suite. */
export const MAX_SEALED_BYTES = MAX_CONTENT_BYTES + Math.max(...SUITES.map((suite) => suite.overheadBytes));
/** The longest that a client may send, header included. */
export const MAX_RECORD_BYTES = RECORD_HEADER_BYTES + MAX_CONTENT_BYTES + 256;

/**
 * Records that one key seals: of the largest AES-GCM bears 2^24.5 (RFC 8446, 5.5). Who holds the secret changes keys
 * long before (`UPDATE_RECORDS`); the difference is room for one response of a target, which cannot.
 */
export const MAX_KEY_RECORDS = 2 ** 24;
/** What is said beside data: KeyUpdate, alerts. */
const SPARE_RECORDS = 2 ** 10;

/** Where in a record its content is. */
export const contentAt = ({ nonceBytes }: Suite): number => RECORD_HEADER_BYTES + nonceBytes;

const nonce = allocate(NONCE_BYTES);
const NONCE_NUMBER_AT = NONCE_BYTES - NUMBER_BYTES;

/** Sets the one nonce in memory: it is used before the next is made. */
function setNonce(iv: Buffer, number: number): void {
  iv.copy(nonce.bytes);
  const { view } = nonce;
  view.setUint32(4, view.getUint32(4) ^ Math.floor(number / 2 ** 32));
  view.setUint32(8, view.getUint32(8) ^ (number >>> 0));
}

/** What the tag stands for beside the content, with TLS 1.2. */
const additional = allocate(NUMBER_BYTES + RECORD_HEADER_BYTES);

/** Sets it for the record whose header is at `at`. */
function setAdditional(number: number, bytes: Uint8Array, at: number, contentBytes: number): void {
  const { view } = additional;
  view.setUint32(0, Math.floor(number / 2 ** 32));
  view.setUint32(4, number >>> 0);
  for (let i = 0; i < 3; i++) view.setUint8(NUMBER_BYTES + i, bytes[at + i]);
  view.setUint16(NUMBER_BYTES + 3, contentBytes);
}

/**
 * Seals records by one key, number after number. Two plaintexts under one number would give the key away: there is
 * one Sealer of a key, and whoever makes another one has wiped the one before (`WriteHalf`). To be freed.
 */
export class Sealer {
  readonly suite: Suite;
  readonly #keys: TrafficKeys;
  readonly #cipher: Aead;
  #number: number;
  #freed = false;

  /** The keys become this Sealer's, which wipes them. */
  constructor(keys: TrafficKeys) {
    this.suite = keys.suite;
    this.#keys = keys;
    this.#cipher = new Aead(keys.suite.aead, 'seal', keys.key);
    this.#number = keys.number;
  }

  /** The number of the next record. */
  get number(): number {
    return this.#number;
  }

  /**
   * Seals `bytes` of content, as one record from `at` on; returns its length. The content lies there already, where a
   * record of this suite has it (`contentAt`).
   */
  seal({ bytes: memory, address }: Memory, at: number, bytes: number, type: ContentType): number {
    assert(
      !this.#freed && this.#number < MAX_KEY_RECORDS + SPARE_RECORDS,
      'the key is held, and may seal more',
    );
    assert(bytes <= MAX_CONTENT_BYTES, 'a record has its limit');
    const { version, nonceBytes } = this.suite;
    const isHidden = version === 'TLSv1.3';
    const content = at + contentAt(this.suite);
    const plaintextBytes = isHidden ? bytes + TYPE_BYTES : bytes;
    const sealedBytes = plaintextBytes + TAG_BYTES;
    memory[at] = isHidden ? ContentType.APPLICATION_DATA : type;
    memory[at + 1] = 3;
    memory[at + 2] = 3;
    memory.writeUInt16BE(nonceBytes + sealedBytes, at + 3);
    if (isHidden) memory[content + bytes] = type;
    setNonce(this.#keys.iv, this.#number);
    if (nonceBytes > 0) nonce.bytes.copy(memory, at + RECORD_HEADER_BYTES, NONCE_NUMBER_AT);
    if (!isHidden) setAdditional(this.#number, memory, at, bytes);
    this.#number++;
    const [associated, associatedBytes] = isHidden
      ? [address + at, RECORD_HEADER_BYTES]
      : [additional.address, additional.bytes.length];
    const from = address + content;
    this.#cipher.sealInPlace(nonce.address, associated, associatedBytes, from, plaintextBytes);
    return content + sealedBytes - at;
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

  /** Opens the record that fills `bytes` from `at` to `end`, where it lies: so does its content. Throws TlsError. */
  open(bytes: Buffer, at: number, end: number): Opened {
    const isHidden = this.#keys.suite.version === 'TLSv1.3';
    const inner = this.#open(bytes, at, end, isHidden);
    if (inner === null)
      throw new TlsError('BAD_RECORD', Alert.BAD_RECORD_MAC, `record ${this.#number} fails authentication`);
    this.#number++;
    const maxBytes = isHidden ? MAX_CONTENT_BYTES + TYPE_BYTES : MAX_CONTENT_BYTES;
    if (inner.length > maxBytes)
      throw new TlsError('RECORD_OVERFLOW', Alert.RECORD_OVERFLOW, `content of ${inner.length} bytes`);
    if (!isHidden) return { type: bytes[at], content: inner };
    let typeAt = inner.length - 1;
    while (typeAt >= 0 && inner[typeAt] === 0) typeAt--;
    if (typeAt < 0) throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, 'a record without a type');
    return { type: inner[typeAt], content: inner.subarray(0, typeAt) };
  }

  #open(bytes: Buffer, at: number, end: number, isHidden: boolean): Buffer | null {
    const { nonceBytes } = this.#keys.suite;
    const from = at + RECORD_HEADER_BYTES + nonceBytes;
    const length = end - from - TAG_BYTES;
    if (length < (isHidden ? TYPE_BYTES : 0))
      throw new TlsError('BAD_RECORD', Alert.BAD_RECORD_MAC, 'no room for a tag');
    setNonce(this.#keys.iv, this.#number);
    // With AES of TLS 1.2 the sender chooses this part of the nonce.
    if (nonceBytes > 0) bytes.copy(nonce.bytes, NONCE_NUMBER_AT, at + RECORD_HEADER_BYTES, from);
    if (!isHidden) setAdditional(this.#number, bytes, at, length);
    const address = addressOf(bytes);
    const [associated, associatedBytes] = isHidden
      ? [address + at, RECORD_HEADER_BYTES]
      : [additional.address, additional.bytes.length];
    const isOpen = this.#cipher.openInPlace(
      nonce.address,
      associated,
      associatedBytes,
      address + from,
      length,
    );
    return isOpen ? bytes.subarray(from, from + length) : null;
  }

  /** Forgets the key. Idempotent. */
  free(): void {
    this.#cipher.free();
    wipeKeys(this.#keys);
  }
}
