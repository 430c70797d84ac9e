/** What changes below a root directory: validators stand for bytes, and no response is of two states of a file. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { FileState } from '../../../src/kernel/linux/file-state.ts';
import { Content, type Response } from '../../../src/protocol/http/content.ts';
import { formatDate } from '../../../src/protocol/http/date.ts';
import { type DigestFile, REVALIDATE_MS } from '../../../src/protocol/http/file-cache.ts';
import { FileSizes, SIZE_BELIEVED_MS } from '../../../src/protocol/http/file-sizes.ts';
import { SMALL_FILE_BYTES } from '../../../src/protocol/http/open-file.ts';
import { BLOCKED, type ByteSink, Pump } from '../../../src/serve/byte-sink.ts';
import { digestNow, parsed, type Received, receive, settle } from './support.ts';

const MODIFIED_S = 1_600_000_000;
const NOW = 1_700_000_000_000;
const LARGE_BYTES = 2 * SMALL_FILE_BYTES;
const PLAIN = { close: false, extraFields: '' };

let base = '';
let root = '';
const contents: Content[] = [];

beforeEach(() => {
  base = fs.mkdtempSync(join(tmpdir(), 'baton-versions-'));
  root = join(base, 'root');
  fs.mkdirSync(root);
});

afterEach(() => {
  for (const content of contents.splice(0)) content.close();
  fs.rmSync(base, { recursive: true });
});

/** In place: the file stays the same one. As a build with fixed times leaves it. */
function write(name: string, bytes: string | Buffer, modifiedS = MODIFIED_S): void {
  fs.mkdirSync(join(base, name, '..'), { recursive: true });
  fs.writeFileSync(join(base, name), bytes);
  fs.utimesSync(join(base, name), modifiedS, modifiedS);
}

function open(directory: string, digest: DigestFile | undefined = digestNow): Content {
  const content = new Content({ root: join(base, directory), digest });
  contents.push(content);
  return content;
}

function respond(content: Content, path: string, fields = '', nowMs = NOW): Response {
  return content.respond(parsed(`GET ${path} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`), nowMs, PLAIN);
}

function get(content: Content, path: string, fields = '', nowMs = NOW): Received {
  const response = respond(content, path, fields, nowMs);
  const received = receive(response);
  response.release();
  return received;
}

const etagOf = (received: Received) => received.fields.get('etag')!;

for (const size of [1000, LARGE_BYTES]) {
  const one = Buffer.alloc(size, 'one');
  const other = Buffer.from(one).fill('x', 500, 501);

  test(`${size} bytes, of which one differs, of the same time: not the same, on one node or on two`, () => {
    write('root/f', one);
    write('b/f', other);
    write('c/f', one, MODIFIED_S + 5);
    settle(join(base, 'c/f'));
    const content = open('root');
    const before = etagOf(get(content, '/f'));
    assert.match(before, /^"[\w-]{22}"$/);
    assert.notEqual(etagOf(get(open('b'), '/f')), before);
    assert.equal(etagOf(get(open('c'), '/f')), before, 'the same bytes are the same whatever their time is');
    write('root/f', other);
    settle(join(root, 'f'));
    const later = NOW + REVALIDATE_MS;
    assert.equal(get(content, '/f', `If-None-Match: ${before}\r\n`, later).status, 200);
    const range = `Range: bytes=400-600\r\nIf-Range: ${before}\r\n`;
    const whole = get(content, '/f', range, later);
    assert.deepEqual([whole.status, whole.body], [200, other]);
    assert.notEqual(etagOf(whole), before);
    assert.equal(get(content, '/f', `Range: bytes=4-6\r\nIf-Range: ${etagOf(whole)}\r\n`, later).status, 206);
  });
}

test('a change that leaves no trace in the times is found all the same', () => {
  write('root/f', 'one');
  const content = open('root');
  assert.equal(get(content, '/f').body.toString(), 'one');
  // Within a tick of the file system's clock, and with the time of change set back by mtime alone.
  write('root/f', 'two');
  assert.equal(get(content, '/f', '', NOW + REVALIDATE_MS).body.toString(), 'two');
  settle(join(root, 'f'));
  get(content, '/f', '', NOW + 2 * REVALIDATE_MS);
  const { body } = respond(content, '/f', '', NOW + 3 * REVALIDATE_MS);
  assert.equal(respond(content, '/f', '', NOW + 4 * REVALIDATE_MS).body, body, 'settled: read no more');
});

test('a large file has a weak validator until it has been read, and a client that holds it is not given it again', () => {
  write('root/f', Buffer.alloc(LARGE_BYTES, 'a'));
  settle(join(root, 'f'));
  const asked: Array<() => void> = [];
  const content = open('root', (file, done) => asked.push(() => digestNow(file, done)));
  const weak = etagOf(get(content, '/f'));
  assert.match(weak, /^W\//);
  assert.equal(get(content, '/f', `Range: bytes=0-1\r\nIf-Range: ${weak}\r\n`).status, 200);
  assert.equal(get(content, '/f', `If-Match: ${weak}\r\n`).status, 412);
  assert.equal(asked.length, 1, 'once a version');
  asked[0]();
  const strong = etagOf(get(content, '/f'));
  assert.match(strong, /^"/);
  for (const tag of [weak, strong, `"x", ${weak}`])
    assert.equal(get(content, '/f', `If-None-Match: ${tag}\r\n`).status, 304, tag);
  get(content, '/f', '', NOW + REVALIDATE_MS);
  assert.equal(asked.length, 1);
});

test('without anyone who reads it, or just after a change, a large file has no strong validator', () => {
  write('root/f', Buffer.alloc(LARGE_BYTES));
  assert.match(etagOf(get(open('root'), '/f')), /^W\//, 'it may change again within the same tick');
  settle(join(root, 'f'));
  const content = open('root', (_file, done) => done(null));
  assert.match(etagOf(get(content, '/f')), /^W\//);
});

test('a large file rewritten, cut or grown in place is another one at once, not after the revalidation time', () => {
  const content = open('root');
  const states = [LARGE_BYTES, LARGE_BYTES, 1.5 * SMALL_FILE_BYTES, 3 * SMALL_FILE_BYTES, 10, LARGE_BYTES];
  const tags = new Set<string>();
  states.forEach((size, i) => {
    const bytes = Buffer.alloc(size, String.fromCharCode(97 + i));
    write('root/f', bytes);
    settle(join(root, 'f'));
    // A small one is in memory, whole and under its own tag, for as long as it is believed.
    const nowMs = i === states.length - 1 ? NOW + REVALIDATE_MS : NOW;
    const got = get(content, '/f', '', nowMs);
    assert.ok(got.body.equals(bytes), `state ${i}`);
    tags.add(etagOf(got));
  });
  assert.equal(tags.size, states.length);
});

test('a large file’s head is ready-made: for a second, for one kind of connection, and until its digest is there', () => {
  write('root/f', Buffer.alloc(LARGE_BYTES, 'a'));
  settle(join(root, 'f'));
  let vouch = () => {};
  const content = open('root', (file, done) => {
    vouch = () => digestNow(file, done);
  });
  get(content, '/f');
  const [one, two] = [respond(content, '/f'), respond(content, '/f')];
  assert.equal(one.parts, two.parts);
  assert.notEqual(respond(content, '/f', '', NOW + 1000).parts, one.parts, 'its Date has passed');
  const closing = content.respond(parsed('GET /f HTTP/1.1\r\nHost: a\r\n\r\n'), NOW, {
    ...PLAIN,
    close: true,
  });
  assert.equal(receive(closing).fields.get('connection'), 'close');
  assert.equal(receive(respond(content, '/f')).fields.has('connection'), false);
  assert.match(etagOf(receive(one)), /^W\//);
  vouch();
  assert.match(etagOf(get(content, '/f')), /^"/);
});

test('a large file is looked at once before a response to it is made', ({ mock }) => {
  write('root/f', Buffer.alloc(LARGE_BYTES, 'a'));
  settle(join(root, 'f'));
  const content = open('root');
  get(content, '/f');
  const { mock: looks } = mock.method(FileState.prototype, 'isCurrent');
  for (const [i, extraFields] of ['', 'X-Served-By: a\r\n'].entries()) {
    content
      .respond(parsed('GET /f HTTP/1.1\r\nHost: a\r\n\r\n'), NOW, { close: false, extraFields })
      .release();
    assert.equal(looks.callCount(), i + 1);
  }
});

test('responses of one ready-made head hold their file each for itself', () => {
  write('root/f', Buffer.alloc(LARGE_BYTES, 'a'));
  const content = open('root');
  get(content, '/f');
  const [one, two] = [respond(content, '/f'), respond(content, '/f')];
  contents.pop()?.close();
  one.release();
  one.release();
  assert.ok(receive(two).body.equals(Buffer.alloc(LARGE_BYTES, 'a')), 'it is open');
  two.release();
  assert.throws(() => receive(two), { code: 'EBADF' });
});

/** Takes a little, so that there is time for a change; then all. */
class SlowSink implements ByteSink {
  open = false;
  takenBytes = 0;

  send(bytes: Buffer, from: number): number {
    return bytes.length - from;
  }

  sendFile(_fd: number, _offset: number, length: number): number {
    if (!this.open && this.takenBytes > 0) return BLOCKED;
    const taken = this.open ? length : 1000;
    this.takenBytes += taken;
    return taken;
  }

  flush(): number {
    return 0;
  }
}

test('a response whose file is written to while it is sent does not end as if it were whole', () => {
  const path = join(root, 'f');
  const changes: Array<[string, () => void, string]> = [
    ['one byte, with its time set back', () => write('root/f', Buffer.alloc(LARGE_BYTES, 'b')), 'broken'],
    ['cut', () => fs.truncateSync(path, 5000), 'broken'],
    ['grown', () => fs.appendFileSync(path, 'x'), 'broken'],
    ['another in its place', () => replace(path), 'done'],
    ['its release deleted', () => fs.rmSync(path), 'done'],
    ['a link to it made', () => fs.linkSync(path, `${path}.link`), 'done'],
  ];
  for (const [what, change, expected] of changes) {
    fs.rmSync(path, { force: true });
    write('root/f', Buffer.alloc(LARGE_BYTES, 'a'));
    settle(path);
    const response = respond(open('root'), '/f');
    const pump = new Pump(response.parts, true);
    const out = new SlowSink();
    assert.equal(pump.run(out), 'blocked', what);
    change();
    out.open = true;
    assert.deepEqual([pump.run(out), pump.fileChanged], [expected, expected === 'broken'], what);
    response.release();
  }
});

function replace(path: string): void {
  fs.writeFileSync(`${path}.new`, 'new');
  fs.renameSync(`${path}.new`, path);
}

test('the root is found anew: a link that is swapped, a directory that is renamed, a release that is deleted', () => {
  for (const release of ['1', '2', '3']) {
    write(`${release}/small`, release);
    write(`${release}/large`, Buffer.alloc(LARGE_BYTES, release));
  }
  settle(join(base, '3/large'));
  const current = join(base, 'current');
  fs.symlinkSync('1', current);
  const content = open('current');
  const sizes = new FileSizes(current);
  const look = (nowMs: number) => [
    get(content, '/small', '', nowMs).body.toString(),
    get(content, '/large', '', nowMs).body.toString('latin1', 0, 1),
  ];
  assert.deepEqual(look(NOW), ['1', '1']);
  const inProgress = respond(content, '/large');
  fs.symlinkSync('2', `${current}.new`);
  fs.renameSync(`${current}.new`, current);
  fs.rmSync(join(base, '1'), { recursive: true });
  assert.deepEqual(look(NOW + REVALIDATE_MS), ['2', '2']);
  assert.ok(receive(inProgress).body.equals(Buffer.alloc(LARGE_BYTES, '1')), 'what is sent ends as it began');
  inProgress.release();
  // In the middle of a swap there is nothing for a moment.
  fs.rmSync(current);
  assert.deepEqual(look(NOW + 2 * REVALIDATE_MS), ['2', '2']);
  fs.renameSync(join(base, '3'), current);
  assert.deepEqual(look(NOW + 3 * REVALIDATE_MS), ['3', '3']);
  fs.writeFileSync(join(current, 'new'), '1234');
  assert.equal(sizes.sizeOf('/new', NOW + SIZE_BELIEVED_MS), 4);
  sizes.close();
});

test('an absolute link that stays inside the root is followed, and no other', () => {
  write('root/a/f', 'inside');
  write('secret/f', 'secret');
  fs.symlinkSync(join(root, 'a/f'), join(root, 'file'));
  fs.symlinkSync(join(root, 'a'), join(root, 'directory'));
  fs.symlinkSync('../root/a/f', join(root, 'round'));
  fs.symlinkSync(join(base, 'secret/f'), join(root, 'out'));
  fs.symlinkSync(join(base, 'secret'), join(root, 'out-directory'));
  fs.symlinkSync(join(root, 'none'), join(root, 'dangling'));
  fs.symlinkSync('root', join(base, 'linked-root'));
  for (const content of [open('root'), open('linked-root')]) {
    for (const path of ['/file', '/directory/f', '/round'])
      assert.equal(get(content, path).body.toString(), 'inside', path);
    for (const path of ['/out', '/out-directory/f', '/dangling', '/../secret/f'])
      assert.notEqual(get(content, path).status, 200, path);
  }
});

test('a precompressed sibling that is older than its file is not used', () => {
  write('root/f.js', 'new', MODIFIED_S + 1);
  write('root/f.js.gz', 'gz', MODIFIED_S + 1);
  write('root/f.js.br', 'old', MODIFIED_S);
  const content = open('root');
  assert.equal(get(content, '/f.js', 'Accept-Encoding: br, gzip;q=0.5\r\n').body.toString(), 'gz');
  write('root/f.js', 'newer', MODIFIED_S + 2);
  const plain = get(content, '/f.js', 'Accept-Encoding: br, gzip\r\n', NOW + REVALIDATE_MS);
  assert.deepEqual([plain.body.toString(), plain.fields.get('vary')], ['newer', undefined]);
});

test('Last-Modified is never later than Date', () => {
  const comingS = Math.floor(NOW / 1000) + 3600;
  write('root/f', 'x', comingS);
  const content = open('root');
  const first = get(content, '/f');
  assert.equal(first.fields.get('last-modified'), formatDate(NOW));
  assert.equal(get(content, '/f', '', NOW + 500_000).fields.get('last-modified'), formatDate(NOW));
});

test('media types', () => {
  const types = { srt: 'text/plain; charset=iso-8859-1', part: 'video/x-part' };
  const content = new Content({ root, types });
  contents.push(content);
  for (const [name, type] of [
    ['a.m3u8', 'application/vnd.apple.mpegurl'],
    ['a.b.M3U8', 'application/vnd.apple.mpegurl'],
    ['a.flac', 'audio/flac'],
    ['a.mkv', 'video/x-matroska'],
    ['a.mp4', 'video/mp4'],
    ['a.vtt', 'text/vtt; charset=utf-8'],
    ['a.srt', 'text/plain; charset=iso-8859-1'],
    ['a.part', 'video/x-part'],
    ['a.constructor', 'application/octet-stream'],
    ['part', 'application/octet-stream'],
  ]) {
    write(`root/${name}`, 'x');
    assert.equal(get(content, `/${name}`).fields.get('content-type'), type, name);
  }
});
