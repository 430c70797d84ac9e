/** Outbox to inbox, as the engine connects them: bytes only. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FrameError, SessionError, type SessionErrorCode } from '../../../src/protocol/backplane/errors.ts';
import {
  type Frame,
  FrameType,
  MAX_RELAY_BYTES,
  type Setup,
} from '../../../src/protocol/backplane/frames.ts';
import { Inbox } from '../../../src/protocol/backplane/inbox.ts';
import { OUTBOX_LIMIT_BYTES, OUTBOX_RESERVE_BYTES, Outbox } from '../../../src/protocol/backplane/outbox.ts';
import { MAX_BATCH_BYTES } from '../../../src/protocol/backplane/record.ts';
import type { Session } from '../../../src/protocol/backplane/session.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { byType, encoded, openPair, sealed, session } from './generators.ts';

const throwsCode = (code: SessionErrorCode, run: () => void) =>
  assert.throws(run, (error) => error instanceof SessionError && error.code === code);

const RESET: Frame = { type: FrameType.RESET_OK, request: 1 };
const relay = (length: number, request = 1): Frame => ({
  type: FrameType.RELAY_DATA,
  request,
  last: false,
  requestBody: false,
  end: null,
  bytes: Buffer.alloc(length, request),
});

/** Takes everything that an outbox has ready. */
function drain(outbox: Outbox): Buffer {
  outbox.flush();
  const bytes = Buffer.from(outbox.pending());
  outbox.consume(bytes.length);
  return bytes;
}

/** An inbox that keeps copies of its frames. */
function collect(end: Session): { inbox: Inbox; frames: Buffer[] } {
  const frames: Buffer[] = [];
  return { inbox: new Inbox(end, (frame) => frames.push(encoded(frame))), frames };
}

const smallFrames = fc.array(fc.oneof(...Object.values(byType)), { minLength: 1, maxLength: 12 });

describe('outbox and inbox', () => {
  it('do the handshake and carry frames, whatever the portions', () => {
    fc.assert(
      fc.property(
        smallFrames,
        fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1 }),
        (list, cuts) => {
          const dial = session('dial');
          const accept = session('accept');
          const [fromDial, fromAccept] = [new Outbox(dial), new Outbox(accept)];
          const [atDial, atAccept] = [collect(dial), collect(accept)];
          let cut = 0;
          const deliver = (bytes: Buffer, to: Inbox) => {
            for (let at = 0; at < bytes.length; ) {
              const next = Math.min(bytes.length, at + cuts[cut++ % cuts.length]);
              // A reused receive buffer: what the inbox keeps, it must have copied.
              const portion = Buffer.from(bytes.subarray(at, next));
              to.receive(portion);
              portion.fill(0xee);
              at = next;
            }
          };
          for (let turn = 0; turn < 2; turn++) {
            deliver(drain(fromDial), atAccept.inbox);
            deliver(drain(fromAccept), atDial.inbox);
          }
          assert.deepEqual([dial.state, accept.state], ['OPEN', 'OPEN']);
          for (const [i, frame] of list.entries()) {
            assert.ok(fromDial.push(frame));
            if (i % 3 === 0) fromDial.flush();
          }
          deliver(drain(fromDial), atAccept.inbox);
          assert.deepEqual(atAccept.frames, list.map(encoded));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('reassemble at every split point, and byte by byte', () => {
    const frames: Frame[] = [RESET, relay(30), RESET];
    const everySecond = frames.flatMap((frame) => [encoded(frame), encoded(RESET)]);
    let splits = 0;
    for (let split = 0; splits === split; split++) {
      const { dial, accept } = openPair();
      const outbox = new Outbox(dial);
      for (const frame of frames) {
        outbox.push(frame);
        outbox.push(RESET);
        outbox.flush();
      }
      const bytes = drain(outbox);
      if (split > bytes.length) break;
      splits++;
      const { inbox, frames: got } = collect(accept);
      inbox.receive(bytes, 0, split);
      assert.ok(inbox.bytesHeld < 100);
      inbox.receive(bytes, split);
      assert.deepEqual(got, everySecond);
      assert.equal(inbox.bytesHeld, 0);
    }
    assert.ok(splits > 150);
    const { dial, accept } = openPair();
    const outbox = new Outbox(dial);
    for (const frame of frames) outbox.push(frame);
    const bytes = drain(outbox);
    const { inbox, frames: got } = collect(accept);
    for (let at = 0; at < bytes.length; at++) inbox.receive(bytes, at, at + 1);
    assert.deepEqual(got, frames.map(encoded));
  });

  it('the accept end sends its proof before its first record', () => {
    const dial = session('dial');
    const accept = session('accept');
    const [fromDial, fromAccept] = [new Outbox(dial), new Outbox(accept)];
    const { inbox, frames } = collect(dial);
    const atAccept = collect(accept).inbox;
    assert.equal(fromDial.push(RESET), false, 'not open yet');
    atAccept.receive(drain(fromDial));
    inbox.receive(drain(fromAccept));
    atAccept.receive(drain(fromDial));
    assert.ok(fromAccept.push(RESET));
    inbox.receive(drain(fromAccept));
    assert.deepEqual(frames, [encoded(RESET)]);
  });
});

describe('inbox', () => {
  it('what a frame carries stays as it is when more comes, but for relayed bytes', () => {
    fc.assert(
      fc.property(fc.oneof(...Object.values(byType)), (frame) => {
        const pair = openPair();
        const outbox = new Outbox(pair.dial);
        const kept: Frame[] = [];
        const inbox = new Inbox(pair.accept, (one) => kept.push(one));
        outbox.push(frame);
        inbox.receive(drain(outbox));
        outbox.push(relay(MAX_RELAY_BYTES));
        inbox.receive(drain(outbox));
        if (frame.type !== FrameType.RELAY_DATA) assert.deepEqual(encoded(kept[0]), encoded(frame));
      }),
    );
  });

  it('an end record is an end; anything else is a truncation', () => {
    const ended = openPair();
    const outbox = new Outbox(ended.dial);
    outbox.push(RESET);
    outbox.flushEnd();
    const { inbox, frames } = collect(ended.accept);
    inbox.receive(outbox.pending());
    assert.equal(frames.length, 1);
    inbox.end();
    assert.equal(ended.accept.state, 'CLOSED');

    const recordBytes = encoded(RESET).length + 20;
    for (let length = 0; length <= recordBytes; length++) {
      const pair = openPair();
      const source = new Outbox(pair.dial);
      source.push(RESET);
      const bytes = drain(source);
      const received = collect(pair.accept);
      received.inbox.receive(bytes, 0, length);
      throwsCode('TRUNCATED', () => received.inbox.end());
      assert.equal(received.frames.length, length === recordBytes ? 1 : 0);
      assert.equal(pair.accept.state, 'CLOSED');
    }
    const handshake = collect(session('accept')).inbox;
    handshake.receive(Buffer.from('42544f4e0101', 'hex'));
    throwsCode('TRUNCATED', () => handshake.end());
  });

  it('an announced length beyond the bounds ends it before any of it is stored', () => {
    for (const [code, hex] of [
      ['TOO_LARGE', '00040001'],
      ['TOO_LARGE', 'ffffffff'],
      ['MALFORMED', '00000013'],
    ] as const) {
      for (const split of [0, 1, 3]) {
        const { accept } = openPair();
        const { inbox } = collect(accept);
        const bytes = Buffer.from(hex, 'hex');
        inbox.receive(bytes, 0, split);
        throwsCode(code, () => inbox.receive(bytes, split));
        assert.equal(accept.state, 'CLOSED');
        throwsCode('BAD_STATE', () => inbox.receive(bytes));
      }
    }
  });

  it('frames of a record that does not open are never seen', () => {
    const { dial, accept } = openPair();
    const { inbox, frames } = collect(accept);
    const outbox = new Outbox(dial);
    outbox.push(RESET);
    const good = drain(outbox);
    outbox.push(RESET);
    const bad = drain(outbox);
    bad[bad.length - 1] ^= 1;
    throwsCode('BAD_RECORD', () => inbox.receive(Buffer.concat([good, bad])));
    assert.equal(frames.length, 1);
    throwsCode('BAD_STATE', () => inbox.receive(good));
    assert.equal(frames.length, 1);
  });

  it('a malformed frame in a good record closes the session after the frames before it', () => {
    const bad = encoded({ type: FrameType.CONFIRM, request: 1, epoch: 1 });
    bad[4] = 99;
    for (const batch of [
      bad,
      bad.subarray(0, 5),
      Buffer.from('0000000000000000', 'hex'),
      Buffer.from('ffffffff01010000', 'hex'),
    ]) {
      const { dial, accept } = openPair();
      const { inbox, frames } = collect(accept);
      const record = sealed(dial, Buffer.concat([encoded(RESET), batch, encoded(RESET)]));
      assert.throws(() => inbox.receive(record), FrameError);
      assert.equal(frames.length, 1);
      assert.equal(accept.state, 'CLOSED');
    }
  });

  it('a handler that throws or closes ends the batch', () => {
    const batch = Buffer.concat([encoded(RESET), encoded(RESET)]);
    const throwing = openPair();
    let calls = 0;
    const inbox = new Inbox(throwing.accept, () => {
      calls++;
      throw new TypeError('a bug');
    });
    assert.throws(() => inbox.receive(sealed(throwing.dial, batch)), TypeError);
    assert.deepEqual([calls, throwing.accept.state], [1, 'CLOSED']);

    const closing = openPair();
    let seen = 0;
    const other = new Inbox(closing.accept, () => {
      seen++;
      closing.accept.close();
    });
    other.receive(Buffer.concat([sealed(closing.dial, batch), sealed(closing.dial, batch)]));
    assert.equal(seen, 1);
  });

  it('any bytes after the handshake give no frame and no foreign error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 20, maxLength: 200 }), fc.boolean(), (array, plausible) => {
        const { accept } = openPair();
        const { inbox, frames } = collect(accept);
        const bytes = Buffer.from(array);
        if (plausible) bytes.writeUInt32BE(bytes.length, 0);
        try {
          inbox.receive(bytes);
        } catch (error) {
          assert.ok(error instanceof SessionError, String(error));
        }
        assert.equal(frames.length, 0);
        if (plausible) assert.equal(accept.state, 'CLOSED');
      }),
    );
  });
});

describe('outbox', () => {
  it('takes no memory before the peer has proved itself', () => {
    const dial = session('dial');
    const accept = session('accept');
    const [fromDial, fromAccept] = [new Outbox(dial), new Outbox(accept)];
    const [atDial, atAccept] = [collect(dial), collect(accept)];
    assert.equal(fromAccept.push(RESET), false);
    atAccept.inbox.receive(drain(fromDial));
    const greeting = drain(fromAccept);
    assert.ok(fromDial.storage.length < 200 && fromAccept.storage.length < 200);
    atDial.inbox.receive(greeting);
    atAccept.inbox.receive(drain(fromDial));
    // The proof waits, and a frame comes behind it.
    fromAccept.flush();
    assert.ok(fromAccept.push(RESET));
    assert.ok(fromAccept.storage.length > OUTBOX_LIMIT_BYTES);
    atDial.inbox.receive(drain(fromAccept));
    assert.deepEqual(atDial.frames, [encoded(RESET)]);
  });

  it('refuses bulk at its limit, keeps a reserve for the rest, and recovers', () => {
    const { dial, accept } = openPair();
    const outbox = new Outbox(dial);
    const { inbox, frames } = collect(accept);
    let pushed = 0;
    while (outbox.push(relay(60_000))) pushed++;
    assert.ok(outbox.bytesQueued <= OUTBOX_LIMIT_BYTES);
    assert.ok(outbox.bytesQueued > OUTBOX_LIMIT_BYTES - 61_000);
    let reserved = 0;
    while (outbox.push(RESET)) reserved++;
    assert.ok(outbox.bytesQueued <= OUTBOX_LIMIT_BYTES + OUTBOX_RESERVE_BYTES);
    assert.ok(reserved * 12 >= OUTBOX_RESERVE_BYTES - 100, `${reserved} frames fitted`);
    const queued = outbox.bytesQueued;
    assert.equal(outbox.push(relay(0)), false);
    assert.equal(outbox.bytesQueued, queued, 'a refusal changes nothing');
    outbox.flush();
    assert.equal(outbox.pendingBytes, queued, 'bytesQueued had the overhead right');
    inbox.receive(drain(outbox));
    assert.equal(frames.length, pushed + reserved);
    assert.equal(outbox.bytesQueued, 0);
    assert.ok(outbox.push(relay(60_000)));
  });

  it('sends partial writes in order, over many times its storage', () => {
    const { dial, accept } = openPair();
    const outbox = new Outbox(dial);
    const storage = outbox.storage;
    let received = 0;
    const inbox = new Inbox(accept, (frame) => {
      assert.equal(frame.type, FrameType.RELAY_DATA);
      if (frame.type === FrameType.RELAY_DATA) assert.equal(frame.request, received++);
    });
    let sent = 0;
    let total = 0;
    // Bursts and odd portions, never drained: storage is compacted again and again.
    for (let round = 0; total < 8 * storage.length; round++) {
      while (outbox.push({ ...relay(7001 + (round % 5)), request: sent } as Frame)) sent++;
      outbox.flush();
      const portion = Math.min(outbox.pendingBytes, 99_991 + ((round * 7919) % 300_000));
      assert.deepEqual(outbox.pending(), storage.subarray(outbox.start, outbox.start + outbox.pendingBytes));
      inbox.receive(outbox.pending(), 0, portion);
      outbox.consume(portion);
      total += portion;
    }
    outbox.flush();
    inbox.receive(outbox.pending());
    assert.equal(received, sent);
    assert.equal(outbox.storage, storage);
  });

  it('seals a batch when the next frame does not fit it, and a frame of any size fits one', () => {
    const { dial, accept } = openPair();
    const outbox = new Outbox(dial);
    const { inbox, frames } = collect(accept);
    outbox.push(relay(MAX_RELAY_BYTES));
    assert.equal(outbox.pendingBytes, 0);
    assert.ok(2 * (MAX_RELAY_BYTES + 13) > MAX_BATCH_BYTES);
    outbox.push(relay(MAX_RELAY_BYTES, 2));
    assert.equal(outbox.pendingBytes, MAX_RELAY_BYTES + 13 + 20);
    inbox.receive(drain(outbox));
    assert.deepEqual(frames, [encoded(relay(MAX_RELAY_BYTES)), encoded(relay(MAX_RELAY_BYTES, 2))]);
  });

  it('a frame that cannot be encoded leaves the batch as it was', () => {
    const { dial, accept } = openPair();
    const outbox = new Outbox(dial);
    const { inbox, frames } = collect(accept);
    outbox.push(RESET);
    assert.throws(() => outbox.push({ type: FrameType.CONFIRM, request: 1, epoch: -1 }), FrameError);
    assert.throws(() => outbox.push(relay(MAX_RELAY_BYTES + 1)), FrameError);
    outbox.push(RESET);
    inbox.receive(drain(outbox));
    assert.deepEqual(frames, [encoded(RESET), encoded(RESET)]);
  });

  it('leaves no key in memory once it is sealed', () => {
    let batch: Buffer = Buffer.alloc(0);
    const session = {
      state: 'OPEN',
      takeHandshake: () => null,
      seal: (bytes: Buffer, _into: Buffer, at: number) => {
        batch = bytes;
        return at + bytes.length;
      },
    } as unknown as Session;
    const outbox = new Outbox(session);
    const [suite] = SUITES;
    const key = Buffer.alloc(16, 0xa5);
    const isSetup = (frame: Frame): frame is Setup =>
      frame.type === FrameType.SETUP && frame.halfPipe !== null;
    const setup = fc.sample(byType.SETUP, 100).find(isSetup)!;
    outbox.push({ ...setup, keep: null, seal: { suite, number: 0, cut: 0, iv: Buffer.alloc(12, 1), key } });
    outbox.push(RESET);
    outbox.flush();
    assert.ok(batch.length > key.length);
    assert.deepEqual(batch, Buffer.alloc(batch.length));
    outbox.push(RESET);
    outbox.flush();
    assert.deepEqual(batch, encoded(RESET), 'what is no secret is left as it is');
  });

  it('refuses impossible consumption, and frames for a closed session', () => {
    const { dial } = openPair();
    const outbox = new Outbox(dial);
    assert.throws(() => outbox.consume(1), RangeError);
    assert.throws(() => outbox.consume(-1), RangeError);
    assert.throws(() => outbox.consume(Number.NaN), RangeError);
    outbox.flush();
    assert.equal(outbox.pendingBytes, 0, 'an empty batch makes no record');
    dial.close();
    assert.equal(outbox.push(RESET), false);
  });
});
