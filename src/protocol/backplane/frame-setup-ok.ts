/** A target's SETUP_OK, and what its anchor says to it: CONFIRM, WINDOW. `at` is the first byte after the header. */
import type { Identity } from '../http/continuation.ts';
import { type Codec, epochCodec } from './codec.ts';
import { IDENTITY_BYTES, readIdentity, writeIdentity } from './frame-continuation.ts';
import { FrameType, MAX_ANNOUNCED_BYTES } from './frame-types.ts';
import {
  getFlags,
  getU64,
  must,
  putU8,
  putU16,
  putU32,
  putU64,
  requireAtLeast,
  requireLength,
} from './wire.ts';

/** Target to anchor: accepted. Also without a SETUP of that epoch, for a next request that the target has taken. */
export interface SetupOk {
  type: typeof FrameType.SETUP_OK;
  request: number;
  epoch: number;
  /** The target sends nothing before CONFIRM. */
  confirmWanted: boolean;
  /** With mechanism clone, when the whole response is known: where it ends, and nothing more will be said of it. */
  announcement: Announcement | null;
  /** What the response is; null when no other node could go on with it. */
  identity: Identity | null;
}

/** What is known of a response before its first byte is sent. */
export interface Announcement {
  /** The response's status code, 100 to 999. */
  status: number;
  /** Close the connection after this response. */
  close: boolean;
  /** Bytes of the response, head included; at most MAX_ANNOUNCED_BYTES. */
  bytes: number;
  bodyBytes: number;
}

export interface Confirm {
  type: typeof FrameType.CONFIRM;
  request: number;
  epoch: number;
}

/** Anchor to target: the client has allowed more than SETUP said. */
export interface Window {
  type: typeof FrameType.WINDOW;
  request: number;
  epoch: number;
  /** The right edge of the client's window, in its sequence space. */
  edge: number;
}

/*
 * SETUP_OK (2), target to anchor
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 * | 16     | 1     | flags   | bit 0 confirmation wanted, bit 1 identity, bit 2 announcement, bit 3 close the connection after it (with an announcement) |
 * |        | 20    | identity | with bit 1 only; see frame-continuation.ts |
 * |        | 18    | announcement | with bit 2 only; see below |
 *
 * The announcement block of SETUP_OK, mechanism clone
 *
 * | offset | bytes | field     | value |
 * |--------|-------|-----------|-------|
 * | 0      | 2     | status    | 100 to 999 |
 * | 2      | 8     | bytes     | of the response with its head, 1 to 2^30 |
 * | 10     | 8     | bodyBytes | at most bytes |
 */
const SETUP_OK_BYTES = 9;
const ANNOUNCED_BYTES = 18;
const CONFIRM_WANTED = 1;
const OK_IDENTITY = 2;
const ANNOUNCED = 4;
const ANNOUNCED_CLOSE = 8;

function setupOkSize({ identity, announcement }: SetupOk): number {
  return (
    SETUP_OK_BYTES + (identity === null ? 0 : IDENTITY_BYTES) + (announcement === null ? 0 : ANNOUNCED_BYTES)
  );
}

function writeSetupOk(frame: SetupOk, into: Buffer, start: number): number {
  const { identity, announcement } = frame;
  checkAnnouncement(frame);
  let at = putU32(into, start, frame.request);
  at = putU32(into, at, frame.epoch);
  const announced = announcement === null ? 0 : ANNOUNCED | (announcement.close ? ANNOUNCED_CLOSE : 0);
  const flags = (frame.confirmWanted ? CONFIRM_WANTED : 0) | (identity === null ? 0 : OK_IDENTITY);
  at = putU8(into, at, flags | announced);
  if (identity !== null) at = writeIdentity(identity, into, at);
  if (announcement === null) return at;
  at = putU16(into, at, announcement.status);
  at = putU64(into, at, announcement.bytes);
  return putU64(into, at, announcement.bodyBytes);
}

function readSetupOk(bytes: Buffer, at: number, end: number): SetupOk {
  requireAtLeast(at, end, SETUP_OK_BYTES);
  const flags = getFlags(bytes, at + 8, CONFIRM_WANTED | OK_IDENTITY | ANNOUNCED | ANNOUNCED_CLOSE);
  const identified = (flags & OK_IDENTITY) !== 0;
  const announced = (flags & ANNOUNCED) !== 0;
  must(announced || (flags & ANNOUNCED_CLOSE) === 0, 'close without an announcement');
  const announcementAt = at + SETUP_OK_BYTES + (identified ? IDENTITY_BYTES : 0);
  requireLength(announcementAt, end, announced ? ANNOUNCED_BYTES : 0);
  const frame: SetupOk = {
    type: FrameType.SETUP_OK,
    request: bytes.readUInt32BE(at),
    epoch: bytes.readUInt32BE(at + 4),
    confirmWanted: (flags & CONFIRM_WANTED) !== 0,
    identity: identified ? readIdentity(bytes, at + SETUP_OK_BYTES) : null,
    announcement: announced
      ? {
          status: bytes.readUInt16BE(announcementAt),
          close: (flags & ANNOUNCED_CLOSE) !== 0,
          bytes: getU64(bytes, announcementAt + 2),
          bodyBytes: getU64(bytes, announcementAt + 10),
        }
      : null,
  };
  checkAnnouncement(frame);
  return frame;
}

export const setupOkCodec: Codec<SetupOk> = { size: setupOkSize, write: writeSetupOk, read: readSetupOk };

function checkAnnouncement({ announcement }: SetupOk): void {
  if (announcement === null) return;
  must(announcement.status >= 100 && announcement.status <= 999, 'status');
  must(announcement.bytes >= 1 && announcement.bytes <= MAX_ANNOUNCED_BYTES, 'announced bytes');
  must(announcement.bodyBytes <= announcement.bytes, 'more body than response');
}

/*
 * CONFIRM (4), anchor to target
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 */
export const confirmCodec = epochCodec<Confirm>(FrameType.CONFIRM);

/*
 * WINDOW (20), anchor to target
 *
 * | offset | bytes | field   | value |
 * |--------|-------|---------|-------|
 * | 8      | 4     | request | |
 * | 12     | 4     | epoch   | |
 * | 16     | 4     | edge    | right edge of the client's window: a sequence number |
 */
const WINDOW_BYTES = 12;

function writeWindow(frame: Window, into: Buffer, at: number): number {
  putU32(into, at, frame.request);
  return putU32(into, putU32(into, at + 4, frame.epoch), frame.edge);
}

function readWindow(bytes: Buffer, at: number, end: number): Window {
  requireLength(at, end, WINDOW_BYTES);
  const [request, epoch, edge] = [0, 4, 8].map((offset) => bytes.readUInt32BE(at + offset));
  return { type: FrameType.WINDOW, request, epoch, edge };
}

export const windowCodec: Codec<Window> = { size: () => WINDOW_BYTES, write: writeWindow, read: readWindow };
