/** Static content on a real directory. */
import assert from 'node:assert/strict';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Content, type ContentOptions, type Response } from '../../../src/protocol/http/content.ts';
import { formatDate } from '../../../src/protocol/http/date.ts';
import { REVALIDATE_MS } from '../../../src/protocol/http/file-cache.ts';
import { SMALL_FILE_BYTES } from '../../../src/protocol/http/open-file.ts';
import { parsed, type Received, receive } from './support.ts';

const MODIFIED_S = 1_600_000_000;
const NOW = 1_700_000_000_000;
const BIG = Buffer.alloc(SMALL_FILE_BYTES + 1, 'abcdefghi');
let base = '';
let root = '';

function write(name: string, content: string | Buffer): void {
  fs.mkdirSync(join(root, name, '..'), { recursive: true });
  fs.writeFileSync(join(root, name), content);
  fs.utimesSync(join(root, name), MODIFIED_S, MODIFIED_S);
}

before(() => {
  base = fs.mkdtempSync(join(tmpdir(), 'baton-content-'));
  root = join(base, 'root');
  fs.mkdirSync(root);
  fs.writeFileSync(join(base, 'secret'), 'secret');
  write('index.html', '<p>hello');
  write('empty', '');
  write('small.txt', '0123456789');
  write('edge.bin', BIG.subarray(1));
  write('big.bin', BIG);
  write('dir/index.html', 'dir');
  write('bare/x', 'x');
  write('.hidden', 'h');
  write('.well-known/a', 'w');
  write('sp ace/é.txt', 'e');
  write('odd/index.html/x', 'x');
  write('v.js', 'v'.repeat(100));
  write('v.js.br', 'br');
  write('v.js.gz', 'gz!');
  fs.symlinkSync('../secret', join(root, 'escape'));
  fs.symlinkSync('/etc/passwd', join(root, 'absolute'));
  fs.symlinkSync('..', join(root, 'up'));
  fs.symlinkSync('small.txt', join(root, 'inside'));
  fs.symlinkSync('loop', join(root, 'loop'));
});

after(() => fs.rmSync(base, { recursive: true }));

function withContent(use: (content: Content) => void, options: Partial<ContentOptions> = {}): void {
  const content = new Content({ root, ...options });
  try {
    use(content);
  } finally {
    content.close();
  }
}

const PLAIN = { close: false, extraFields: '' };

function respond(content: Content, line: string, fields = '', nowMs = NOW, options = PLAIN): Response {
  const method = line.startsWith('/') ? 'GET ' : '';
  return content.respond(parsed(`${method}${line} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`), nowMs, options);
}

function get(content: Content, line: string, fields = '', nowMs = NOW, options = PLAIN): Received {
  const response = respond(content, line, fields, nowMs, options);
  const received = receive(response);
  response.release();
  return received;
}

const openDescriptors = () => fs.readdirSync('/proc/self/fd').length;

test('files, their fields, and the ready-made repetition', () => {
  withContent((content) => {
    for (let i = 0; i < 3; i++) {
      const { status, fields, body } = get(content, '/small.txt?x');
      assert.equal(status, 200);
      assert.equal(body.toString(), '0123456789');
      assert.equal(fields.get('content-type'), 'text/plain; charset=utf-8');
      assert.equal(fields.get('content-length'), '10');
      assert.equal(fields.get('accept-ranges'), 'bytes');
      assert.equal(fields.get('last-modified'), formatDate(MODIFIED_S * 1000));
      assert.equal(fields.get('date'), formatDate(NOW));
      assert.match(fields.get('etag') ?? '', /^"[^"]+"$/);
      assert.equal(fields.has('vary'), false);
    }
    const ready = respond(content, '/small.txt');
    assert.equal(respond(content, '/small.txt'), ready);
    assert.equal(ready.parts.length, 1);
    const before = receive(ready);
    const later = get(content, '/small.txt', '', NOW + 999 + 1);
    assert.equal(later.fields.get('date'), formatDate(NOW + 1000));
    assert.deepEqual(receive(ready), before);
    // Checked at a half second, so that the next full one comes without a look at the file system.
    get(content, '/small.txt', '', NOW + 2500);
    get(content, '/small.txt', '', NOW + 2600);
    assert.equal(get(content, '/small.txt', '', NOW + 3400).fields.get('date'), formatDate(NOW + 3000));
    assert.equal(get(content, '/').body.toString(), '<p>hello');
    assert.equal(get(content, '/empty').body.length, 0);
    assert.equal(get(content, '/sp%20ace/%C3%A9.txt').body.toString(), 'e');
    assert.equal(get(content, '/.well-known/a').body.toString(), 'w');
    assert.equal(get(content, '/inside').body.toString(), '0123456789');
  });
});

test('large files are parts of descriptors', () => {
  withContent((content) => {
    const response = respond(content, '/big.bin');
    assert.ok('fd' in response.parts[1]);
    assert.deepEqual(receive(response).body, BIG);
    assert.equal(receive(response).fields.get('content-type'), 'application/octet-stream');
    response.release();
    assert.ok(!respond(content, '/edge.bin').parts.some((part) => 'fd' in part));
    assert.equal(get(content, 'HEAD /big.bin').fields.get('content-length'), String(BIG.length));
  });
});

test('what is not there, or not to be seen', () => {
  withContent((content) => {
    const gone = [
      '/none',
      '/.hidden',
      '/%2ehidden',
      '/escape',
      '/absolute',
      '/up/secret',
      '/up/',
      '/loop',
      '/bare/',
    ];
    for (const path of [
      ...gone,
      '/small.txt/',
      '/small.txt/x',
      '/odd/',
      '/v.js.br/',
      `/${'n'.repeat(300)}`,
    ]) {
      assert.equal(get(content, path).status, 404, path);
    }
    for (const path of [
      '/../secret',
      '/%2e%2e/secret',
      '/dir/..%2f..%2fsecret',
      '/x%00',
      '/%c0%ae%c0%ae/secret',
    ]) {
      const { status, body } = get(content, path);
      assert.equal(status, 400, path);
      assert.equal(body.includes('secret'), false);
    }
    const head = get(content, 'HEAD /none');
    assert.deepEqual([head.status, head.body.length, head.fields.get('content-length')], [404, 0, '14']);
  });
});

test('directories', () => {
  withContent((content) => {
    assert.equal(get(content, '/dir/').body.toString(), 'dir');
    const moved = get(content, '/dir?q=1');
    assert.deepEqual([moved.status, moved.fields.get('location')], [301, '/dir/?q=1']);
    assert.equal(get(content, '//dir').fields.get('location'), '/dir/');
    assert.equal(get(content, '/sp%20ace').fields.get('location'), '/sp%20ace/');
  });
});

test('methods and the connection', () => {
  withContent((content) => {
    for (const line of ['OPTIONS *', 'OPTIONS /small.txt', 'POST /small.txt', 'DELETE /none']) {
      const { status, fields } = get(content, line);
      assert.equal(status, line.startsWith('OPTIONS') ? 204 : 405);
      assert.equal(fields.get('allow'), 'GET, HEAD, OPTIONS');
    }
    for (let i = 0; i < 2; i++) {
      const closing = respond(content, '/small.txt', '', NOW, { close: true, extraFields: '' });
      assert.equal(closing.close, true);
      assert.equal(receive(closing).fields.get('connection'), 'close');
      const old = content.respond(parsed('GET /small.txt HTTP/1.0\r\n\r\n'), NOW, PLAIN);
      assert.equal(receive(old).fields.get('connection'), 'keep-alive');
      assert.equal(get(content, '/small.txt').fields.has('connection'), false);
    }
    const extra = { close: false, extraFields: 'X-Served-By: a\r\n' };
    for (const path of ['/small.txt', '/big.bin', '/edge.bin', '/none', '/dir', 'POST /', 'OPTIONS *']) {
      assert.equal(get(content, path, '', NOW, extra).fields.get('x-served-by'), 'a', path);
    }
    assert.equal(get(content, '/small.txt').fields.has('x-served-by'), false);
  });
});

test('conditions and ranges', () => {
  withContent((content) => {
    const etag = get(content, '/small.txt').fields.get('etag');
    for (const method of ['GET', 'HEAD']) {
      const same = get(content, `${method} /small.txt`, `If-None-Match: ${etag}\r\n`);
      assert.deepEqual([same.status, same.fields.get('etag'), same.body.length], [304, etag, 0]);
      assert.equal(same.fields.has('content-length'), false);
    }
    assert.equal(get(content, '/small.txt', 'If-Match: "x"\r\n').status, 412);
    for (const [path, whole] of [
      ['/small.txt', Buffer.from('0123456789')],
      ['/big.bin', BIG],
    ] as const) {
      const one = get(content, path, 'Range: bytes=2-4\r\n');
      assert.deepEqual([one.status, one.body], [206, whole.subarray(2, 5)]);
      assert.equal(one.fields.get('content-range'), `bytes 2-4/${whole.length}`);
      const many = get(content, path, 'Range: bytes=0-1,-2\r\n');
      const boundary = /boundary=(.+)/.exec(many.fields.get('content-type') ?? '')?.[1];
      assert.equal(many.status, 206);
      assert.equal(many.fields.get('content-length'), String(many.body.length));
      const [lead, first, second, end] = many.body.toString('latin1').split(`--${boundary}`);
      assert.deepEqual([lead, end], ['', '--\r\n']);
      assert.ok(first.endsWith(`\r\n\r\n${whole.toString('latin1', 0, 2)}\r\n`));
      assert.ok(second.endsWith(`\r\n\r\n${whole.toString('latin1', whole.length - 2)}\r\n`));
      const beyond = get(content, path, `Range: bytes=${whole.length}-\r\n`);
      assert.deepEqual([beyond.status, beyond.fields.get('content-range')], [416, `bytes */${whole.length}`]);
      assert.equal(get(content, path, 'Range: bytes=0-1\r\nIf-Range: "x"\r\n').status, 200);
      assert.equal(get(content, `HEAD ${path}`, 'Range: bytes=0-1\r\n').status, 200);
    }
    assert.equal(get(content, '/small.txt', `Range: bytes=0-1\r\nIf-Range: ${etag}\r\n`).status, 206);
  });
});

test('precompressed siblings', () => {
  withContent((content) => {
    const tags = new Set<string | undefined>();
    for (const [accept, coding, body] of [
      ['gzip', 'gzip', 'gz!'],
      ['gzip, br', 'br', 'br'],
      ['identity', undefined, 'v'.repeat(100)],
    ]) {
      const got = get(content, '/v.js', `Accept-Encoding: ${accept}\r\n`);
      assert.deepEqual([got.fields.get('content-encoding'), got.body.toString()], [coding, body]);
      assert.equal(got.fields.get('vary'), 'Accept-Encoding');
      assert.equal(got.fields.get('content-type'), 'text/javascript; charset=utf-8');
      tags.add(got.fields.get('etag'));
      const fields = `Accept-Encoding: ${accept}\r\nIf-None-Match: ${got.fields.get('etag')}\r\n`;
      const same = get(content, '/v.js', fields);
      assert.deepEqual([same.status, same.fields.get('vary')], [304, 'Accept-Encoding']);
    }
    assert.equal(tags.size, 3);
    assert.equal(get(content, '/v.js').fields.get('vary'), 'Accept-Encoding');
  });
});

test('identical copies on two nodes have the same entity tags', () => {
  const copy = join(base, 'copy');
  fs.cpSync(join(root, 'small.txt'), join(copy, 'small.txt'), { preserveTimestamps: true });
  const other = new Content({ root: copy });
  withContent((content) => {
    assert.equal(get(content, '/small.txt').fields.get('etag'), get(other, '/small.txt').fields.get('etag'));
  });
  other.close();
});

test('a change shows after the revalidation time, and the old tag no longer holds', () => {
  withContent((content) => {
    write('changing', 'one');
    const first = get(content, '/changing');
    write('changing.tmp', 'two!');
    fs.renameSync(join(root, 'changing.tmp'), join(root, 'changing'));
    assert.equal(get(content, '/changing', '', NOW + REVALIDATE_MS - 1).body.toString(), 'one');
    const tag = `If-None-Match: ${first.fields.get('etag')}\r\n`;
    const second = get(content, '/changing', tag, NOW + REVALIDATE_MS);
    assert.deepEqual([second.status, second.body.toString()], [200, 'two!']);
    write('changing.gz', 'z');
    const third = get(content, '/changing', 'Accept-Encoding: gzip\r\n', NOW + 2 * REVALIDATE_MS);
    assert.equal(third.body.toString(), 'z');
    fs.rmSync(join(root, 'changing'));
    assert.equal(get(content, '/changing', '', NOW + 3 * REVALIDATE_MS).status, 404);
    fs.rmSync(join(root, 'changing.gz'));
    assert.equal(content.usage.entries, 0);
  });
});

test('a change that one path of a file has shown is shown by all', () => {
  withContent((content) => {
    const paths = ['/turn/', '/turn/index.html', '/turn//inde%78.html'];
    const bodies = (nowMs: number) => paths.map((path) => get(content, path, '', nowMs).body.toString());
    write('turn/index.html', 'one');
    get(content, paths[0]);
    // The others were looked at later, and are not looked at again so soon.
    assert.deepEqual(bodies(NOW + REVALIDATE_MS - 1), ['one', 'one', 'one']);
    write('turn/index.tmp', 'two!');
    fs.renameSync(join(root, 'turn/index.tmp'), join(root, 'turn/index.html'));
    assert.deepEqual(bodies(NOW + REVALIDATE_MS), ['two!', 'two!', 'two!']);
    fs.rmSync(join(root, 'turn/index.html'));
    const gone = paths.map((path) => get(content, path, '', NOW + 2 * REVALIDATE_MS).status);
    assert.deepEqual(gone, [404, 404, 404]);
  });
});

test('a path that is asked for the first time shows what the others then show', () => {
  withContent((content) => {
    write('first/index.html', 'one');
    get(content, '/first/');
    write('first/index.tmp', 'two!');
    fs.renameSync(join(root, 'first/index.tmp'), join(root, 'first/index.html'));
    assert.equal(get(content, '/first/').body.toString(), 'one', 'within the time for which it is believed');
    assert.equal(get(content, '/first/index.html').body.toString(), 'two!');
    assert.equal(get(content, '/first/').body.toString(), 'two!');
  });
});

test('the cache stays within its bounds', () => {
  for (let i = 0; i < 20; i++) write(`many/${i}`, Buffer.alloc(10_000, i));
  withContent(
    (content) => {
      for (let i = 0; i < 200; i++) {
        const { body } = get(content, `/many/${(i * 7) % 20}`);
        assert.deepEqual(body, Buffer.alloc(10_000, (i * 7) % 20));
        assert.ok(content.usage.memoryBytes <= 100_000 && content.usage.entries <= 3);
      }
    },
    { memoryBytes: 100_000, entries: 3 },
  );
});

test('looking at an unchanged file again leaves no descriptor', () => {
  const before = openDescriptors();
  withContent((content) => {
    get(content, '/big.bin');
    get(content, '/v.js', 'Accept-Encoding: br\r\n');
    const held = openDescriptors();
    assert.equal(held, before + 2);
    for (let i = 1; i <= 20; i++) {
      get(content, '/big.bin', '', NOW + i * REVALIDATE_MS);
      get(content, '/v.js', 'Accept-Encoding: br\r\n', NOW + i * REVALIDATE_MS);
    }
    assert.equal(openDescriptors(), held);
  });
  assert.equal(openDescriptors(), before);
});

test('no descriptor is left, and none is closed while a response needs it', () => {
  for (let i = 0; i < 10; i++) write(`large/${i}`, Buffer.alloc(SMALL_FILE_BYTES + 1, i));
  const before = openDescriptors();
  const content = new Content({ root, openFiles: 2 });
  const held: Response[] = [];
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 10; i++) {
      held.push(respond(content, `/large/${i}`, '', NOW + 5000 * round));
      assert.ok(content.usage.descriptors <= 2);
    }
    for (const path of ['/none', '/escape', '/dir', '/v.js', '/odd/', '/small.txt'])
      get(content, path, '', NOW + 5000 * round);
  }
  assert.ok(openDescriptors() >= before + 10);
  held.forEach((response, i) => {
    assert.equal(receive(response).body[SMALL_FILE_BYTES], i % 10);
  });
  for (const response of held) {
    response.release();
    response.release();
  }
  assert.equal(openDescriptors(), before + 3);
  const last = respond(content, '/large/0', '', NOW + 20_000);
  content.close();
  assert.equal(receive(last).body[0], 0);
  last.release();
  assert.equal(openDescriptors(), before);
});
