/** A TLS connection's response at a target: sealed by the anchor's write half, which was lent for it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EPOLLOUT } from '../../../src/kernel/linux/epoll.ts';
import { nextWire } from '../../../src/kernel/router/ranges.ts';
import { FrameType, RejectReason, SetupMechanism } from '../../../src/protocol/backplane/frames.ts';
import { identify } from '../../../src/protocol/http/reply.ts';
import { ReadHalf } from '../../../src/protocol/tls/read-half.ts';
import { placeAt, wireBytes } from '../../../src/protocol/tls/record-layout.ts';
import { MAX_KEY_RECORDS } from '../../../src/protocol/tls/records.ts';
import { suiteOf } from '../../../src/protocol/tls/suites.ts';
import { type LentHalf, trafficKeys } from '../../../src/protocol/tls/traffic.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import { Answer, START, TargetStand } from './stand.ts';

const KIB = 1024;
const NUMBER = 5;
/** Of TLS 1.2, with more beside the content than the others: the anchor's tests have one of 1.3. */
const SUITE = suiteOf(0xc030)!;

class Case extends TargetStand {
  answer = new Answer(KIB);
  readonly #half = { suite: SUITE, secret: Buffer.alloc(SUITE.secretBytes, 9), number: NUMBER };
  lent: LentHalf = { ...trafficKeys(this.#half), cut: 0 };

  lend(records: number, cut: number): this {
    this.lent = { ...trafficKeys({ ...this.#half, number: NUMBER + records }), cut };
    return this;
  }

  ask(bytes: number, changes: Parameters<TargetStand['setup']>[0] = {}): this {
    this.answer = new Answer(bytes);
    this.serves = this.answer.exchange;
    this.setup({ seal: this.lent, ...changes });
    return this;
  }

  get wire(): Buffer {
    return Buffer.from(this.socket.sent, 'latin1');
  }

  get layout() {
    const { text } = this.answer;
    return { headBytes: text.indexOf('\r\n\r\n') + 4, lengthBytes: text.length };
  }

  /** What a client makes of the records, the first of which has the number that was lent. */
  opened(wire = this.wire): Buffer[] {
    const read = new ReadHalf({
      half: { ...this.#half, secret: Buffer.from(this.#half.secret) },
      rest: Buffer.alloc(0),
    });
    read.push(wire);
    const list: Buffer[] = [];
    for (let one = read.next(); one !== null; one = read.next()) {
      assert.equal(one.kind, 'data');
      if (one.kind === 'data') list.push(one.bytes);
    }
    return list;
  }

  get text(): string {
    return Buffer.concat(this.opened()).toString();
  }
}

describe('a response of a TLS connection at a target', () => {
  test('its announced end is that of its records, and they are what the client gets', () => {
    const it = new Case().ask(40 * KIB);
    const { end, bytes, records } = it.link.last(FrameType.DATA_DONE);
    assert.deepEqual(
      [end, bytes, records],
      [(START + wireBytes(it.layout, SUITE)) >>> 0, it.answer.text.length, 4],
    );
    it.settle();
    assert.equal(it.text, it.answer.text);
    assert.deepEqual(
      [it.opened()[0].length, it.wire.length],
      [it.layout.headBytes, wireBytes(it.layout, SUITE)],
    );
    assert.equal(nextWire(it.rules), end);
    assert.equal(it.state, 'sent');
    it.acknowledge(end);
    assert.equal(it.state, 'idle');
  });

  test('a clone announces plain bytes; the rules are about the wire', () => {
    const it = new Case().ask(KIB, { mechanism: SetupMechanism.CLONE });
    assert.equal(it.link.last(FrameType.SETUP_OK).announcement?.bytes, it.answer.text.length);
    assert.equal(it.rules.ranges[0].end, (START + wireBytes(it.layout, SUITE)) >>> 0);
    it.settle();
    assert.equal(it.text, it.answer.text);
  });

  test('the key is wiped where it came, accepted or not', () => {
    for (const refused of [false, true]) {
      const it = new Case();
      it.stopping = refused;
      it.ask(KIB);
      assert.deepEqual(it.lent.key, Buffer.alloc(32));
      assert.deepEqual(it.lent.iv, Buffer.alloc(12));
    }
  });

  test('a socket that takes part of a record gets its rest, and is not done before', () => {
    const it = new Case().ask(100 * KIB);
    it.socket.room = 20_000;
    it.settle();
    assert.equal(it.wire.length, 20_000);
    it.socket.room = wireBytes(it.layout, SUITE) - 20_000 - 1;
    it.ready(EPOLLOUT);
    assert.equal(it.state, 'sending', 'one byte of the last record waits');
    assert.equal(it.link.count(FrameType.DATA_DONE), 0);
    it.socket.room = 1;
    it.ready(EPOLLOUT);
    const { end, records } = it.link.last(FrameType.DATA_DONE);
    assert.deepEqual([end, records], [(START + wireBytes(it.layout, SUITE)) >>> 0, 8]);
    assert.equal(it.text, it.answer.text);
  });

  test('of unknown length: DATA_DONE says the records; nobody else could go on with it', () => {
    const it = new Case();
    const exchange = new Exchange();
    it.serves = exchange;
    it.setup({ seal: it.lent });
    it.settle();
    exchange.pump.add({ bytes: Buffer.from('head and some') });
    exchange.onProgress();
    assert.equal(it.text, 'head and some', 'it does not wait for more');
    exchange.answer(new Answer(30 * KIB).response);
    exchange.onProgress();
    const { end, records, bytes } = it.link.last(FrameType.DATA_DONE);
    assert.equal(end, (START + it.wire.length) >>> 0);
    assert.equal(it.wire.length, bytes + SUITE.overheadBytes * records);
    assert.equal(records, it.opened().length);
    it.clock.nowMs += 200;
    it.pipes.round(it.clock.nowMs);
    for (const frame of it.link.sent) assert.ok(!('identity' in frame) || frame.identity === null);
  });

  test('goes on in the middle of a record with the same bytes', () => {
    const first = new Case().ask(100 * KIB);
    first.settle();
    const whole = first.wire;
    const identity = identify(first.answer.response)!;
    for (const wire of [whole.length - 1, 40_000, 16_500 + first.layout.headBytes]) {
      const place = placeAt(first.layout, wire, SUITE);
      const it = new Case().lend(place.records, place.cut);
      const response = new Answer(100 * KIB).exchange;
      const continuation = { ...identity, offset: place.offset };
      assert.ok(response.goOnFrom(continuation));
      it.serves = response;
      it.setup({ seal: it.lent, continuation });
      it.settle();
      assert.deepEqual(it.wire, whole.subarray(wire));
      const { end, records } = it.link.last(FrameType.DATA_DONE);
      assert.deepEqual([end, records], [(START + whole.length - wire) >>> 0, 8 - place.records]);
    }
  });

  test('what cannot be sealed as it is wanted is refused, and nothing is sent', () => {
    const beyond = new Case().lend(0, 16_400).ask(KIB);
    const worn = new Case().lend(MAX_KEY_RECORDS - NUMBER - 1, 0).ask(KIB);
    for (const it of [beyond, worn]) {
      assert.equal(it.link.last(FrameType.SETUP_REJECT).reason, RejectReason.STATE_INVALID);
      assert.equal(it.kernel.made, 0);
    }
  });
});
