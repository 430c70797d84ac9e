/**
 * A process whose access log fills its disk in the middle of a line, and goes on when there is room again, for
 * log.test.ts. Argument: the log's path.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { AccessLog } from '../../../src/node/admin/log.ts';
import { batchOf, record } from './stand.ts';

const LIMIT_BYTES = 10_000;

// A write beyond it is to fail with EFBIG, not to end the process.
process.on('SIGXFSZ', () => {});
const limit = (bytes: number | 'unlimited') =>
  execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:unlimited`]);
const errors: Array<string | undefined> = [];
const log = new AccessLog({
  destination: process.argv[2],
  onError: (error: NodeJS.ErrnoException) => errors.push(error.code),
});
const batch = (from: number, to: number) =>
  batchOf(Array.from({ length: to - from }, (_, i) => record({ bytes: from + i })));
limit(LIMIT_BYTES);
// The first is cut; of the second nothing fits.
for (const from of [0, 100]) {
  const before = log.droppedLines;
  log.write(batch(from, from + 100));
  while (log.droppedLines === before) await sleep(1);
}
limit('unlimited');
log.write(batch(1000, 1003));
await log.close();
assert.deepEqual(errors, ['EFBIG']);
process.exit(0);
