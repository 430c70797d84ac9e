/** RFC 9112, HTTP/1.1: what an origin server, a gateway and a recipient MUST do. */
import assert from 'node:assert/strict';
import { BodyReader } from '../../../src/protocol/http/body.ts';
import { errorResponse } from '../../../src/protocol/http/error-response.ts';
import { forwardInterimHead } from '../../../src/protocol/http/forward.ts';
import { responseBody } from '../../../src/protocol/http/response.ts';
import { asked, forwarded, head, replaced, requirementsOf, response } from './requirements.ts';
import { bytesOf, parsed, receive, refused } from './support.ts';

const { must, held } = requirementsOf('RFC 9112');
const TE = 'Transfer-Encoding: chunked\r\n';
const UPSTREAMS = 'serve/upstream.test.ts';

/** What a reader makes of a whole chunked body. */
function dechunked(text: string): string | null {
  const reader = BodyReader.chunked();
  const bytes = bytesOf(text);
  reader.push(bytes, 0, bytes.length);
  const pieces: string[] = [];
  for (let i = 0; i < reader.ranges.length; i += 2)
    pieces.push(bytes.toString('latin1', reader.ranges[i], reader.ranges[i + 1]));
  return reader.done ? pieces.join('') : null;
}

must('2.2', 'octets beyond ASCII are octets', () => {
  assert.equal(parsed(head('GET / HTTP/1.1', 'X: \xe9\xff\r\n')).fields.get('x'), '\xe9\xff');
});
must('2.2', 'a bare CR makes the message invalid', () => {
  for (const text of ['GET /\r HTTP/1.1', 'GET / HTTP/1.1\rX: y']) assert.equal(refused(head(text)), 400);
  assert.equal(refused(head('GET / HTTP/1.1', 'X: a\rb\r\n')), 400);
  assert.equal(replaced('HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n'), 502);
});
must('2.2', 'a bare CR is not generated', () => {
  for (const status of [400, 503] as const) {
    const [part] = errorResponse(status, 0).parts;
    assert.ok('bytes' in part && !/\r(?!\n)/.test(part.bytes.toString('latin1')));
  }
});
must('2.2', 'white space before the first field line makes the message invalid', () => {
  assert.equal(refused('GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n'), 400);
  assert.equal(replaced('HTTP/1.1 200 OK\r\n X: y\r\n\r\n'), 502);
});
must('2.3', 'our own version in forwarded messages', () => {
  assert.match(asked(head('GET / HTTP/1.0')), /^GET \/ HTTP\/1\.1\r\n/);
  assert.match(forwarded('HTTP/1.0 200 OK\r\n\r\n').text, /^HTTP\/1\.1 200 OK\r\n/);
  const interim = forwardInterimHead(response('HTTP/1.0 103 Early Hints\r\n\r\n'));
  assert.match(interim.toString(), /^HTTP\/1\.1 103 Early Hints\r\n/);
});
must('3', 'a target that is too long: 414', () => {
  assert.equal(refused(head(`GET /${'x'.repeat(9000)} HTTP/1.1`)), 414);
});
must('3.2', '400 for no Host, more than one, an invalid one', () => {
  assert.equal(refused('GET / HTTP/1.1\r\n\r\n'), 400);
  for (const version of ['1.0', '1.1']) {
    assert.equal(refused(head(`GET / HTTP/${version}`, 'Host: a\r\n')), 400);
    assert.equal(refused(`GET / HTTP/${version}\r\nHost: a b\r\n\r\n`), 400);
    assert.equal(refused(`GET http://a/ HTTP/${version}\r\nHost: a b\r\n\r\n`), 400);
  }
});
must('3.2.2', 'absolute-form is accepted, Host ignored, and replaced when it goes on', () => {
  const text = head('GET http://B.test:81/x?y HTTP/1.1');
  const { host, target, authority } = parsed(text);
  assert.deepEqual([host, target, authority], ['b.test', '/x?y', 'B.test:81']);
  assert.match(asked(text), /^GET \/x\?y HTTP\/1\.1\r\nHost: B\.test:81\r\n(?!.*\r\nHost:)/s);
});
must('3.2.4', 'OPTIONS for a URI without path and query is for the server', () => {
  assert.match(asked(head('OPTIONS http://a HTTP/1.1')), /^OPTIONS \* HTTP/);
  assert.match(asked(head('OPTIONS http://a/ HTTP/1.1')), /^OPTIONS \/ HTTP/);
  assert.match(asked(head('OPTIONS http://a?x HTTP/1.1')), /^OPTIONS \/\?x HTTP/);
});
must('4', 'a space behind the status code, also without a phrase', () => {
  assert.match(forwarded('HTTP/1.1 200\r\n\r\n').text, /^HTTP\/1\.1 200 \r\n/);
});
must('5.1', 'white space before a colon: 400', () => {
  assert.equal(refused(head('GET / HTTP/1.1', 'X : y\r\n')), 400);
});
must('5.1', 'and no response goes on with it', () => {
  assert.equal(replaced('HTTP/1.1 200 OK\r\nX : y\r\n\r\n'), 502);
});
must('5.2', 'a folded line: 400, of an upstream 502', () => {
  assert.equal(refused(head('GET / HTTP/1.1', 'X: y\r\n z\r\n')), 400);
  assert.equal(replaced('HTTP/1.1 200 OK\r\nX: y\r\n\tz\r\n\r\n'), 502);
});
must('6.1', 'chunked is read, and applied once', () => {
  assert.equal(dechunked('3\r\nabc\r\n0\r\n\r\n'), 'abc');
  assert.equal(forwarded(`HTTP/1.1 200 OK\r\n${TE}\r\n`).body, 'raw');
  assert.equal(refused(head('POST / HTTP/1.1', TE + TE)), 400);
  assert.equal(replaced(`HTTP/1.1 200 OK\r\n${TE}${TE}\r\n`), 502);
});
must('6.1', 'no Transfer-Encoding with 1xx and 204', () => {
  assert.doesNotMatch(forwarded(`HTTP/1.1 204 No Content\r\n${TE}\r\n`).text, /transfer-encoding/i);
  const interim = forwardInterimHead(response(`HTTP/1.1 103 Early Hints\r\n${TE}\r\n`));
  assert.doesNotMatch(interim.toString(), /transfer-encoding/i);
});
must('6.1', 'no Transfer-Encoding to HTTP/1.0', () => {
  for (const fields of ['', TE]) {
    const { text, close } = forwarded(`HTTP/1.1 200 OK\r\n${fields}\r\n`, 'GET', 0);
    assert.doesNotMatch(text, /transfer-encoding/i);
    assert.ok(close);
  }
});
must('6.1', 'Transfer-Encoding beside Content-Length, or in HTTP/1.0: the connection is closed', () => {
  assert.equal(refused(head('POST / HTTP/1.1', `Content-Length: 3\r\n${TE}`)), 400);
  assert.equal(refused(head('POST / HTTP/1.0', TE)), 400);
  assert.ok(errorResponse(400, 0).close);
  assert.equal(replaced(`HTTP/1.1 200 OK\r\nContent-Length: 3\r\n${TE}\r\n`), 502);
  assert.equal(replaced(`HTTP/1.0 200 OK\r\n${TE}\r\n`), 502);
});
must('6.1', 'other codings are not implemented: 501 (SHOULD)', () => {
  for (const coding of ['gzip', 'x-new'])
    assert.equal(refused(head('POST / HTTP/1.1', `Transfer-Encoding: ${coding}, chunked\r\n`)), 501);
});
must('6.2', 'no Content-Length with Transfer-Encoding', () => {
  assert.doesNotMatch(forwarded(`HTTP/1.1 200 OK\r\n${TE}\r\n`).text, /content-length/i);
  assert.doesNotMatch(asked(head('POST / HTTP/1.1', TE), 'chunked'), /content-length/i);
  assert.doesNotMatch(asked(head('POST / HTTP/1.1', TE), 3), /transfer-encoding/i);
});
must('6.3', 'a response to HEAD, 1xx, 204 and 304 end with their heads', () => {
  for (const fields of [TE, 'Content-Length: 9\r\n']) {
    assert.ok(responseBody(response(`HTTP/1.1 200 OK\r\n${fields}\r\n`, 'HEAD')).done);
    for (const status of ['103 E', '204 N', '304 N'])
      assert.ok(responseBody(response(`HTTP/1.1 ${status}\r\n${fields}\r\n`)).done, status);
  }
});
must('6.3', 'chunked is not the last coding: 400', () => {
  assert.equal(refused(head('POST / HTTP/1.1', 'Transfer-Encoding: chunked, gzip\r\n')), 400);
  assert.equal(refused(head('POST / HTTP/1.1', 'Transfer-Encoding: identity\r\n')), 400);
});
must('6.3', 'an invalid Content-Length: 400, of an upstream 502', () => {
  for (const value of ['x', '-1', '+1', '1 2', '1,2', '']) {
    assert.equal(refused(head('POST / HTTP/1.1', `Content-Length: ${value}\r\n`)), 400, value);
    assert.equal(replaced(`HTTP/1.1 200 OK\r\nContent-Length: ${value}\r\n\r\n`), 502, value);
  }
});
must('6.3', 'a body that breaks off is incomplete', () => {
  for (const reader of [BodyReader.ofLength(9), BodyReader.chunked()]) {
    reader.push(bytesOf('3\r\nabc\r\n'), 0, 8);
    assert.equal(reader.finish(), false);
  }
});
held(
  '6.3',
  'what comes behind a response is none',
  UPSTREAMS,
  'what came behind a response is not taken for the next',
);
// Not ours: 6.3, a user agent’s request body: requests go on as they were framed, with a length when it is known.
must('7.1', 'large chunk sizes do not overflow', () => {
  for (const size of ['fffffffffffff', '10000000000000000', '00000000000001']) {
    const reader = BodyReader.chunked(1000);
    const bytes = bytesOf(`${size}\r\n`);
    reader.push(bytes, 0, bytes.length);
    assert.notEqual(reader.fault, null, size);
  }
});
must('7.1.1', 'chunk extensions are ignored, and white space before them', () => {
  assert.equal(dechunked('3;a=b\r\nabc\r\n1 \t;c="d;e"\r\nf\r\n0 ;g\r\n\r\n'), 'abcf');
});
must('7.1.2', 'trailer fields are not merged into the head', () => {
  assert.equal(dechunked('3\r\nabc\r\n0\r\nContent-Length: 9\r\nX: y\r\n\r\n'), 'abc');
  // To HTTP/1.1 they go on where they are, to HTTP/1.0 not at all.
  assert.equal(forwarded(`HTTP/1.1 200 OK\r\n${TE}\r\n`, 'GET', 0).body, 'dechunk');
});
// Not ours: 7.4, TE is not sent: an upstream’s trailers are not asked for.
// Not ours: 8, nothing is stored: an incomplete response ends with a reset.
held(
  '9.2',
  'data that nobody asked for is no response',
  UPSTREAMS,
  'what came behind a response is not taken for the next',
);
held(
  '9.3',
  'a body is read, or the connection closed',
  'whole/cluster/upstreams.test.ts',
  'an answer before the body is through: the next request',
);
// Not ours: 9.3, HTTP/1.0 clients may keep their connection: they asked an origin server, no proxy.
held(
  '9.3.2',
  'responses in the order of their requests',
  'whole/cluster/bytes.test.ts',
  '16 pipelined requests at a time',
);
held(
  '9.6',
  'nothing behind close is answered',
  'whole/cluster/upstreams.test.ts',
  'nothing behind a request that closes is answered',
);
must('9.6', 'an upstream’s connection that it closes is used no more', () => {
  assert.equal(
    response('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n').keepAlive,
    false,
  );
});
must('9.6', 'what we send before we close says so', () => {
  for (const status of [400, 408, 413, 414, 417, 421, 431, 501, 505] as const)
    assert.equal(receive(errorResponse(status, 0)).fields.get('connection'), 'close');
});
// Not ours: 9.7, 9.8, no TLS.
