/** Responses as records: what goes over the wire, and what arithmetic says of it. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import type { FileState } from '../../src/kernel/linux/file-state.ts';
import { allocate } from '../../src/kernel/linux/memory.ts';
import type { Part } from '../../src/protocol/http/reply.ts';
import { ReadHalf } from '../../src/protocol/tls/read-half.ts';
import {
  type Layout,
  placeAt,
  recordCount,
  wireAt,
  wireBytes,
} from '../../src/protocol/tls/record-layout.ts';
import { ContentType, Sealer } from '../../src/protocol/tls/records.ts';
import { type Suite, suiteOf } from '../../src/protocol/tls/suites.ts';
import { trafficKeys } from '../../src/protocol/tls/traffic.ts';
import { BLOCKED, BROKEN, type ByteSink, Pump } from '../../src/serve/byte-sink.ts';
import { SealedSink } from '../../src/serve/sealed-sink.ts';

/** One of each overhead. */
const suites = [0x1301, 0xc02f, 0xcca8].map((id) => suiteOf(id)!);
const anySuite = fc.constantFrom(...suites);
const halfAt = (suite: Suite, number: number) => ({
  suite,
  secret: Buffer.alloc(suite.secretBytes, 3),
  number,
});

/** A socket that takes what `room` says, and nothing at every third call. */
class Socket implements ByteSink {
  readonly pieces: Buffer[] = [];
  readonly #room: number;
  #calls = 0;
  /** The wire bytes that were sent when the response's end was marked. */
  markedAt = -1;

  constructor(room: number) {
    this.#room = room;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.pieces);
  }

  send(bytes: Buffer, from: number, _more: boolean, last: boolean): number {
    if (++this.#calls % 3 === 0) return BLOCKED;
    const piece = Buffer.from(bytes.subarray(from, from + this.#room));
    this.pieces.push(piece);
    if (last && from + piece.length === bytes.length) this.markedAt = this.bytes.length;
    return piece.length;
  }

  sendFile(): number {
    assert.fail('files are sealed');
  }

  flush(): number {
    return 0;
  }
}

const folder = mkdtempSync(join(tmpdir(), 'sealed-'));
const FILE_BYTES = 200_000;
const ramp = Buffer.from(Array.from({ length: FILE_BYTES }, (_, at) => (at * 31 + (at >> 8)) & 0xff));
writeFileSync(join(folder, 'ramp'), ramp);
const fd = openSync(join(folder, 'ramp'), 'r');
after(() => {
  closeSync(fd);
  rmSync(folder, { recursive: true });
});
const state = { isUnwritten: () => true } as unknown as FileState;

/** Bytes of the ramp, as parts. */
interface Response {
  readonly parts: readonly { readonly length: number; readonly isFile: boolean }[];
  readonly headBytes: number;
}

const responses: fc.Arbitrary<Response> = fc.record({
  headBytes: fc.integer({ min: 1, max: 400 }),
  parts: fc.array(
    fc.record({
      length: fc.oneof(fc.integer({ min: 1, max: 40_000 }), fc.constantFrom(16383, 16384, 16385, 32768)),
      isFile: fc.boolean(),
    }),
    { maxLength: 4 },
  ),
});

const bodyBytesOf = ({ parts }: Response) => parts.reduce((sum, { length }) => sum + length, 0);
const layoutOf = (response: Response): Layout => ({
  headBytes: response.headBytes,
  lengthBytes: response.headBytes + bodyBytesOf(response),
});

/** The ramp from its beginning, `headBytes` of it as the head. `joined`: the head and the part behind it are one. */
function pumpOf(response: Response, joined: boolean): Pump {
  let at = response.headBytes;
  const list: Part[] = [{ bytes: ramp.subarray(0, at) }];
  for (const { length, isFile } of response.parts) {
    const bytes = ramp.subarray(at, at + length);
    if (joined && at === response.headBytes) list[0] = { bytes: ramp.subarray(0, at + length) };
    else list.push(isFile ? { fd, offset: at, length, state } : { bytes });
    at += length;
  }
  return new Pump(list, true);
}

function runAll(pump: Pump, sink: ByteSink): void {
  for (let turns = 0; ; turns++) {
    assert.ok(turns < 100_000, 'it ends');
    const how = pump.run(sink);
    if (how === 'done') return;
    assert.ok(how === 'blocked' || how === 'yield', how);
  }
}

/** Contents of the records, the first of which has this number. */
function open(suite: Suite, bytes: Buffer, number: number): Buffer[] {
  const read = new ReadHalf({ half: halfAt(suite, number), rest: Buffer.alloc(0) });
  read.push(bytes);
  const list: Buffer[] = [];
  for (let one = read.next(); one !== null; one = read.next()) if (one.kind === 'data') list.push(one.bytes);
  return list;
}

function send(
  suite: Suite,
  response: Response,
  layout: Layout | null,
  room: number,
  number: number,
  joined = false,
) {
  const socket = new Socket(room);
  const sealer = new Sealer(trafficKeys(halfAt(suite, number)));
  const sink = new SealedSink(socket, { sealer, cut: 0 }, layout);
  runAll(pumpOf(response, joined), sink);
  assert.equal(sink.wireBytes, socket.bytes.length);
  assert.equal(sealer.number, number + sink.records);
  const { lengthBytes } = layout ?? {};
  assert.deepEqual(sink.sent, layout && { number, wire: sink.wireBytes, lengthBytes });
  // Of a response with another record in its middle nobody knows where its own are.
  sealer.seal(allocate(100), 0, 1, ContentType.ALERT);
  assert.equal(sink.sent, null);
  sealer.free();
  return { socket, sink };
}

/** Of the next record the client has `cut` bytes. */
function halfWithCut(sealer: Sealer, cut: number) {
  const { number } = sealer;
  return {
    sealer,
    get cut() {
      return sealer.number === number ? cut : 0;
    },
  };
}

const rooms = fc.constantFrom(1_000_000, 5000, 1448, 16406);

test('a response of known length has the records that arithmetic says, whatever its parts and the socket', () => {
  fc.assert(
    fc.property(
      anySuite,
      responses,
      rooms,
      fc.nat(5),
      fc.boolean(),
      (suite, response, room, number, joined) => {
        const layout = layoutOf(response);
        const { socket, sink } = send(suite, response, layout, room, number, joined);
        const contents = open(suite, socket.bytes, number);
        assert.deepEqual(Buffer.concat(contents), ramp.subarray(0, layout.lengthBytes));
        assert.equal(contents[0].length, response.headBytes, 'the head has its own');
        assert.equal(sink.records, recordCount(layout));
        assert.equal(socket.bytes.length, wireBytes(layout, suite));
        assert.equal(socket.markedAt, socket.bytes.length, 'its end is marked');
      },
    ),
    { numRuns: 60 },
  );
});

test('the end of a response of known length is marked, though its parts came before it was known that none follow', () => {
  for (const room of [1_000_000, 1448]) {
    const layout = { headBytes: 100, lengthBytes: 40_100 };
    const socket = new Socket(room);
    const sealer = new Sealer(trafficKeys(halfAt(suites[0], 0)));
    const sink = new SealedSink(socket, { sealer, cut: 0 }, layout);
    const pump = new Pump(
      [ramp.subarray(0, 100), ramp.subarray(100, 40_100)].map((bytes) => ({ bytes })),
      false,
    );
    while (pump.run(sink) !== 'waiting');
    assert.equal(socket.markedAt, wireBytes(layout, suites[0]));
    sealer.free();
  }
});

test('of unknown length: the same bytes', () => {
  fc.assert(
    fc.property(anySuite, responses, rooms, (suite, response, room) => {
      const { socket, sink } = send(suite, response, null, room, 0);
      const contents = open(suite, socket.bytes, 0);
      assert.deepEqual(Buffer.concat(contents), ramp.subarray(0, layoutOf(response).lengthBytes));
      assert.equal(contents.length, sink.records);
      assert.equal(socket.markedAt, socket.bytes.length);
    }),
    { numRuns: 40 },
  );
});

test('what is left behind any byte of the wire is sealed again to the same bytes', () => {
  fc.assert(
    fc.property(anySuite, responses, fc.nat(), fc.boolean(), (suite, response, where, joined) => {
      const layout = layoutOf(response);
      const { headBytes, lengthBytes } = layout;
      const { bytes: whole } = send(suite, response, layout, 1_000_000, 7).socket;
      const headWire = wireAt(layout, headBytes, suite);
      const wire = headWire + (where % (whole.length - headWire + 1));
      const place = placeAt(layout, wire, suite);
      assert.ok(place.offset >= headBytes && place.offset <= lengthBytes);
      assert.equal(wireAt(layout, place.offset, suite) + place.cut, wire);
      if (wire === whole.length)
        return assert.deepEqual(place, { records: recordCount(layout), offset: lengthBytes, cut: 0 });
      const rest: Layout = { headBytes: 0, lengthBytes: lengthBytes - place.offset };
      assert.equal(wireBytes(rest, suite) - place.cut, whole.length - wire);
      const socket = new Socket(3000);
      const sealer = new Sealer(trafficKeys(halfAt(suite, 7 + place.records)));
      const pump = pumpOf(response, joined);
      pump.skip(place.offset);
      runAll(pump, new SealedSink(socket, halfWithCut(sealer, place.cut), rest));
      assert.deepEqual(socket.bytes, whole.subarray(wire));
      assert.equal(sealer.number, 7 + recordCount(layout));
      sealer.free();
    }),
    { numRuns: 60 },
  );
});

test('records go to the socket eight at a time, the head with the first of them', () => {
  const layout = { headBytes: 300, lengthBytes: 300 + 9 * 16384 };
  const sent: number[] = [];
  const send = (bytes: Buffer, from: number) => {
    sent.push(bytes.length - from);
    return bytes.length - from;
  };
  const sealer = new Sealer(trafficKeys(halfAt(suites[0], 0)));
  const sink = new SealedSink({ send, sendFile: () => BROKEN, flush: () => 0 }, { sealer, cut: 0 }, layout);
  runAll(pumpOf({ headBytes: 300, parts: [{ length: 9 * 16384, isFile: true }] }, false), sink);
  const of = (content: number) => content + sealer.suite.overheadBytes;
  assert.deepEqual(sent, [of(300) + 8 * of(16384), of(16384)]);
  sealer.free();
});

test('inside the head there is a place, too', () => {
  const layout = { headBytes: 40_000, lengthBytes: 40_010 };
  const step = 16384 + 22;
  assert.deepEqual(placeAt(layout, 0, suites[0]), { records: 0, offset: 0, cut: 0 });
  assert.deepEqual(placeAt(layout, step + 3, suites[0]), { records: 1, offset: 16384, cut: 3 });
  assert.deepEqual(placeAt(layout, 40_066, suites[0]), { records: 3, offset: 40_000, cut: 0 });
  assert.deepEqual(placeAt(layout, 40_067, suites[0]), { records: 3, offset: 40_000, cut: 1 });
});

test('a socket that fails, and a file that is too short', () => {
  const sealer = new Sealer(trafficKeys(halfAt(suites[0], 0)));
  const failing: ByteSink = { send: () => BROKEN, sendFile: () => BROKEN, flush: () => 0 };
  assert.equal(new SealedSink(failing, { sealer, cut: 0 }, null).send(ramp, 0, false, true), BROKEN);
  const socket = new Socket(100);
  assert.equal(
    new SealedSink(socket, { sealer, cut: 0 }, null).sendFile(fd, FILE_BYTES - 10, 20, true, state),
    BROKEN,
  );
  assert.equal(socket.bytes.length, 0, 'nothing of it is sent');
  sealer.free();
  assert.throws(() => new SealedSink(socket, { sealer, cut: 0 }, null).send(ramp, 0, false, true), /held/);
});

test('a file that was written to is sealed no more: another node may seal what it was', () => {
  let isUnwritten = true;
  const changing = { isUnwritten: () => isUnwritten } as unknown as FileState;
  const part = { fd, offset: 0, length: FILE_BYTES, state: changing };
  const sealer = new Sealer(trafficKeys(halfAt(suites[0], 0)));
  let room = 40_000;
  const send = (bytes: Buffer, from: number) => {
    const taken = Math.min(room, bytes.length - from);
    room -= taken;
    return taken === 0 ? BLOCKED : taken;
  };
  const socket: ByteSink = { send, sendFile: () => BROKEN, flush: () => 0 };
  const layout = { headBytes: 0, lengthBytes: FILE_BYTES };
  const sink = new SealedSink(socket, { sealer, cut: 0 }, layout);
  const pump = new Pump([part], true);
  assert.equal(pump.run(sink), 'blocked');
  const { number } = sealer;
  room = FILE_BYTES;
  isUnwritten = false;
  assert.equal(pump.run(sink), 'broken');
  assert.ok(pump.fileChanged);
  assert.equal(sealer.number, number, 'nothing of it');
  sealer.free();
});
