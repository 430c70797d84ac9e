/** A pump: parts on their way into a sink that takes what it likes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BLOCKED, type ByteSink, Pump } from '../../src/serve/byte-sink.ts';

/** Takes as many bytes as it has room for. */
class Sink implements ByteSink {
  room = 0;
  text = '';

  send(bytes: Buffer, from: number): number {
    const length = Math.min(bytes.length - from, this.room);
    if (length === 0) return BLOCKED;
    this.room -= length;
    this.text += bytes.toString('latin1', from, from + length);
    return length;
  }

  sendFile(): number {
    assert.fail('all is in memory');
  }

  flush(): number {
    return 0;
  }
}

test('bytes that are passed are copied as far as the sink does not take them', () => {
  const piece = fc.tuple(fc.constantFrom('pass', 'add', 'run'), fc.nat(20), fc.nat(30));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const pump = new Pump([], false);
      const sink = new Sink();
      // All that is passed lies in the same memory, as what a link receives does.
      const memory = Buffer.alloc(20);
      let sent = '';
      for (const [what, length, room] of pieces) {
        sink.room = room;
        const text = String.fromCharCode(97 + (sent.length % 26)).repeat(length);
        if (what === 'run') {
          pump.run(sink);
          continue;
        }
        sent += text;
        memory.write(text);
        if (what === 'pass') pump.pass(memory.subarray(0, length), sink);
        else pump.add({ bytes: Buffer.from(text) });
        memory.fill('!');
        assert.equal(pump.queuedBytes, sent.length - pump.sentBytes);
      }
      sink.room = Number.POSITIVE_INFINITY;
      pump.finish();
      assert.equal(pump.run(sink), 'done');
      assert.equal(sink.text, sent);
    }),
  );
});

test('a response’s own list of parts is taken as it is, and not written to', () => {
  const parts = Object.freeze(['ab', 'cd'].map((text) => ({ bytes: Buffer.from(text) })));
  const sink = new Sink();
  for (const before of ['', 'interim ']) {
    const pump = new Pump([], false);
    if (before !== '') pump.add({ bytes: Buffer.from(before) });
    pump.take(parts, 4);
    pump.skip(before.length + 1);
    sink.room = 2;
    sink.text = '';
    assert.equal(pump.run(sink), 'blocked');
    sink.room = 9;
    assert.equal(pump.run(sink), 'done');
    assert.equal(sink.text, 'bcd');
    assert.equal(pump.sentBytes, 3);
  }
});

test('a file is looked at before the last of it is handed over, once for what goes at once', () => {
  let looks = 0;
  let written = false;
  const state = {
    isUnwritten: () => {
      looks++;
      return !written;
    },
  };
  const sink = new Sink();
  let room = 0;
  sink.sendFile = (...[, , length]: number[]) => {
    const taken = Math.min(length, 50, room);
    room -= taken;
    return taken > 0 ? taken : BLOCKED;
  };
  const pump = new Pump([{ fd: 9, offset: 0, length: 300, state }], true);
  room = 100;
  assert.equal(pump.run(sink), 'blocked');
  assert.equal(looks, 1);
  room = 100;
  assert.equal(pump.run(sink), 'blocked');
  assert.equal(looks, 2, 'time has passed');
  written = true;
  room = 100;
  assert.equal(pump.run(sink), 'broken');
  assert.equal(pump.sentBytes, 200);
  assert.ok(pump.fileChanged);
});
