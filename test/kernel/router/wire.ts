/** What the router's programs send by themselves (clone_redirect), seen on lo. */
import assert from 'node:assert';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { allocate } from '../../../src/kernel/linux/memory.ts';
import { packetSocket, ReadableWait } from '../../../src/kernel/linux/packet.ts';

const FRAME_BYTES = 4096;
const WAIT_MS = 50;
const MAX_WAITS = 100;

export class Wire {
  readonly #fd = packetSocket('lo');
  readonly #buffer = allocate(FRAME_BYTES);

  /** The frames since the last call, oldest first. Waits until there are `count`; fails when they do not come. */
  take(count: number): Buffer[] {
    const readable = new ReadableWait([this.#fd]);
    const found: Buffer[] = [];
    for (let waits = 0; ; ) {
      const { address, bytes } = this.#buffer;
      const length = libc.recv(this.#fd, address, bytes.length, 0);
      if (length > 0) found.push(Buffer.from(bytes.subarray(0, length)));
      else if (found.length >= count) return found;
      else {
        assert.ok(waits++ < MAX_WAITS, `${found.length} of ${count} frames were sent`);
        readable.wait(WAIT_MS);
      }
    }
  }

  close(): void {
    libc.close(this.#fd);
  }
}
