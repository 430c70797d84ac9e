import assert from 'node:assert/strict';
import { type CipherGCMTypes, createCipheriv } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { AEAD_KEY_BYTES, Aead, type AeadName } from '../../../src/kernel/linux/aead.ts';
import { addressOf } from '../../../src/kernel/linux/memory.ts';

const bytes = (minLength: number, maxLength = minLength) =>
  fc.uint8Array({ minLength, maxLength }).map((array) => Buffer.from(array));

const names = Object.keys(AEAD_KEY_BYTES) as AeadName[];
const keys = fc
  .constantFrom(...names)
  .chain((name) => fc.tuple(fc.constant(name), bytes(AEAD_KEY_BYTES[name])));

/** What node:crypto makes of the same: associated data, ciphertext, tag. */
function reference(
  name: AeadName,
  key: Buffer,
  nonce: Buffer,
  associated: Buffer,
  plaintext: Buffer,
): Buffer {
  const cipher = createCipheriv(name as CipherGCMTypes, key, nonce, { authTagLength: 16 });
  cipher.setAAD(associated, { plaintextLength: plaintext.length });
  const sealed = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return Buffer.concat([associated, sealed, cipher.getAuthTag()]);
}

test('seals and opens as node:crypto does, message after message, and nothing that was changed', () => {
  const messages = fc.array(fc.tuple(bytes(12), bytes(0, 20), bytes(0, 2000), fc.nat()), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(keys, messages, ([name, key], list) => {
      const sealing = new Aead(name, 'seal', key);
      const opening = new Aead(name, 'open', key);
      for (const [nonce, associated, plaintext, flip] of list) {
        const expected = reference(name, key, nonce, associated, plaintext);
        const at = associated.length;
        const sealed = Buffer.concat([associated, Buffer.alloc(plaintext.length + 16)]);
        sealing.seal(nonce, plaintext, sealed, at, at);
        assert.deepEqual(sealed, expected);
        const inPlace = Buffer.concat([associated, plaintext, Buffer.alloc(16)]);
        const from = addressOf(inPlace);
        sealing.sealInPlace(addressOf(nonce), from, at, from + at, plaintext.length);
        assert.deepEqual(inPlace, expected);
        const changed = Buffer.from(sealed);
        const bit = flip % (8 * changed.length);
        changed[bit >> 3] ^= 1 << (bit & 7);
        const open = (bytes: Buffer) => {
          const address = addressOf(bytes);
          return opening.openInPlace(addressOf(nonce), address, at, address + at, plaintext.length);
        };
        assert.equal(open(changed), false);
        assert.equal(open(sealed), true);
        assert.deepEqual(sealed.subarray(at, at + plaintext.length), plaintext);
      }
      sealing.free();
      opening.free();
      opening.free();
    }),
  );
});

test('a key has the length of its algorithm', () => {
  for (const name of names) assert.throws(() => new Aead(name, 'seal', Buffer.alloc(15)), RangeError);
});
