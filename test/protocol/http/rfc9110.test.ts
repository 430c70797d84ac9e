/** RFC 9110, semantics: what an origin server, a gateway and a recipient MUST do. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import { Content } from '../../../src/protocol/http/content.ts';
import { formatDate, parseDate } from '../../../src/protocol/http/date.ts';
import { errorResponse } from '../../../src/protocol/http/error-response.ts';
import { forwardInterimHead, forwardsLeft } from '../../../src/protocol/http/forward.ts';
import { isInLoop } from '../../../src/protocol/http/forwarded.ts';
import { asked, forwarded, head, replaced, requirementsOf, response } from './requirements.ts';
import { parse, parsed, type Received, receive, refused } from './support.ts';

const { must, held } = requirementsOf('RFC 9110');
const NOW = 1_700_000_000_500;
const TE = 'Transfer-Encoding: chunked\r\n';

const root = fs.mkdtempSync(join(tmpdir(), 'baton-rfc-'));
for (const [name, text] of [
  ['a.txt', '0123456789'],
  ['c.txt', 'c'.repeat(99)],
  ['c.txt.gz', 'gz'],
]) {
  fs.writeFileSync(join(root, name), text);
  fs.utimesSync(join(root, name), 1_600_000_000, 1_600_000_000);
}
fs.writeFileSync(join(root, 'future.txt'), 'x');
fs.utimesSync(join(root, 'future.txt'), 1_800_000_000, 1_800_000_000);
const content = new Content({ root });
after(() => {
  content.close();
  fs.rmSync(root, { recursive: true });
});

/** What a root directory answers. */
function got(line: string, fields = ''): Received {
  const request = parsed(head(`${line} HTTP/1.1`, fields));
  const made = content.respond(request, NOW, { close: false, extraFields: '' });
  try {
    return receive(made);
  } finally {
    made.release();
  }
}

must('4.2.1', 'a URI without a host is invalid', () => {
  assert.equal(refused(head('GET http:///x HTTP/1.1')), 400);
  assert.equal(refused(head('GET http://:80/x HTTP/1.1')), 400);
});
must('5.1', 'fields that nobody knows go on', () => {
  assert.match(asked(head('GET / HTTP/1.1', 'X-New: y\r\n')), /\r\nX-New: y\r\n/);
  assert.match(forwarded('HTTP/1.1 200 OK\r\nX-New: y\r\n\r\n').text, /\r\nX-New: y\r\n/);
});
must('5.3', 'the order of lines of one name stays', () => {
  const lines = 'A: 1\r\nB: 2\r\nA: 3\r\n';
  assert.ok(asked(head('GET / HTTP/1.1', lines)).includes(lines));
  assert.ok(forwarded(`HTTP/1.1 200 OK\r\n${lines}\r\n`).text.includes(lines));
});
must('5.3', 'no name twice in what we make', () => {
  // `receive` looks.
  for (const line of ['GET /a.txt', 'GET /c.txt', 'PUT /a.txt', 'OPTIONS /']) got(line);
  const text = head('GET / HTTP/1.1', 'Via: 1.0 x\r\nMax-Forwards: 3\r\n');
  for (const name of ['Via', 'Host', 'Max-Forwards'])
    assert.equal(asked(text).split(`\r\n${name}: `).length, 2, name);
});
must('5.3', 'nothing is done before the whole head is there', () => {
  const text = head('GET / HTTP/1.1', 'X: y\r\n');
  for (let cut = 0; cut < text.length; cut++) assert.equal(parse(text.slice(0, cut)), null);
});
must('5.4', 'fields beyond the limits: 4xx', () => {
  assert.equal(refused(head('GET / HTTP/1.1', `X: ${'y'.repeat(20_000)}\r\n`)), 431);
  assert.equal(refused(head('GET / HTTP/1.1', 'X: y\r\n'.repeat(200))), 431);
});
must('5.5', 'white space around a value is none of it', () => {
  assert.equal(parsed(head('GET / HTTP/1.1', 'X: \t y z \t\r\n')).fields.get('x'), 'y z');
});
must('5.5', 'CR, LF and NUL make a value invalid', () => {
  for (const byte of ['\r', '\n', '\0']) {
    assert.equal(refused(head('GET / HTTP/1.1', `X: a${byte}b\r\n`)), 400);
    assert.equal(replaced(`HTTP/1.1 200 OK\r\nX: a${byte}b\r\n\r\n`), 502);
  }
});
must('5.6.1.2', 'empty list elements are ignored', () => {
  // But in Transfer-Encoding, where a list that others read otherwise would hide a request.
  assert.equal(parsed(head('GET / HTTP/1.1', 'Connection: , ,close,\r\n')).keepAlive, false);
  const post = parsed(head('POST / HTTP/1.1', 'Content-Length: 1\r\nExpect: ,100-continue,\r\n'));
  assert.equal(post.expectContinue, true);
  assert.equal(got('GET /c.txt', 'Accept-Encoding: ,,gzip\r\n').fields.get('content-encoding'), 'gzip');
  assert.equal(got('GET /a.txt', 'Range: bytes=,1-2,\r\n').body.toString(), '12');
  assert.equal(got('GET /a.txt', 'If-Match: , ,"none",\r\n').status, 412);
});
held(
  '5.6.3',
  'white space where it is bad is ignored',
  'protocol/http/rfc9112.test.ts',
  'and white space before them',
);
// Not ours: 5.6.4, no quoted string's value is looked at.
must('5.6.7', 'three forms of dates are understood, one is made', () => {
  const time = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const text of [
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
  ])
    assert.equal(parseDate(text, NOW), time);
  assert.equal(formatDate(time), 'Sun, 06 Nov 1994 08:49:37 GMT');
  assert.equal(parseDate('Friday, 06-Nov-77 08:49:37 GMT', NOW), Date.UTC(1977, 10, 6, 8, 49, 37));
});
must('6.6.1', 'Date with 2xx, 3xx and 4xx, and where an upstream has none', () => {
  const tag = got('GET /a.txt').fields.get('last-modified');
  for (const [line, fields, status] of [
    ['GET /a.txt', '', 200],
    ['GET /a.txt', `If-Modified-Since: ${tag}\r\n`, 304],
    ['GET /none', '', 404],
    ['PUT /a.txt', '', 405],
  ] as const) {
    const answer = got(line, fields);
    assert.equal(answer.status, status);
    assert.equal(answer.fields.get('date'), formatDate(NOW));
  }
  assert.ok(receive(errorResponse(400, NOW)).fields.has('date'));
  assert.match(forwarded('HTTP/1.1 200 OK\r\n\r\n').text, /\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n/);
  assert.match(forwarded('HTTP/1.1 200 OK\r\nDate: D\r\n\r\n').text, /\r\nDate: D\r\n(?!.*\r\nDate)/s);
});
must('7.1', 'asterisk-form and authority-form are for their methods', () => {
  assert.equal(refused(head('GET * HTTP/1.1')), 400);
  assert.equal(refused(head('GET a:80 HTTP/1.1')), 400);
});
must('7.4', 'https is refused on a connection that is not secured', () => {
  assert.equal(refused(head('GET https://a/ HTTP/1.1')), 421);
});
must('7.6', 'no request goes in circles for ever', () => {
  let text = head('GET / HTTP/1.1');
  let hops = 0;
  for (; !isInLoop(parsed(text)); hops++) text = asked(text);
  assert.equal(hops, 10);
  assert.equal(isInLoop(parsed(head('GET / HTTP/1.1', `Via: ${'1.1 other, '.repeat(50)}1.1 x\r\n`))), false);
});
must('7.6.1', 'what Connection names stays here, in heads and in trailers', () => {
  const fields = 'Connection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-End: 2\r\n';
  const interim = forwardInterimHead(response(`HTTP/1.1 103 E\r\n${fields}\r\n`)).toString();
  for (const text of [
    asked(head('GET / HTTP/1.1', fields)),
    forwarded(`HTTP/1.1 200 OK\r\n${fields}\r\n`).text,
    interim,
  ]) {
    assert.doesNotMatch(text, /x-hop|keep-alive|connection/i);
    assert.match(text, /\r\nX-End: 2\r\n/);
  }
  assert.equal(forwarded(`HTTP/1.1 200 OK\r\n${TE}${fields}\r\n`).body, 'enchunk');
  assert.equal(forwarded(`HTTP/1.1 200 OK\r\n${TE}Connection: close\r\n\r\n`).body, 'raw');
});
must('7.6.2', 'Max-Forwards is counted down with OPTIONS, and not made', () => {
  const of = (method: string, value: string) => head(`${method} / HTTP/1.1`, `Max-Forwards: ${value}\r\n`);
  assert.match(asked(of('OPTIONS', '7')), /\r\nMax-Forwards: 6\r\n/);
  assert.equal(forwardsLeft(parsed(of('OPTIONS', '0'))), 0);
  assert.equal(forwardsLeft(parsed(of('GET', '0'))), null);
  assert.match(asked(of('GET', '7')), /\r\nMax-Forwards: 7\r\n/);
  assert.doesNotMatch(asked(head('OPTIONS / HTTP/1.1')), /max-forwards/i);
});
must('7.6.3', 'Via in each request that goes on, behind what is there', () => {
  assert.match(asked(head('GET / HTTP/1.0')), /\r\nVia: 1\.0 baton\r\n/);
  assert.match(
    asked(head('GET / HTTP/1.1', 'Via: 1.0 x\r\nVia: 1.1 y\r\n')),
    /\r\nVia: 1\.0 x, 1\.1 y, 1\.1 baton\r\n/,
  );
});
must('7.7', 'path and query go on as they are', () => {
  const target = '/a//b/../%7e%2F;x?y=%41&&z#'.slice(0, -1);
  assert.ok(asked(head(`GET ${target} HTTP/1.1`)).startsWith(`GET ${target} `));
});
must('7.8', 'no protocol is changed, and Upgrade does not go on', () => {
  assert.doesNotMatch(asked(head('GET / HTTP/1.1', 'Connection: upgrade\r\nUpgrade: h2c\r\n')), /upgrade/i);
  assert.equal(replaced('HTTP/1.1 101 S\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n'), 502);
});
must('8.4', 'a coded file says so', () => {
  const { fields, body } = got('GET /c.txt', 'Accept-Encoding: gzip\r\n');
  assert.deepEqual([fields.get('content-encoding'), body.toString()], ['gzip', 'gz']);
});
must('8.6', 'lengths: as GET has it, none with 204 and 1xx, none that is too large', () => {
  assert.equal(
    got('HEAD /a.txt').fields.get('content-length'),
    got('GET /a.txt').fields.get('content-length'),
  );
  assert.equal(got('OPTIONS /').fields.has('content-length'), false);
  for (const status of ['204 N', '103 E']) {
    const given = response(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`);
    const text = given.interim
      ? forwardInterimHead(given).toString()
      : forwarded(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`).text;
    assert.doesNotMatch(text, /content-length/i);
  }
  assert.equal(refused(head('POST / HTTP/1.1', `Content-Length: ${'9'.repeat(20)}\r\n`)), 400);
});
must('8.8.2.1', 'Last-Modified is not later than Date', () => {
  assert.equal(got('GET /future.txt').fields.get('last-modified'), formatDate(NOW));
});
held(
  '8.8.3',
  'an entity tag that is not strong is weak',
  'protocol/http/versions.test.ts',
  'a large file has a weak validator until it has been read',
);
must('9.1', 'GET and HEAD are answered', () => {
  for (const method of ['GET', 'HEAD']) assert.equal(got(`${method} /a.txt`).status, 200);
  // SHOULD: who does not know a method says so, who knows it says what there is.
  assert.deepEqual([got('BREW /a.txt').status, got('POST /a.txt').status], [501, 405]);
});
held(
  '9.2.2',
  'what is not idempotent is not repeated',
  'serve/upstream.test.ts',
  'only when it may be sent twice',
);
must('9.3.2', 'no content to HEAD', () => {
  for (const path of ['/a.txt', '/none']) assert.equal(got(`HEAD ${path}`).body.length, 0);
  assert.equal(receive(errorResponse(502, 0, { method: 'HEAD' })).body.length, 0);
});
must('9.3.6', 'CONNECT is refused', () => {
  for (const target of ['a:443', 'a:', 'a:x'])
    assert.ok(refused(`CONNECT ${target} HTTP/1.1\r\nHost: a\r\n\r\n`) >= 400);
});
// Not ours: 9.3.4, 8.7, PUT is an upstream's.
must('10.1.1', 'HTTP/1.0 expects nothing', () => {
  assert.equal(
    parsed('POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n').expectContinue,
    false,
  );
});
held(
  '10.1.1',
  'what is clear from the head is answered',
  'whole/cluster/upstreams.test.ts',
  'who waits to be invited to send a body',
);
held(
  '10.1.1',
  'else 100 before the content, and a final status',
  'whole/cluster/clients.test.ts',
  'Expect: 100-continue',
);
must('10.2.1', 'Allow with 405, and an upstream’s as it is', () => {
  assert.equal(got('DELETE /a.txt').fields.get('allow'), 'GET, HEAD, OPTIONS');
  assert.match(forwarded('HTTP/1.1 405 No\r\nAllow: BREW\r\n\r\n').text, /\r\nAllow: BREW\r\n/);
});
must('11.6', 'Authorization and WWW-Authenticate go on as they are', () => {
  assert.match(asked(head('GET / HTTP/1.1', 'Authorization: X  y=z\r\n')), /\r\nAuthorization: X {2}y=z\r\n/);
  assert.match(
    forwarded('HTTP/1.1 401 No\r\nWWW-Authenticate: X a, Y\r\n\r\n').text,
    /\r\nWWW-Authenticate: X a, Y\r\n/,
  );
});
// Not ours: 11.7.1, 15.5.8, nobody is asked for proxy authentication.
must('12.5.5', 'Vary is not "*"', () => {
  assert.equal(got('GET /c.txt').fields.get('vary'), 'Accept-Encoding');
});
held(
  '13.1',
  'comparison and evaluation of conditions',
  'protocol/http/semantics.test.ts',
  'entity tags: strong and weak comparison',
);
held(
  '13.2.2',
  'the order of conditions',
  'protocol/http/semantics.test.ts',
  'conditions in the order of RFC 9110 13.2.2',
);
must('13.1', 'what a condition forbids is not done', () => {
  const { fields } = got('GET /a.txt');
  const conditions: [string, number][] = [
    ['If-Match: "none"', 412],
    [`If-None-Match: ${fields.get('etag')}`, 304],
    [`If-Modified-Since: ${fields.get('last-modified')}`, 304],
    [`If-Modified-Since: ${fields.get('last-modified')}, x`, 200],
    [`If-Unmodified-Since: ${formatDate(0)}`, 412],
    [`If-Unmodified-Since: ${formatDate(0)}, ${formatDate(0)}`, 200],
    ['If-Range: "none"\r\nRange: bytes=0-1', 200],
    ['If-Range: "none"', 200],
  ];
  for (const [line, status] of conditions)
    assert.equal(got('GET /a.txt', `${line}\r\n`).status, status, line);
});
must('13.2.1', 'conditions are ignored where the answer is no 2xx, and go on to upstreams', () => {
  assert.equal(got('GET /none', 'If-Match: "x"\r\n').status, 404);
  assert.equal(got('PUT /a.txt', 'If-Match: "x"\r\n').status, 405);
  assert.equal(got('OPTIONS /a.txt', 'If-Match: "x"\r\n').status, 204);
  assert.match(asked(head('GET / HTTP/1.1', 'If-Match: "x"\r\n')), /\r\nIf-Match: "x"\r\n/);
});
must('14.1.2', 'large numbers in ranges', () => {
  assert.equal(got('GET /a.txt', `Range: bytes=0-${'9'.repeat(15)}\r\n`).body.length, 10);
  assert.equal(got('GET /a.txt', `Range: bytes=0-${'9'.repeat(30)}\r\n`).status, 200);
});
must('14.2', 'Range is ignored with other methods and units', () => {
  assert.equal(got('HEAD /a.txt', 'Range: bytes=0-1\r\n').status, 200);
  assert.equal(got('GET /a.txt', 'Range: lines=0-1\r\n').status, 200);
});
held('15.2', 'no 1xx to HTTP/1.0', 'serve/interim.test.ts', 'HTTP/1.0 knows none');
held(
  '15.2',
  '1xx go on',
  'whole/cluster/upstreams.test.ts',
  'interim responses come before the response, from whoever sends it',
);
must('15.3.7', '206 has the fields of 200, and says which part it is', () => {
  const { fields } = got('GET /c.txt');
  const one = got('GET /c.txt', 'Range: bytes=2-3\r\n');
  for (const name of ['date', 'etag', 'vary']) assert.equal(one.fields.get(name), fields.get(name));
  assert.deepEqual([one.status, one.fields.get('content-range'), one.body.length], [206, 'bytes 2-3/99', 2]);
  const two = got('GET /c.txt', 'Range: bytes=0-1,9-9\r\n');
  assert.match(two.fields.get('content-type')!, /^multipart\/byteranges; boundary=\S+$/);
  assert.equal(two.fields.has('content-range'), false);
  assert.equal(two.body.toString().match(/\r\nContent-Range: bytes (0-1|9-9)\/99\r\n\r\n/g)?.length, 2);
  // RFC 9110 8.3.3.
  assert.doesNotMatch(two.body.toString(), /\r(?!\n)|(?<!\r)\n/);
});
must('15.4.5', '304 has what would tell the representation', () => {
  const { fields } = got('GET /c.txt');
  const { status, fields: told } = got('GET /c.txt', `If-None-Match: ${fields.get('etag')}\r\n`);
  assert.equal(status, 304);
  for (const name of ['date', 'etag', 'vary']) assert.equal(told.get(name), fields.get(name), name);
});
// Not ours: 15.5.2, 15.5.22 and others, statuses that only upstreams have; caches, clients, TLS, registries.
