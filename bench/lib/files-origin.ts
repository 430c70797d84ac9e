/** An HTTP server by node:http with files in memory, run in its node's namespace as `node files-origin.js PORT ROOT`. */
import { readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

const [port, root] = process.argv.slice(2);
const files = new Map(readdirSync(root).map((name) => [`/${name}`, readFileSync(join(root, name))]));
const server = createServer((request, response) => {
  const body = files.get(request.url!);
  if (body === undefined) {
    response.writeHead(404);
    response.end();
    return;
  }
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length });
  response.end(body);
});
// Who is in front keeps its connections.
server.keepAliveTimeout = 0;
server.listen(Number(port), () => console.log('listening'));
