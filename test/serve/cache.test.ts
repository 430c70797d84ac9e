/** What a cache before an upstream stores, for how long, and for whom (RFC 9111). No root needed. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { formatDate } from '../../src/protocol/http/date.ts';
import { BEGIN_MS, CacheStand, type Origin, ok, type Wanted } from './cache-stand.ts';

const stands: CacheStand[] = [];
after(() => {
  for (const stand of stands) stand.down();
});
async function up(origin: Origin, config = {}): Promise<CacheStand> {
  const stand = await CacheStand.up(origin, config);
  stands.push(stand);
  return stand;
}

/** `used`: the second request is answered without the origin; `asked`: the origin answers it; `validated`: vouches. */
interface Case {
  readonly name: string;
  /** Of the response. */
  readonly fields: string;
  readonly status?: string;
  readonly first?: Wanted;
  readonly seconds?: number;
  readonly second?: Wanted;
  readonly comes: 'used' | 'asked' | 'validated';
}

const ETAG = 'ETag: "1"\r\n';
const dated = (seconds: number) => `Date: ${formatDate(BEGIN_MS + seconds * 1000)}\r\n`;
const expires = (seconds: number) => `Expires: ${formatDate(BEGIN_MS + seconds * 1000)}\r\n`;
const said = (text: string) => `Cache-Control: ${text}\r\n`;

const CASES: readonly Case[] = [
  { name: 'max-age', fields: said('max-age=60'), seconds: 59, comes: 'used' },
  { name: 'max-age, over', fields: said('max-age=60'), seconds: 60, comes: 'asked' },
  { name: 'in capitals, with spaces', fields: said('PUBLIC ,  Max-Age=60'), seconds: 59, comes: 'used' },
  { name: 'quoted', fields: said('max-age="60"'), seconds: 59, comes: 'used' },
  { name: 'two lines', fields: said('public') + said('max-age=60'), seconds: 59, comes: 'used' },
  { name: 'of two the shorter', fields: said('max-age=60, max-age=5'), seconds: 6, comes: 'asked' },
  { name: 'no number', fields: said('max-age=6o'), seconds: 0, comes: 'asked' },
  { name: 'a fraction', fields: said('max-age=60.5'), seconds: 0, comes: 'asked' },
  { name: 'negative', fields: said('max-age=-1'), seconds: 0, comes: 'asked' },
  { name: 'more than there is', fields: said('max-age=99999999999999'), seconds: 1e6, comes: 'used' },
  { name: 's-maxage before max-age', fields: said('max-age=5, s-maxage=60'), seconds: 59, comes: 'used' },
  { name: 's-maxage=0', fields: said('max-age=60, s-maxage=0'), comes: 'asked' },
  { name: 's-maxage before Expires', fields: said('s-maxage=5') + expires(60), seconds: 6, comes: 'asked' },
  { name: 'Expires', fields: dated(0) + expires(60), seconds: 59, comes: 'used' },
  { name: 'Expires, over', fields: dated(0) + expires(60), seconds: 60, comes: 'asked' },
  { name: 'Expires counts from Date', fields: dated(50) + expires(60), seconds: 11, comes: 'asked' },
  { name: 'max-age before Expires', fields: said('max-age=5') + expires(60), seconds: 6, comes: 'asked' },
  { name: 'Expires: 0', fields: 'Expires: 0\r\n', comes: 'asked' },
  { name: 'Expires that is no date', fields: 'Expires: 1 Jan 2099\r\n', comes: 'asked' },
  { name: 'Expires twice', fields: dated(0) + expires(60) + expires(70), seconds: 1, comes: 'asked' },
  { name: 'an old Date', fields: dated(-100) + said('max-age=60'), comes: 'asked' },
  { name: 'a Date to come', fields: dated(100) + said('max-age=60'), seconds: 59, comes: 'used' },
  { name: 'Age', fields: `Age: 50\r\n${said('max-age=60')}`, seconds: 11, comes: 'asked' },
  { name: 'Age, young enough', fields: `Age: 50\r\n${said('max-age=60')}`, seconds: 9, comes: 'used' },
  { name: 'several Ages', fields: `Age: 70, 0\r\n${said('max-age=60')}`, comes: 'asked' },
  { name: 'nothing said', fields: '', comes: 'asked' },
  { name: 'nothing but a validator', fields: ETAG, comes: 'asked' },
  {
    name: 'no guess by Last-Modified',
    fields: `${dated(0)}Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n`,
    comes: 'asked',
  },
  { name: 'public alone', fields: said('public'), comes: 'asked' },
  { name: 'no-store', fields: said('no-store, max-age=60'), comes: 'asked' },
  { name: 'NO-STORE', fields: said('max-age=60, NO-STORE'), comes: 'asked' },
  { name: 'no-store behind rubbish', fields: said('=x;, "a" , no-store, max-age=60'), comes: 'asked' },
  { name: 'private', fields: said('private, max-age=60'), comes: 'asked' },
  { name: 'private fields', fields: said('private="x, y", max-age=60'), comes: 'asked' },
  { name: 'no-cache', fields: said('no-cache, max-age=60'), comes: 'asked' },
  { name: 'no-cache with a validator', fields: said('no-cache') + ETAG, comes: 'validated' },
  { name: 'no-cache fields', fields: said('no-cache="x", max-age=60') + ETAG, comes: 'validated' },
  { name: 'Pragma', fields: `Pragma: no-cache\r\n${expires(60)}`, comes: 'asked' },
  { name: 'must-revalidate, fresh', fields: said('max-age=60, must-revalidate'), seconds: 59, comes: 'used' },
  {
    name: 'must-revalidate, stale',
    fields: said('max-age=60, must-revalidate, stale-while-revalidate=60') + ETAG,
    seconds: 60,
    comes: 'validated',
  },
  {
    name: 'proxy-revalidate, fresh',
    fields: said('max-age=60, proxy-revalidate'),
    seconds: 59,
    comes: 'used',
  },
  {
    name: 'proxy-revalidate, stale',
    fields: said('max-age=60, proxy-revalidate, stale-while-revalidate=60') + ETAG,
    seconds: 60,
    comes: 'validated',
  },
  { name: 'immutable alone', fields: said('immutable'), comes: 'asked' },
  { name: 'stale with an ETag', fields: said('max-age=60') + ETAG, seconds: 60, comes: 'validated' },
  {
    name: 'stale with a date',
    fields: `${said('max-age=60')}Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n`,
    seconds: 60,
    comes: 'validated',
  },
  { name: 'Set-Cookie', fields: `${said('max-age=60')}Set-Cookie: a=b\r\n`, comes: 'asked' },
  { name: 'Set-Cookie, public', fields: `${said('public, max-age=60')}Set-Cookie: a=b\r\n`, comes: 'asked' },
  { name: '404', fields: said('max-age=60'), status: '404 No', comes: 'used' },
  { name: '301', fields: `Location: /y\r\n${said('max-age=60')}`, status: '301 There', comes: 'used' },
  {
    name: '302 with a lifetime',
    fields: `Location: /y\r\n${said('max-age=60')}`,
    status: '302 There',
    comes: 'used',
  },
  { name: '500', fields: said('max-age=60'), status: '500 No', comes: 'asked' },
  {
    name: '206',
    fields: `${said('max-age=60')}Content-Range: bytes 0-3/9\r\n`,
    status: '206 Some',
    comes: 'asked',
  },
  {
    name: 'an event stream',
    fields: `${said('max-age=60')}Content-Type: text/event-stream\r\n`,
    comes: 'asked',
  },
  {
    name: 'Authorization',
    fields: said('max-age=60'),
    first: { fields: 'Authorization: x\r\n' },
    comes: 'asked',
  },
  {
    name: 'Authorization, public',
    fields: said('max-age=60, public'),
    first: { fields: 'Authorization: x\r\n' },
    comes: 'used',
  },
  {
    name: 'Authorization, s-maxage',
    fields: said('s-maxage=60'),
    first: { fields: 'Authorization: x\r\n' },
    comes: 'used',
  },
  {
    name: 'of nobody for one with Authorization',
    fields: said('max-age=60'),
    second: { fields: 'Authorization: x\r\n' },
    comes: 'asked',
  },
  {
    name: 'public for one with Authorization',
    fields: said('max-age=60, public'),
    second: { fields: 'Authorization: x\r\n' },
    comes: 'used',
  },
  {
    name: 'a request with no-store',
    fields: said('max-age=60'),
    first: { fields: 'Cache-Control: No-Store\r\n' },
    comes: 'asked',
  },
  {
    name: 'what a client says does not reach the origin',
    fields: said('max-age=60'),
    second: { fields: 'Cache-Control: no-cache, max-age=0\r\nPragma: no-cache\r\n' },
    comes: 'used',
  },
  { name: 'HEAD from GET', fields: said('max-age=60'), second: { method: 'HEAD' }, comes: 'used' },
  { name: 'GET not from HEAD', fields: said('max-age=60'), first: { method: 'HEAD' }, comes: 'asked' },
  {
    name: 'If-Match',
    fields: said('max-age=60') + ETAG,
    second: { fields: 'If-Match: "1"\r\n' },
    comes: 'asked',
  },
  { name: 'another host', fields: said('max-age=60'), second: { host: 'b' }, comes: 'asked' },
  { name: 'another port', fields: said('max-age=60'), second: { host: 'a:81' }, comes: 'asked' },
  {
    name: 'another scheme',
    fields: said('max-age=60'),
    second: { isSecure: true },
    comes: 'asked',
  },
  { name: 'the same host', fields: said('max-age=60'), second: { host: 'A' }, comes: 'used' },
  { name: 'HTTP/1.0', fields: said('max-age=60'), second: { minor: 0 }, comes: 'used' },
  {
    name: 'Vary, alike',
    fields: `${said('max-age=60')}Vary: X\r\n`,
    first: { fields: 'X: 1\r\n' },
    second: { fields: 'x: 1\r\n' },
    comes: 'used',
  },
  {
    name: 'Vary, another',
    fields: `${said('max-age=60')}Vary: X\r\n`,
    first: { fields: 'X: 1\r\n' },
    second: { fields: 'X: 2\r\n' },
    comes: 'asked',
  },
  {
    name: 'Vary, absent',
    fields: `${said('max-age=60')}Vary: X\r\n`,
    first: { fields: 'X: 1\r\n' },
    comes: 'asked',
  },
  {
    name: 'Vary, absent is not empty',
    fields: `${said('max-age=60')}Vary: X\r\n`,
    first: { fields: 'X:\r\n' },
    comes: 'asked',
  },
  {
    name: 'Vary, two fields whose values could be one',
    fields: `${said('max-age=60')}Vary: X, Y\r\n`,
    first: { fields: 'X: 1\r\nY: 2\r\n' },
    second: { fields: 'Y: 1\r\nX: 2\r\n' },
    comes: 'asked',
  },
  { name: 'Vary: *', fields: `${said('max-age=60')}Vary: X, *\r\n`, comes: 'asked' },
  {
    name: 'Vary by whom it came from',
    fields: `${said('max-age=60')}Vary: X-Forwarded-For\r\n`,
    comes: 'asked',
  },
  {
    name: 'Vary: Cookie',
    fields: `${said('max-age=60')}Vary: Cookie\r\n`,
    first: { fields: 'Cookie: a=1\r\n' },
    second: { fields: 'Cookie: a=2\r\n' },
    comes: 'asked',
  },
];

for (const { name, fields, status, first, seconds = 0, second, comes } of CASES) {
  test(`${name}: ${comes}`, async () => {
    let version = 0;
    let vouched = 0;
    const stand = await up((got) => {
      if (got.fields.get('if-none-match') === '"1"' || got.fields.has('if-modified-since')) {
        vouched++;
        return `HTTP/1.1 304 Not Modified\r\n${fields}\r\n`;
      }
      return got.method === 'HEAD' ? ok(fields, '', status) : ok(fields, `version ${++version}`, status);
    });
    const one = await stand.ask('/x', first);
    if (first?.method !== 'HEAD') assert.equal(one.body, 'version 1');
    await stand.pass(seconds);
    const other = await stand.ask('/x', second);
    const how = stand.got.length === 1 ? 'used' : vouched === 1 ? 'validated' : 'asked';
    assert.equal(how, comes, other.text);
    if (how !== 'asked') assert.equal(other.body, second?.method === 'HEAD' ? '' : 'version 1');
  });
}

test('a 304 may itself come from a cache: its Age counts from then on', async () => {
  const fields = `${said('max-age=10')}ETag: "1"\r\n`;
  const stand = await up(({ fields: asked }) =>
    asked.get('if-none-match') === '"1"'
      ? `HTTP/1.1 304 Not Modified\r\n${fields}Age: 4\r\n\r\n`
      : ok(fields, 'text'),
  );
  await stand.ask('/x');
  await stand.pass(10);
  assert.equal((await stand.ask('/x')).cache, 'revalidated');
  await stand.pass(5);
  const fresh = await stand.ask('/x');
  assert.deepEqual([fresh.cache, fresh.field('age')], ['hit', '9']);
  await stand.pass(1);
  assert.equal((await stand.ask('/x')).cache, 'revalidated');
});
