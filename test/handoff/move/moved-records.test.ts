/** A response over TLS whose connection moves in its middle: every node seals what one alone would have sealed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bodyWire, canSeal, isHeadOut, movedPlace } from '../../../src/handoff/move/moved-records.ts';
import { type Layout, recordCount, wireBytes } from '../../../src/protocol/tls/record-layout.ts';
import { MAX_KEY_RECORDS, Sealer } from '../../../src/protocol/tls/records.ts';
import { type Suite, suiteOf } from '../../../src/protocol/tls/suites.ts';
import { trafficKeys } from '../../../src/protocol/tls/traffic.ts';
import { BLOCKED, type ByteSink, Pump } from '../../../src/serve/byte-sink.ts';
import { SealedSink } from '../../../src/serve/sealed-sink.ts';

/** One of each overhead. */
const suites = [0x1301, 0xc02f, 0xcca8].map((id) => suiteOf(id)!);
const FIRST = 7;
const ramp = Buffer.from(Array.from({ length: 150_000 }, (_, at) => (at * 31 + (at >> 8)) & 0xff));

/** A kernel's socket: takes so much at once, and nothing at every second call. */
class Socket implements ByteSink {
  bytes = Buffer.alloc(0);
  readonly #room: number;
  #calls = 0;

  constructor(room: number) {
    this.#room = room;
  }

  send(bytes: Buffer, from: number): number {
    if (++this.#calls % 2 === 0) return BLOCKED;
    const piece = bytes.subarray(from, from + this.#room);
    this.bytes = Buffer.concat([this.bytes, piece]);
    return piece.length;
  }

  sendFile(): number {
    assert.fail('there is no file');
  }

  flush(): number {
    return 0;
  }
}

/** A node that has the connection from byte `offset` of the response on. */
class Owner {
  readonly socket: Socket;
  readonly sink: SealedSink;
  readonly #pump: Pump;
  readonly #sealer: Sealer;

  constructor(
    suite: Suite,
    whole: Layout,
    { offset, number, cut }: { offset: number; number: number; cut: number },
    room: number,
  ) {
    const { headBytes, lengthBytes } = whole;
    const left = { headBytes: offset === 0 ? headBytes : 0, lengthBytes: lengthBytes - offset };
    assert.ok(canSeal(left, { suite, serverRecord: number }, cut));
    this.socket = new Socket(room);
    this.#sealer = new Sealer(trafficKeys({ suite, secret: Buffer.alloc(suite.secretBytes, 3), number }));
    const sealer = this.#sealer;
    const half = {
      sealer,
      get cut() {
        return sealer.number === number ? cut : 0;
      },
    };
    this.sink = new SealedSink(this.socket, half, left);
    this.#pump = new Pump(
      [ramp.subarray(0, headBytes), ramp.subarray(headBytes, lengthBytes)].map(partOf),
      true,
    );
    this.#pump.skip(offset);
  }

  /** Fills the socket so often, at most. True: all of the response is there. */
  run(times: number): boolean {
    for (let i = 0; i < times; i++) if (this.#pump.run(this.sink) === 'done') return true;
    return false;
  }

  end(): Buffer {
    this.#sealer.free();
    return this.socket.bytes;
  }
}

const partOf = (bytes: Buffer) => ({ bytes });

test('however often it moves, and whatever the kernel had not sent, its records are those of one node', () => {
  const move = fc.record({ turns: fc.integer({ min: 1, max: 8 }), unsent: fc.nat() });
  const place = { offset: 0, number: FIRST, cut: 0 };
  let moved = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...suites),
      fc.integer({ min: 1, max: 20_000 }),
      fc.integer({ min: 0, max: 120_000 }),
      fc.constantFrom(100_000, 5000, 1448, 16406),
      fc.array(move, { maxLength: 5 }),
      (suite, headBytes, bodyBytes, room, moves) => {
        const identity = { headBytes, lengthBytes: headBytes + bodyBytes, validator: 1n };
        const alone = new Owner(suite, identity, place, 1_000_000);
        assert.ok(alone.run(Number.POSITIVE_INFINITY));
        let owner = new Owner(suite, identity, place, room);
        let wire = Buffer.alloc(0);
        for (const { turns, unsent } of moves) {
          if (owner.run(turns)) break;
          const { sent } = owner.sink;
          if (sent === null || !isHeadOut(identity, sent, suite)) continue;
          const forgotten = unsent % (bodyWire(identity, sent, suite) + 1);
          const next = movedPlace(identity, sent, suite, forgotten);
          const all = Buffer.concat([wire, owner.end()]);
          wire = all.subarray(0, all.length - forgotten);
          owner = new Owner(suite, identity, next, room);
          moved++;
        }
        assert.ok(owner.run(Number.POSITIVE_INFINITY));
        assert.deepEqual(Buffer.concat([wire, owner.end()]), alone.end());
      },
    ),
    { numRuns: 80 },
  );
  assert.ok(moved > 10, `${moved} moves`);
});

test('one whose head the socket has not taken as a whole does not move', () => {
  const [suite] = suites;
  const identity = { headBytes: 300, lengthBytes: 50_000, validator: 1n };
  const headWire = wireBytes({ headBytes: 300, lengthBytes: 300 }, suite);
  const sent = (wire: number) => ({ number: FIRST, wire, lengthBytes: identity.lengthBytes });
  assert.ok(!isHeadOut(identity, sent(headWire - 1), suite));
  assert.ok(isHeadOut(identity, sent(headWire), suite));
});

test('what comes with a session that cannot seal it is refused', () => {
  const [suite] = suites;
  const left = { headBytes: 0, lengthBytes: 20_000 };
  const most = { suite, serverRecord: MAX_KEY_RECORDS - recordCount(left) };
  assert.ok(canSeal(left, most, 0));
  assert.ok(!canSeal(left, { ...most, serverRecord: most.serverRecord + 1 }, 0));
  assert.ok(!canSeal(null, most, 0), 'nobody knows where its records are');
  const short = { headBytes: 0, lengthBytes: 100 };
  assert.ok(canSeal(short, most, 100 + suite.overheadBytes - 1));
  assert.ok(!canSeal(short, most, 100 + suite.overheadBytes), 'more than its record has');
});
