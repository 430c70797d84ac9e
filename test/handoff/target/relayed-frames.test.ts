/**
 * Relayed requests at the target against a peer that sends whatever it likes, in any order: no more is sent than was
 * asked for, an upstream gets no byte more of a body than its head says, and nothing is left.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  AbortReason,
  type Frame,
  FrameType,
  type RelayData,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import { STREAM_WINDOW_BYTES } from '../../../src/protocol/backplane/stream.ts';
import { LINK_BUSY_BYTES } from '../../../src/protocol/backplane/streams.ts';
import { Exchange, type Feed } from '../../../src/serve/exchange.ts';
import { ID, TargetStand } from './stand.ts';

const BODY_BYTES = 100_000;
const POST = Buffer.from(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${BODY_BYTES}\r\n\r\n`);

/** An upstream that takes a body, and answers. */
class UpstreamModel implements Feed {
  readonly exchange = new Exchange();
  gotBytes = 0;
  hadLast = false;
  wantsBody = true;
  answeredBytes = 0;
  ends = 0;

  constructor() {
    this.exchange.feed = this;
  }

  body(bytes: Buffer, last: boolean): void {
    assert.equal(this.hadLast, false, 'nothing comes behind the last');
    this.gotBytes += bytes.length;
    this.hadLast ||= last;
  }

  resume(): void {}

  cancel(): void {
    this.ends++;
  }

  answers(bytes: number): void {
    this.answeredBytes += bytes;
    this.exchange.pump.add({ bytes: Buffer.alloc(bytes, 'x') });
    this.exchange.onProgress();
  }

  ended(): void {
    this.exchange.pump.finish();
    this.exchange.onProgress();
  }
}

class Case extends TargetStand {
  readonly upstreams: UpstreamModel[] = [];
  grantedBytes = STREAM_WINDOW_BYTES;

  constructor() {
    super();
    for (const request of [ID, ID + 2]) {
      const upstream = new UpstreamModel();
      this.upstreams.push(upstream);
      this.serves = upstream.exchange;
      this.setup({
        mechanism: SetupMechanism.RELAY,
        halfPipe: null,
        head: POST,
        bodyFollows: true,
        request,
      });
    }
  }

  hear(frame: Frame): void {
    if (this.link.errors.length === 0) this.link.hear(frame);
  }

  /** For the first of the two. */
  credit(credit: number): void {
    this.grantedBytes += credit;
    this.hear({ type: FrameType.RELAY_CREDIT, request: ID, credit });
  }

  pieces(request: number): RelayData[] {
    return this.link.sent.filter(
      (frame): frame is RelayData => frame.type === FrameType.RELAY_DATA && frame.request === request,
    );
  }

  sentBytes(request: number): number {
    return this.pieces(request).reduce((sum, { bytes }) => sum + bytes.length, 0);
  }

  check(): void {
    const [first, second] = this.upstreams;
    assert(this.sentBytes(ID) <= Math.min(this.grantedBytes, first.answeredBytes));
    assert(this.sentBytes(ID + 2) <= STREAM_WINDOW_BYTES);
    for (const { gotBytes, hadLast, ends } of [first, second]) {
      assert(ends <= 1);
      assert(gotBytes <= BODY_BYTES);
      if (hadLast) assert.equal(gotBytes, BODY_BYTES);
    }
  }
}

type Step = (it: Case) => void;

const size = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 131_000 }));
const request = fc.constantFrom(ID, ID + 2, ID + 4);
const one = fc.constantFrom(0, 1);
const rarely = fc.integer({ min: 0, max: 9 }).map((n) => n === 0);

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(one, size).map(
    ([which, bytes]): Step =>
      (it) =>
        it.upstreams[which].answers(bytes),
  ),
  fc.tuple(one, fc.boolean()).map(
    ([which, wants]): Step =>
      (it) => {
        it.upstreams[which].wantsBody = wants;
      },
  ),
  fc.tuple(request, size, rarely).map(
    ([id, length, last]): Step =>
      (it) =>
        it.hear({
          type: FrameType.RELAY_DATA,
          request: id,
          last,
          requestBody: true,
          end: null,
          bytes: Buffer.alloc(length),
        }),
  ),
  fc.integer({ min: 1, max: 100_000 }).map(
    (credit): Step =>
      (it) =>
        it.credit(credit),
  ),
  fc.constantFrom(0, LINK_BUSY_BYTES + 1).map(
    (bytes): Step =>
      (it) => {
        it.link.queuedBytes = bytes;
      },
  ),
  fc.constant<Step>((it) => void it.turn()),
  {
    weight: 1,
    arbitrary: one.map(
      (which): Step =>
        (it) =>
          it.upstreams[which].ended(),
    ),
  },
  {
    weight: 1,
    arbitrary: request.map(
      (id): Step =>
        (it) =>
          it.hear({ type: FrameType.ABORT, request: id, epoch: 1, reason: AbortReason.CLIENT_GONE }),
    ),
  },
);

test('whatever frames a peer sends, in any order', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const it = new Case();
      for (const take of steps) {
        take(it);
        it.check();
      }
      it.link.queuedBytes = 0;
      if (it.link.up) it.link.down();
      assert.equal(it.relayed.size, 0);
      assert.equal(it.link.conversations.size, 0);
      assert.equal(it.streams.waitMs > 10, true, 'nobody waits for a turn');
    }),
    { numRuns: process.env.BATON_LONG === '1' ? 20_000 : 300 },
  );
});
