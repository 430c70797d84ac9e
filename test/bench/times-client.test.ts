/** The client that times each request: what it asks for, by the clock as well, and from whom heads of any length come. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { TimesJob, TimesReport } from '../../bench/lib/times-client.ts';

const CLIENT = fileURLToPath(new URL('../../bench/lib/times-client.js', import.meta.url));
const SECONDS = 0.2;
const RATE = 100;

let requests = 0;
let connections = 0;
const asked = new Set<string>();
const server = createServer((request, response) => {
  asked.add(request.url!);
  // As of a large file, whose validator changes when its bytes have been read.
  response.setHeader('etag', requests++ % 2 === 0 ? 'W/"some"' : '"other"');
  response.setHeader('content-length', 1000);
  response.end(Buffer.alloc(1000));
});
server.on('connection', () => connections++);

before(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});
after(() => server.close());

async function times(job: Partial<TimesJob>): Promise<TimesReport> {
  const { port } = server.address() as AddressInfo;
  const usual = { endpoint: `127.0.0.1:${port}`, paths: ['/a', '/b'], connections: 4, seconds: SECONDS };
  [requests, connections] = [0, 0];
  const { stdout } = await promisify(execFile)(process.execPath, [
    CLIENT,
    JSON.stringify({ ...usual, ...job }),
  ]);
  return JSON.parse(stdout) as TimesReport;
}

test('asks for all paths, whose heads may differ in length from one response to the next', async () => {
  asked.clear();
  const report = await times({});
  assert.ok(report.requests > 0);
  assert.deepEqual([...asked].sort(), ['/a', '/b']);
  assert.equal(report.fromDue, null);
});

test('by the clock: no more than are due, and what they took from then on is no less than what they took', async () => {
  for (const kind of [{}, { requests: 1 }] as const) {
    const report = await times({ ...kind, rate: RATE });
    assert.ok(report.requests > 0 && report.requests <= RATE * SECONDS + 1, `${report.requests} requests`);
    if ('requests' in kind) assert.ok(connections >= report.requests, 'a connection for each');
    assert.ok(report.fromDue!.mostUs >= report.mostUs && report.fromDue!.p50Us >= report.p50Us);
  }
});
