/**
 * Streams over a link without a link: one drains as slowly as it likes, readers are slow or take nothing, time is a
 * number. Whatever comes in which order, all bytes come, and no stream holds up another.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Places } from '../../../src/base/members.ts';
import type { RelayData } from '../../../src/protocol/backplane/frames.ts';
import {
  REQUEST_BODY,
  RESPONSE,
  STREAM_PIECE_BYTES,
  STREAM_WINDOW_BYTES,
  type StreamDirection,
  StreamInput,
  StreamOutput,
} from '../../../src/protocol/backplane/stream.ts';
import {
  LINK_BACKLOG_BYTES,
  LINK_BUSY_BYTES,
  type StreamSource,
  Streams,
} from '../../../src/protocol/backplane/streams.ts';

/** What is read of a request's body at once, and so sent at once. */
const READ_BYTES = 256 * 1024;
const CONTENT = Buffer.alloc(READ_BYTES);

interface Plan {
  readonly isBody: boolean;
  readonly bytes: number;
  /** What its reader takes in a step; 0: nothing, ever. */
  readonly readerBytes: number;
  readonly startStep: number;
}

class LinkModel {
  queuedBytes = 0;
  readonly #queue: Array<{ readonly to: Source; readonly frame: RelayData; leftBytes: number }> = [];

  push(to: Source, frame: RelayData): void {
    this.queuedBytes += frame.bytes.length;
    this.#queue.push({ to, frame, leftBytes: frame.bytes.length });
  }

  /** The network takes so many bytes; frames that are whole arrive. */
  drain(bytes: number): void {
    let room = bytes;
    while (room > 0 && this.#queue.length > 0) {
      const [head] = this.#queue;
      const gone = Math.min(room, head.leftBytes);
      head.leftBytes -= gone;
      this.queuedBytes -= gone;
      room -= gone;
      if (head.leftBytes > 0) return;
      this.#queue.shift();
      head.to.arrives(head.frame);
    }
  }
}

/** A stream: its source at one end, its reader at the other. */
class Source implements StreamSource {
  readonly places: Places = [];
  readonly link: LinkModel;
  readonly output: StreamOutput;
  readonly plan: Plan;
  readonly id: number;
  readonly #streams: Streams;
  readonly #direction: StreamDirection;
  readonly #input: StreamInput;
  /** Come, and not taken by the reader. */
  #heldBytes = 0;
  takenBytes = 0;

  constructor(streams: Streams, link: LinkModel, plan: Plan, id: number) {
    this.#streams = streams;
    this.link = link;
    this.plan = plan;
    this.id = id;
    this.#direction = plan.isBody ? REQUEST_BODY : RESPONSE;
    this.output = new StreamOutput(this.#direction);
    this.#input = new StreamInput(this.#direction);
  }

  get leftBytes(): number {
    return this.plan.bytes - this.output.sentBytes;
  }

  get isOver(): boolean {
    return this.takenBytes === this.plan.bytes;
  }

  /** It has begun, and nothing but its turn keeps it from sending. */
  get isReady(): boolean {
    return this.output.sentBytes > 0 && this.leftBytes > 0 && this.output.hasCredit;
  }

  goOn(): void {
    while (this.leftBytes > 0 && this.#streams.asks(this)) {
      let bytes = Math.min(this.leftBytes, this.plan.isBody ? READ_BYTES : this.output.roomBytes);
      for (; bytes > 0; bytes -= STREAM_PIECE_BYTES) {
        const piece = CONTENT.subarray(0, Math.min(bytes, STREAM_PIECE_BYTES));
        const frame = this.output.frame(this.id, piece, piece.length === this.leftBytes);
        assert.equal(frame.requestBody, this.plan.isBody);
        this.link.push(this, frame);
        this.output.sent(frame);
      }
    }
  }

  arrives({ bytes }: RelayData): void {
    assert(this.#input.arrived(bytes.length), 'no more than was asked for');
    this.#heldBytes += bytes.length;
    assert(this.#heldBytes <= STREAM_WINDOW_BYTES + this.#direction.slackBytes);
  }

  read(): void {
    const bytes = Math.min(this.#heldBytes, this.plan.readerBytes);
    this.#heldBytes -= bytes;
    this.takenBytes += bytes;
    this.#input.used(bytes);
    const credit = this.#input.credit(this.id);
    if (credit === null) return;
    assert(this.output.granted(credit), 'no more is asked for than was used');
    if (!this.#streams.isWaiting(this)) this.goOn();
  }
}

/** All streams of a link, and how far they have come against each other. */
class Stand {
  readonly link = new LinkModel();
  #deferred: Array<() => void> = [];
  readonly streams = new Streams({ later: { defer: (task) => void this.#deferred.push(task) } });
  readonly sources: Source[];
  /** By pair: what each had sent when both were ready, and have been since. */
  readonly #since = new Map<string, readonly [number, number]>();

  constructor(plans: readonly Plan[]) {
    this.sources = plans.map((plan, i) => new Source(this.streams, this.link, plan, i + 1));
  }

  /** A turn of the loop in which the network takes `bytes`. */
  step(step: number, bytes: number): void {
    this.link.drain(bytes);
    for (const source of this.sources) source.read();
    for (const source of this.sources) {
      if (source.plan.startStep !== step) continue;
      const mayBegin = !source.plan.isBody && this.link.queuedBytes <= LINK_BUSY_BYTES;
      source.goOn();
      if (mayBegin) assert(source.output.sentBytes > 0, 'a response that begins waits for no other');
    }
    this.streams.turn();
    for (const task of this.#deferred.splice(0)) task();
    const begin = this.sources.length * STREAM_PIECE_BYTES;
    assert(this.link.queuedBytes <= LINK_BACKLOG_BYTES + READ_BYTES + begin, 'what waits on the link');
    this.#compare();
  }

  /** Of two that were ready all the time, none has got ahead by more than a turn each and what is read at once. */
  #compare(): void {
    const { sources } = this;
    for (const [i, one] of sources.entries()) {
      for (const other of sources.slice(i + 1)) {
        const pair = `${one.id} ${other.id}`;
        if (!one.isReady || !other.isReady) {
          this.#since.delete(pair);
          continue;
        }
        const since = this.#since.get(pair) ?? [one.output.sentBytes, other.output.sentBytes];
        this.#since.set(pair, since);
        const ahead = one.output.sentBytes - since[0] - (other.output.sentBytes - since[1]);
        const most = 2 * STREAM_PIECE_BYTES + (one.plan.isBody || other.plan.isBody ? READ_BYTES : 0);
        assert(Math.abs(ahead) <= most, `${pair}: one is ${ahead} bytes ahead of the other`);
      }
    }
  }
}

const plans = fc.array(
  fc.record({
    isBody: fc.boolean(),
    bytes: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: 2_000_000 })),
    readerBytes: fc.constantFrom(0, 5000, 100_000, 10_000_000),
    startStep: fc.integer({ min: 0, max: 30 }),
  }),
  { minLength: 1, maxLength: 6 },
);

describe('streams of a link', () => {
  test('whatever sizes, readers and speed of the link: all bytes come, in equal shares', () => {
    fc.assert(
      fc.property(plans, fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1 }), (some, speeds) => {
        const it = new Stand(some);
        const open = it.sources.filter(({ plan }) => plan.readerBytes > 0);
        const isDone = () => open.every(({ isOver }) => isOver);
        // Every reader takes 5,000 bytes a step, and of a link's bytes each stream gets its share.
        const slowest = Math.min(...speeds);
        const mostSteps = 40 + Math.ceil((some.length * 2_000_000) / Math.min(5000, slowest)) * 2;
        let step = 0;
        for (; step < mostSteps && (step <= 30 || !isDone()); step++)
          it.step(step, speeds[step % speeds.length]);
        assert(isDone(), `after ${step} steps`);
        for (const { plan, output } of it.sources)
          if (plan.readerBytes === 0) assert(output.sentBytes <= STREAM_WINDOW_BYTES + READ_BYTES);
      }),
      { numRuns: process.env.BATON_LONG === '1' ? 5000 : 200 },
    );
  });

  test('a link that drains less than a piece a turn: none is starved by those before it', () => {
    for (const isBody of [false, true]) {
      const plan = { isBody, bytes: 10_000_000, readerBytes: 10_000_000, startStep: 0 };
      const it = new Stand([plan, plan, plan]);
      for (let step = 0; step < 2000; step++) it.step(step, 10_000);
      const sent = it.sources.map(({ output }) => output.sentBytes);
      // The first has begun alone.
      const most = LINK_BACKLOG_BYTES + (isBody ? READ_BYTES : STREAM_PIECE_BYTES);
      assert(Math.max(...sent) - Math.min(...sent) <= most, `${sent}`);
    }
  });

  test('a body, of which more is read at once than a piece, has no larger share for that', () => {
    const plan = { bytes: 100_000_000, readerBytes: 10_000_000, startStep: 0 };
    const it = new Stand([
      { ...plan, isBody: true },
      ...Array.from({ length: 3 }, () => ({ ...plan, isBody: false })),
    ]);
    for (let step = 0; step < 2000; step++) it.step(step, 20_000);
    const [body, ...responses] = it.sources.map(({ output }) => output.sentBytes);
    assert(body < 1.1 * Math.min(...responses), `${body} of the body, ${responses} of responses`);
  });

  test('a reader that takes nothing has its window, and the others have the link', () => {
    const stuck = { isBody: false, bytes: 10_000_000, readerBytes: 0, startStep: 0 };
    const quick = { isBody: false, bytes: 5_000_000, readerBytes: 10_000_000, startStep: 1 };
    const it = new Stand([stuck, stuck, stuck, quick]);
    const aloneSteps = quick.bytes / 100_000;
    let step = 0;
    for (; !it.sources[3].isOver; step++) it.step(step, 100_000);
    const windows = (3 * STREAM_WINDOW_BYTES) / 100_000;
    assert(step <= aloneSteps + windows + 5, `${step} steps, ${aloneSteps} alone`);
    assert.deepEqual(
      it.sources.slice(0, 3).map(({ output }) => output.sentBytes),
      Array(3).fill(STREAM_WINDOW_BYTES),
    );
    assert.equal(it.streams.waitMs > 10, true, 'nobody waits for a turn');
  });

  test('a short response that begins among large ones comes behind what waits on the link, not behind theirs', () => {
    const large = { isBody: false, bytes: 10_000_000, readerBytes: 10_000_000, startStep: 0 };
    const short = { isBody: false, bytes: 1000, readerBytes: 10_000_000, startStep: 50 };
    const it = new Stand([...Array(20).fill(large), short]);
    let step = 0;
    for (; !it.sources[20].isOver; step++) it.step(step, 50_000);
    const backlog = (LINK_BACKLOG_BYTES + STREAM_PIECE_BYTES + 1000) / 50_000;
    assert(step - short.startStep <= backlog + 2, `${step - short.startStep} steps`);
  });
});

describe('credit', () => {
  test('bytes that come beyond it, and credit for more than was sent, are told from what is right', () => {
    for (const direction of [RESPONSE, REQUEST_BODY]) {
      const input = new StreamInput(direction);
      assert.equal(input.arrived(STREAM_WINDOW_BYTES + direction.slackBytes), true);
      assert.equal(input.arrived(1), false);
      const output = new StreamOutput(direction);
      const request = 7;
      assert.equal(output.granted({ type: 13, request, credit: 1 }), false);
      const fresh = new StreamOutput(direction);
      fresh.sent(fresh.frame(request, Buffer.alloc(10), false));
      assert.equal(fresh.granted({ type: 13, request, credit: 10 }), true);
      assert.equal(fresh.granted({ type: 13, request, credit: 2 ** 31 - 1 }), false);
    }
  });

  test('a response is asked for in portions that are worth a frame, a body as it is used', () => {
    for (const direction of [RESPONSE, REQUEST_BODY]) {
      const input = new StreamInput(direction);
      input.used(direction.portionBytes - 1);
      assert.equal(input.credit(7), null);
      input.used(1);
      assert.equal(input.credit(7)?.credit, direction.portionBytes);
      assert.equal(input.credit(7), null);
    }
  });
});
