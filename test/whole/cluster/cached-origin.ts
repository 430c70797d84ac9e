/** An HTTP server for a node's loopback, run as `node cached-origin.js PORT`: what caches must and must not store. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';

const LIFE = 'max-age=60';
const LATE_MS = 300;
const EVENT_GAP_MS = 200;
/** The same in every answer, so that answers can be compared. */
const DATE = new Date(Date.now() - 1000).toUTCString();

/** How often each path was asked for. */
const asked = new Map<string, number>();

type Answers = Record<string, (request: IncomingMessage, response: ServerResponse) => void>;

const ANSWERS: Answers = {
  '/plain': (request, response) => {
    response.setHeader('Cache-Control', LIFE);
    response.setHeader('ETag', '"1"');
    if (request.headers['if-none-match'] === '"1"') return void response.writeHead(304).end();
    response.setHeader('X-Mixed-Case', 'a, b');
    response.setHeader('Link', ['</a>', '</b>']);
    response.end('a plain body\n');
  },
  '/chunked': (_, response) => {
    response.setHeader('Cache-Control', LIFE);
    response.write('one\n');
    response.end('two\n');
  },
  '/vary': (request, response) => {
    response.setHeader('Cache-Control', LIFE);
    response.setHeader('Vary', 'Accept-Language');
    response.end(`for ${request.headers['accept-language'] ?? 'everybody'}\n`);
  },
  '/cookies': (request, response) => {
    response.setHeader('Cache-Control', `public, ${LIFE}`);
    response.setHeader('Set-Cookie', [`who=${request.headers.cookie ?? 'nobody'}`, 'more=1; Path=/']);
    response.end(`hello ${request.headers.cookie ?? 'nobody'}\n`);
  },
  '/no-store': (_, response) => {
    response.setHeader('Cache-Control', 'no-store');
    response.end('a secret\n');
  },
  '/not-found': (_, response) => {
    response.writeHead(404, { 'Cache-Control': LIFE });
    response.end('not here\n');
  },
  '/moved': (_, response) => {
    response.writeHead(301, { 'Cache-Control': LIFE, Location: '/plain' });
    response.end();
  },
  '/nothing': (_, response) => {
    response.writeHead(204, { 'Cache-Control': LIFE });
    response.end();
  },
  '/ranges': (request, response) => {
    response.setHeader('Cache-Control', 'no-store');
    if (request.headers.range !== 'bytes=2-4') return void response.end('0123456789');
    response.writeHead(206, { 'Content-Range': 'bytes 2-4/10' });
    response.end('234');
  },
  '/trailers': (_, response) => {
    response.writeHead(200, { 'Cache-Control': LIFE, Trailer: 'X-Sum' });
    response.write('summed\n');
    response.addTrailers({ 'X-Sum': '7' });
    response.end();
  },
  '/events': (_, response) => {
    response.writeHead(200, { 'Cache-Control': LIFE, 'Content-Type': 'text/event-stream' });
    response.write('data: 1\n\n');
    setTimeout(() => response.end('data: 2\n\n'), EVENT_GAP_MS);
  },
  '/echo': (request, response) => {
    let body = '';
    request.on('data', (bytes) => {
      body += bytes;
    });
    request.on('end', () => response.end(`${request.method} ${body}\n`));
  },
  '/late': (_, response) => {
    response.setHeader('Cache-Control', LIFE);
    setTimeout(() => response.end('x'.repeat(50_000)), LATE_MS);
  },
  '/late-private': (request, response) => {
    response.setHeader('Cache-Control', 'private');
    setTimeout(() => response.end(`for ${request.headers.cookie}\n`), LATE_MS);
  },
  '/asked': (_, response) => {
    response.setHeader('Cache-Control', 'no-store');
    response.end(JSON.stringify(Object.fromEntries(asked)));
  },
};

/** Paths whose answers say nothing of who asked, or when. */
export const COMPARED = Object.keys(ANSWERS).filter((path) => !/^\/(late|asked|echo)/.test(path));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = createServer((request, response) => {
    const path = request.url!.split('?')[0];
    asked.set(request.url!, (asked.get(request.url!) ?? 0) + 1);
    response.setHeader('Date', DATE);
    const answer = ANSWERS[path];
    if (answer !== undefined) return answer(request, response);
    response.writeHead(404);
    response.end();
  });
  server.listen(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write('listening\n'));
}
