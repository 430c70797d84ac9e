/** Clients whose connections rest, and are used again when the test says so. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Stand } from '../cluster/support.ts';
import type { RestJob, RestReport } from './idle-client.ts';

const IDLE_CLIENT = fileURLToPath(new URL('./idle-client.js', import.meta.url));

/** Resolves when all have been answered once. */
export async function rest(stand: Stand, job: RestJob): Promise<{ askAgain(): Promise<RestReport> }> {
  const child = stand.lab.spawn('client', [process.execPath, IDLE_CLIENT, JSON.stringify(job)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  const resting = once(child.stdout!, 'data');
  child.stdout!.on('data', (bytes) => {
    text += bytes;
  });
  await resting;
  return {
    async askAgain() {
      child.stdin!.write('go\n');
      const [code] = await once(child, 'close');
      assert.equal(code, 0);
      return JSON.parse(text.trim().split('\n').at(-1)!) as RestReport;
    },
  };
}
