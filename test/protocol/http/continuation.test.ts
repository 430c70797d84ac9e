/** Responses that go on from byte N: two nodes with copies of a file send the same bytes, or say that they cannot. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { Content } from '../../../src/protocol/http/content.ts';
import { errorResponse } from '../../../src/protocol/http/error-response.ts';
import { SMALL_FILE_BYTES } from '../../../src/protocol/http/open-file.ts';
import { BLOCKED, type ByteSink } from '../../../src/serve/byte-sink.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import { ramp } from '../../../src/tools/lab/ramp.ts';
import { digestNow, parsed, settle } from './support.ts';

const MODIFIED_S = 1_600_000_000;
const FIRST_MS = 1_700_000_000_000;
const LATER_MS = FIRST_MS + 5000;
const BIG_BYTES = SMALL_FILE_BYTES + 40_000;
const FILES: Record<string, Buffer> = {
  'empty.bin': ramp('/empty.bin', 0),
  'small.bin': ramp('/small.bin', 9000),
  // In memory, and behind its head as a part of its own.
  'edge.bin': ramp('/edge.bin', SMALL_FILE_BYTES),
  'big.bin': ramp('/big.bin', BIG_BYTES),
  'big.bin.gz': ramp('/gz', BIG_BYTES),
};
let base = '';
let one: Content;
let other: Content;

/** A node's copy of the files, with heads of another length than the other's. */
function copy(name: string, files = FILES, modifiedS = MODIFIED_S): Content {
  const root = join(base, name);
  fs.mkdirSync(root);
  for (const [file, bytes] of Object.entries(files)) {
    fs.writeFileSync(join(root, file), bytes);
    fs.utimesSync(join(root, file), modifiedS, modifiedS);
  }
  for (const file of Object.keys(files)) settle(join(root, file));
  return new Content({ root, digest: digestNow });
}

before(() => {
  base = fs.mkdtempSync(join(tmpdir(), 'baton-continuation-'));
  one = copy('one');
  // The same bytes are the same, whatever the times say.
  other = copy('other', FILES, MODIFIED_S + 1000);
});
after(() => {
  one.close();
  other.close();
  fs.rmSync(base, { recursive: true });
});

function exchange(content: Content, line: string, fields: string, servedBy: string): Exchange {
  const head = parsed(`${line} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`);
  const nowMs = content === one ? FIRST_MS : LATER_MS;
  const extraFields = servedBy === '' ? '' : `X-Served-By: ${servedBy}\r\n`;
  return Exchange.of(content.respond(head, nowMs, { close: false, extraFields }));
}

/** Takes a few bytes at a time, as a socket does. */
class Collector implements ByteSink {
  readonly pieces: Buffer[] = [];
  #turn = 0;

  send(bytes: Buffer, from: number): number {
    if (++this.#turn % 3 === 0) return BLOCKED;
    const piece = bytes.subarray(from, from + 7000);
    this.pieces.push(Buffer.from(piece));
    return piece.length;
  }

  sendFile(fd: number, offset: number, length: number): number {
    if (++this.#turn % 3 === 0) return BLOCKED;
    const piece = Buffer.alloc(Math.min(length, 7000));
    assert.equal(fs.readSync(fd, piece, 0, piece.length, offset), piece.length);
    this.pieces.push(piece);
    return piece.length;
  }

  flush(): number {
    return 0;
  }
}

function pumped({ pump, lengthBytes }: Exchange): Buffer {
  const out = new Collector();
  let state = pump.run(out);
  for (; state === 'blocked'; state = pump.run(out));
  assert.equal(state, 'done');
  assert.equal(pump.queuedBytes, 0);
  assert.equal(pump.sentBytes, lengthBytes);
  return Buffer.concat(out.pieces);
}

const REQUESTS: [line: string, fields: string][] = [
  ...Object.keys(FILES).map((file): [string, string] => [`GET /${file}`, '']),
  ['HEAD /big.bin', ''],
  ['GET /big.bin', 'Range: bytes=1000-70000\r\n'],
  ['GET /small.bin', 'Range: bytes=-100\r\n'],
  ['GET /big.bin', 'Accept-Encoding: gzip\r\n'],
  ['GET /none', ''],
  ['POST /small.bin', ''],
];

test('a response goes on at another node, at every offset from the end of its head', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...REQUESTS),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.boolean(),
      ([line, fields], share, observed) => {
        const first = exchange(one, line, fields, observed ? 'a' : '');
        const identity = first.identity()!;
        const whole = pumped(first);
        assert.equal(identity.lengthBytes, whole.length);
        assert.equal(whole.indexOf('\r\n\r\n') + 4, identity.headBytes);
        const offset = identity.headBytes + Math.round(share * (whole.length - identity.headBytes));
        const next = exchange(other, line, fields, observed ? 'another-node' : '');
        assert.equal(next.goOnFrom({ ...identity, offset }), true);
        assert.equal(next.lengthBytes, whole.length - offset);
        assert.deepEqual(next.identity(), { ...identity, offset }, 'what the client has is the first head');
        assert.ok(pumped(next).equals(whole.subarray(offset)));
        first.end();
        next.end();
      },
    ),
    { numRuns: 300 },
  );
});

test('another body is told apart', () => {
  const oneByte = (bytes: Buffer) => Buffer.from(bytes).fill(bytes[8000] ^ 1, 8000, 8001);
  const touched = copy('touched', {
    'small.bin': oneByte(FILES['small.bin']),
    'big.bin': oneByte(FILES['big.bin']),
  });
  const offset = 5000;
  const again = (content: Content, line: string, fields = '') => exchange(content, line, fields, '');
  try {
    const first = again(one, 'GET /small.bin');
    const continuation = { ...first.identity()!, offset };
    assert.equal(
      again(touched, 'GET /small.bin').goOnFrom(continuation),
      false,
      'one byte, same size and time',
    );
    assert.equal(again(other, 'GET /edge.bin').goOnFrom(continuation), false, 'another file');
    assert.equal(again(other, 'GET /none').goOnFrom(continuation), false, 'no file');
    assert.equal(again(other, 'HEAD /small.bin').goOnFrom(continuation), false, 'no body');
    const range = 'Range: bytes=0-8998\r\n';
    assert.equal(again(other, 'GET /small.bin', range).goOnFrom(continuation), false, 'a part');
    assert.equal(again(other, 'GET /small.bin').goOnFrom(continuation), true);
    const big = { ...again(one, 'GET /big.bin').identity()!, offset };
    assert.equal(again(touched, 'GET /big.bin').goOnFrom(big), false, 'one byte of a large file');
    const plain = { ...again(one, 'GET /big.bin').identity()!, offset };
    assert.equal(again(other, 'GET /big.bin', 'Accept-Encoding: gzip\r\n').goOnFrom(plain), false, 'encoded');
  } finally {
    touched.close();
  }
});

test('nothing is said of a large file before its bytes are known', () => {
  const asked: Array<() => void> = [];
  const unread = new Content({
    root: join(base, 'other'),
    digest: (file, done) => asked.push(() => digestNow(file, done)),
  });
  try {
    const { headBytes, lengthBytes, validator } = exchange(one, 'GET /big.bin', '', '').identity()!;
    const early = exchange(unread, 'GET /big.bin', '', '');
    assert.deepEqual([early.identity(), early.isIdentityPending], [null, true]);
    assert.equal(early.goOnFrom({ headBytes, lengthBytes, validator, offset: headBytes }), false);
    for (const read of asked) read();
    assert.equal(early.isIdentityPending, false);
    assert.equal(
      early.identity()!.validator,
      validator,
      'a response in progress, too, is known from then on',
    );
    early.end();
  } finally {
    unread.close();
  }
});

test('what nobody can go on with has no identity', () => {
  const multipart = exchange(one, 'GET /big.bin', 'Range: bytes=0-9,20-29\r\n', '');
  assert.equal(multipart.identity(), null);
  const upstream = new Exchange();
  assert.equal(upstream.identity(), null);
  upstream.answer(errorResponse(502, FIRST_MS));
  assert.notEqual(upstream.identity(), null, 'an answer of our own has one');
});

test('a file has one validator, computed once: the ready-made response of each second refers to it', () => {
  const body = (nowMs: number) =>
    one.respond(parsed('GET /small.bin HTTP/1.1\r\nHost: a\r\n\r\n'), nowMs, {
      close: false,
      extraFields: '',
    }).body;
  assert.equal(body(FIRST_MS), body(LATER_MS));
});
