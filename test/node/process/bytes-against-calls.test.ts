/** What bytes cost beside calls, as a node measures it when it starts. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { byteTimes } from '../../../src/handoff/mechanism/prices.ts';
import { callsPerKib } from '../../../src/node/process/bytes-against-calls.ts';

const descriptors = (): number => readdirSync('/proc/self/fd').length;

test('it is the same whenever it is measured, and leaves nothing open', () => {
  callsPerKib();
  const open = descriptors();
  const measured = Array.from({ length: 9 }, callsPerKib).sort((a, b) => a - b);
  assert.equal(descriptors(), open);
  const [least, median] = [measured[0], measured[4]];
  assert.ok(least > 0 && Number.isFinite(median), measured.join());
  assert.ok(median < 2 * least, `the half of them are no more than twice the least: ${measured.join()}`);
  assert.ok(byteTimes(median) > 0.25 && byteTimes(median) < 4, `no bound was met: ${median}`);
});
