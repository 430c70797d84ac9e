/** How a frame is laid out: the size of its body, and the body to bytes and back. `at` is the first byte after the header. */
import { putU32, requireLength } from './wire.ts';

export interface Codec<F> {
  /** Bytes after the header. */
  size(frame: F): number;
  /** Returns the offset after the body; throws FrameError for a field that is out of range. */
  write(frame: F, into: Buffer, at: number): number;
  /** The body fills `bytes` from `at` to `end`; throws FrameError for anything else. */
  read(bytes: Buffer, at: number, end: number): F;
}

const EPOCH_BYTES = 8;

/** A frame that says nothing but of which conversation and epoch it is. */
export function epochCodec<F extends { type: number; request: number; epoch: number }>(
  type: F['type'],
): Codec<{ type: F['type']; request: number; epoch: number }> {
  return {
    size: () => EPOCH_BYTES,
    write: ({ request, epoch }, into, at) => putU32(into, putU32(into, at, request), epoch),
    read(bytes, at, end) {
      requireLength(at, end, EPOCH_BYTES);
      return { type, request: bytes.readUInt32BE(at), epoch: bytes.readUInt32BE(at + 4) };
    },
  };
}
