import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkRamp, fillRamp, RampCheck, ramp } from '../../../src/tools/lab/ramp.ts';

test('any pieces of a ramp are the same as the whole', () => {
  fc.assert(
    fc.property(fc.nat(5000), fc.array(fc.integer({ min: 1, max: 999 }), { maxLength: 20 }), (size, cuts) => {
      const whole = ramp('/x', size);
      const pieces = Buffer.alloc(size);
      const check = new RampCheck('/x', size);
      let at = 0;
      for (const cut of [...cuts, size]) {
        const piece = pieces.subarray(at, Math.min(size, at + cut));
        fillRamp(piece, '/x', size, at);
        assert.ok(check.push(piece));
        at += piece.length;
      }
      assert.deepEqual(pieces, whole);
      assert.ok(check.complete);
    }),
  );
});

test('one changed byte is found where it is, however the bytes arrive', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 200_000 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (size, where, flip) => {
        const bytes = ramp('/x', size);
        bytes[where % size] ^= flip;
        assert.equal(checkRamp(bytes, '/x', size), where % size);
      },
    ),
    { numRuns: 50 },
  );
});

test('misplaced content is found within a few bytes', () => {
  const size = 100_000;
  const whole = ramp('/x', size);
  for (const shift of [1, 2, 3, 4, 256, 1448, 4096, 65_536]) {
    const check = new RampCheck('/x', size, 10_000);
    assert.equal(check.push(whole.subarray(10_000 + shift, 10_064 + shift)), false, `shift ${shift}`);
    assert.ok(check.wrongAt < 10_008, `shift ${shift} found at ${check.wrongAt}`);
  }
  assert.ok(checkRamp(ramp('/y', size), '/x', size) < 8, 'another file');
  assert.ok(checkRamp(ramp('/x', size + 1).subarray(0, size), '/x', size) < 8, 'another size');
});

test('short and long content are wrong', () => {
  assert.equal(checkRamp(ramp('/x', 100).subarray(0, 99), '/x', 100), 99);
  assert.equal(checkRamp(Buffer.concat([ramp('/x', 100), Buffer.from('!')]), '/x', 100), 100);
  assert.equal(checkRamp(Buffer.alloc(0), '/x', 0), -1);
});
