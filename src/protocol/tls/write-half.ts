/**
 * The write half of a session, at the node that owns the connection. A number of a key seals one record, whoever seals
 * it: so the half is in one place at any time.
 *
 *   here --lend--> lent --takeBack--> here
 *   any of these --wipe--> gone
 *
 * While it is lent there is no key here, only the secret, from which it is made again.
 */
import assert from 'node:assert';
import { allocate } from '../../kernel/linux/memory.ts';
import { keyUpdate } from './key-update.ts';
import {
  ContentType,
  MAX_CONTENT_BYTES,
  RECORD_HEADER_BYTES,
  RECORD_OVERHEAD_BYTES,
  Sealer,
} from './records.ts';
import { nextHalf, type TrafficHalf, type TrafficKeys, trafficKeys, wipeHalf } from './traffic.ts';

/** A key is replaced when it has sealed so many records: AES-GCM bears 2^24.5 of the largest (RFC 8446, 5.5). */
export const UPDATE_RECORDS = 2 ** 23;

type Place =
  | { readonly name: 'here'; readonly sealer: Sealer }
  /** `number`: of the next record when it was lent. */
  | { readonly name: 'lent'; readonly number: number }
  | { readonly name: 'gone' };

const GONE: Place = { name: 'gone' };
const scratch = allocate(MAX_CONTENT_BYTES + RECORD_OVERHEAD_BYTES);

export class WriteHalf {
  #half: TrafficHalf;
  #place: Place;

  /** The half becomes this object's, which wipes it. */
  constructor(half: TrafficHalf) {
    this.#half = half;
    this.#place = { name: 'here', sealer: new Sealer(trafficKeys(half)) };
  }

  get isHere(): boolean {
    return this.#place.name === 'here';
  }

  /** What seals here. */
  get sealer(): Sealer {
    assert(this.#place.name === 'here', `the write half is ${this.#place.name}`);
    return this.#place.sealer;
  }

  /** The key has sealed so much that the next is due. */
  get isUpdateDue(): boolean {
    return this.sealer.number >= UPDATE_RECORDS;
  }

  /** A record of its own, with a short content that is not data. */
  seal(content: Buffer, type: ContentType): Buffer {
    content.copy(scratch.bytes, RECORD_HEADER_BYTES);
    const bytes = this.sealer.seal(scratch, 0, content.length, type);
    return Buffer.from(scratch.bytes.subarray(0, bytes));
  }

  /** The record that tells the client of the next key, which is in force with it. `asks`: the client's is to change, too. */
  update(asks: boolean): Buffer {
    const record = this.seal(keyUpdate(asks), ContentType.HANDSHAKE);
    const next = nextHalf(this.#half);
    this.wipe();
    this.#half = next;
    this.#place = { name: 'here', sealer: new Sealer(trafficKeys(next)) };
    return record;
  }

  /** What a target goes on with. From now on nothing is sealed here. The caller wipes it when it is sent. */
  lend(): TrafficKeys {
    const { number } = this.sealer;
    this.sealer.free();
    this.#place = { name: 'lent', number };
    return trafficKeys({ ...this.#half, number });
  }

  /** Where the target that had it has stopped, for good: the next record's number. */
  takeBack(number: number): void {
    assert(this.#place.name === 'lent', `the write half is ${this.#place.name}`);
    assert(number >= this.#place.number, 'no number is used twice');
    this.#place = { name: 'here', sealer: new Sealer(trafficKeys({ ...this.#half, number })) };
  }

  /** What another node goes on with, whole; gone from here. */
  leave(): TrafficHalf {
    const { suite, secret } = this.#half;
    const half = { suite, secret: Buffer.from(secret), number: this.sealer.number };
    this.wipe();
    return half;
  }

  /** Forgets all of it. Idempotent. */
  wipe(): void {
    if (this.#place.name === 'here') this.#place.sealer.free();
    this.#place = GONE;
    wipeHalf(this.#half);
  }
}
