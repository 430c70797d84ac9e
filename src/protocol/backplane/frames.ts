/**
 * Frames to bytes and back. A frame is a header and a fixed layout by type, big-endian throughout:
 *
 * | offset | bytes | field    | value |
 * |--------|-------|----------|-------|
 * | 0      | 4     | length   | of the whole frame, at most 131072 |
 * | 4      | 1     | type     | see frame-table.ts |
 * | 5      | 1     | version  | 1 |
 * | 6      | 2     | reserved | 0 |
 *
 * Every layout is strict: one frame has one encoding, and bytes either are a frame or throw FrameError.
 */
import { FrameError } from './errors.ts';
import { type Frame, type FrameRow, rowOf } from './frame-table.ts';
import { FRAME_HEADER_BYTES, FRAME_VERSION, FrameType, MAX_FRAME_BYTES } from './frame-types.ts';
import { putU32 } from './wire.ts';

export type * from './frame-cached.ts';
export type * from './frame-catalogue.ts';
export type * from './frame-half-pipe.ts';
export type * from './frame-link.ts';
export type * from './frame-migrate.ts';
export { AbortReason, RejectReason } from './frame-reason.ts';
export type * from './frame-response.ts';
export { isCarried, type Setup, SetupMechanism } from './frame-setup.ts';
export type * from './frame-setup-ok.ts';
export type { Frame } from './frame-table.ts';
export { MAX_HELD_BYTES, tlsSessionSize } from './frame-tls-session.ts';
export * from './frame-types.ts';
export { type View, ViewKind } from './frame-view.ts';

/** The bytes that `frame` takes when encoded. */
export function frameSize(frame: Frame): number {
  return FRAME_HEADER_BYTES + knownRow(frame).codec.size(frame);
}

/**
 * Writes `frame` at `into[at]` and returns the offset after it. Throws FrameError, with `into` possibly changed
 * from `at` on, when a field is out of range (OUT_OF_RANGE, TOO_LARGE) or the frame does not fit (NO_ROOM).
 */
export function encodeFrame(frame: Frame, into: Buffer, at: number): number {
  const size = frameSize(frame);
  if (size > MAX_FRAME_BYTES) throw new FrameError('TOO_LARGE', `frame of ${size} bytes`);
  if (into.length - at < size) throw new FrameError('NO_ROOM', `${size} bytes into ${into.length - at}`);
  putU32(into, at, size);
  into[at + 4] = frame.type;
  into[at + 5] = FRAME_VERSION;
  into[at + 6] = 0;
  into[at + 7] = 0;
  const end = knownRow(frame).codec.write(frame, into, at + FRAME_HEADER_BYTES);
  if (end !== at + size)
    throw new Error(`frame type ${frame.type}: ${end - at} bytes written, ${size} announced`);
  return end;
}

/** The length of the frame at `bytes[at]`, all of which lies before `end`; throws FrameError otherwise. */
export function frameLength(bytes: Buffer, at: number, end: number): number {
  if (end - at < FRAME_HEADER_BYTES) throw new FrameError('LENGTH', `${end - at} bytes are no header`);
  const length = bytes.readUInt32BE(at);
  if (length > MAX_FRAME_BYTES) throw new FrameError('TOO_LARGE', `frame of ${length} bytes`);
  if (length < FRAME_HEADER_BYTES || length > end - at)
    throw new FrameError('LENGTH', `frame of ${length} bytes in ${end - at}`);
  return length;
}

/** Whether what takes the frame at `bytes[at]` may keep bytes that it carries. */
export function isKept(bytes: Buffer, at: number): boolean {
  return rowOf(bytes[at + 4])?.keeps === true;
}

/** Decodes the one frame that fills `bytes` from `at` to `end`; throws FrameError for anything else. */
export function decodeFrame(bytes: Buffer, at = 0, end = bytes.length): Frame {
  const length = frameLength(bytes, at, end);
  if (length !== end - at) throw new FrameError('LENGTH', `${end - at - length} bytes after the frame`);
  if (bytes[at + 5] !== FRAME_VERSION) throw new FrameError('VERSION', `frame version ${bytes[at + 5]}`);
  if (bytes.readUInt16BE(at + 6) !== 0) throw new FrameError('RESERVED', 'header');
  const row = rowOf(bytes[at + 4]);
  if (row === undefined) throw new FrameError('UNKNOWN_TYPE', `frame type ${bytes[at + 4]}`);
  return row.codec.read(bytes, at + FRAME_HEADER_BYTES, end);
}

/** Whether a link that is too far behind refuses the frame; else it must get through. */
export function isBulk(frame: Frame): boolean {
  return knownRow(frame).bulk;
}

/** What is left of it in memory is to be wiped. */
export function bearsSecret(frame: Frame): boolean {
  if (frame.type === FrameType.MIGRATE) return frame.session !== null;
  return frame.type === FrameType.SETUP && frame.seal !== null;
}

function knownRow(frame: Frame): FrameRow<Frame> {
  const row = rowOf(frame.type);
  if (row === undefined) throw new Error(`frame type ${frame.type} has no row`);
  return row;
}
