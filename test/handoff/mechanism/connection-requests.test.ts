/** How many requests connections have on average. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ConnectionRequests, MOST_REQUESTS } from '../../../src/handoff/mechanism/connection-requests.ts';

test('the mean of the newest connections, however many were different before', () => {
  const requests = new ConnectionRequests();
  for (const length of [1, 10, 2, 5000]) {
    for (let i = 0; i < 20_000; i++) requests.saw(i % length === 0);
    const expected = Math.min(length, MOST_REQUESTS);
    assert.ok(Math.abs(requests.mean - expected) <= 0.1 * expected, `${length}: ${requests.mean}`);
  }
});

test('is never less than one, nor more than counts', () => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 2000 }), (all) => {
      const requests = new ConnectionRequests();
      for (const isFirst of all) requests.saw(isFirst);
      assert.ok(requests.mean >= 1 && requests.mean <= MOST_REQUESTS);
    }),
  );
});
