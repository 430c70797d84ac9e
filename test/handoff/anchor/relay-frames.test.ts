/**
 * Mechanism relay at the anchor against a peer that sends whatever it likes, in any order: the response is passed on as
 * it came, no more of it is kept than was asked for, and the request has one end.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RelayDelivery } from '../../../src/handoff/anchor/relay.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  RejectReason,
  type RelayedEnd,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import { STREAM_WINDOW_BYTES } from '../../../src/protocol/backplane/stream.ts';
import { LINK_BACKLOG_BYTES } from '../../../src/protocol/backplane/streams.ts';
import { BLOCKED, type ByteSink } from '../../../src/serve/byte-sink.ts';
import { AnchorStand, LinkModel, request } from './stand.ts';

const B = 1;

/** The client's socket: takes what it is let. */
class ClientModel implements ByteSink {
  got = '';
  roomBytes = 0;

  send(bytes: Buffer, from: number): number {
    const length = Math.min(bytes.length - from, this.roomBytes);
    if (length <= 0) return BLOCKED;
    this.got += bytes.toString('latin1', from, from + length);
    this.roomBytes -= length;
    return length;
  }

  sendFile(): number {
    assert.fail('what is relayed is in memory');
  }

  flush(): number {
    return 0;
  }
}

class Case extends AnchorStand {
  readonly link = new LinkModel(B);
  readonly client = new ClientModel();
  readonly delivery: RelayDelivery;
  readonly id: number;
  /** Bytes of the response that have come and were taken for right. */
  came = '';
  bodyBytes = 0;

  constructor() {
    super();
    const { counters: count, handoffs, streams, host, link } = this;
    host.wayOut.out = () => this.client;
    const ports = { count, handoffs, streams, later: { defer: () => {} }, sharesConnections: true };
    const form = { name: 'relay', mechanism: SetupMechanism.RELAY } as const;
    const given = { ports, host, request: request({ bodyFollows: true }), node: B, link: link.link, form };
    const delivery = RelayDelivery.start(given);
    assert(delivery !== null);
    this.delivery = delivery;
    this.id = link.last(FrameType.SETUP).request;
  }

  get isOpen(): boolean {
    return this.link.up && this.link.conversations.has(this.id);
  }

  data(length: number, end: RelayedEnd | null = null): void {
    const bytes = Buffer.alloc(length, String.fromCharCode(97 + (this.came.length % 26)));
    const wasOpen = this.isOpen;
    const last = end !== null;
    this.hear({ type: FrameType.RELAY_DATA, request: this.id, last, requestBody: false, end, bytes });
    if (wasOpen && this.link.errors.length === 0) this.came += bytes.toString('latin1');
    // What was in that memory is another frame's now.
    bytes.fill('!');
  }

  hear(frame: Frame): void {
    if (this.link.errors.length === 0) this.link.hear(frame);
  }

  /** The client takes so many bytes. */
  takes(bytes: number): void {
    this.client.roomBytes += bytes;
    if (this.host.ends.length === 0) this.delivery.writable();
  }

  /** The client sends some of its body, if it is wanted. */
  body(bytes: number, last: boolean): void {
    if (this.host.ends.length > 0 || !this.delivery.wantsBody) return;
    this.delivery.body(Buffer.alloc(bytes), last);
    this.bodyBytes += bytes;
  }

  check(): void {
    const kept = this.came.length - this.client.got.length;
    assert(kept <= STREAM_WINDOW_BYTES, `${kept} bytes are kept`);
    assert(this.came.startsWith(this.client.got), 'as it came');
    assert(this.host.ends.length <= 1, `${this.host.ends}`);
  }
}

type Step = (it: Case) => void;

const size = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 131_000 }));
const END: RelayedEnd = { status: 200, bodyBytes: 1, close: false };
const head = { epoch: 1, end: 0, congestionWindow: 0, srttUs: 0, firstByteUs: 0, records: 0, identity: null };

/** Frames of this conversation, or of one that there is not. */
const frame: fc.Arbitrary<Step> = fc.oneof(
  fc
    .record({
      isOther: fc.boolean(),
      frame: fc.constantFrom<Frame>(
        {
          type: FrameType.SETUP_OK,
          request: 0,
          epoch: 1,
          confirmWanted: false,
          identity: null,
          announcement: null,
        },
        { type: FrameType.SETUP_REJECT, request: 0, epoch: 1, reason: RejectReason.FULL },
        { type: FrameType.SETUP_REJECT, request: 0, epoch: 1, reason: RejectReason.PENDING },
        {
          type: FrameType.DATA_DONE,
          request: 0,
          status: 200,
          close: false,
          bytes: 5,
          bodyBytes: 1,
          ...head,
        },
        { type: FrameType.ABORT, request: 0, epoch: 1, reason: AbortReason.INTERNAL },
        { type: FrameType.COLLECTED, request: 0, epoch: 1, end: 5 } as Frame,
      ),
    })
    .map(
      ({ isOther, frame: some }): Step =>
        (it) =>
          it.hear({ ...some, request: it.id + (isOther ? 2 : 0) } as Frame),
    ),
  fc.oneof(fc.integer({ min: 1, max: 100_000 }), fc.constant(2 ** 31 - 1)).map(
    (credit): Step =>
      (it) =>
        it.hear({ type: FrameType.RELAY_CREDIT, request: it.id, credit }),
  ),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: size.map(
      (bytes): Step =>
        (it) =>
          it.data(bytes),
    ),
  },
  {
    weight: 3,
    arbitrary: size.map(
      (bytes): Step =>
        (it) =>
          it.takes(bytes),
    ),
  },
  {
    weight: 1,
    arbitrary: size.map(
      (bytes): Step =>
        (it) =>
          it.data(bytes, END),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(size, fc.boolean()).map(
      ([bytes, last]): Step =>
        (it) =>
          it.body(bytes, last),
    ),
  },
  { weight: 1, arbitrary: frame },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0, LINK_BACKLOG_BYTES + 1).map(
      (bytes): Step =>
        (it) => {
          it.link.queuedBytes = bytes;
        },
    ),
  },
  { weight: 1, arbitrary: fc.constant<Step>((it) => it.streams.turn()) },
);

test('whatever frames a peer sends, in any order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const it = new Case();
      for (const take of steps) {
        take(it);
        it.check();
      }
      // The peer is gone, and the client takes all there is.
      it.link.down();
      it.takes(10 * STREAM_WINDOW_BYTES);
      it.check();
      assert.equal(it.host.ends.length, 1);
      assert.equal(it.streams.waitMs > 10, true, 'nobody waits for a turn');
      if (it.host.outcome !== null) assert.equal(it.client.got, it.came);
    }),
    { numRuns: process.env.BATON_LONG === '1' ? 20_000 : 300 },
  );
});

test('bytes beyond the credit, behind the end, credit for what was not sent: the link ends', () => {
  const faults: ReadonlyArray<(it: Case) => void> = [
    (it) => {
      for (let i = 0; i < 5; i++) it.data(STREAM_WINDOW_BYTES / 4);
    },
    (it) => {
      const { id } = it;
      it.data(3);
      const done = {
        type: FrameType.DATA_DONE,
        request: id,
        status: 200,
        close: false,
        bytes: 3,
        bodyBytes: 3,
      };
      it.hear({ ...done, ...head } as Frame);
      it.data(1);
    },
    (it) => {
      it.data(3, END);
      it.data(1);
    },
    (it) => {
      it.data(3, END);
      it.data(0, END);
    },
    (it) => {
      it.data(3, END);
      const done = {
        type: FrameType.DATA_DONE,
        request: it.id,
        status: 200,
        close: false,
        bytes: 3,
        bodyBytes: 3,
      };
      it.hear({ ...done, ...head } as Frame);
    },
    (it) => {
      it.data(3, END);
      it.hear({ type: FrameType.SETUP_REJECT, request: it.id, epoch: 1, reason: RejectReason.FULL });
    },
    (it) => {
      it.body(100, false);
      it.hear({ type: FrameType.RELAY_CREDIT, request: it.id, credit: 101 });
    },
  ];
  for (const fault of faults) {
    const it = new Case();
    fault(it);
    assert.equal(it.link.errors.length, 1);
  }
});
