/** Heads and bodies that two servers could frame differently. All are refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyReader } from '../../../src/protocol/http/body.ts';
import { DEFAULT_HEAD_LIMITS, HeadError } from '../../../src/protocol/http/request.ts';
import { parseResponseHead } from '../../../src/protocol/http/response.ts';
import { bytesOf, refused } from './support.ts';

const CL = 'Content-Length: 5\r\n';
const TE = 'Transfer-Encoding: chunked\r\n';

/** Field lines of a POST that is refused, by class. */
const FIELDS: Record<string, string[]> = {
  'CL.TE and TE.CL': [CL + TE, TE + CL, `${CL}X: y\r\n${TE}`, `Content-Length: 0\r\n${TE}`],
  'TE.TE': [
    TE + TE,
    `${TE}Transfer-Encoding: identity\r\n`,
    'Transfer-Encoding: identity\r\n',
    'Transfer-Encoding: xchunked\r\n',
    'Transfer-Encoding: chunkedx\r\n',
    'Transfer-Encoding: chunked, identity\r\n',
    'Transfer-Encoding: identity, chunked\r\n',
    'Transfer-Encoding: chunked, chunked\r\n',
    'Transfer-Encoding: chunked,\r\n',
    'Transfer-Encoding: ,chunked\r\n',
    'Transfer-Encoding: "chunked"\r\n',
    'Transfer-Encoding: chunked;q=1\r\n',
    'Transfer-Encoding: gzip, chunked\r\n',
    'Transfer-Encoding:\r\n',
    'Transfer-Encoding: \x0bchunked\r\n',
    'Transfer-Encoding: chunked\x0c\r\n',
    'Transfer-Encoding:\xa0chunked\r\n',
    'Transfer-Encoding: chun\0ked\r\n',
    'Transfer-Encoding\t: chunked\r\n',
    'Transfer-Encoding : chunked\r\n',
    ' Transfer-Encoding: chunked\r\n',
    'X: y\r\n Transfer-Encoding: chunked\r\n',
    'X: y\nTransfer-Encoding: chunked\r\n',
    'X: y\rTransfer-Encoding: chunked\r\n',
    'Transfer-Encoding:\r\n chunked\r\n',
    'Transfer\xadEncoding: chunked\r\n',
  ],
  'Content-Length': [
    CL + CL,
    `${CL}content-length: 6\r\n`,
    ...['5, 5', '5,6', '+5', '-5', '-0', '0x5', '5e0', '5.0', '5 5', '', '5;', '"5"', '٥', '1e1'].map(
      (value) => `Content-Length: ${value}\r\n`,
    ),
    `Content-Length: ${'9'.repeat(16)}\r\n`,
    'Content-Length: 18446744073709551621\r\n',
    'Content-Length : 5\r\n',
    'Content-Length: 5\0\r\n',
    'Content-Length: 5\n',
    'Content-Length:\n 5\r\n',
  ],
  'line structure': [
    'X: y\r\n z\r\n',
    'X: y\r\n\tz\r\n',
    'X: y\n',
    'X: y\r',
    'X\r\n',
    ': y\r\n',
    'X y: z\r\n',
    'X\0: z\r\n',
    'X: \0\r\n',
    'X: \x7f\r\n',
    'X: \x1b\r\n',
    'X(: y\r\n',
    '\xe9: y\r\n',
    '\n',
  ],
  host: ['Host: a\r\n', 'host: b\r\n', 'HOST: \r\n'],
};

for (const [name, lines] of Object.entries(FIELDS)) {
  test(`refused: ${name}`, () => {
    for (const line of lines) {
      const status = refused(`POST / HTTP/1.1\r\nHost: a\r\n${line}\r\n0\r\n\r\n`);
      assert.ok(status === 400 || status === 501, JSON.stringify(line));
    }
  });
}

test('refused: request lines', () => {
  const lines = [
    ...[
      'GET  / HTTP/1.1',
      'GET /  HTTP/1.1',
      'GET\t/ HTTP/1.1',
      ' GET / HTTP/1.1',
      'GET / HTTP/1.1 ',
      'GET /',
    ],
    ...[
      'GET / http/1.1',
      'GET / HTTP/1',
      'GET / HTTP/01.1',
      'GET / HTTP/1.10',
      'GET / HTTP/1,1',
      'GET /a b HTTP/1.1',
    ],
    ...[
      'G\0T / HTTP/1.1',
      'GET /\0 HTTP/1.1',
      'GET /\x7f HTTP/1.1',
      'GET /\r HTTP/1.1',
      'get / HTTP/1.1',
      'GET \\ HTTP/1.1',
    ],
    ...[
      'GET http://b:x/ HTTP/1.1',
      'GET http://b,a/ HTTP/1.1',
      'GET http:///x HTTP/1.1',
      'GET http://a@b/ HTTP/1.1',
    ],
    ...[
      'GET http:/x HTTP/1.1',
      'GET //[ HTTP/1.1\n',
      'GET / HTTP/1.1\n',
      'GET / HTTP/1.1\rX: y',
      'GET  HTTP/1.1',
    ],
  ];
  for (const line of lines) assert.ok(refused(`${line}\r\nHost: a\r\n\r\n`) >= 400, line);
  for (const host of [
    'a,b',
    'a b',
    'a/b',
    'a:b',
    'a:99999',
    'a:80:80',
    '[::1',
    '[a]',
    'a\\b',
    ':80',
    'a#',
    'a?b',
    '::1',
  ]) {
    assert.equal(refused(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`), 400, host);
  }
  assert.equal(refused('GET / HTTP/1.1\r\n\r\n'), 400);
  assert.equal(refused(`POST / HTTP/1.0\r\nHost: a\r\n${TE}\r\n`), 400);
});

test('refused: chunk tricks', () => {
  const bodies = [
    ...[
      '5 \r\nhello\r\n0\r\n\r\n',
      '5 5;a\r\nhello',
      '5 \n;a\r\nhello',
      ' ;a\r\n',
      '5 \x0b;a\r\nhello',
      ' 5\r\nhello',
      '+5\r\n',
      '-5\r\n',
      '0x5\r\nhello',
      '5\nhello\r\n',
      '5\r\nhello0\r\n',
    ],
    ...[
      '\r\n',
      ';\r\n',
      '5\rhello',
      '5\r\nhelloX\r\n',
      '5\r\nhelloX\n0\r\n\r\n',
      '5\r\nhello\n0\r\n',
      '5\r\nhello\rX',
      'g\r\n',
      '5,5\r\n',
      '5\t\r\n',
    ],
    ...[
      'fffffffffffff\r\n',
      '0000000000005\r\n',
      '5;a\nb\r\nhello',
      '5;a\0\r\nhello',
      '5;a\rb',
      '0\r\n\n',
      '0\r\n\rX',
    ],
    ...[
      '0\r\n a: b\r\n\r\n',
      '0\r\na b\r\n\r\n',
      '0\r\na: b\n\r\n',
      '0\r\n: b\r\n\r\n',
      '0\n\r\n',
      '0\r\na: \0\r\n\r\n',
    ],
    `0\r\n${'a: b\r\n'.repeat(2000)}\r\n`,
    `5;${'x'.repeat(5000)}\r\n`,
    `5${' '.repeat(5000)};x\r\n`,
    `${`1;${'x'.repeat(1000)}\r\na\r\n`.repeat(5)}0\r\n\r\n`,
  ];
  for (const body of bodies) {
    const reader = BodyReader.chunked();
    const bytes = bytesOf(body);
    assert.equal(reader.push(bytes, 0, bytes.length), 0, JSON.stringify(body));
    assert.notEqual(reader.fault, null);
    assert.equal(reader.ranges.length, 0);
  }
});

test('refused: ambiguous responses of an upstream', () => {
  const heads = [
    ...[CL + TE, CL + CL, TE + TE, 'Transfer-Encoding: gzip, chunked\r\n', 'X: y\r\n z\r\n', 'X : y\r\n'].map(
      (fields) => `HTTP/1.1 200 OK\r\n${fields}\r\n`,
    ),
    ...[
      'HTTP/1.1 200 OK\n\n',
      'HTTP/2.0 200 OK\r\n\r\n',
      'HTTP/1.1 099 X\r\n\r\n',
      'HTTP/1.1 600 X\r\n\r\n',
      'ICY 200 OK\r\n\r\n',
    ],
    ...['HTTP/1.1 101 Switching\r\n\r\n', `HTTP/1.0 200 OK\r\n${TE}\r\n`, 'HTTP/1.1 2000 OK\r\n\r\n'],
  ];
  for (const head of heads) {
    const bytes = bytesOf(head);
    const result = parseResponseHead(bytes, 0, bytes.length, DEFAULT_HEAD_LIMITS, 'GET');
    assert.ok(result instanceof HeadError && result.status === 502, JSON.stringify(head));
  }
});
