/** Dates, conditions, ranges, paths and codings, as tables. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { judgeConditions, matchesAny, rangeMayApply } from '../../../src/protocol/http/conditional.ts';
import { currentDate, formatDate, parseDate } from '../../../src/protocol/http/date.ts';
import { chooseVariant } from '../../../src/protocol/http/negotiate.ts';
import { directoryLocation, resolvePath } from '../../../src/protocol/http/path.ts';
import { contentRange, frameMultipart, MAX_RANGES, parseRanges } from '../../../src/protocol/http/range.ts';

const NOW = Date.UTC(2026, 0, 2);
const TIME = Date.UTC(1994, 10, 6, 8, 49, 37);

test('the three forms of dates', () => {
  for (const text of [
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
  ]) {
    assert.equal(parseDate(text, NOW), TIME, text);
  }
  assert.equal(parseDate('Friday, 06-Nov-70 08:49:37 GMT', NOW), Date.UTC(2070, 10, 6, 8, 49, 37));
  assert.equal(parseDate('Friday, 06-Nov-77 08:49:37 GMT', NOW), Date.UTC(1977, 10, 6, 8, 49, 37));
  const bad = [
    ...[
      '',
      '0',
      'Sun, 6 Nov 1994 08:49:37 GMT',
      'Sun, 06 Nov 1994 08:49:37',
      'Sun, 06 Nov 1994 08:49:37 UTC',
    ],
    ...['sun, 06 nov 1994 08:49:37 gmt', 'Sun, 31 Feb 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 24:00:00 GMT'],
    ...[
      'Sun, 06 Nov 94 08:49:37 GMT',
      '1994-11-06T08:49:37Z',
      ' Sun, 06 Nov 1994 08:49:37 GMT',
      'Sun, 00 Nov 1994 08:49:37 GMT',
    ],
  ];
  for (const text of bad) assert.ok(Number.isNaN(parseDate(text, NOW)), text);
});

test('dates round-trip, and the cache follows the second', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 4e9 }), (second) => {
      assert.equal(parseDate(formatDate(second * 1000), NOW), second * 1000);
      assert.equal(currentDate(second * 1000 + 999), formatDate(second * 1000));
    }),
  );
});

test('entity tags: strong and weak comparison', () => {
  const rows: [string, string, boolean, boolean][] = [
    ['W/"1"', 'W/"1"', false, true],
    ['W/"1"', 'W/"2"', false, false],
    ['W/"1"', '"1"', false, true],
    ['"1"', '"1"', true, true],
    ['*', '"1"', true, true],
    ['"0", "a,b" , W/"1"', '"a,b"', true, true],
    [', ,"0",,"1"', '"1"', true, true],
    ['"0" "1"', '"1"', false, false],
    ['1', '"1"', false, false],
    ['"1', '"1"', false, false],
    ['w/"1"', '"1"', false, false],
  ];
  for (const [list, etag, strong, weak] of rows) {
    assert.equal(matchesAny(list, etag, true), strong, list);
    assert.equal(matchesAny(list, etag, false), weak, list);
  }
});

test('conditions in the order of RFC 9110 13.2.2', () => {
  const validators = { etag: '"1"', lastModifiedMs: TIME + 500 };
  const same = formatDate(TIME);
  const before = formatDate(TIME - 1000);
  const none = {
    method: 'GET',
    ifMatch: undefined,
    ifNoneMatch: undefined,
    ifModifiedSince: undefined,
    ifUnmodifiedSince: undefined,
  };
  const rows: [Partial<Record<keyof typeof none, string>>, string][] = [
    [{}, 'proceed'],
    [{ ifMatch: '"1"' }, 'proceed'],
    [{ ifMatch: 'W/"1"' }, 'failed'],
    [{ ifMatch: '"2"' }, 'failed'],
    [{ ifMatch: '"1"', ifUnmodifiedSince: before }, 'proceed'],
    [{ ifUnmodifiedSince: before }, 'failed'],
    [{ ifUnmodifiedSince: same }, 'proceed'],
    [{ ifUnmodifiedSince: 'junk' }, 'proceed'],
    [{ ifNoneMatch: 'W/"1"' }, 'not-modified'],
    [{ ifNoneMatch: '*', method: 'HEAD' }, 'not-modified'],
    [{ ifNoneMatch: '"1"', method: 'PUT' }, 'failed'],
    [{ ifNoneMatch: '"2"', ifModifiedSince: same }, 'proceed'],
    [{ ifNoneMatch: '"1"', ifModifiedSince: before }, 'not-modified'],
    [{ ifModifiedSince: same }, 'not-modified'],
    [{ ifModifiedSince: before }, 'proceed'],
    [{ ifModifiedSince: 'junk' }, 'proceed'],
    [{ ifModifiedSince: same, method: 'PUT' }, 'proceed'],
    [{ ifMatch: '"1"', ifNoneMatch: '"1"' }, 'not-modified'],
    [{ ifMatch: '"2"', ifNoneMatch: '"1"' }, 'failed'],
    [{ ifUnmodifiedSince: before, ifModifiedSince: same }, 'failed'],
  ];
  for (const [conditions, verdict] of rows) {
    assert.equal(
      judgeConditions({ ...none, ...conditions }, validators, NOW),
      verdict,
      JSON.stringify(conditions),
    );
  }
});

test('If-Range', () => {
  const rows: [string | undefined, boolean][] = [
    [undefined, true],
    ['"1"', true],
    ['"2"', false],
    ['W/"1"', false],
    // Two releases may have the same date and other bytes.
    [formatDate(TIME), false],
    ['junk', false],
  ];
  for (const [field, applies] of rows) assert.equal(rangeMayApply(field, { etag: '"1"' }), applies, field);
  assert.equal(rangeMayApply('W/"1"', { etag: 'W/"1"' }), false);
});

test('ranges', () => {
  const rows: [string, number, string | null][] = [
    ['bytes=0-0', 10, '0-1'],
    ['Bytes=2-', 10, '2-10'],
    ['bytes=-3', 10, '7-10'],
    ['bytes=-30', 10, '0-10'],
    ['bytes=5-99', 10, '5-10'],
    ['bytes=10-', 10, ''],
    ['bytes=-0', 10, ''],
    ['bytes=0-', 0, ''],
    ['bytes=-5', 0, null],
    ['bytes=0-1, 4-5', 10, '0-2 4-6'],
    ['bytes=4-5,0-1', 10, '4-6 0-2'],
    ['bytes=0-5,3-7', 10, '0-8'],
    ['bytes=0-1,2-3', 10, '0-4'],
    ['bytes=0-1,8-9,1-8', 10, '0-10'],
    ['bytes=,0-1,,', 10, '0-2'],
    ['bytes=0-1,99-', 10, '0-2'],
    ['bytes=', 10, null],
    ['bytes=-', 10, null],
    ['bytes=2-1', 10, null],
    ['bytes=1', 10, null],
    ['bytes=a-b', 10, null],
    ['bytes=0x1-2', 10, null],
    ['bytes=0 -1', 10, null],
    ['bytes = 0-1', 10, null],
    ['lines=0-1', 10, null],
    ['bytes=0-1;2-3', 10, null],
    [`bytes=${'9'.repeat(20)}-`, 10, null],
    [
      `bytes=${Array(MAX_RANGES + 1)
        .fill('0-0')
        .join(',')}`,
      10,
      null,
    ],
  ];
  for (const [field, size, expected] of rows) {
    const got = parseRanges(field, size);
    const text = got === null ? null : got.map(({ start, end }) => `${start}-${end}`).join(' ');
    assert.equal(text, expected, field);
  }
});

test('ranges cover what was asked, once, and no more than there is', () => {
  const pair = fc.tuple(fc.nat(40), fc.nat(40)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)]);
  fc.assert(
    fc.property(
      fc.array(pair, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 30 }),
      (pairs, size) => {
        const ranges = parseRanges(`bytes=${pairs.map(([a, b]) => `${a}-${b}`).join(',')}`, size);
        assert.ok(ranges !== null);
        const times = new Array<number>(size).fill(0);
        for (const { start, end } of ranges) for (let at = start; at < end; at++) times[at]++;
        for (let at = 0; at < size; at++) {
          assert.equal(times[at], pairs.some(([a, b]) => a <= at && at <= b) ? 1 : 0);
        }
        for (const { start, end } of ranges) assert.ok(start < end && end <= size);
      },
    ),
  );
});

test('multipart framing', () => {
  const ranges = [
    { start: 0, end: 2 },
    { start: 5, end: 6 },
  ];
  const { prefixes, suffix, lengthBytes } = frameMultipart(ranges, 10, 'a/b', 'B');
  const first = '--B\r\nContent-Type: a/b\r\nContent-Range: bytes 0-1/10\r\n\r\n';
  assert.equal(prefixes[0].toString(), first);
  assert.equal(prefixes[1].toString(), `\r\n${first.replace('0-1', '5-5')}`);
  assert.equal(suffix.toString(), '\r\n--B--\r\n');
  assert.equal(lengthBytes, prefixes[0].length + prefixes[1].length + suffix.length + 3);
  assert.equal(contentRange(ranges[1], 10), 'bytes 5-5/10');
});

test('paths', () => {
  const rows: [string, string | number][] = [
    ['/', ''],
    ['/a/b.html', 'a/b.html'],
    ['//a///b/', 'a/b'],
    ['/%61%20%C3%A9', 'a é'],
    ['/a+b', 'a+b'],
    ['/.well-known/x', '.well-known/x'],
    ['/a/.well-known/x', 404],
    ['/.well-known/.x', 404],
    ['/.git/config', 404],
    ['/%2egit', 404],
    ['/a/./b', 404],
    ['/a/...', 404],
    ['/..', 400],
    ['/a/../b', 400],
    ['/%2e%2e/x', 400],
    ['/%2E./x', 400],
    ['/.%2e/x', 400],
    ['/.git/../x', 400],
    ['/..%2fx', 400],
    ['/..%5cx', 400],
    ['/..\\x', 400],
    ['/a%00b', 400],
    ['/a%2Fb', 400],
    ['/%c0%ae%c0%ae/x', 400],
    ['/%', 400],
    ['/%zz', 400],
    ['/%ff', 400],
    ['*', 400],
    [`/${'a'.repeat(5000)}`, 404],
    ['/%252e%252e/x', '%2e%2e/x'],
  ];
  for (const [path, expected] of rows) {
    const got = resolvePath(path);
    assert.equal(typeof got === 'number' ? got : got.file, expected, path);
  }
  assert.equal(directoryLocation('a b/é?'), '/a%20b/%C3%A9%3F/');
});

test('codings', () => {
  const variants = [
    { coding: '', sizeBytes: 100 },
    { coding: 'br', sizeBytes: 20 },
    { coding: 'zstd', sizeBytes: 25 },
    { coding: 'gzip', sizeBytes: 30 },
  ] as const;
  const rows: [string | undefined, string][] = [
    [undefined, ''],
    ['', ''],
    ['gzip', 'gzip'],
    ['x-gzip', 'gzip'],
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip;q=1.0, br;q=0.5', 'gzip'],
    ['br;q=0, *', 'zstd'],
    ['*;q=0', ''],
    ['identity, gzip;q=0.5', ''],
    ['identity;q=0.5, gzip;q=0.5', 'gzip'],
    ['identity;q=0', ''],
    ['GZIP ; Q=0.3', 'gzip'],
    ['gzip;q=2', ''],
    ['gzip;level=9', ''],
  ];
  for (const [field, coding] of rows)
    assert.equal(variants[chooseVariant(field, variants)].coding, coding, field);
});
