/** The write half of a TLS connection at the anchor: lent with SETUP, back behind what a target has sealed. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LAST_RESORT_MS } from '../../../src/handoff/anchor/handoffs.ts';
import { goFurther } from '../../../src/handoff/anchor/owed-records.ts';
import { AbortReason, FrameType, RejectReason } from '../../../src/protocol/backplane/frames.ts';
import { recordCount, wireAt, wireBytes } from '../../../src/protocol/tls/record-layout.ts';
import { ContentType, MAX_KEY_RECORDS } from '../../../src/protocol/tls/records.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { B, HandoffCase } from './handoff-case.ts';
import { LinkModel, SETUP_MS, START } from './stand.ts';

const NUMBER = 9;
const identity = { headBytes: 300, lengthBytes: 100_300, validator: 5n };
const RECORDS = recordCount(identity);
const [SUITE] = SUITES;
const WIRE = wireBytes(identity, SUITE);
const BODY = { bytes: identity.lengthBytes, bodyBytes: 100_000 };
const RECORD = 16_384 + 22;

class Case extends HandoffCase {
  readonly half: WriteHalf;

  constructor(number = NUMBER) {
    const half = new WriteHalf({ suite: SUITE, secret: Buffer.alloc(SUITE.secretBytes, 1), number });
    super(identity, half);
    this.half = half;
  }

  override begin(form?: 'anchor' | 'clone' | 'split'): this {
    assert(this.flow1.makeRoom(B));
    return super.begin(form);
  }

  /** Number and cut that SETUP lends. */
  get lent(): [number, number] {
    const { seal } = this.setup;
    assert(seal !== null);
    return [seal.number, seal.cut];
  }

  announced(): this {
    return this.setupOk({ announcement: { status: 200, close: false, ...BODY } });
  }

  done(changes: object = {}): this {
    const { request: id, epoch } = this.setup;
    const end = (START + WIRE) >>> 0;
    const path = { status: 200, close: false, congestionWindow: 20, srttUs: 300, firstByteUs: 5 };
    const frame = { type: FrameType.DATA_DONE, request: id, epoch, end, ...path, ...BODY } as const;
    this.link.hear({ ...frame, records: RECORDS, identity, ...changes });
    return this;
  }

  acknowledge(wire: number): this {
    this.table.acknowledge(this.slot, (START + wire) >>> 0);
    return this;
  }

  /** Where the write half is. */
  get place(): [number, number] | 'away' {
    return this.half.isHere ? [this.half.number, this.half.cut] : 'away';
  }
}

describe('the write half', () => {
  test('goes with SETUP, and comes back with DATA_DONE', () => {
    const it = new Case().begin();
    assert.deepEqual([it.lent, it.place], [[NUMBER, 0], 'away']);
    it.setupOk();
    assert.equal(it.place, 'away');
    it.done();
    assert.deepEqual(it.place, [NUMBER + RECORDS, 0]);
    assert.equal(it.host.outcome?.bytes, identity.lengthBytes);
    it.begin();
    assert.deepEqual(it.lent, [NUMBER + RECORDS, 0]);
  });

  for (const form of ['clone', 'split'] as const) {
    test(`${form}: comes back by arithmetic, when the client has what was announced`, () => {
      const it = new Case().begin(form);
      if (form === 'clone') it.announced();
      else it.done();
      assert.deepEqual([it.place, it.host.ends], ['away', []]);
      it.acknowledge(WIRE).pass(10);
      assert.deepEqual(it.host.ends, ['finished']);
      assert.deepEqual([it.place, it.link.errors], [[NUMBER + RECORDS, 0], []]);
    });
  }

  test('a target that knows no length says how many records it took', () => {
    const it = new Case().begin('clone').setupOk({ identity: null });
    const end = (START + 500 + 3 * 22) >>> 0;
    it.done({ bytes: 500, bodyBytes: 400, records: 3, end, identity: null });
    assert.deepEqual(it.place, [NUMBER + 3, 0]);
  });

  test('comes back unused from who has sealed nothing', () => {
    const refused = new Case().begin();
    const { request: id, epoch } = refused.setup;
    refused.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason: RejectReason.FULL });
    const failed = new Case().begin().abort(AbortReason.UPSTREAM_FAILED);
    for (const it of [refused, failed]) assert.deepEqual(it.place, [NUMBER, 0]);
    const unsent = new Case();
    unsent.link.full = true;
    unsent.begin();
    assert.deepEqual([unsent.delivery, unsent.place], [null, [NUMBER, 0]]);
  });

  test('what no target says is an error', () => {
    const wrong = [
      { records: 0 },
      { records: RECORDS + 1 },
      { end: (START + identity.lengthBytes) >>> 0 },
      { records: MAX_KEY_RECORDS, end: (START + identity.lengthBytes + 22 * MAX_KEY_RECORDS) >>> 0 },
    ];
    for (const changes of wrong) {
      for (const form of ['anchor', 'split'] as const) {
        const it = new Case().begin(form).done(changes);
        assert.equal(it.link.errors.length, 1, JSON.stringify(changes));
        assert.equal(it.place, 'away');
      }
    }
    const worn = new Case(MAX_KEY_RECORDS - 2).begin('clone').announced();
    assert.equal(worn.link.errors.length, 1);
  });
});

describe('a target that fails', () => {
  test('in the middle of a record: who goes on seals it again, and sends its rest', () => {
    const headWire = wireAt(identity, identity.headBytes, SUITE);
    for (const [wire, offset, records, cut] of [
      [headWire, identity.headBytes, 1, 0],
      [headWire + 5, identity.headBytes, 1, 5],
      [headWire + RECORD, identity.headBytes + 16_384, 2, 0],
      [headWire + 3 * RECORD - 1, identity.headBytes + 2 * 16_384, 3, RECORD - 1],
      [WIRE - 1, identity.lengthBytes - (100_000 % 16_384), RECORDS - 1, (100_000 % 16_384) + 21],
    ]) {
      const it = new Case().begin().setupOk().acknowledge(wire);
      it.link.down();
      it.pass(10);
      assert.deepEqual(it.host.ends, ['take-over', `goes on without ${B} at ${offset}`]);
      assert.deepEqual(it.place, [NUMBER + records, cut]);
      assert.throws(() => it.half.seal(Buffer.from([1, 0]), ContentType.ALERT), /inside a response/);
      it.link = new LinkModel(2);
      it.begin();
      assert.deepEqual(it.lent, [NUMBER + records, cut]);
      assert.equal(it.setup.halfPipe?.sequence, (START + wire) >>> 0);
      const rest = { headBytes: 0, lengthBytes: identity.lengthBytes - offset };
      const end = (START + WIRE) >>> 0;
      const bytes = rest.lengthBytes;
      it.done({ bytes, bodyBytes: bytes, records: recordCount(rest), end });
      assert.deepEqual([it.link.errors, it.place], [[], [NUMBER + RECORDS, 0]]);
      assert.equal(it.half.isBound, false);
    }
  });

  test('twice: the second continuation counts from the same first record', () => {
    const it = new Case().begin().setupOk().acknowledge(20_000);
    it.link.down();
    it.pass(10);
    it.link = new LinkModel(2);
    it.begin().setupOk().acknowledge(50_000);
    it.link.down();
    it.pass(10);
    const headWire = wireAt(identity, identity.headBytes, SUITE);
    const cut = (50_000 - headWire) % RECORD;
    assert.deepEqual(it.place, [NUMBER + 1 + Math.floor((50_000 - headWire) / RECORD), cut]);
    // What the client gets meanwhile of who was cut off moves the place on.
    const further = goFurther(it.host.continuation!, it.half, RECORD);
    assert.equal(further.offset, it.host.continuation!.offset + 16_384);
    assert.deepEqual(it.place, [NUMBER + 2 + Math.floor((50_000 - headWire) / RECORD), cut]);
  });

  test('behind what it announced: the half goes back to where the client is', () => {
    const it = new Case().begin().setupOk().done().acknowledge(40_000);
    const { announced } = it.flow1;
    assert(announced !== null);
    it.handoffs.takeOver(it.flow1, it.host, announced);
    it.pass(10);
    assert.equal(it.host.ends.at(-1), `goes on without ${B} at ${identity.headBytes + 2 * 16_384}`);
    assert.deepEqual(it.place, [NUMBER + 3, 40_000 - 322 - 2 * RECORD]);
  });

  test('and all has arrived: the half is behind it', () => {
    const it = new Case().begin().setupOk().acknowledge(WIRE);
    it.link.down();
    it.pass(10);
    assert.deepEqual([it.host.ends.at(-1), it.place], ['settled', [NUMBER + RECORDS, 0]]);
  });

  for (const form of ['anchor', 'clone', 'split'] as const) {
    test(`${form}: without an answer nobody else may use its numbers: it is waited for while its link is up`, () => {
      const it = new Case().begin(form);
      it.pass(5 * SETUP_MS);
      assert.deepEqual([it.host.ends, it.place], [[], 'away']);
      assert.ok(it.counters.get('handoffs_waited') >= 4);
      it.link.down();
      it.pass(1000);
      assert.match(it.host.ends.at(-1) ?? '', /broken: .* numbers/);
      assert.deepEqual([it.counters.get('handoffs_taken_over'), it.place], [0, 'away']);
    });

    test(`${form}: what wakes up and says that it was asked too late has sealed nothing: another node answers`, () => {
      const it = new Case().begin(form);
      it.pass(3 * SETUP_MS);
      const { request: id, epoch } = it.setup;
      it.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason: RejectReason.STALE });
      assert.deepEqual([it.host.ends, it.host.why], [[`again without ${B}`], 'late']);
      assert.deepEqual(it.place, [NUMBER, 0]);
      it.link = new LinkModel(2);
      it.begin(form);
      assert.deepEqual(it.lent, [NUMBER, 0]);
    });
  }

  test('without an answer, and with a link that stays up: it is waited for so long, and no longer', () => {
    const it = new Case().begin();
    it.pass(LAST_RESORT_MS - SETUP_MS);
    assert.deepEqual(it.host.ends, []);
    it.pass(2 * SETUP_MS);
    assert.match(it.host.ends.at(-1) ?? '', /broken: .* numbers/);
  });

  test('with a small announcement and nothing arrived: it may still arrive, and is never served again', () => {
    const it = new Case().begin().done({ identity: null });
    const { announced } = it.flow1;
    assert(announced !== null);
    it.handoffs.takeOver(it.flow1, it.host, announced);
    it.pass(2000);
    assert.deepEqual(it.host.ends, ['finished']);
    it.table.seen.get(it.slot)!.segments++;
    it.pass(500);
    assert.deepEqual(it.host.ends, ['finished']);
    it.acknowledge(WIRE).pass(10);
    assert.equal(it.host.ends.at(-1), 'settled');
    assert.deepEqual(it.place, [NUMBER + RECORDS, 0]);
  });

  test('once something was sealed here, nothing before it is sealed again', () => {
    const it = new Case().begin().done();
    it.half.seal(Buffer.from([1, 0]), ContentType.ALERT);
    assert.throws(() => it.half.takeBack(NUMBER + 2), /nothing was sealed/);
  });
});
