/**
 * A node's memory and disk, simulated. The nodes of a lab share one machine's page cache and disk, so that neither a
 * cache nor a disk of its own can be given to each. Pure: the time comes as an argument.
 *
 *     read(document) -> in memory: now
 *                       else:      when the disk has done what was asked of it before, and this: seek + bytes / rate
 *
 * Memory is in whole pages, and the least recently used document goes, as in a kernel's page cache, roughly. One that
 * is being read is read once for all who wait for it.
 *
 * The disk is slow on purpose, about 2.5 times as slow as those of the paper's time: it, and not the two cores that
 * nodes and client share, is what requests are to wait for. The memory holds 2 % of the documents, and not even the
 * small ones (classes 0 and 1: 4.9 MB in pages) that the paper's policy binds to one node.
 */
import { LRUCache } from 'lru-cache';
import type { Document, Mix } from './webstone-mix.ts';

const PAGE_BYTES = 4096;

export interface StorageShape {
  readonly memoryBytes: number;
  readonly seekMs: number;
  readonly bytesPerMs: number;
}

export const NODE_STORAGE: StorageShape = {
  memoryBytes: 4 * 1024 * 1024,
  seekMs: 25,
  bytesPerMs: 10_000,
};

export class Storage {
  readonly #shape: StorageShape;
  /** When each document in memory is there, or will be. */
  readonly #readyAtMs: LRUCache<string, number>;
  #diskFreeAtMs = 0;

  constructor(shape: StorageShape) {
    this.#shape = shape;
    this.#readyAtMs = new LRUCache({ maxSize: shape.memoryBytes });
  }

  /** Whether a read of the document needs nothing more of the disk: it is in memory, or under way there. */
  has({ path }: Document): boolean {
    return this.#readyAtMs.has(path);
  }

  /** When the document can be sent: `nowMs` or later. */
  read(document: Document, nowMs: number): number {
    const readyAtMs = this.#readyAtMs.get(document.path);
    if (readyAtMs !== undefined) return Math.max(readyAtMs, nowMs);
    const { seekMs, bytesPerMs } = this.#shape;
    this.#diskFreeAtMs = Math.max(this.#diskFreeAtMs, nowMs) + seekMs + document.bytes / bytesPerMs;
    this.#keep(document, this.#diskFreeAtMs);
    return this.#diskFreeAtMs;
  }

  /** Fills the memory as `requests` of the mix would have done, of which this node gets those of `classes`. */
  warm(mix: Mix, requests: number, classes: readonly number[]): void {
    for (let i = 0; i < requests; i++) {
      const document = mix.next();
      if (!classes.includes(document.class)) continue;
      if (this.#readyAtMs.get(document.path) === undefined) this.#keep(document, 0);
    }
  }

  #keep({ path, bytes }: Document, readyAtMs: number): void {
    this.#readyAtMs.set(path, readyAtMs, { size: Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES });
  }
}
