/**
 * Sockets of half-pipes that have ended, for the next ones. A clone or a data server has one for every response, and
 * making and closing it would be half of what that costs. What is kept is unconnected, and bound to a public endpoint;
 * what nobody has needed for a second is closed.
 */
import type { Endpoint } from '../../base/address.ts';
import type { SpareKernel } from './half-pipe-ports.ts';

/** Spare sockets for one public endpoint. */
export const MAX_SPARE_SOCKETS = 128;
const UNNEEDED_MS = 1000;

/** The spares of one public endpoint. */
interface Shelf {
  readonly public: Endpoint;
  readonly fds: number[];
  /** How many have lain there all the time since the last look. */
  unneeded: number;
}

export class SpareSockets {
  readonly #kernel: SpareKernel;
  /** A shelf for each public endpoint of the cluster. */
  readonly #shelves: Shelf[] = [];
  #lookedAtMs = 0;

  constructor(kernel: SpareKernel) {
    this.#kernel = kernel;
  }

  #shelf(pub: Endpoint): Shelf | undefined {
    return this.#shelves.find(
      (shelf) => shelf.public.port === pub.port && shelf.public.address.equals(pub.address),
    );
  }

  /** Takes a socket that is bound to this endpoint; -1: there is none. */
  take(pub: Endpoint): number {
    const shelf = this.#shelf(pub);
    const fd = shelf?.fds.pop();
    if (shelf === undefined || fd === undefined) return -1;
    shelf.unneeded = Math.min(shelf.unneeded, shelf.fds.length);
    return fd;
  }

  /** Takes over a half-pipe's socket, which epoll has never seen; nobody is told that its connection ends. */
  keep(fd: number, pub: Endpoint): void {
    this.#kernel.empty(fd);
    let shelf = this.#shelf(pub);
    if (shelf === undefined) {
      shelf = { public: pub, fds: [], unneeded: 0 };
      this.#shelves.push(shelf);
    }
    if (shelf.fds.length < MAX_SPARE_SOCKETS) shelf.fds.push(fd);
    else this.#kernel.close(fd);
  }

  /** Closes what has not been needed. */
  tick(nowMs: number): void {
    if (nowMs - this.#lookedAtMs < UNNEEDED_MS) return;
    this.#lookedAtMs = nowMs;
    for (const shelf of this.#shelves) {
      for (const fd of shelf.fds.splice(0, shelf.unneeded)) this.#kernel.close(fd);
      shelf.unneeded = shelf.fds.length;
    }
  }

  close(): void {
    for (const { fds } of this.#shelves) for (const fd of fds.splice(0)) this.#kernel.close(fd);
  }
}
