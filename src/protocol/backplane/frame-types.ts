/**
 * The frames of the backplane as plain values. Numbers are unsigned integers of the width that the layout says;
 * a sequence number is the client's view, modulo 2^32. Byte strings of a decoded frame are views into the record
 * it came in: copy what outlives the handler.
 */
import type { Continuation, Identity } from '../http/continuation.ts';

/** The whole frame, header included. The largest SETUP (32 KiB head, 64 KiB body) fits. */
export const MAX_FRAME_BYTES = 128 * 1024;
export const FRAME_HEADER_BYTES = 8;
export const FRAME_VERSION = 1;

/** The version that HELLO carries: what the frames mean, where FRAME_VERSION is how they are laid out. */
export const PROTOCOL_VERSION = 2;

export const MAX_HEAD_BYTES = 32 * 1024;
export const MAX_BODY_BYTES = 64 * 1024;
export const MAX_NODE_NAME_BYTES = 63;
export const MAX_DOCUMENT_PATH_BYTES = 4096;
/** RELAY_DATA: header, request and flags come off the frame. */
export const MAX_RELAY_BYTES = MAX_FRAME_BYTES - FRAME_HEADER_BYTES - 5;
export const MAX_CREDIT_BYTES = 2 ** 31 - 1;
/** A connection state that travels in MIGRATE and MIGRATE_DATA; one with more in its queues stays where it is. */
export const MAX_MIGRATED_STATE_BYTES = 1536 * 1024;
/** A response whose end is said before it is sent: sequence numbers within it must compare by distance. */
export const MAX_PROMISE_BYTES = 2 ** 30;
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
type T = typeof FrameType;

export const SetupMechanism = { RELAY: 1, ANCHOR: 2, CLONE: 3, SPLIT: 4 } as const;
export type SetupMechanism = (typeof SetupMechanism)[keyof typeof SetupMechanism];

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
  /** Somebody wrote to the file while it was sent: what the client has may be of two states of it. */
  FILE_CHANGED: 8,
} as const;
export type AbortReason = (typeof AbortReason)[keyof typeof AbortReason];

/** What the target needs to send the out-half itself. */
export interface HalfPipe {
  /** 16 bytes in network order; IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2). */
  clientAddress: Buffer;
  clientPort: number;
  publicAddress: Buffer;
  publicPort: number;
  family: 4 | 6;
  sack: boolean;
  timestamps: boolean;
  ecn: boolean;
  /** What the target may send in one segment, in bytes. */
  mss: number;
  /** Window scales, 0 to MAX_WINDOW_SCALE; both NO_WINDOW_SCALE when the connection scales no windows. */
  sendScale: number;
  receiveScale: number;
  /** S: the sequence number at which the target starts. */
  sequence: number;
  /** The edge of the in-half: the next byte expected from the client. */
  acknowledge: number;
  /** Bytes offered to the client, never a smaller right edge than was advertised. */
  receiveWindow: number;
  /** Bytes that the client allows beyond S. */
  sendWindow: number;
  /** The largest window the client ever offered; at least sendWindow. */
  maxWindow: number;
  tsval: number;
  tsecr: number;
  /** Segments; 0 when unknown. */
  congestionWindow: number;
  /** Microseconds; 0 when unknown. */
  srttUs: number;
}

/** Anchor to target: serve this request. */
export interface Setup {
  type: T['SETUP'];
  request: number;
  epoch: number;
  mechanism: SetupMechanism;
  /** The client speaks HTTP/1.0. */
  http10: boolean;
  /** Respond with `Connection: close`. */
  close: boolean;
  /** The body follows in RELAY_DATA; `body` is then empty. */
  bodyFollows: boolean;
  /** The sender's monotonic clock in milliseconds, modulo 2^32. */
  sentAtMs: number;
  /** Null with relay only. */
  halfPipe: HalfPipe | null;
  /** With relay only, as the half-pipe says it otherwise: the client's address; null when it is not known. */
  client: Buffer | null;
  /** The response is to go on where another node left it; null: from its beginning. */
  continuation: Continuation | null;
  /**
   * With mechanism clone only: the target may answer the connection's next request without being asked, when its own
   * policy chooses it as well. Stands for what the anchor's policy chooses by; null: it may not.
   */
  keep: number | null;
  /** Stands for the site that the request is of, as the anchor sees it; 0: of none. */
  site: number;
  /** The request head as the client sent it, at most MAX_HEAD_BYTES. */
  head: Buffer;
  /** At most MAX_BODY_BYTES. */
  body: Buffer;
}

/** Target to anchor: accepted. Also without a SETUP of that epoch, for a next request that the target has taken. */
export interface SetupOk {
  type: T['SETUP_OK'];
  request: number;
  epoch: number;
  /** The target sends nothing before CONFIRM. */
  confirmWanted: boolean;
  /** With mechanism clone, when the whole response is known: where it ends, and nothing more will be said of it. */
  promise: PromisedResponse | null;
  /** What the response is; null when no other node could go on with it. */
  identity: Identity | null;
}

/** What is known of a response before its first byte is sent. */
export interface PromisedResponse {
  /** The response's status code, 100 to 999. */
  status: number;
  /** Close the connection after this response. */
  close: boolean;
  /** Bytes of the response, head included; at most MAX_PROMISE_BYTES. */
  bytes: number;
  bodyBytes: number;
}

export interface SetupReject {
  type: T['SETUP_REJECT'];
  request: number;
  epoch: number;
  reason: RejectReason;
}

export interface Confirm {
  type: T['CONFIRM'];
  request: number;
  epoch: number;
}

/** Anchor to target: the client has allowed more than SETUP said. */
export interface Window {
  type: T['WINDOW'];
  request: number;
  epoch: number;
  /** The right edge of the client's window, in its sequence space. */
  edge: number;
}

/** Target to anchor: the whole response is written. */
export interface DataDone {
  type: T['DATA_DONE'];
  request: number;
  epoch: number;
  /** E: the sequence number after the last byte; 0 with relay. */
  end: number;
  /** The response's status code, 100 to 999. */
  status: number;
  /** Close the connection after this response. */
  close: boolean;
  /** Bytes of the response, head included; at most 2^53 - 1. */
  bytes: number;
  bodyBytes: number;
  congestionWindow: number;
  srttUs: number;
  /** From the receipt of SETUP to the first byte, microseconds. */
  firstByteUs: number;
  /** As in SETUP_OK; of a response that was promised without one. */
  identity: Identity | null;
}

/** Target to anchor: every byte up to `end` is acknowledged. */
export interface Collected {
  type: T['COLLECTED'];
  request: number;
  epoch: number;
  end: number;
  congestionWindow: number;
  srttUs: number;
}

/** Anchor to target: the half-pipe may go. */
export interface Reset {
  type: T['RESET'];
  request: number;
  epoch: number;
  /** Discard at once, acknowledged or not. */
  discard: boolean;
  /** Only what belongs to `epoch`. */
  onlyEpoch: boolean;
}

export interface ResetOk {
  type: T['RESET_OK'];
  request: number;
}

/** In both directions. */
export interface Abort {
  type: T['ABORT'];
  request: number;
  epoch: number;
  reason: AbortReason;
}

export interface Keepalive {
  type: T['KEEPALIVE'];
  sentAtMs: number;
  /** The `sentAtMs` received last, 0 when none was. */
  echoMs: number;
  /** How long ago that was. */
  heldMs: number;
}

export interface Load {
  type: T['LOAD'];
  /** Client connections of the sending engine. */
  connections: number;
  /** Of the sending engine, 0 to 1000. */
  cpuPermille: number;
  requestsPerSecond: number;
  /** Takes new connections and handoffs. */
  accepting: boolean;
  /** Connections that wait to be accepted. */
  acceptQueue: number;
}

export interface RelayData {
  type: T['RELAY_DATA'];
  request: number;
  last: boolean;
  /** Bytes of the request body (anchor to target); else of the response (target to anchor). */
  requestBody: boolean;
  /** At most MAX_RELAY_BYTES. */
  bytes: Buffer;
}

export interface RelayCredit {
  type: T['RELAY_CREDIT'];
  request: number;
  /** Bytes that may be sent in addition, 1 to MAX_CREDIT_BYTES. */
  credit: number;
}

/** The first frame in each direction: who is at this end. */
export interface Hello {
  type: T['HELLO'];
  protocol: number;
  /** 1 to MAX_NODE_NAME_BYTES bytes of UTF-8 without control characters. */
  node: string;
  /** Below `engines`. */
  engine: number;
  engines: number;
  /** 6 bytes: where the router sends this node's packets. */
  mac: Buffer;
  clockMs: number;
  /** 8 bytes, new with every start of the process. */
  bootId: Buffer;
}

/** Initiator to target: take this connection, its whole state in this frame and MIGRATE_DATA. */
export interface Migrate {
  type: T['MIGRATE'];
  request: number;
  /** How often the connection has moved, this time included; not 0. */
  epoch: number;
  /** The first request there is not given away again. */
  serveFirst: boolean;
  /** The initiator goes away: take it even when its home cannot be told at once. */
  draining: boolean;
  /** The connection is in the middle of this response; null: between two requests. */
  response: MovedResponse | null;
  /** The initiator's monotonic clock, in milliseconds modulo 2^32. */
  sentAtMs: number;
  /** Of the whole state, 1 to MAX_MIGRATED_STATE_BYTES. */
  stateBytes: number;
  bytes: Buffer;
}

/** A response that goes on at another node, on the same connection. */
export interface MovedResponse {
  continuation: Continuation;
  /** The connection ends with it. */
  close: boolean;
  /** The head of its request as the client sent it, at most MAX_HEAD_BYTES. */
  head: Buffer;
}

export interface MigrateData {
  type: T['MIGRATE_DATA'];
  request: number;
  /** At least 1 byte. */
  bytes: Buffer;
}

/** Target to initiator: the connection is restored, and silent until CONFIRM. */
export interface MigrateOk {
  type: T['MIGRATE_OK'];
  request: number;
  epoch: number;
}

/** A connection by its endpoints; addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d. */
export interface FlowEndpoints {
  clientAddress: Buffer;
  clientPort: number;
  publicAddress: Buffer;
  publicPort: number;
}

/** A connection, and how often it had moved. */
export interface FlowEpoch {
  flow: FlowEndpoints;
  epoch: number;
}

/** Owner to home: this connection is here now. */
export interface Route extends FlowEpoch {
  type: T['ROUTE'];
}

/** Owner to home: the connection has ended. */
export interface Cleanup extends FlowEpoch {
  type: T['CLEANUP'];
}

/** Home to owner: nothing of it is sent on any more. */
export interface CleanupOk extends FlowEpoch {
  type: T['CLEANUP_OK'];
}

/** A file as its node describes it. */
export interface Document {
  readonly sizeBytes: number;
  /** Milliseconds since the epoch. */
  readonly modifiedMs: number;
}

/** In both directions: what documents the sender has of a site. */
export interface Catalogue {
  type: T['CATALOGUE'];
  /** Its name, 1 to 63 bytes of UTF-8. */
  site: string;
  /** What was said of the site before holds no longer. */
  restart: boolean;
  /** With this piece all has been said; changes may follow. */
  complete: boolean;
  /** There are documents that are not listed. */
  partial: boolean;
  /** By path relative to the root, 1 to MAX_DOCUMENT_PATH_BYTES bytes; null: the sender has it no more. */
  entries: Array<{ readonly path: string; readonly document: Document | null }>;
}

/** In both directions: what documents of a site the sending engine has in memory. A hint: it may be wrong. */
export interface Cached {
  type: T['CACHED'];
  /** Its name, 1 to 63 bytes of UTF-8. */
  site: string;
  /** What this engine said of the site before holds no longer. */
  restart: boolean;
  /** By hash of the path relative to the root (documentHash); held: in memory, else no longer. */
  entries: Array<{ readonly document: number; readonly held: boolean }>;
}

/** What a section of VIEW is about. */
export const ViewKind = { NODE: 1, SITE: 2, SETTING: 3 } as const;
export type ViewKind = (typeof ViewKind)[keyof typeof ViewKind];

/** In both directions: what the sender's file says of the cluster, as digests. */
export interface View {
  type: T['VIEW'];
  /** Those of nodes in the file's order. */
  sections: Array<{
    readonly kind: ViewKind;
    /** 1 to 63 bytes of UTF-8 without control characters. */
    readonly name: string;
    /** The sender answers requests of the site. */
    readonly serves: boolean;
    /** 64 bits that stand for what must agree, and for what may differ for a while. */
    readonly essence: bigint;
    readonly rest: bigint;
  }>;
}

export type Frame =
  | Setup
  | SetupOk
  | SetupReject
  | Confirm
  | Window
  | DataDone
  | Collected
  | Reset
  | ResetOk
  | Abort
  | Keepalive
  | Load
  | RelayData
  | RelayCredit
  | Hello
  | Migrate
  | MigrateData
  | MigrateOk
  | Route
  | Cleanup
  | CleanupOk
  | View
  | Catalogue
  | Cached;
