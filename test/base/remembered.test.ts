/** What is made once for all that ask for the same. */
import assert from 'node:assert';
import { test } from 'node:test';
import { remembered } from '../../src/base/remembered.ts';

test('only what was asked for last is remembered', () => {
  const made: number[] = [];
  const twice = remembered((asked) => {
    made.push(asked);
    return 2 * asked;
  });
  assert.deepEqual([0, 0, 7, 7, 0].map(twice), [0, 0, 14, 14, 0]);
  assert.deepEqual(made, [0, 7, 0]);
});
