/** What others can cause fills no log. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LineLimit } from '../../src/base/line-limit.ts';

test('so many lines of a kind in a period, then how many were left out', () => {
  const limit = new LineLimit(3, 1000);
  const written = (kind: string, times: number, nowMs: number) =>
    Array.from({ length: times }, () => limit.allows(kind, nowMs)).filter((allowed) => allowed).length;
  assert.equal(written('one', 10, 0), 3);
  assert.equal(written('other', 2, 0), 2, 'each kind has its own');
  assert.deepEqual(limit.ended(999), []);
  assert.equal(written('one', 5, 999), 0);
  assert.deepEqual(limit.ended(1500), [{ kind: 'one', lines: 12, periodMs: 1500 }]);
  assert.deepEqual(limit.ended(5000), [], 'told once');
  assert.equal(written('one', 1, 5000), 1, 'and again');
  assert.deepEqual(limit.ended(6000), []);
});

test('a line that says how many it stands for stands for those left out before it', () => {
  const limit = new LineLimit(1, 1000);
  const sums = (kind: string, times: readonly number[]) => times.map((nowMs) => limit.sum(kind, nowMs));
  assert.deepEqual(sums('one', [0, 1, 999, 1000, 1001, 1999, 2000, 3000]), [1, 0, 0, 3, 0, 0, 3, 1]);
  assert.deepEqual(sums('other', [3000, 9000]), [1, 1], 'each kind has its own');
});
