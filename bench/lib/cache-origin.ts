/** The HTTP server behind a cache, run in its node's namespace as `node cache-origin.js PORT`: `/SIZE/NUMBER`. */
import { createServer } from 'node:http';
import { ramp } from '../../src/tools/lab/ramp.ts';

const server = createServer((request, response) => {
  const path = request.url!;
  const size = Number(path.split('/')[1]);
  response.setHeader('content-type', 'text/plain');
  response.setHeader('cache-control', 'max-age=3600');
  response.setHeader('content-length', size);
  response.end(ramp(path, size));
});
server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
