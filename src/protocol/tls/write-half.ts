/**
 * The write half of a session, at the node that owns the connection. A number of a key seals one record, whoever seals
 * it: so the half is in one place at any time.
 *
 *   here --lend--> lent --takeBack--> here
 *   here, of which nothing was sealed since it came back --takeBack--> here: who had it last is gone on for
 *   any of these --wipe--> gone
 *
 * While it is lent nothing is here that seals: only the secret, and what is made of it to lend it.
 */
import assert from 'node:assert';
import { allocate } from '../../kernel/linux/memory.ts';
import { keyUpdate } from './key-update.ts';
import { ContentType, contentAt, MAX_SEALED_BYTES, Sealer } from './records.ts';
import type { Suite } from './suites.ts';
import {
  copyKeys,
  type LentHalf,
  nextHalf,
  type TrafficHalf,
  type TrafficKeys,
  trafficKeys,
  wipeHalf,
  wipeKeys,
} from './traffic.ts';

/** A key is replaced when it has sealed so many records; with TLS 1.2, where it cannot be, the connection ends soon. */
export const UPDATE_RECORDS = 2 ** 23;

/** A place in the records of a key. */
interface Place {
  /** The number of the next record. */
  readonly number: number;
  /** Bytes of it that the client has already: it must be sealed as it was before. */
  readonly cut: number;
  /** Up to here the numbers are those of a response that another node has begun: nothing else is sealed by them. */
  readonly bound: number;
}

type Holder =
  /** `since`: where it came to be here. There is no key before something is sealed: it may be lent again at once. */
  | { readonly name: 'here'; readonly since: Place; sealer: Sealer | null }
  | { readonly name: 'lent' }
  | { readonly name: 'gone' };

/** Several nodes were lent a key, since they went on with one response. */
const MANY = 'many';
const LENT: Holder = { name: 'lent' };
const GONE: Holder = { name: 'gone' };
const scratch = allocate(MAX_SEALED_BYTES);

const hereSince = (since: Place): Holder => ({ name: 'here', since, sealer: null });

export class WriteHalf {
  #half: TrafficHalf;
  /** What the secret gives: a connection that lends its half lends it for each response. Null: nobody has asked. */
  #keys: TrafficKeys | null = null;
  #holder: Holder;
  /** Where it was lent last, by this key; null: it was not. */
  #lentAt: Place | null = null;

  /** The only node that was lent this key; null: none was. */
  #lentTo: number | typeof MANY | null = null;
  /** A response was sealed here by this key. */
  #isUsed = false;

  /**
   * The half becomes this object's, which wipes it. `cut`, `bound`: it has come in the middle of a response, which ends
   * before number `bound`; the client has `cut` bytes of the next record.
   */
  constructor(half: TrafficHalf, cut = 0, bound = half.number) {
    this.#half = half;
    this.#holder = hereSince({ number: half.number, cut, bound });
  }

  get suite(): Suite {
    return this.#half.suite;
  }

  get isHere(): boolean {
    return this.#holder.name === 'here';
  }

  #here(): Extract<Holder, { name: 'here' }> {
    assert(this.#holder.name === 'here', `the write half is ${this.#holder.name}`);
    return this.#holder;
  }

  /** Made anew from `number` on: who gets them wipes them. */
  #keysFrom(number: number): TrafficKeys {
    this.#keys ??= trafficKeys(this.#half);
    return copyKeys(this.#keys, number);
  }

  /** What seals here. */
  get sealer(): Sealer {
    const holder = this.#here();
    holder.sealer ??= new Sealer(this.#keysFrom(holder.since.number));
    return holder.sealer;
  }

  /** Of the next record. */
  get number(): number {
    const { sealer, since } = this.#here();
    return sealer === null ? since.number : sealer.number;
  }

  /** Bytes of the next record that the client has already. */
  get cut(): number {
    const { since } = this.#here();
    return this.number === since.number ? since.cut : 0;
  }

  /** The next record is one of a response that another node has begun, and may still be sending. */
  get isBound(): boolean {
    return this.number < this.#here().since.bound;
  }

  /** The key has sealed so much that the next is due. */
  get isUpdateDue(): boolean {
    return this.suite.version === 'TLSv1.3' && this.number >= UPDATE_RECORDS;
  }

  /** The key has sealed so much that the connection is to end, since there is no next one. */
  get isWorn(): boolean {
    return this.suite.version === 'TLSv1.2' && this.isHere && this.number >= UPDATE_RECORDS;
  }

  /** A node has the key. */
  get isShared(): boolean {
    return this.#lentTo !== null;
  }

  /** By the key was sealed what `node` has not sealed. What OpenSSL has sealed says nothing of any response. */
  isForeignTo(node: number): boolean {
    const isUsed = this.#isUsed || this.number !== this.#here().since.number;
    return isUsed || (this.#lentTo !== null && this.#lentTo !== node);
  }

  /** A record of its own, with a short content that is not data. */
  seal(content: Buffer, type: ContentType): Buffer {
    assert(!this.isBound, 'no record comes inside a response that is sealed elsewhere, too');
    content.copy(scratch.bytes, contentAt(this.suite));
    const bytes = this.sealer.seal(scratch, 0, content.length, type);
    return Buffer.from(scratch.bytes.subarray(0, bytes));
  }

  /** The record that tells the client of the next key, which is in force with it. `asks`: the client's is to change, too. */
  update(asks: boolean): Buffer {
    const record = this.seal(keyUpdate(asks), ContentType.HANDSHAKE);
    const next = nextHalf(this.#half);
    this.wipe();
    this.#half = next;
    this.#holder = hereSince({ number: 0, cut: 0, bound: 0 });
    this.#lentAt = null;
    this.#lentTo = null;
    this.#isUsed = false;
    return record;
  }

  /** What `node` goes on with. From now on nothing is sealed here. The caller wipes it when it is sent. */
  lend(node: number): LentHalf {
    const { sealer, since } = this.#here();
    const { cut, number } = this;
    this.#isUsed ||= number !== since.number;
    this.#lentTo = this.#lentTo === null || this.#lentTo === node ? node : MANY;
    sealer?.free();
    this.#holder = LENT;
    this.#lentAt = { number, cut, bound: since.bound };
    const { suite, key, iv } = this.#keysFrom(number);
    return { suite, key, iv, number, cut };
  }

  /** Takes the half back from a target that has sealed nothing. */
  takeBackUnused(): void {
    assert(this.#holder.name === 'lent' && this.#lentAt !== null, `the write half is ${this.#holder.name}`);
    this.#holder = hereSince(this.#lentAt);
  }

  /**
   * Goes on from here, behind what was sealed elsewhere. The target that had it may not have been told: what it still
   * seals from `number` on must be what is sealed here, or nothing. `bound`: the end of the response that it has begun.
   */
  takeBack(number: number, cut = 0, bound = number): void {
    const holder = this.#holder;
    assert(
      this.#lentAt !== null && holder.name !== 'gone',
      `the write half is ${holder.name}, and was not lent`,
    );
    assert(number >= this.#lentAt.number, 'no number is used twice');
    if (holder.name === 'here') {
      assert(this.number === holder.since.number, 'nothing was sealed since it came back');
      holder.sealer?.free();
    }
    this.#holder = hereSince({ number, cut, bound });
  }

  /** What another node goes on with, when the connection has moved; this object keeps its own until it is wiped. */
  get state(): TrafficHalf {
    const { suite, secret } = this.#half;
    return { suite, secret: Buffer.from(secret), number: this.number };
  }

  /** Forgets all of it. Idempotent. */
  wipe(): void {
    if (this.#holder.name === 'here') this.#holder.sealer?.free();
    this.#holder = GONE;
    if (this.#keys !== null) wipeKeys(this.#keys);
    this.#keys = null;
    wipeHalf(this.#half);
  }
}
