/** Frames that say why something is not, or no longer: SETUP_REJECT, ABORT. `at` is the first byte after the header. */
import type { Codec } from './codec.ts';
import { FrameType } from './frame-types.ts';
import { must, putU8, putU32, requireLength } from './wire.ts';

export const RejectReason = {
  FULL: 1,
  STALE: 2,
  BUSY_TUPLE: 3,
  STATE_INVALID: 4,
  NOT_SERVED: 5,
  SHUTTING_DOWN: 6,
  INTERNAL: 7,
  DIFFERENT: 8,
  /** The next request is the target's, but it waits for SETUP. */
  NOT_KEPT: 9,
  /** The target is still reading its file, and does not know whether it could go on with the response. */
  PENDING: 10,
} as const;
export type RejectReason = (typeof RejectReason)[keyof typeof RejectReason];

export const AbortReason = {
  UPSTREAM_FAILED: 1,
  CLIENT_GONE: 2,
  TIMED_OUT: 3,
  SUPERSEDED: 4,
  HALF_PIPE_FAILED: 5,
  INTERNAL: 6,
  DRAINING: 7,
  /** Somebody wrote to the file while it was sent, so the client may have bytes of two versions. */
  FILE_CHANGED: 8,
} as const;
export type AbortReason = (typeof AbortReason)[keyof typeof AbortReason];

export interface SetupReject {
  type: typeof FrameType.SETUP_REJECT;
  request: number;
  epoch: number;
  reason: RejectReason;
}

/** In both directions. */
export interface Abort {
  type: typeof FrameType.ABORT;
  request: number;
  epoch: number;
  reason: AbortReason;
}

/*
 * SETUP_REJECT (3), target to anchor, and ABORT (9), both directions
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 * | 16     | 1     | reason  | of RejectReason, of AbortReason |
 */
const REASON_BYTES = 9;

/** `reasons` are numbered from 1, without a gap. */
function reasonCodec<F extends { type: number; request: number; epoch: number; reason: number }>(
  type: F['type'],
  reasons: Record<string, F['reason']>,
): Codec<{ type: F['type']; request: number; epoch: number; reason: F['reason'] }> {
  const last = Math.max(...Object.values(reasons));
  const check = (reason: number) => must(reason >= 1 && reason <= last, 'reason');
  return {
    size: () => REASON_BYTES,
    write({ request, epoch, reason }, into, at) {
      check(reason);
      return putU8(into, putU32(into, putU32(into, at, request), epoch), reason);
    },
    read(bytes, at, end) {
      requireLength(at, end, REASON_BYTES);
      const reason = bytes[at + 8];
      check(reason);
      return { type, request: bytes.readUInt32BE(at), epoch: bytes.readUInt32BE(at + 4), reason };
    },
  };
}

export const setupRejectCodec = reasonCodec<SetupReject>(FrameType.SETUP_REJECT, RejectReason);
export const abortCodec = reasonCodec<Abort>(FrameType.ABORT, AbortReason);
