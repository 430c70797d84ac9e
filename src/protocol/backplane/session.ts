/**
 * One end of the secure session over a link: mutual authentication by the cluster key, then sealed records.
 * Bytes in, bytes out; the engine owns the socket and the deadline.
 *
 *     dial:    WAIT_GREETING --greeting--> WAIT_PROOF --proof--> OPEN     sends greeting at once, proof on greeting
 *     accept:  WAIT_GREETING --greeting--> WAIT_PROOF --proof--> OPEN     sends greeting on greeting, proof on proof
 *     any state --error, close()--> CLOSED
 *
 * The accept end sends a stranger one greeting and no more. All nodes share the cluster key, so a session says
 * that the peer is of the cluster, not which node it is: that is in HELLO, and the dial end compares it with
 * the node that it meant to reach.
 */
import { type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { SessionError } from './errors.ts';
import {
  CLUSTER_KEY_BYTES,
  checkGreeting,
  encodeGreeting,
  ephemeralKey,
  GREETING_BYTES,
  PROOF_BYTES,
  proof,
  RANDOM_BYTES,
  type Role,
  type Schedule,
  schedule,
} from './handshake.ts';
import { MAX_BATCH_BYTES, openRecord, RECORD_OVERHEAD_BYTES, RecordKeys, sealRecord } from './record.ts';

export type { Role } from './handshake.ts';
export type SessionState = 'WAIT_GREETING' | 'WAIT_PROOF' | 'OPEN' | 'CLOSED';

export interface SessionOptions {
  role: Role;
  /** CLUSTER_KEY_BYTES, from `clusterKey`. */
  key: Buffer;
  /** Unpredictable bytes; node:crypto's by default. */
  random?: (bytes: number) => Buffer;
}

/** Magic, version, role, reserved: what a greeting is first judged by. */
const GREETING_PREFIX_BYTES = 8;

export class Session {
  readonly role: Role;
  #state: SessionState = 'WAIT_GREETING';
  readonly #clusterKey: Buffer;
  /** Until the keys are derived: forward secrecy needs it forgotten. */
  #ephemeral: KeyObject | null = null;
  readonly #random: (bytes: number) => Buffer;
  /** Null at the accept end, until the peer's is whole: a stranger who only connects costs nothing. */
  #greeting: Buffer | null = null;
  /** The handshake message being received. */
  readonly #message = Buffer.alloc(GREETING_BYTES);
  #messageBytes = 0;
  #toSend: Buffer[] = [];
  #schedule: Schedule | null = null;
  #sealing: RecordKeys | null = null;
  #opening: RecordKeys | null = null;
  #sentEnd = false;
  #receivedEnd = false;

  constructor(options: SessionOptions) {
    if (options.key.length !== CLUSTER_KEY_BYTES)
      throw new RangeError(`a cluster key has ${CLUSTER_KEY_BYTES} bytes, not ${options.key.length}`);
    this.#random = options.random ?? randomBytes;
    this.role = options.role;
    this.#clusterKey = options.key;
    if (options.role === 'dial') this.#toSend.push(this.#makeGreeting());
  }

  #makeGreeting(): Buffer {
    const ephemeral = ephemeralKey(this.#random(RANDOM_BYTES));
    this.#ephemeral = ephemeral;
    this.#greeting = encodeGreeting(this.role, this.#random(RANDOM_BYTES), ephemeral);
    return this.#greeting;
  }

  get state(): SessionState {
    return this.#state;
  }

  /** The peer has ended its direction with an end record. */
  get receivedEnd(): boolean {
    return this.#receivedEnd;
  }

  /** The next handshake message to send, or null. Nothing sealed may be sent before it. */
  takeHandshake(): Buffer | null {
    return this.#toSend.shift() ?? null;
  }

  /**
   * Takes handshake bytes, in any portions, from `bytes[at]`; returns the offset after those it used. What
   * follows, once the state is OPEN, is records. Throws SessionError.
   */
  receiveHandshake(bytes: Buffer, at: number, end: number): number {
    if (this.#state === 'OPEN') throw this.#fail('BAD_STATE', 'handshake bytes in an open session');
    while (at < end && (this.#state === 'WAIT_GREETING' || this.#state === 'WAIT_PROOF')) {
      const whole = this.#state === 'WAIT_GREETING' ? GREETING_BYTES : PROOF_BYTES;
      const taken = Math.min(end - at, whole - this.#messageBytes);
      bytes.copy(this.#message, this.#messageBytes, at, at + taken);
      this.#messageBytes += taken;
      at += taken;
      this.#guard(() => this.#receivePart(whole));
    }
    if (this.#state === 'CLOSED') throw new SessionError('BAD_STATE', 'the session is closed');
    return at;
  }

  /**
   * Seals a batch of whole frames, 1 to MAX_BATCH_BYTES, as one record at `into[at]`; returns the offset after
   * it. Needs RECORD_OVERHEAD_BYTES more room than the batch has bytes. Throws SessionError, and RangeError for
   * a batch or room that the caller should not have offered.
   */
  seal(batch: Buffer, into: Buffer, at: number): number {
    if (batch.length === 0) throw new RangeError('an empty batch would end the session');
    return this.#seal(batch, into, at);
  }

  /** Writes the end record, after which this end sends nothing: the peer can tell an end from a cut. */
  sealEnd(into: Buffer, at: number): number {
    const end = this.#seal(Buffer.alloc(0), into, at);
    this.#sentEnd = true;
    return end;
  }

  /**
   * Opens the record that fills `bytes` from `at` to `end` (`recordLength` gave its length). Returns its frames,
   * in memory that the next record is opened into; empty for the end record. Throws SessionError.
   */
  open(bytes: Buffer, at: number, end: number): Buffer {
    const keys = this.#opening;
    if (this.#state !== 'OPEN' || keys === null)
      throw this.#fail('BAD_STATE', `no records in ${this.#state}`);
    if (this.#receivedEnd) throw this.#fail('BAD_RECORD', 'a record after the end record');
    const batch = this.#guard(() => openRecord(keys, bytes, at, end));
    if (batch.length === 0) this.#receivedEnd = true;
    return batch;
  }

  /** Forgets the session's keys. Idempotent. */
  close(): void {
    this.#state = 'CLOSED';
    this.#toSend = [];
    this.#ephemeral = null;
    this.#schedule = null;
    this.#sealing?.forget();
    this.#opening?.forget();
    this.#sealing = null;
    this.#opening = null;
  }

  #seal(batch: Buffer, into: Buffer, at: number): number {
    const keys = this.#sealing;
    if (this.#state !== 'OPEN' || keys === null)
      throw this.#fail('BAD_STATE', `no records in ${this.#state}`);
    if (this.#sentEnd) throw this.#fail('BAD_STATE', 'the end record is sent');
    if (batch.length > MAX_BATCH_BYTES) throw new RangeError(`batch of ${batch.length} bytes`);
    if (into.length - at < batch.length + RECORD_OVERHEAD_BYTES)
      throw new RangeError('no room for the record');
    return this.#guard(() => sealRecord(keys, batch, into, at));
  }

  #receivePart(whole: number): void {
    const message = this.#message.subarray(0, this.#messageBytes);
    const peer = this.role === 'dial' ? 'accept' : 'dial';
    if (this.#state === 'WAIT_GREETING' && message.length >= GREETING_PREFIX_BYTES)
      checkGreeting(message, peer, this.#greeting);
    if (message.length < whole) return;
    this.#messageBytes = 0;
    if (this.#state === 'WAIT_GREETING') this.#receiveGreeting(Buffer.from(message));
    else this.#receiveProof(message, peer);
  }

  #receiveGreeting(peer: Buffer): void {
    const own = this.#greeting ?? this.#makeGreeting();
    const [dial, accept] = this.role === 'dial' ? [own, peer] : [peer, own];
    this.#schedule = schedule(this.#clusterKey, this.#ephemeral!, peer, dial, accept);
    this.#ephemeral = null;
    this.#toSend.push(this.role === 'dial' ? proof(this.#schedule, 'dial') : own);
    this.#state = 'WAIT_PROOF';
  }

  #receiveProof(received: Buffer, peer: Role): void {
    const keys = this.#schedule!;
    if (!timingSafeEqual(received, proof(keys, peer)))
      throw new SessionError('WRONG_KEY', 'the peer has another cluster key, or the handshake was changed');
    if (this.role === 'accept') this.#toSend.push(proof(keys, 'accept'));
    const dial = new RecordKeys(keys.dialRecordKey);
    const accept = new RecordKeys(keys.acceptRecordKey);
    this.#sealing = this.role === 'dial' ? dial : accept;
    this.#opening = this.role === 'dial' ? accept : dial;
    this.#schedule = null;
    this.#state = 'OPEN';
  }

  /** Runs a step; whatever it throws closes the session. */
  #guard<R>(step: () => R): R {
    try {
      return step();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #fail(code: 'BAD_STATE' | 'BAD_RECORD', detail: string): SessionError {
    this.close();
    return new SessionError(code, detail);
  }
}
