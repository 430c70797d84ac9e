/**
 * Frames to bytes and back. A frame is a header and a fixed layout by type, big-endian throughout:
 *
 * | offset | bytes | field    | value |
 * |--------|-------|----------|-------|
 * | 0      | 4     | length   | of the whole frame, at most 131072 |
 * | 4      | 1     | type     | 1 to 22, 24, 25 |
 * | 5      | 1     | version  | 1 |
 * | 6      | 2     | reserved | 0 |
 *
 * Every layout is strict: one frame has one encoding, and bytes either are a frame or throw FrameError.
 */
import { FrameError } from './errors.ts';
import * as cached from './frame-cached.ts';
import * as catalogue from './frame-catalogue.ts';
import * as link from './frame-link.ts';
import * as migrate from './frame-migrate.ts';
import * as response from './frame-response.ts';
import * as setup from './frame-setup.ts';
import { FRAME_HEADER_BYTES, FRAME_VERSION, type Frame, FrameType, MAX_FRAME_BYTES } from './frame-types.ts';
import * as view from './frame-view.ts';
import { putU32 } from './wire.ts';

export * from './frame-types.ts';

/** The bytes that `frame` takes when encoded. */
export function frameSize(frame: Frame): number {
  return FRAME_HEADER_BYTES + bodySize(frame);
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
  const end = writeBody(frame, into, at + FRAME_HEADER_BYTES);
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

/** Decodes the one frame that fills `bytes` from `at` to `end`; throws FrameError for anything else. */
export function decodeFrame(bytes: Buffer, at = 0, end = bytes.length): Frame {
  const length = frameLength(bytes, at, end);
  if (length !== end - at) throw new FrameError('LENGTH', `${end - at - length} bytes after the frame`);
  if (bytes[at + 5] !== FRAME_VERSION) throw new FrameError('VERSION', `frame version ${bytes[at + 5]}`);
  if (bytes.readUInt16BE(at + 6) !== 0) throw new FrameError('RESERVED', 'header');
  return readBody(bytes[at + 4], bytes, at + FRAME_HEADER_BYTES, end);
}

/** Whether a frame is of those that carry requests, responses or connections; the others are few, small and must get through. */
export function isBulk(frame: Frame): boolean {
  switch (frame.type) {
    case FrameType.SETUP:
    case FrameType.RELAY_DATA:
    case FrameType.MIGRATE:
    case FrameType.MIGRATE_DATA:
    case FrameType.CATALOGUE:
    case FrameType.CACHED:
      return true;
    default:
      return false;
  }
}

function bodySize(frame: Frame): number {
  switch (frame.type) {
    case FrameType.SETUP:
      return setup.setupSize(frame);
    case FrameType.SETUP_OK:
      return setup.setupOkSize(frame);
    case FrameType.SETUP_REJECT:
      return setup.SETUP_REJECT_BYTES;
    case FrameType.CONFIRM:
      return setup.CONFIRM_BYTES;
    case FrameType.WINDOW:
      return setup.WINDOW_BYTES;
    case FrameType.DATA_DONE:
      return response.dataDoneSize(frame);
    case FrameType.COLLECTED:
      return response.COLLECTED_BYTES;
    case FrameType.RESET:
      return response.RESET_BYTES;
    case FrameType.RESET_OK:
      return response.RESET_OK_BYTES;
    case FrameType.ABORT:
      return response.ABORT_BYTES;
    case FrameType.KEEPALIVE:
      return link.KEEPALIVE_BYTES;
    case FrameType.LOAD:
      return link.LOAD_BYTES;
    case FrameType.RELAY_DATA:
      return link.RELAY_DATA_FIXED_BYTES + frame.bytes.length;
    case FrameType.RELAY_CREDIT:
      return link.RELAY_CREDIT_BYTES;
    case FrameType.HELLO:
      return link.helloSize(frame);
    case FrameType.MIGRATE:
      return migrate.migrateSize(frame);
    case FrameType.MIGRATE_DATA:
      return migrate.MIGRATE_DATA_FIXED_BYTES + frame.bytes.length;
    case FrameType.MIGRATE_OK:
      return migrate.MIGRATE_OK_BYTES;
    case FrameType.ROUTE:
    case FrameType.CLEANUP:
    case FrameType.CLEANUP_OK:
      return migrate.FLOW_EPOCH_BYTES;
    case FrameType.VIEW:
      return view.viewSize(frame);
    case FrameType.CATALOGUE:
      return catalogue.catalogueSize(frame);
    case FrameType.CACHED:
      return cached.cachedSize(frame);
  }
}

function writeBody(frame: Frame, into: Buffer, at: number): number {
  switch (frame.type) {
    case FrameType.SETUP:
      return setup.writeSetup(frame, into, at);
    case FrameType.SETUP_OK:
      return setup.writeSetupOk(frame, into, at);
    case FrameType.SETUP_REJECT:
      return setup.writeSetupReject(frame, into, at);
    case FrameType.CONFIRM:
      return setup.writeConfirm(frame, into, at);
    case FrameType.WINDOW:
      return setup.writeWindow(frame, into, at);
    case FrameType.DATA_DONE:
      return response.writeDataDone(frame, into, at);
    case FrameType.COLLECTED:
      return response.writeCollected(frame, into, at);
    case FrameType.RESET:
      return response.writeReset(frame, into, at);
    case FrameType.RESET_OK:
      return response.writeResetOk(frame, into, at);
    case FrameType.ABORT:
      return response.writeAbort(frame, into, at);
    case FrameType.KEEPALIVE:
      return link.writeKeepalive(frame, into, at);
    case FrameType.LOAD:
      return link.writeLoad(frame, into, at);
    case FrameType.RELAY_DATA:
      return link.writeRelayData(frame, into, at);
    case FrameType.RELAY_CREDIT:
      return link.writeRelayCredit(frame, into, at);
    case FrameType.HELLO:
      return link.writeHello(frame, into, at);
    case FrameType.MIGRATE:
      return migrate.writeMigrate(frame, into, at);
    case FrameType.MIGRATE_DATA:
      return migrate.writeMigrateData(frame, into, at);
    case FrameType.MIGRATE_OK:
      return migrate.writeMigrateOk(frame, into, at);
    case FrameType.ROUTE:
    case FrameType.CLEANUP:
    case FrameType.CLEANUP_OK:
      return migrate.writeFlowEpoch(frame, into, at);
    case FrameType.VIEW:
      return view.writeView(frame, into, at);
    case FrameType.CATALOGUE:
      return catalogue.writeCatalogue(frame, into, at);
    case FrameType.CACHED:
      return cached.writeCached(frame, into, at);
  }
}

function readBody(type: number, bytes: Buffer, at: number, end: number): Frame {
  switch (type) {
    case FrameType.SETUP:
      return setup.readSetup(bytes, at, end);
    case FrameType.SETUP_OK:
      return setup.readSetupOk(bytes, at, end);
    case FrameType.SETUP_REJECT:
      return setup.readSetupReject(bytes, at, end);
    case FrameType.CONFIRM:
      return setup.readConfirm(bytes, at, end);
    case FrameType.WINDOW:
      return setup.readWindow(bytes, at, end);
    case FrameType.DATA_DONE:
      return response.readDataDone(bytes, at, end);
    case FrameType.COLLECTED:
      return response.readCollected(bytes, at, end);
    case FrameType.RESET:
      return response.readReset(bytes, at, end);
    case FrameType.RESET_OK:
      return response.readResetOk(bytes, at, end);
    case FrameType.ABORT:
      return response.readAbort(bytes, at, end);
    case FrameType.KEEPALIVE:
      return link.readKeepalive(bytes, at, end);
    case FrameType.LOAD:
      return link.readLoad(bytes, at, end);
    case FrameType.RELAY_DATA:
      return link.readRelayData(bytes, at, end);
    case FrameType.RELAY_CREDIT:
      return link.readRelayCredit(bytes, at, end);
    case FrameType.HELLO:
      return link.readHello(bytes, at, end);
    case FrameType.MIGRATE:
      return migrate.readMigrate(bytes, at, end);
    case FrameType.MIGRATE_DATA:
      return migrate.readMigrateData(bytes, at, end);
    case FrameType.MIGRATE_OK:
      return migrate.readMigrateOk(bytes, at, end);
    case FrameType.ROUTE:
    case FrameType.CLEANUP:
    case FrameType.CLEANUP_OK:
      return { type, ...migrate.readFlowEpoch(bytes, at, end) };
    case FrameType.VIEW:
      return view.readView(bytes, at, end);
    case FrameType.CATALOGUE:
      return catalogue.readCatalogue(bytes, at, end);
    case FrameType.CACHED:
      return cached.readCached(bytes, at, end);
    default:
      throw new FrameError('UNKNOWN_TYPE', `frame type ${type}`);
  }
}
