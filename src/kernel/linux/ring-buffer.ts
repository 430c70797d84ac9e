/** The reading side of a ring buffer map: what programs have written, for one consumer. */
import { MAP_SHARED, PAGE_BYTES, PROT_READ, PROT_WRITE } from './bpf.ts';
import { check } from './errors.ts';
import * as libc from './libc.ts';
import { viewOf } from './memory.ts';

const BUSY_BIT = 0x80000000;
const DISCARD_BIT = 0x40000000;
const RECORD_HEADER_BYTES = 8;
const LOW_HALF = 0xffffffffn;

/** A BPF ring buffer (BPF_MAP_TYPE_RINGBUF in include/uapi/linux/bpf.h), read from its mapped memory. */
export class RingBuffer {
  readonly #consumer: BigUint64Array;
  readonly #producer: BigUint64Array;
  readonly #data: DataView;
  readonly #sizeBytes: number;
  readonly #unmap: () => void;
  #position = 0n;
  /** The lower halves of both positions. They are equal when nothing is there, so looking costs no BigInt. */
  readonly #producerLow: Uint32Array;
  #positionLow = 0;

  constructor(fd: number, sizeBytes: number) {
    this.#sizeBytes = sizeBytes;
    const consumer = libc.mmap(0, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    check('mmap', consumer === -1 ? -1 : 0, 'ring buffer');
    const length = PAGE_BYTES + 2 * sizeBytes;
    const producer = libc.mmap(0, length, PROT_READ, MAP_SHARED, fd, PAGE_BYTES);
    check('mmap', producer === -1 ? -1 : 0, 'ring buffer');
    this.#consumer = new BigUint64Array(viewOf(consumer, 8));
    const pages = viewOf(producer, length);
    this.#producer = new BigUint64Array(pages, 0, 1);
    this.#producerLow = new Uint32Array(pages, 0, 1);
    this.#data = new DataView(pages, PAGE_BYTES);
    this.#unmap = () => {
      libc.munmap(consumer, PAGE_BYTES);
      libc.munmap(producer, length);
    };
  }

  /** Hands every finished record to `each` (view, offset of the record, its length) and frees it. Returns how many. */
  drain(each: (data: DataView, offset: number, lengthBytes: number) => void): number {
    if (Atomics.load(this.#producerLow, 0) === this.#positionLow) return 0;
    let count = 0;
    const end = Atomics.load(this.#producer, 0);
    while (this.#position < end) {
      const offset = Number(this.#position & BigInt(this.#sizeBytes - 1));
      const header = this.#data.getUint32(offset, true);
      if ((header & BUSY_BIT) !== 0) break;
      const length = header & ~(BUSY_BIT | DISCARD_BIT);
      if ((header & DISCARD_BIT) === 0) {
        each(this.#data, offset + RECORD_HEADER_BYTES, length);
        count++;
      }
      this.#position += BigInt((length + RECORD_HEADER_BYTES + 7) & ~7);
      this.#positionLow = Number(this.#position & LOW_HALF);
      Atomics.store(this.#consumer, 0, this.#position);
    }
    return count;
  }

  close(): void {
    this.#unmap();
  }
}
