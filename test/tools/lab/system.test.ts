import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { identify, isAlive, waitSync } from '../../../src/tools/lab/system.ts';

const WAIT_MS = 5_000;

test('a child that has ended already still has an identity, and does not run', async () => {
  const child = spawn('true', { stdio: 'ignore' });
  const pid = child.pid!;
  // Nothing here waits for the child before the event loop turns: it stays a zombie.
  assert.ok(
    waitSync(WAIT_MS, () => readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')),
    'a zombie',
  );
  const id = identify(pid);
  assert.ok(id !== undefined && id.pid === pid && id.startTime > 0);
  assert.equal(isAlive(id), false);
  await once(child, 'exit');
  assert.equal(identify(pid), undefined);
  assert.equal(isAlive(id), false);
});

test('a process is not mistaken for another one with its number', () => {
  const id = identify(process.pid)!;
  assert.equal(isAlive(id), true);
  assert.equal(isAlive({ ...id, startTime: id.startTime - 1 }), false);
});
