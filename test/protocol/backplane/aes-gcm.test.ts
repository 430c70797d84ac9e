import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { AesGcm } from '../../../src/kernel/linux/aes-gcm.ts';

const bytes = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));

/** What node:crypto makes of the same: associated data, ciphertext, tag. */
function reference(key: Buffer, nonce: Buffer, associated: Buffer, plaintext: Buffer): Buffer {
  const cipher = createCipheriv('aes-128-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(associated);
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([associated, sealed, cipher.getAuthTag()]);
}

test('seals and opens as node:crypto does, message after message, and nothing that was changed', () => {
  const messages = fc.array(fc.tuple(bytes(12), bytes(0, 20), bytes(0, 2000), fc.nat()), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(bytes(16), messages, (key, list) => {
      const sealing = new AesGcm('seal', key);
      const opening = new AesGcm('open', key);
      for (const [nonce, associated, plaintext, flip] of list) {
        const expected = reference(key, nonce, associated, plaintext);
        const at = associated.length;
        const sealed = Buffer.concat([associated, Buffer.alloc(plaintext.length + 16)]);
        sealing.seal(nonce, plaintext, sealed, at, at);
        assert.deepEqual(sealed, expected);
        const changed = Buffer.from(sealed);
        const bit = flip % (8 * changed.length);
        changed[bit >> 3] ^= 1 << (bit & 7);
        assert.equal(opening.open(nonce, changed, at, changed.length, at), null);
        assert.deepEqual(opening.open(nonce, sealed, at, sealed.length, at), plaintext);
      }
      sealing.free();
      opening.free();
      opening.free();
    }),
  );
});

test('a key has 16 bytes', () => {
  assert.throws(() => new AesGcm('seal', Buffer.alloc(15)), RangeError);
});
