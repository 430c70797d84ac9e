/**
 * The numbers of the frames, and the limits of what they carry. Numbers in frames are unsigned integers of the width
 * that the layout says; a sequence number is the client's view, modulo 2^32. Byte strings of a decoded frame are views
 * into the record it came in: copy what outlives the handler.
 */

/** The whole frame, header included. The largest SETUP (32 KiB head, 64 KiB body) fits. */
export const MAX_FRAME_BYTES = 128 * 1024;
export const FRAME_HEADER_BYTES = 8;
export const FRAME_VERSION = 1;

/** The version that HELLO carries: what the frames mean, where FRAME_VERSION is how they are laid out. */
export const PROTOCOL_VERSION = 4;

export const MAX_HEAD_BYTES = 32 * 1024;
export const MAX_BODY_BYTES = 64 * 1024;
export const MAX_NODE_NAME_BYTES = 63;
export const MAX_DOCUMENT_PATH_BYTES = 4096;
/** RELAY_DATA: header, request and flags come off the frame, and status and body length in the last of a response. */
export const MAX_RELAY_BYTES = MAX_FRAME_BYTES - FRAME_HEADER_BYTES - 5;
export const RELAYED_END_BYTES = 10;
export const MAX_CREDIT_BYTES = 2 ** 31 - 1;
/** A connection state that travels in MIGRATE and MIGRATE_DATA; one with more in its queues stays where it is. */
export const MAX_MIGRATED_STATE_BYTES = 1536 * 1024;
/** A response whose end is said before it is sent: sequence numbers within it must compare by distance. */
export const MAX_ANNOUNCED_BYTES = 2 ** 30;
/** RFC 7323, 2.3: a scale of at most 14, so a window of at most 2^30. */
export const MAX_WINDOW_BYTES = 2 ** 30;
export const MAX_WINDOW_SCALE = 14;
export const NO_WINDOW_SCALE = 255;

export const FrameType = {
  SETUP: 1,
  SETUP_OK: 2,
  SETUP_REJECT: 3,
  CONFIRM: 4,
  DATA_DONE: 5,
  COLLECTED: 6,
  RESET: 7,
  RESET_OK: 8,
  ABORT: 9,
  KEEPALIVE: 10,
  LOAD: 11,
  RELAY_DATA: 12,
  RELAY_CREDIT: 13,
  HELLO: 14,
  MIGRATE: 15,
  MIGRATE_DATA: 16,
  MIGRATE_OK: 17,
  ROUTE: 18,
  CLEANUP: 19,
  WINDOW: 20,
  CLEANUP_OK: 21,
  VIEW: 22,
  CATALOGUE: 24,
  CACHED: 25,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];
export type FrameName = keyof typeof FrameType;
