/**
 * Where what upstreams send is received: one piece of memory for all connections of an engine. What came is used where it
 * is, and only what nobody takes at once is copied; meanwhile nothing else is received there.
 *
 *     | room for a longer head | received ... | free |
 */
import * as libc from '../kernel/linux/libc.ts';
import { allocate, type Memory } from '../kernel/linux/memory.ts';

/** What a response's head may grow by on its way: it is written in front of the body. */
const HEAD_ROOM_BYTES = 1024;

export class ReceiveMemory {
  readonly #memory: Memory;
  /** How much may come at once. */
  readonly #mostBytes: number;
  /** What came is not used up. */
  isInUse = false;

  constructor(mostBytes: number) {
    this.#memory = allocate(HEAD_ROOM_BYTES + mostBytes);
    this.#mostBytes = mostBytes;
  }

  get bytes(): Buffer {
    return this.#memory.bytes;
  }

  /** Where what came begins. */
  get start(): number {
    return HEAD_ROOM_BYTES;
  }

  /** Receives from a socket; as recv(2). */
  receive(fd: number): number {
    return libc.recv(fd, this.#memory.address + HEAD_ROOM_BYTES, this.#mostBytes, 0);
  }

  /** Whether a socket that gave `got` bytes may have more. */
  isFilledBy(got: number): boolean {
    return got === this.#mostBytes;
  }
}
