/** SURGE's documents by `node:http`, run in a node's namespace as `node surge-origin.js PORT`. Prints a line when it listens. */
import { createServer } from 'node:http';
import { ramp } from '../../src/tools/lab/ramp.ts';
import { surgeDocuments } from './surge.ts';

const BACKLOG = 4096;

const bodies = new Map(surgeDocuments().map(({ path, bytes }) => [path, ramp(path, bytes)]));

const server = createServer((request, response) => {
  const body = bodies.get(request.url!);
  if (body === undefined) {
    response.statusCode = 404;
    response.end();
    return;
  }
  response.setHeader('content-type', 'application/octet-stream');
  response.setHeader('cache-control', 'max-age=3600');
  response.setHeader('content-length', body.length);
  response.end(body);
});
server.listen({ port: Number(process.argv[2]), backlog: BACKLOG }, () => console.log('listening'));
