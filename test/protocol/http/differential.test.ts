/** Our parser against Node's own: what Node refuses we refuse, what both accept we read alike. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage, METHODS, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { HeadError } from '../../../src/protocol/http/request.ts';
import { bytesOf, parse } from './support.ts';

let server: Server;
let port = 0;

before(async () => {
  server = createServer({ insecureHTTPParser: false, keepAlive: false });
  const answer = (request: IncomingMessage, response: import('node:http').ServerResponse) => {
    response.setHeader('Connection', 'close');
    const seen = JSON.stringify({ method: request.method, url: request.url, raw: request.rawHeaders });
    response.setHeader('X-Seen', Buffer.from(seen).toString('base64'));
    response.end();
  };
  server.on('request', answer);
  server.on('checkContinue', answer);
  server.on('clientError', (_error, socket) => socket.end('REFUSED'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  port = (server.address() as AddressInfo).port;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

interface NodeResult {
  method: string;
  url: string;
  raw: string[];
}

/** What Node makes of the bytes: the request, or null when it refuses them or sees no whole head. */
function askNode(text: string): Promise<NodeResult | null> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let reply = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      reply += chunk;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
    socket.on('close', () => {
      const seen = /^X-Seen: (.*)\r$/m.exec(reply);
      if (!reply.startsWith('HTTP/1.1 200') || seen === null) return resolve(null);
      resolve(JSON.parse(Buffer.from(seen[1], 'base64').toString()) as NodeResult);
    });
    socket.end(bytesOf(text));
  });
}

/** Node refuses methods that it does not know: the rest of such a request it reads with one that it does. */
function withKnownMethod(text: string, method: string): string {
  return METHODS.includes(method) ? text : text.replace(method, 'GET');
}

/** Node refuses a tab behind the digits of Content-Length, which is white space (RFC 9110 5.6.3) like any. */
function withoutTabs(text: string): string {
  return text.replace(/^(Content-Length:[ \t]*\d+)[ \t]+$/gim, '$1');
}

/** Compares both; returns whether only Node accepts. */
async function compare(given: string): Promise<boolean> {
  const asGiven = parse(given);
  const isHead = asGiven !== null && !(asGiven instanceof HeadError);
  const text = isHead ? withoutTabs(withKnownMethod(given, asGiven.method)) : given;
  const ours = parse(text);
  const node = await askNode(text);
  const accepted = ours !== null && !(ours instanceof HeadError);
  if (!accepted) return node !== null;
  assert.ok(node !== null, `only we accept ${JSON.stringify(text)}`);
  assert.equal(ours.method, node.method);
  if (node.url.startsWith('/') || node.url === '*') assert.equal(ours.target, node.url);
  const raw: string[] = [];
  for (let i = 0; i < ours.fields.size; i++) raw.push(ours.fields.name(i), ours.fields.value(i));
  assert.deepEqual(raw, node.raw, JSON.stringify(text));
  return false;
}

const HOST = 'Host: a\r\n';

/** Where we are stricter than Node on purpose. */
const STRICTER: Record<string, string> = {
  'target with a fragment': `GET /#f HTTP/1.1\r\n${HOST}\r\n`,
  'host that is no host': 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n',
  'empty host': 'GET / HTTP/1.1\r\nHost:\r\n\r\n',
  'host with user information': 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n',
  'two hosts': `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`,
  'absolute-form of https': `GET https://a/ HTTP/1.1\r\n${HOST}\r\n`,
  '"*" without OPTIONS': `GET * HTTP/1.1\r\n${HOST}\r\n`,
  TRACE: `TRACE / HTTP/1.1\r\n${HOST}\r\n`,
  'Transfer-Encoding in HTTP/1.0': `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'other transfer codings before chunked': `POST / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  'more than two empty lines before the request': `\r\n\r\n\r\nGET / HTTP/1.1\r\n${HOST}\r\n`,
  'more fields than the limit': `GET / HTTP/1.1\r\n${HOST}${'a: b\r\n'.repeat(101)}\r\n`,
  'a target above the limit': `GET /${'x'.repeat(9000)} HTTP/1.1\r\n${HOST}\r\n`,
};

test('classes where we refuse and Node accepts', async () => {
  for (const [name, text] of Object.entries(STRICTER)) {
    assert.ok(parse(text) instanceof HeadError, `we accept: ${name}`);
    assert.equal(await compare(text), true, `Node refuses too: ${name}`);
  }
});

const BASES = [
  `GET /a?b=c HTTP/1.1\r\n${HOST}Accept: */*\r\nConnection: close\r\n\r\n`,
  `POST /a HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`,
  `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`,
  `\r\nHEAD http://a/x HTTP/1.1\r\n${HOST}X: \t y z \t\r\n\r\n`,
  'GET / HTTP/1.0\r\n\r\n',
  `GET http://b/ HTTP/1.1\r\n${HOST}\r\n`,
  `BREW / HTTP/1.1\r\n${HOST}\r\n`,
  `OPTIONS * HTTP/1.1\r\n${HOST}Expect: 100-continue\r\n\r\n`,
  `POST /a HTTP/1.1\r\n${HOST}Content-Length: 0\t\r\n\r\n`,
];

test('Node reads the bases as we do', async () => {
  for (const base of BASES) {
    assert.ok(parse(base) !== null && !(parse(base) instanceof HeadError), base);
    assert.equal(await compare(base), false);
  }
});

test('never accepted when Node refuses: mutations', async () => {
  const special = [
    '\r',
    '\n',
    '\0',
    ' ',
    '\t',
    ':',
    ',',
    ';',
    '\x0b',
    '\x7f',
    '\x80',
    '0',
    'A',
    '+',
    '/',
    '#',
  ];
  const edit = fc.record({
    at: fc.nat(120),
    remove: fc.nat(2),
    insert: fc.oneof(
      fc.constantFrom('', ...special),
      fc.constantFrom(
        '\r\n',
        '\r\n ',
        'Content-Length: 5\r\n',
        'Transfer-Encoding: chunked\r\n',
        'Host: b\r\n',
      ),
    ),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...BASES),
      fc.array(edit, { minLength: 1, maxLength: 3 }),
      async (base, edits) => {
        let text = base;
        for (const { at, remove, insert } of edits) {
          const place = at % (text.length + 1);
          text = text.substring(0, place) + insert + text.substring(place + remove);
        }
        await compare(text);
      },
    ),
    { numRuns: 400 },
  );
});
