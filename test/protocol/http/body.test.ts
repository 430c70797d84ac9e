import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BodyReader, encodeChunk, LAST_CHUNK } from '../../../src/protocol/http/body.ts';
import { errorResponse } from '../../../src/protocol/http/error-response.ts';
import { forwardRequestHead, forwardResponseHead } from '../../../src/protocol/http/forward.ts';
import { DEFAULT_HEAD_LIMITS, HeadError } from '../../../src/protocol/http/request.ts';
import { parseResponseHead, type ResponseHead, responseBody } from '../../../src/protocol/http/response.ts';
import { bytesOf, parsed, receive } from './support.ts';

/** Pushes `bytes` in slices of `step` and gives what came out. */
function readAll(reader: BodyReader, bytes: Buffer, step: number): { payload: Buffer; consumed: number } {
  const pieces: Buffer[] = [];
  let at = 0;
  while (at < bytes.length && !reader.done && reader.fault === null) {
    const end = Math.min(bytes.length, at + step);
    const consumed = reader.push(bytes, at, end);
    for (let i = 0; i < reader.ranges.length; i += 2) {
      pieces.push(bytes.subarray(reader.ranges[i], reader.ranges[i + 1]));
    }
    at += consumed;
  }
  return { payload: Buffer.concat(pieces), consumed: at };
}

test('chunked bodies in slices of every size', () => {
  const wire = bytesOf('5 \t;ext=1\r\nhello\r\n00A;x="y"\r\n0123456789\r\n0 ;z\r\nT: v\r\nU:\r\n\r\n');
  const bytes = Buffer.concat([wire, bytesOf('GET / next')]);
  for (let step = 1; step <= bytes.length; step++) {
    const reader = BodyReader.chunked();
    const { payload, consumed } = readAll(reader, bytes, step);
    assert.equal(payload.toString(), 'hello0123456789');
    assert.equal(consumed, wire.length);
    assert.equal(reader.payloadBytes, 15);
    assert.ok(reader.done);
  }
});

test('what encodeChunk writes is read back, in any slices', () => {
  const chunks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 10 });
  fc.assert(
    fc.property(chunks, fc.integer({ min: 1, max: 400 }), (parts, step) => {
      const wire = Buffer.concat([...parts.map((part) => encodeChunk(Buffer.from(part))), LAST_CHUNK]);
      const reader = BodyReader.chunked();
      const { payload, consumed } = readAll(reader, wire, step);
      assert.deepEqual(payload, Buffer.concat(parts));
      assert.equal(consumed, wire.length);
      assert.ok(reader.done);
    }),
  );
  assert.throws(() => encodeChunk(Buffer.alloc(0)), RangeError);
});

test('bodies of a length, and until close', () => {
  const bytes = bytesOf('0123456789');
  const counted = BodyReader.ofLength(7);
  assert.deepEqual(readAll(counted, bytes, 3), { payload: bytes.subarray(0, 7), consumed: 7 });
  assert.ok(counted.done);
  assert.ok(BodyReader.ofLength(0).done);
  const open = BodyReader.untilClose();
  assert.equal(readAll(open, bytes, 4).consumed, 10);
  assert.equal(open.done, false);
  assert.equal(open.finish(), true);
  for (const cut of [BodyReader.ofLength(11), BodyReader.chunked()]) {
    cut.push(bytesOf('5\r\nhello'), 0, 8);
    assert.equal(cut.finish(), false);
    assert.equal(cut.fault, 'TRUNCATED');
  }
});

test('bodies above the limit', () => {
  assert.equal(BodyReader.ofLength(11, 10).fault, 'BODY_TOO_LARGE');
  const chunked = BodyReader.chunked(10);
  const wire = bytesOf('5\r\nhello\r\n6\r\n');
  assert.equal(chunked.push(wire, 0, wire.length), 0);
  assert.equal(chunked.fault, 'BODY_TOO_LARGE');
  const open = BodyReader.untilClose(3);
  assert.equal(open.push(wire, 0, 4), 0);
  assert.equal(open.fault, 'BODY_TOO_LARGE');
});

test('random bytes never throw', () => {
  const unit = fc.constantFrom(...'05aF; \r\n: x\0');
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 60 }), (text) => {
      const whole = BodyReader.chunked();
      const bytes = bytesOf(text);
      const all = readAll(whole, bytes, bytes.length || 1);
      const single = BodyReader.chunked();
      const pieces = readAll(single, bytes, 1);
      assert.equal(single.fault, whole.fault);
      assert.equal(single.done, whole.done);
      if (whole.fault === null) assert.deepEqual(pieces, all);
    }),
    { numRuns: 2000 },
  );
});

function upstream(text: string, method = 'GET'): ResponseHead {
  const bytes = bytesOf(text);
  for (let cut = 0; cut < bytes.length; cut++) {
    assert.equal(parseResponseHead(bytes, 0, cut, DEFAULT_HEAD_LIMITS, method), null);
  }
  const head = parseResponseHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS, method);
  assert.ok(head !== null && !(head instanceof HeadError), text);
  assert.equal(head.headLength, bytes.length);
  return head;
}

test('where the body of a response ends', () => {
  const rows: [string, string, string, string, boolean][] = [
    ['GET', '1.1 200 OK', 'Content-Length: 3\r\n', 'length', true],
    ['GET', '1.1 200 ', 'Transfer-Encoding: chunked\r\n', 'chunked', true],
    ['GET', '1.1 200', '', 'close', false],
    ['GET', '1.0 200 OK', 'Content-Length: 3\r\n', 'length', false],
    ['GET', '1.0 200 OK', 'Content-Length: 3\r\nConnection: keep-alive\r\n', 'length', true],
    ['HEAD', '1.1 200 OK', 'Content-Length: 3\r\n', 'none', true],
    ['HEAD', '1.1 200 OK', 'Transfer-Encoding: chunked\r\n', 'none', true],
    ['GET', '1.1 204 No Content', '', 'none', true],
    ['GET', '1.1 304 Not Modified', 'Content-Length: 9\r\nConnection: close\r\n', 'none', false],
    ['GET', '1.1 103 Early Hints', '', 'none', true],
  ];
  for (const [method, line, fields, framing, keepAlive] of rows) {
    const head = upstream(`HTTP/${line}\r\n${fields}\r\n`, method);
    assert.deepEqual([head.framing, head.keepAlive], [framing, keepAlive], line + fields);
    assert.equal(head.interim, line.includes('103'));
    assert.equal(responseBody(head).done, framing === 'none');
  }
});

const HOP =
  'Connection: X-Hop, close\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nTE: trailers\r\nX-End: 2\r\nDate: D\r\n';

test('response heads go on without hop-by-hop fields', () => {
  const plan = { clientMinor: 1, close: false, extraFields: 'X-Served-By: b\r\n' } as const;
  const counted = forwardResponseHead(
    upstream(`HTTP/1.0 200 Fine\r\n${HOP}Content-Length: 3\r\n\r\n`),
    plan,
    0,
  );
  const expected = 'HTTP/1.1 200 Fine\r\nX-End: 2\r\nDate: D\r\nContent-Length: 3\r\nX-Served-By: b\r\n\r\n';
  assert.equal(counted.text, expected);
  assert.deepEqual([counted.body, counted.close], ['raw', false]);
});

test('chunked and close-delimited responses for each client', () => {
  const chunked = upstream('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  const closing = upstream('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n');
  const rows: [ResponseHead, 0 | 1, string, boolean, RegExp][] = [
    [chunked, 1, 'raw', false, /\r\nTransfer-Encoding: chunked\r\n/],
    [closing, 1, 'enchunk', false, /\r\nTransfer-Encoding: chunked\r\n/],
    [chunked, 0, 'dechunk', true, /\r\nConnection: close\r\n/],
    [closing, 0, 'raw', true, /\r\nConnection: close\r\n/],
  ];
  for (const [head, clientMinor, body, close, pattern] of rows) {
    const forwarded = forwardResponseHead(head, { clientMinor, close: false, extraFields: '' }, 0);
    assert.deepEqual([forwarded.body, forwarded.close], [body, close]);
    assert.match(forwarded.text, pattern);
    assert.match(forwarded.text, /\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n/);
    if (clientMinor === 0) assert.doesNotMatch(forwarded.text, /Transfer-Encoding/);
  }
  const empty = forwardResponseHead(
    upstream('HTTP/1.1 204 X\r\nContent-Length: 0\r\n\r\n'),
    { clientMinor: 1, close: false, extraFields: '' },
    0,
  );
  assert.doesNotMatch(empty.text, /Content-Length/);
});

test('request heads go on as they were understood', () => {
  const text = `POST http://a:80/x?y HTTP/1.1\r\nHost: ignored\r\nX-Mine: 1\r\n${HOP}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`;
  const client = { lines: 'Via: 1.1 b\r\n', drops: (name: string) => name === 'x-mine' };
  const bytes = forwardRequestHead(parsed(text), 3, client);
  const expected =
    'POST /x?y HTTP/1.1\r\nHost: a:80\r\nX-End: 2\r\nDate: D\r\nContent-Length: 3\r\nVia: 1.1 b\r\n\r\n';
  assert.equal(bytes.toString(), expected);
  const chunked = forwardRequestHead(parsed(text), 'chunked', client).toString();
  assert.match(chunked, /\r\nTransfer-Encoding: chunked\r\nVia: 1.1 b\r\n\r\n$/);
});

test('error responses close where the connection is spoilt', () => {
  for (const status of [400, 408, 413, 414, 417, 421, 431, 501, 505] as const) {
    const { fields, body } = receive(errorResponse(status, 0));
    assert.equal(fields.get('connection'), 'close');
    assert.equal(fields.get('content-length'), String(body.length));
  }
  for (const status of [500, 502, 503, 504] as const) {
    const response = errorResponse(status, 0);
    assert.equal(response.close, false);
    assert.equal(receive(response).fields.has('connection'), false);
  }
  assert.equal(receive(errorResponse(503, 0)).fields.get('retry-after'), '1');
  assert.equal(receive(errorResponse(502, 0, { method: 'HEAD' })).body.length, 0);
});
