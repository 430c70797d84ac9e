/** Arbitrary frames, and two ends of a session, for the tests of this directory. */
import fc from 'fast-check';
import { AEAD_KEY_BYTES, NONCE_BYTES } from '../../../src/kernel/linux/aead.ts';
import { MAX_CONGESTION_WINDOW, MAX_SRTT_US } from '../../../src/kernel/tcp/state.ts';
import { MOST_ESTIMATED_US } from '../../../src/protocol/backplane/frame-estimates.ts';
import { MAX_STATE_PIECE_BYTES } from '../../../src/protocol/backplane/frame-migrate.ts';
import * as frames from '../../../src/protocol/backplane/frames.ts';
import { type Role, Session } from '../../../src/protocol/backplane/session.ts';
import type { Identity } from '../../../src/protocol/http/continuation.ts';
import { MAX_CONTENT_BYTES, MAX_KEY_RECORDS, MAX_SEALED_BYTES } from '../../../src/protocol/tls/records.ts';
import type { TlsSession } from '../../../src/protocol/tls/session.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import type { LentHalf } from '../../../src/protocol/tls/traffic.ts';

const { FrameType } = frames;

const u8 = fc.integer({ min: 0, max: 0xff });
const u32 = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 0xffffffff }) },
  fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
);
const count = fc.oneof(fc.nat(), fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER));
const upTo = (max: number) => fc.oneof(fc.integer({ min: 0, max }), fc.constantFrom(0, max));
const bytes = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));
/** Byte strings up to a limit that is reached now and then. */
const content = (limit: number) =>
  fc.oneof(
    { weight: 20, arbitrary: bytes(0, 300) },
    fc.constantFrom(limit, limit - 1).map((length) => Buffer.alloc(length, 0x61)),
  );

const v4 = bytes(4).map((tail) => Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), tail]));
const v6 = bytes(15).map((tail) => Buffer.concat([Buffer.from([0x20]), tail]));
const addresses = fc.oneof(
  fc.record({ family: fc.constant<4>(4), clientAddress: v4, publicAddress: v4 }),
  fc.record({ family: fc.constant<6>(6), clientAddress: v6, publicAddress: v6 }),
);
const scales = fc.oneof(
  fc.record({ sendScale: upTo(14), receiveScale: upTo(14) }),
  fc.constant({ sendScale: 255, receiveScale: 255 }),
);
const windows = fc.tuple(upTo(2 ** 30), upTo(2 ** 30), upTo(2 ** 30)).map(([receiveWindow, a, b]) => ({
  receiveWindow,
  sendWindow: Math.min(a, b),
  maxWindow: Math.max(a, b),
}));
const port = fc.integer({ min: 1, max: 65535 });

export const halfPipe: fc.Arbitrary<frames.HalfPipe> = fc
  .tuple(
    addresses,
    scales,
    windows,
    fc.record({
      clientPort: port,
      publicPort: port,
      sack: fc.boolean(),
      timestamps: fc.boolean(),
      ecn: fc.boolean(),
      mss: port,
      sequence: u32,
      acknowledge: u32,
      tsval: u32,
      tsecr: u32,
      congestionWindow: upTo(MAX_CONGESTION_WINDOW),
      srttUs: upTo(MAX_SRTT_US),
    }),
  )
  .map(([a, b, c, d]) => ({ ...a, ...b, ...c, ...d }));

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const ids = { request: u32, epoch: u32 };
/** Of a connection that has moved. */
const moves = u32.map((number) => number || 1);

const wholeIdentity: fc.Arbitrary<Identity> = fc
  .tuple(u32, count, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }))
  .map(([head, more, validator]) => {
    const headBytes = Math.max(head, 1);
    return { headBytes, lengthBytes: Math.max(headBytes, more), validator };
  });
const identity: fc.Arbitrary<Identity | null> = fc.option(wholeIdentity);
const continuation = fc.tuple(wholeIdentity, count).map(([whole, out]) => ({
  ...whole,
  offset: Math.min(Math.max(whole.headBytes, out), whole.lengthBytes),
}));

const lentHalf: fc.Arbitrary<LentHalf> = fc.constantFrom(...SUITES).chain((suite) =>
  fc.record(
    {
      suite: fc.constant(suite),
      number: count,
      cut: upTo(MAX_CONTENT_BYTES + suite.overheadBytes - 1),
      iv: bytes(NONCE_BYTES),
      key: bytes(AEAD_KEY_BYTES[suite.aead]),
    },
    { noNullPrototype: true },
  ),
);

export const tlsSession: fc.Arbitrary<TlsSession> = fc.constantFrom(...SUITES).chain((suite) =>
  fc.record(
    {
      suite: fc.constant(suite),
      resumed: fc.boolean(),
      clientSecret: bytes(suite.secretBytes),
      serverSecret: bytes(suite.secretBytes),
      clientRecord: count,
      serverRecord: upTo(MAX_KEY_RECORDS),
      behind: bytes(0, 100),
      held: content(frames.MAX_HELD_BYTES),
    },
    { noNullPrototype: true },
  ),
);

const estimated = fc.option(upTo(MOST_ESTIMATED_US));
const estimates = fc.record(
  { relay: estimated, anchor: estimated, clone: estimated },
  { noNullPrototype: true },
);

const setup: fc.Arbitrary<frames.Setup> = fc
  .record({
    ...ids,
    mechanism: fc.constantFrom(...Object.values(frames.SetupMechanism).filter((m) => !frames.isCarried(m))),
    carried: fc.constantFrom(frames.SetupMechanism.RELAY, frames.SetupMechanism.BOOST),
    http10: fc.boolean(),
    close: fc.boolean(),
    bodyFollows: fc.boolean(),
    sentAtMs: u32,
    halfPipe: fc.option(halfPipe),
    client: fc.option(fc.oneof(v4, v6)),
    secure: fc.boolean(),
    continuation: fc.option(continuation),
    keep: fc.option(u32),
    seal: fc.option(lentHalf),
    estimates: fc.option(estimates),
    site: u32,
    head: content(frames.MAX_HEAD_BYTES),
    body: content(frames.MAX_BODY_BYTES),
  })
  .map(({ carried, ...fields }) => ({
    ...fields,
    type: FrameType.SETUP,
    mechanism: fields.halfPipe === null ? carried : fields.mechanism,
    client: fields.halfPipe === null ? fields.client : null,
    secure: fields.secure && fields.halfPipe === null,
    bodyFollows: fields.bodyFollows && fields.halfPipe === null,
  }))
  .map((fields) => ({ ...fields, body: fields.bodyFollows ? Buffer.alloc(0) : fields.body }))
  .map((fields) => ({
    ...fields,
    seal: fields.halfPipe === null ? null : fields.seal,
  }))
  .map((fields) => ({
    ...fields,
    keep: fields.mechanism === frames.SetupMechanism.CLONE && fields.seal === null ? fields.keep : null,
  }));

/** What SETUP_OK says of a clone's response. */
const announcement: fc.Arbitrary<frames.Announcement> = fc
  .record({
    status: fc.integer({ min: 100, max: 999 }),
    close: fc.boolean(),
    bytes: fc.oneof(
      fc.integer({ min: 1, max: frames.MAX_ANNOUNCED_BYTES }),
      fc.constant(frames.MAX_ANNOUNCED_BYTES),
    ),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ share, ...fields }) => ({ ...fields, bodyBytes: Math.floor(fields.bytes * share) }));

const name = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 40 })
  .filter((text) => Buffer.byteLength(text) <= 63 && !/\p{Cc}/u.test(text));

const flowEndpoints: fc.Arbitrary<frames.FlowEndpoints> = fc
  .tuple(addresses, port, port)
  .map(([{ clientAddress, publicAddress }, clientPort, publicPort]) => ({
    clientAddress,
    clientPort,
    publicAddress,
    publicPort,
  }));

const optionalAnnouncement: fc.Arbitrary<frames.Announcement | null> = fc.option(announcement);

/** One arbitrary per type, so that a test can insist on every type. */
export const byType: Record<string, fc.Arbitrary<frames.Frame>> = {
  SETUP: setup,
  SETUP_OK: fc.record({
    type: fc.constant(FrameType.SETUP_OK),
    ...ids,
    confirmWanted: fc.boolean(),
    identity,
    announcement: optionalAnnouncement,
  }),
  SETUP_REJECT: fc.record({
    type: fc.constant(FrameType.SETUP_REJECT),
    ...ids,
    reason: fc.constantFrom(...Object.values(frames.RejectReason)),
  }),
  CONFIRM: fc.record({ type: fc.constant(FrameType.CONFIRM), ...ids }),
  WINDOW: fc.record({ type: fc.constant(FrameType.WINDOW), ...ids, edge: u32 }),
  DATA_DONE: fc
    .record({
      ...ids,
      end: u32,
      status: fc.integer({ min: 100, max: 999 }),
      close: fc.boolean(),
      counts: fc.tuple(count, count),
      congestionWindow: upTo(MAX_CONGESTION_WINDOW),
      srttUs: upTo(MAX_SRTT_US),
      firstByteUs: u32,
      records: u32,
      identity,
    })
    .map(({ counts: [a, b], ...fields }) => ({
      type: FrameType.DATA_DONE,
      ...fields,
      bytes: Math.max(a, b),
      bodyBytes: Math.min(a, b),
    })),
  COLLECTED: fc.record({
    type: fc.constant(FrameType.COLLECTED),
    ...ids,
    end: u32,
    congestionWindow: upTo(MAX_CONGESTION_WINDOW),
    srttUs: upTo(MAX_SRTT_US),
  }),
  RESET: fc.record({
    type: fc.constant(FrameType.RESET),
    ...ids,
    discard: fc.boolean(),
    onlyEpoch: fc.boolean(),
  }),
  RESET_OK: fc.record({ type: fc.constant(FrameType.RESET_OK), request: u32 }),
  ABORT: fc.record({
    type: fc.constant(FrameType.ABORT),
    ...ids,
    reason: fc.constantFrom(...Object.values(frames.AbortReason)),
  }),
  KEEPALIVE: fc.record({ type: fc.constant(FrameType.KEEPALIVE), sentAtMs: u32, echoMs: u32, heldMs: u32 }),
  LOAD: fc.record({
    type: fc.constant(FrameType.LOAD),
    connections: u32,
    cpuPermille: fc.integer({ min: 0, max: 1000 }),
    requestsPerSecond: u32,
    accepting: fc.boolean(),
    takesBack: fc.boolean(),
    acceptQueue: u32,
  }),
  RELAY_DATA: fc
    .record({
      type: fc.constant(FrameType.RELAY_DATA),
      request: u32,
      last: fc.boolean(),
      requestBody: fc.boolean(),
      end: fc.record({
        status: fc.integer({ min: 100, max: 999 }),
        bodyBytes: fc.maxSafeNat(),
        close: fc.boolean(),
      }),
      bytes: content(frames.MAX_RELAY_BYTES - frames.RELAYED_END_BYTES),
    })
    .map((frame) => ({ ...frame, end: frame.last && !frame.requestBody ? { ...frame.end } : null })),
  RELAY_CREDIT: fc.record({
    type: fc.constant(FrameType.RELAY_CREDIT),
    request: u32,
    credit: fc.integer({ min: 1, max: frames.MAX_CREDIT_BYTES }),
  }),
  HELLO: fc
    .record({
      protocol: port,
      node: name,
      engine: u8,
      more: fc.integer({ min: 1, max: 0xff00 }),
      mac: bytes(6).map((mac) => Buffer.from([mac[0] & 0xfe, ...mac.subarray(1)])),
      clockMs: u32,
      bootId: bytes(8),
    })
    .map(({ more, ...fields }) => ({ type: FrameType.HELLO, ...fields, engines: fields.engine + more })),
  MIGRATE: fc
    .record({
      ...ids,
      serveFirst: fc.boolean(),
      draining: fc.boolean(),
      sentAtMs: u32,
      response: fc.option(
        fc
          .record({ continuation, close: fc.boolean(), head: content(frames.MAX_HEAD_BYTES) })
          .map((fields) => ({ ...fields })),
      ),
      session: fc.option(tlsSession),
      cut: upTo(MAX_SEALED_BYTES - 1),
      // Beside a session less of the state fits in.
      bytes: content(MAX_STATE_PIECE_BYTES - 33 * 1024),
      more: upTo(frames.MAX_MIGRATED_STATE_BYTES - MAX_STATE_PIECE_BYTES),
    })
    .map(({ more, cut, ...fields }) => ({
      ...fields,
      type: FrameType.MIGRATE,
      response: fields.response && { ...fields.response, cut: fields.session === null ? 0 : cut },
      epoch: fields.epoch || 1,
      stateBytes: fields.bytes.length + more || 1,
    })),
  MIGRATE_DATA: fc
    .record({ request: u32, bytes: content(MAX_STATE_PIECE_BYTES) })
    .map(({ request, bytes: piece }) => ({
      type: FrameType.MIGRATE_DATA,
      request,
      bytes: piece.length > 0 ? piece : Buffer.alloc(1),
    })),
  MIGRATE_OK: fc.record({ type: fc.constant(FrameType.MIGRATE_OK), ...ids }),
  ROUTE: fc.record({ type: fc.constant(FrameType.ROUTE), flow: flowEndpoints, epoch: moves }),
  CLEANUP_OK: fc.record({ type: fc.constant(FrameType.CLEANUP_OK), flow: flowEndpoints, epoch: moves }),
  CLEANUP: fc.record({ type: fc.constant(FrameType.CLEANUP), flow: flowEndpoints, epoch: moves }),
  VIEW: fc.record({
    type: fc.constant(FrameType.VIEW),
    sections: fc.array(
      fc
        .record({
          kind: fc.constantFrom(...Object.values(frames.ViewKind)),
          name,
          serves: fc.boolean(),
          essence: u64,
          rest: u64,
        })
        .map((section) => ({ ...section, serves: section.serves && section.kind === frames.ViewKind.SITE })),
      { maxLength: 20 },
    ),
  }),
  CATALOGUE: fc.record({
    type: fc.constant(FrameType.CATALOGUE),
    site: name,
    restart: fc.boolean(),
    complete: fc.boolean(),
    partial: fc.boolean(),
    entries: fc.array(
      fc.record(
        {
          path: fc.string({ unit: 'binary', minLength: 1, maxLength: 60 }),
          document: fc.option(fc.record({ sizeBytes: count, modifiedMs: count }, { noNullPrototype: true })),
        },
        { noNullPrototype: true },
      ),
      { maxLength: 20 },
    ),
  }),
  CACHED: fc.record({
    type: fc.constant(FrameType.CACHED),
    site: name,
    restart: fc.boolean(),
    entries: fc.array(fc.record({ document: u32, held: fc.boolean() }, { noNullPrototype: true }), {
      maxLength: 40,
    }),
  }),
};

export const frame: fc.Arbitrary<frames.Frame> = fc.oneof(...Object.values(byType));

/** Any valid frame as bytes. */
export function encoded(value: frames.Frame): Buffer {
  const buffer = Buffer.alloc(frames.frameSize(value));
  frames.encodeFrame(value, buffer, 0);
  return buffer;
}

export const KEY = Buffer.alloc(32, 7);

export function session(role: Role, key: Buffer = KEY): Session {
  return new Session({ role, key });
}

/** Takes all that a session wants to send in its handshake. */
export function handshakeBytes(from: Session): Buffer {
  const messages: Buffer[] = [];
  for (let next = from.takeHandshake(); next !== null; next = from.takeHandshake()) messages.push(next);
  return Buffer.concat(messages);
}

/** Two sessions after a complete handshake. */
export function openPair(key: Buffer = KEY): { dial: Session; accept: Session } {
  const dial = session('dial', key);
  const accept = session('accept', key);
  const ends = [dial, accept];
  for (let turn = 0; turn < 4; turn++) {
    const message = handshakeBytes(ends[turn % 2]);
    ends[(turn + 1) % 2].receiveHandshake(message, 0, message.length);
  }
  return { dial, accept };
}

/** One sealed record. */
export function sealed(by: Session, batch: Buffer): Buffer {
  const record = Buffer.alloc(batch.length + 20);
  by.seal(batch, record, 0);
  return record;
}
