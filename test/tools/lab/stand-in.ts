/**
 * A small server in a node's place, for tests of the lab itself: byte ramps of any size at `/NAME/SIZE` on port 80
 * of every address, an echo of what is uploaded, and the readiness that the lab waits for.
 */
import { createServer } from 'node:http';
import { fileURLToPath } from 'node:url';
import type { LabNode } from '../../../src/tools/lab/plan.ts';
import { ADMIN_PORT } from '../../../src/tools/lab/plan.ts';
import { RampCheck, ramp } from '../../../src/tools/lab/ramp.ts';

const FILE = fileURLToPath(import.meta.url);

export const standIn = (node: LabNode): string[] => [process.execPath, FILE, node.name];

if (process.argv[1] === FILE) {
  const name = process.argv[2];
  const site = createServer((request, response) => {
    const path = request.url ?? '/';
    const sizeBytes = Number(path.split('/')[2] ?? 0);
    response.setHeader('X-Served-By', name);
    if (request.method === 'GET') {
      response.end(ramp(path, sizeBytes));
      return;
    }
    const check = new RampCheck(path, sizeBytes);
    request.on('data', (bytes: Buffer) => check.push(bytes));
    request.on('end', () => response.end(check.complete ? 'right' : `wrong at ${check.wrongAt}`));
  });
  const admin = createServer((request, response) => {
    response.statusCode = request.url === '/missing' ? 404 : 200;
    response.end(JSON.stringify({ node: name, pid: process.pid }));
  });
  site.listen(80, '::', () => admin.listen(ADMIN_PORT, '127.0.0.1'));
}
