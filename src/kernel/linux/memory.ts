/**
 * Memory that the kernel reads and writes. Addresses travel as plain numbers (a user-space address fits a
 * double), so a hot call passes no object. The caller keeps the Buffer alive for as long as its address is used:
 * koffi holds no reference to it.
 */
import koffi from 'koffi';

/** A buffer outside the JavaScript heap, with its address. */
export interface Memory {
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly address: number;
}

/** Allocates zeroed memory of a fixed size in bytes; it never moves. */
export function allocate(sizeBytes: number): Memory {
  const block = new ArrayBuffer(sizeBytes);
  const bytes = Buffer.from(block);
  return { bytes, view: new DataView(block), address: addressOf(bytes) };
}

/** The address of a buffer's first byte. Valid while the buffer is reachable. */
export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes));
}

/** Kernel memory (a mapping) at `address`, seen as an ArrayBuffer of `sizeBytes`; unmapping it is the caller's. */
export function viewOf(address: number, sizeBytes: number): ArrayBuffer {
  return koffi.view(address, sizeBytes) as ArrayBuffer;
}
