/** Mechanism relay at the target: what is sent by credit, what waits for the link, and a body that follows. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import {
  AbortReason,
  FrameType,
  RejectReason,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import { STREAM_PIECE_BYTES, STREAM_WINDOW_BYTES } from '../../../src/protocol/backplane/stream.ts';
import { LINK_BACKLOG_BYTES, LINK_BUSY_BYTES } from '../../../src/protocol/backplane/streams.ts';
import { Exchange, type Feed } from '../../../src/serve/exchange.ts';
import { Answer, ID, MOST, TargetStand } from './stand.ts';

const RELAY = { mechanism: SetupMechanism.RELAY, halfPipe: null } as const;
const POST = Buffer.from('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n');

class FeedModel implements Feed {
  got = '';
  wantsBody = true;
  cancelled = false;
  body(bytes: Buffer, last: boolean): void {
    this.got += bytes.toString('latin1') + (last ? '.' : '');
  }
  resume(): void {}
  cancel(): void {
    this.cancelled = true;
  }
}

class Case extends TargetStand {
  ask(bytes: number): Answer {
    const answer = new Answer(bytes);
    this.serves = answer.exchange;
    this.setup(RELAY);
    this.turn();
    return answer;
  }

  /** A request whose body of 10 bytes follows, for an upstream. */
  post(): FeedModel {
    const feed = new FeedModel();
    const exchange = new Exchange();
    exchange.feed = feed;
    this.serves = exchange;
    this.setup({ ...RELAY, head: POST, bodyFollows: true });
    return feed;
  }

  body(text: string, last: boolean): this {
    const bytes = Buffer.from(text);
    this.link.hear({ type: FrameType.RELAY_DATA, request: ID, last, requestBody: true, end: null, bytes });
    return this;
  }

  credit(bytes: number): this {
    this.link.hear({ type: FrameType.RELAY_CREDIT, request: ID, credit: bytes });
    this.turn();
    return this;
  }

  get types(): FrameType[] {
    return this.link.sent.map(({ type }) => type);
  }

  get text(): string {
    const pieces = this.link.sent.flatMap((frame) =>
      frame.type === FrameType.RELAY_DATA ? [frame.bytes.toString('latin1')] : [],
    );
    assert.ok(pieces.every(({ length }) => length <= STREAM_PIECE_BYTES));
    return pieces.join('');
  }

  assertOver(): void {
    assert.equal(this.relayed.size, 0);
    assert.equal(this.link.conversations.size, 0);
    assert.equal(this.streams.waitMs > 10, true);
  }
}

describe('a relayed request at the target', () => {
  test('what is there at once: the bytes in pieces, the last of which says so', () => {
    const it = new Case();
    const answer = it.ask(3 * STREAM_PIECE_BYTES);
    assert.deepEqual(it.types, Array(4).fill(FrameType.RELAY_DATA));
    assert.equal(it.text, answer.text);
    const ends = it.link.sent.map((frame) => (frame.type === FrameType.RELAY_DATA ? frame.end : null));
    const { status, bodyBytes, close } = answer.exchange;
    assert.deepEqual(ends, [null, null, null, { status, bodyBytes, close }]);
    assert.equal(answer.released, 1);
    it.assertOver();
  });

  test('what comes later: SETUP_OK, the bytes; DATA_DONE when the last piece was not known to be that', () => {
    for (const isKnown of [false, true]) {
      const it = new Case();
      const exchange = new Exchange();
      exchange.status = 200;
      it.serves = exchange;
      it.setup(RELAY);
      assert.deepEqual(it.types, [FrameType.SETUP_OK]);
      exchange.pump.add({ bytes: Buffer.from('some') });
      if (isKnown) exchange.pump.finish();
      exchange.onProgress();
      exchange.pump.finish();
      if (!isKnown) exchange.onProgress();
      const last = isKnown ? [] : [FrameType.DATA_DONE];
      assert.deepEqual(it.types, [FrameType.SETUP_OK, FrameType.RELAY_DATA, ...last]);
      it.assertOver();
    }
  });

  test('what has failed when its last bytes go has no end', () => {
    const it = new Case();
    const exchange = new Exchange();
    exchange.failed = true;
    exchange.pump.add({ bytes: Buffer.from('some') });
    exchange.pump.finish();
    it.serves = exchange;
    it.setup(RELAY);
    assert.deepEqual(it.types, [FrameType.RELAY_DATA, FrameType.ABORT]);
    it.assertOver();
  });

  test('refused: the node stops, there are too many, it is not served', () => {
    const it = new Case();
    const isRefused = (reason: RejectReason): void => {
      it.setup(RELAY);
      assert.equal(it.link.last(FrameType.SETUP_REJECT).reason, reason);
    };
    isRefused(RejectReason.NOT_SERVED);
    for (let i = 0; i < MOST; i++) {
      it.serves = new Exchange();
      it.setup({ ...RELAY, request: 11 + 2 * i });
    }
    isRefused(RejectReason.FULL);
    it.stopping = true;
    isRefused(RejectReason.SHUTTING_DOWN);
    assert.equal(it.counters.get('setups_rejected'), 3);
    assert.equal(it.relayed.size, MOST);
  });

  test('credit: no more than was asked for; more is asked for, more comes', () => {
    const it = new Case();
    const answer = it.ask(2 * STREAM_WINDOW_BYTES);
    assert.equal(it.text.length, STREAM_WINDOW_BYTES);
    it.turn();
    assert.equal(it.text.length, STREAM_WINDOW_BYTES, 'nothing without credit');
    it.credit(STREAM_WINDOW_BYTES).credit(1000);
    assert.equal(it.text, answer.text);
    it.assertOver();
  });

  test('more credit than was used: the link ends', () => {
    const it = new Case();
    it.ask(2 * STREAM_WINDOW_BYTES);
    it.credit(STREAM_WINDOW_BYTES + 1);
    assert.equal(it.link.errors.length, 1);
    it.assertOver();
  });

  test('a busy link is tried again every turn', () => {
    const it = new Case();
    it.link.queuedBytes = LINK_BUSY_BYTES + 1;
    const answer = it.ask(1000);
    assert.equal(it.text, '');
    assert.equal(it.streams.waitMs, 10);
    it.turn();
    assert.equal(it.text, '');
    it.link.queuedBytes = 0;
    it.turn();
    assert.equal(it.text, answer.text);
    it.assertOver();
  });

  test('large responses have their turns piece by piece; one that begins comes before what waits', () => {
    const it = new Case();
    const pieces = () =>
      it.link.sent.flatMap((frame) => (frame.type === FrameType.RELAY_DATA ? [frame.request] : []));
    it.link.queuedBytes = LINK_BUSY_BYTES + 1;
    for (const request of [ID, ID + 2]) {
      it.serves = new Answer(2 * STREAM_WINDOW_BYTES).exchange;
      it.setup({ ...RELAY, request });
    }
    it.link.queuedBytes = 0;
    it.turn();
    const rounds = STREAM_WINDOW_BYTES / STREAM_PIECE_BYTES;
    assert.deepEqual(
      pieces(),
      Array(rounds)
        .fill([ID, ID + 2])
        .flat(),
    );

    const busy = new Case();
    busy.ask(2 * STREAM_WINDOW_BYTES);
    busy.link.queuedBytes = LINK_BACKLOG_BYTES + 1;
    busy.credit(STREAM_WINDOW_BYTES);
    assert.equal(busy.text.length, STREAM_WINDOW_BYTES, 'what is queued is enough');
    busy.serves = new Answer(1000).exchange;
    busy.setup({ ...RELAY, request: ID + 2 });
    const { request, last } = busy.link.last(FrameType.RELAY_DATA);
    assert.deepEqual({ request, last }, { request: ID + 2, last: true });
    busy.link.queuedBytes = LINK_BACKLOG_BYTES;
    busy.turn();
    assert.ok(busy.text.length > 2 * STREAM_WINDOW_BYTES);
  });

  test('a body: as it comes, asked for again, and no longer than its head says', () => {
    const it = new Case();
    const feed = it.post();
    it.body('abcdef', false);
    assert.equal(it.link.last(FrameType.RELAY_CREDIT).credit, 6);
    it.body('ghij', true);
    assert.equal(feed.got, 'abcdefghij.');
    assert.equal(it.link.errors.length, 0);
    for (const [text, last] of [
      ['abcdefghijk', false],
      ['abc', true],
    ] as const) {
      const wrong = new Case();
      const taken = wrong.post();
      wrong.body(text, last);
      assert.equal(wrong.link.errors.length, 1);
      assert.equal(taken.got, '', 'an upstream would take it for the next request');
    }
  });

  test('a body that is not wanted yet is not asked for', () => {
    const it = new Case();
    const feed = it.post();
    feed.wantsBody = false;
    it.body('abcde', false);
    assert.equal(it.link.count(FrameType.RELAY_CREDIT), 0);
    feed.wantsBody = true;
    it.credit(0);
    assert.equal(it.link.last(FrameType.RELAY_CREDIT).credit, 5);
  });

  test('ABORT, and the link is down: the upstream is let go', () => {
    for (const end of [
      (it: Case) =>
        it.link.hear({ type: FrameType.ABORT, request: ID, epoch: 1, reason: AbortReason.CLIENT_GONE }),
      (it: Case) => it.link.down(),
    ]) {
      const it = new Case();
      const feed = it.post();
      end(it);
      assert.ok(feed.cancelled);
      assert.equal(it.relayed.size, 0);
    }
  });

  test('an upstream that fails, before and after the first byte', () => {
    const it = new Case();
    const exchange = new Exchange();
    it.serves = exchange;
    it.setup(RELAY);
    exchange.elsewhere = true;
    exchange.onProgress();
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.UPSTREAM_FAILED);
    it.assertOver();
    const begun = new Case();
    const second = new Exchange();
    begun.serves = second;
    begun.setup(RELAY);
    second.pump.add({ bytes: Buffer.from('abc') });
    second.onProgress();
    second.failed = true;
    second.onProgress();
    assert.equal(begun.text, 'abc');
    assert.equal(begun.link.last(FrameType.ABORT).reason, AbortReason.INTERNAL);
    begun.assertOver();
  });

  test('a booster’s request is reported as one of this node’s own clients, whatever becomes of it', () => {
    const it = new Case();
    const client = parseAddress('10.0.0.9');
    const boost = { mechanism: SetupMechanism.BOOST, halfPipe: null, client } as const;
    const answer = new Answer(1000);
    answer.exchange.cache = 'hit';
    it.serves = answer.exchange;
    it.setup(boost);
    it.settle();
    it.serves = new Answer(2 * STREAM_WINDOW_BYTES).exchange;
    it.setup({ ...boost, request: ID + 2 });
    it.turn();
    it.link.down();
    const bytes = answer.text.length;
    assert.deepEqual(
      it.boosted.map(({ client: address, head, bytes: sent, complete, cache }) => [
        address,
        head.path,
        sent,
        complete,
        cache,
      ]),
      [
        [client, '/1k.bin', bytes, true, 'hit'],
        [client, '/1k.bin', STREAM_WINDOW_BYTES, false, null],
      ],
    );
    it.ask(10);
    assert.equal(it.boosted.length, 2, 'a relayed one is its anchor’s');
  });
});
