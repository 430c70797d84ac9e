import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { hmac } from '../../../src/kernel/linux/hmac.ts';

const bytes = (maxLength: number) =>
  fc.uint8Array({ minLength: 1, maxLength }).map((list) => Buffer.from(list));

test('it is what node:crypto makes, by keys of any length, whatever came before', () => {
  fc.assert(
    fc.property(fc.constantFrom('sha256', 'sha384'), bytes(200), bytes(600), (hash, key, text) => {
      const digest = hmac(hash, key, text);
      assert.deepEqual(digest, createHmac(hash, key).update(text).digest());
      // It is its owner's: the next one is another.
      const copy = Buffer.from(digest);
      hmac(hash, text, key);
      assert.deepEqual(digest, copy);
    }),
  );
});
