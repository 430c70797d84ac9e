/**
 * What a client sends after the handshake: bytes in as they come, what they say out. Bounded: one record waits for its
 * rest, and records that carry nothing are counted.
 */
import assert from 'node:assert';
import { ALERT_BYTES, Alert, TlsError } from './alerts.ts';
import { readKeyUpdate } from './key-update.ts';
import { ContentType, MAX_RECORD_BYTES, type Opened, Opener } from './records.ts';
import { RECORD_HEADER_BYTES } from './suites.ts';
import { nextHalf, type TrafficHalf, trafficKeys, wipeHalf } from './traffic.ts';

export type Received =
  | { readonly kind: 'data'; readonly bytes: Buffer }
  /** The client's keys have changed; `asks`: ours are to change, too, before anything else is sent. */
  | { readonly kind: 'key-update'; readonly asks: boolean }
  /** The client sends nothing more. */
  | { readonly kind: 'end' }
  /** The client has given up: nothing is to be sent any more. */
  | { readonly kind: 'alert'; readonly description: number };

/** Empty records in a row, as OpenSSL limits them. */
export const MAX_EMPTY_RECORDS = 32;
/** KeyUpdates without a byte of data between them. */
export const MAX_KEY_UPDATES = 32;

const NOTHING = Buffer.alloc(0);
const TYPES: readonly number[] = Object.values(ContentType);

/** A half whose connection moves: `rest` is the beginning of a record. */
export interface ReadHalfState {
  readonly half: TrafficHalf;
  readonly rest: Buffer;
}

export class ReadHalf {
  #half: TrafficHalf;
  #opener: Opener;
  /** Bytes of records that have not been opened yet. */
  #bytes: Buffer;
  #at = 0;
  /** The beginning of a message. */
  #message = NOTHING;
  #emptyRecords = 0;
  #keyUpdates = 0;
  #ended = false;

  /** The state becomes this object's, which wipes the secret. */
  constructor({ half, rest }: ReadHalfState) {
    this.#half = half;
    this.#opener = new Opener(trafficKeys(half));
    this.#bytes = rest;
  }

  /** More bytes of the client, opened where they lie; `chunk` may be used for something else once `next` has returned null. */
  push(chunk: Buffer): void {
    const rest = this.#bytes.length - this.#at;
    assert(rest < MAX_RECORD_BYTES, 'what came before has been taken');
    this.#bytes = rest === 0 ? chunk : Buffer.concat([this.#bytes.subarray(this.#at), chunk]);
    this.#at = 0;
  }

  /** What the next record says; null: more bytes are needed. Throws TlsError, after which nothing more is asked. */
  next(): Received | null {
    for (;;) {
      const opened = this.#ended ? null : this.#nextRecord();
      if (opened === null) return this.#wait();
      const received = this.#read(opened);
      if (received !== null) return received;
    }
  }

  /** Keeps the beginning of a record; what comes after the end is nothing. */
  #wait(): null {
    const isEmpty = this.#ended || this.#at === this.#bytes.length;
    this.#bytes = isEmpty ? NOTHING : Buffer.from(this.#bytes.subarray(this.#at));
    this.#at = 0;
    return null;
  }

  #nextRecord(): Opened | null {
    const bytes = this.#bytes;
    const at = this.#at;
    if (at === bytes.length) return null;
    if (!this.#isRecord(bytes[at]))
      throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, `record of type ${bytes[at]}`);
    if (bytes.length - at < RECORD_HEADER_BYTES) return null;
    const recordBytes = RECORD_HEADER_BYTES + bytes.readUInt16BE(at + 3);
    if (recordBytes > MAX_RECORD_BYTES)
      throw new TlsError('RECORD_OVERFLOW', Alert.RECORD_OVERFLOW, `record of ${recordBytes} bytes`);
    if (bytes.length - at < recordBytes) return null;
    this.#at += recordBytes;
    return this.#opener.open(bytes, at, at + recordBytes);
  }

  /** With TLS 1.2 a record says what is in it. */
  #isRecord(type: number): boolean {
    if (type === ContentType.APPLICATION_DATA) return true;
    return this.#half.suite.version === 'TLSv1.2' && TYPES.includes(type);
  }

  /** Null: it says nothing. */
  #read({ type, content }: Opened): Received | null {
    if (this.#message.length > 0 && type !== ContentType.HANDSHAKE)
      throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, 'a record inside a message');
    if (type === ContentType.APPLICATION_DATA) {
      if (content.length === 0) return this.#nothing();
      this.#emptyRecords = 0;
      this.#keyUpdates = 0;
      return { kind: 'data', bytes: content };
    }
    if (type === ContentType.HANDSHAKE && content.length > 0) return this.#handshake(content);
    if (type === ContentType.ALERT && content.length === ALERT_BYTES) return this.#alert(content[1]);
    throw new TlsError('UNEXPECTED', Alert.UNEXPECTED_MESSAGE, `content of type ${type}`);
  }

  #nothing(): null {
    this.#emptyRecords++;
    if (this.#emptyRecords > MAX_EMPTY_RECORDS)
      throw new TlsError('EMPTY_RECORDS', Alert.UNEXPECTED_MESSAGE, `${this.#emptyRecords} in a row`);
    return null;
  }

  #alert(description: number): Received | null {
    // What user_canceled is followed by says what happens.
    if (description === Alert.USER_CANCELED) return this.#nothing();
    this.#ended = true;
    return description === Alert.CLOSE_NOTIFY ? { kind: 'end' } : { kind: 'alert', description };
  }

  #handshake(content: Buffer): Received | null {
    if (this.#half.suite.version === 'TLSv1.2')
      throw new TlsError('UNEXPECTED', Alert.NO_RENEGOTIATION, 'a handshake after the handshake');
    const message = Buffer.concat([this.#message, content]);
    const asks = readKeyUpdate(message);
    if (asks === null) {
      this.#message = message;
      return null;
    }
    this.#message = NOTHING;
    this.#keyUpdates++;
    if (this.#keyUpdates > MAX_KEY_UPDATES)
      throw new TlsError('KEY_UPDATES', Alert.UNEXPECTED_MESSAGE, `${this.#keyUpdates} in a row`);
    const next = nextHalf(this.#half);
    this.wipe();
    this.#half = next;
    this.#opener = new Opener(trafficKeys(next));
    return { kind: 'key-update', asks };
  }

  /** Whether the half can be given to another node: no handshake message is half read. */
  get isMovable(): boolean {
    return this.#message.length === 0 && !this.#ended;
  }

  /** Bytes that have come and were not opened. */
  get restBytes(): number {
    return this.#bytes.length - this.#at;
  }

  /** What another node goes on with; this object keeps its own until it is wiped. */
  get state(): ReadHalfState {
    const { suite, secret } = this.#half;
    const half = { suite, secret: Buffer.from(secret), number: this.#opener.number };
    return { half, rest: Buffer.from(this.#bytes.subarray(this.#at)) };
  }

  /** Forgets secret and keys: the connection has ended, or has moved. Idempotent. */
  wipe(): void {
    this.#opener.free();
    wipeHalf(this.#half);
  }
}
