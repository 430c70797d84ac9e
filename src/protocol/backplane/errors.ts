/**
 * What can go wrong with bytes from another node. Every code is stable; what follows is always the same: the
 * link is closed, counted by code and logged once.
 */

export type FrameErrorCode =
  /** The bytes end before the frame does, or go on after it. */
  | 'LENGTH'
  /** The frame is longer than MAX_FRAME_BYTES, or one of its byte strings than that string's limit. */
  | 'TOO_LARGE'
  /** The peer speaks another frame version. */
  | 'VERSION'
  | 'UNKNOWN_TYPE'
  /** A reserved bit or field is set. */
  | 'RESERVED'
  /** A field, or a combination of fields, has a value that no correct sender produces. */
  | 'OUT_OF_RANGE'
  /** Encoding only: the buffer given ends before the frame does. */
  | 'NO_ROOM';

/** A frame that cannot be decoded or, for a caller's mistake, encoded. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
  readonly code: FrameErrorCode;

  constructor(code: FrameErrorCode, detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

export type SessionErrorCode =
  /** The peer's proof does not match: it has another cluster key, or someone changed the handshake. */
  | 'WRONG_KEY'
  /** A record that fails authentication: altered, replayed, reordered, reflected or from another session. */
  | 'BAD_RECORD'
  /** The stream ended in the middle of a handshake or record, or without an end record. */
  | 'TRUNCATED'
  /** The handshake is not Baton's, or a length is below the smallest possible. */
  | 'MALFORMED'
  /** The peer speaks another session version: upgrade the older node. */
  | 'VERSION'
  /** The handshake carries our own values back to us: both ends are the same node, or someone mirrors it. */
  | 'REFLECTED'
  /** A record longer than MAX_RECORD_BYTES. */
  | 'TOO_LARGE'
  /** MAX_SESSION_RECORDS are used up: open a new session. */
  | 'EXHAUSTED'
  /** A call that the session's state does not allow, such as any call after it closed. */
  | 'BAD_STATE';

/** A failed session; it is CLOSED and gives nothing more. */
export class SessionError extends Error {
  override readonly name = 'SessionError';
  readonly code: SessionErrorCode;

  constructor(code: SessionErrorCode, detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

/** A cluster key that cannot be used. `code` says why: the secret is too short or too long. */
export class KeyError extends Error {
  override readonly name = 'KeyError';
  readonly code: 'SECRET_TOO_SHORT' | 'SECRET_TOO_LONG';

  constructor(code: 'SECRET_TOO_SHORT' | 'SECRET_TOO_LONG', detail: string) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}
