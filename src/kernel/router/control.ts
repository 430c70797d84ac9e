/** The router's control value, mapped: the sign of life and the flags. Written by every engine of the node. */
import { mapMemory } from '../linux/bpf.ts';
import { monotonicMs } from '../linux/monotonic.ts';
import { CONTROL_AWAY, CONTROL_BYTES, CONTROL_FLAGS } from './layout.ts';

/**
 * The rules of flows hold for this long after the last sign of life: long enough for a thread that is held up, short
 * enough that a crashed node's clients get an answer from its kernel.
 */
export const ALIVE_LEASE_MS = 5000;

export class Control {
  /** The value in words of 8 bytes: the sign of life is the first. */
  readonly #longs: BigUint64Array;
  readonly #words: Int32Array;
  readonly #unmap: () => void;

  constructor(fd: number) {
    const { view, unmap } = mapMemory(fd, CONTROL_BYTES);
    this.#longs = new BigUint64Array(view, 0, CONTROL_BYTES / 8);
    this.#words = new Int32Array(view, 0, CONTROL_BYTES / 4);
    this.#unmap = unmap;
  }

  /** The rules go on holding. */
  stayAlive(): void {
    this.#longs[0] = BigInt(monotonicMs() + ALIVE_LEASE_MS) * 1_000_000n;
  }

  /** Sets flags (CONTROL_...). Routes and spread stay looked up once they were used. */
  raise(flags: number): void {
    Atomics.or(this.#words, CONTROL_FLAGS, flags);
  }

  lower(flags: number): void {
    Atomics.and(this.#words, CONTROL_FLAGS, ~flags);
  }

  /** Which nodes cannot be reached: bit n for node index n - 1. */
  setAway(nodes: bigint): void {
    Atomics.store(this.#longs, CONTROL_AWAY, nodes);
  }

  close(): void {
    this.#unmap();
  }
}
