/** An HTTP server for a node's loopback, run as `node upstream.js PORT`: ramps in every framing, and POST. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { checkRamp, ramp } from '../../../src/tools/lab/ramp.ts';

const PIECE_BYTES = 10_000;

/** `/gap/MS`: an event stream that says nothing for so long after its first event. */
function gap(ms: number, response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write('data: 1\n\n');
  setTimeout(() => response.end('data: 2\n\n'), ms);
}

/** `/hints/SIZE`: the ramp of the path, behind two interim responses that come by themselves. */
function hints(path: string, size: number, response: ServerResponse): void {
  response.writeProcessing();
  setTimeout(() => {
    response.writeEarlyHints({ link: '</a.css>; rel=preload' });
    setTimeout(() => response.end(ramp(path, size)), 20);
  }, 20);
}

/** `/slow`: how often that was posted. `/fields`: the request's own fields, as JSON. `/length/SIZE`, `/chunked/SIZE`, `/close/SIZE`: the ramp of the path. `/silent/0`: no answer. */
function get(path: string, request: IncomingMessage, response: ServerResponse): void {
  const [, framing, size] = path.split('/');
  if (framing === 'slow') return void response.end(String(slow));
  if (framing === 'fields') return void response.end(JSON.stringify(request.rawHeaders));
  if (framing === 'hints') return hints(path, Number(size), response);
  if (framing === 'gap') return gap(Number(size), response);
  const body = ramp(path, Number(size));
  if (framing === 'silent') return;
  if (framing === 'length') {
    response.setHeader('content-length', body.length);
    response.end(body);
    return;
  }
  if (framing === 'close') {
    response.useChunkedEncodingByDefault = false;
    response.removeHeader('transfer-encoding');
    response.setHeader('connection', 'close');
  }
  for (let at = 0; at < body.length; at += PIECE_BYTES) response.write(body.subarray(at, at + PIECE_BYTES));
  response.end();
}

/** How often `/slow` was asked. */
let slow = 0;

/** `/early`: is refused before the body is read. `/slow/MS`: is answered so late. `/post/SIZE`: the body must be the ramp of the path; answered with the ramp when it was. */
async function post(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (path.startsWith('/early/')) {
    response.statusCode = 413;
    return void response.end('too much\n');
  }
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part);
  const size = Number(path.split('/')[2]);
  if (path.startsWith('/slow/')) slow++;
  if (path.startsWith('/slow/')) return void setTimeout(() => response.end('slow\n'), size);
  const wrongAt = checkRamp(Buffer.concat(parts), path, size);
  response.statusCode = wrongAt < 0 ? 200 : 422;
  response.end(wrongAt < 0 ? ramp(path, size) : `wrong at ${wrongAt}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = createServer((request, response) => {
    // Whoever sent it may have gone.
    if (request.method === 'POST') post(request.url!, request, response).catch(() => response.destroy());
    else get(request.url!, request, response);
  });
  server.listen(Number(process.argv[2]), '127.0.0.1', () => process.stdout.write('listening\n'));
}
