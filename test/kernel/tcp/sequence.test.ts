import assert from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import * as sequence from '../../../src/kernel/tcp/sequence.ts';

const WRAP = 2 ** 32;
const HALF = 2 ** 31;
/** Any sequence number, with those around 0 and around 2^31 as likely as all others together. */
const anySequence = fc.oneof(
  fc.integer({ min: 0, max: WRAP - 1 }),
  fc.integer({ min: -70_000, max: 70_000 }).map((n) => (n + WRAP) % WRAP),
  fc.integer({ min: HALF - 70_000, max: HALF + 70_000 }),
);
const anyStep = fc.integer({ min: 1, max: HALF - 1 });

test('a table around 2^32', () => {
  assert.equal(sequence.add(0xffff_ffff, 1), 0);
  assert.equal(sequence.add(0, -1), 0xffff_ffff);
  assert.equal(sequence.add(0x7fff_ffff, 1), 0x8000_0000);
  assert.equal(sequence.distance(0xffff_fff0, 0x10), 32);
  assert.equal(sequence.distance(0x10, 0xffff_fff0), -32);
  assert.equal(sequence.span(0x10, 0xffff_fff0), 0xffff_ffe0);
  assert.equal(sequence.lessThan(0xffff_ffff, 0), true);
  assert.equal(sequence.lessThan(0, 0xffff_ffff), false);
  assert.equal(sequence.lessThan(7, 7), false);
  assert.equal(sequence.lessOrEqual(7, 7), true);
  assert.equal(sequence.max(0xffff_fff0, 5), 5);
  assert.equal(sequence.min(0xffff_fff0, 5), 0xffff_fff0);
  assert.equal(sequence.between(0xffff_ffff, 0xffff_fff0, 5), true);
  assert.equal(sequence.between(5, 0xffff_fff0, 5), false);
  assert.equal(sequence.between(0xffff_fff0, 0xffff_fff0, 5), true);
  assert.equal(sequence.between(9, 9, 9), false);
  for (const bad of [-1, WRAP, 1.5, Number.NaN, Number.POSITIVE_INFINITY])
    assert.equal(sequence.isU32(bad), false);
  assert.equal(sequence.isU32(WRAP - 1), true);
});

test('order, distance and the later one agree wherever the numbers wrap', () => {
  fc.assert(
    fc.property(anySequence, anyStep, (a, step) => {
      const b = sequence.add(a, step);
      assert.equal(sequence.distance(a, b), step);
      assert.equal(sequence.distance(b, a), -step);
      assert.equal(sequence.span(a, b), step);
      assert.equal(sequence.add(b, -step), a);
      assert.equal(sequence.lessThan(a, b), true);
      assert.equal(sequence.lessThan(b, a), false);
      assert.equal(sequence.lessOrEqual(a, b), true);
      assert.equal(sequence.lessOrEqual(b, a), false);
      assert.equal(sequence.max(a, b), b);
      assert.equal(sequence.max(b, a), b);
      assert.equal(sequence.min(a, b), a);
      assert.equal(sequence.min(b, a), a);
    }),
  );
});

test('between means what counting bytes means', () => {
  fc.assert(
    fc.property(anySequence, anyStep, fc.integer({ min: 0, max: WRAP - 1 }), (start, size, offset) => {
      const inside = offset < size;
      const at = sequence.add(start, offset);
      assert.equal(sequence.between(at, start, sequence.add(start, size)), inside);
    }),
  );
});
