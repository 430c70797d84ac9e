/** What is learnt of responses' sizes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LearntSizes, SLOTS } from '../../../src/handoff/mechanism/learnt-sizes.ts';

test('nothing is known of a site that has not answered', () => {
  const sizes = new LearntSizes();
  assert.equal(sizes.of('s', '/'), null);
  sizes.saw('other', '/', 10);
  assert.equal(sizes.of('s', '/'), null);
  assert.equal(sizes.size, 1);
});

test('a path has its own, and one that is new that of its site', () => {
  const sizes = new LearntSizes();
  sizes.saw('s', '/a', 1000);
  sizes.saw('s', '/b', 5000);
  assert.deepEqual([sizes.of('s', '/a'), sizes.of('s', '/b')], [1000, 5000]);
  assert.equal(sizes.of('s', '/new'), 1125);
  assert.deepEqual(sizes.status(), { s: 1125 });
});

test('the newest counts for most', () => {
  const sizes = new LearntSizes();
  sizes.saw('s', '/', 1_000_000);
  for (let i = 0; i < 30; i++) sizes.saw('s', '/', 100);
  assert.ok(sizes.of('s', '/')! < 300);
});

test('a mean lies between the least and the most', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 ** 40 }), { minLength: 1 }), (all) => {
      const sizes = new LearntSizes();
      for (const bytes of all) sizes.saw('s', '/', bytes);
      const mean = sizes.of('s', '/')!;
      // Single precision is enough for an estimate.
      assert.ok(mean >= Math.min(...all) * (1 - 1e-6) && mean <= Math.max(...all) * (1 + 1e-6));
    }),
  );
});

test('however many paths come, as much memory; a path that was pushed out has its site’s mean', () => {
  const sizes = new LearntSizes();
  for (let i = 0; i < 3 * SLOTS; i++) sizes.saw('s', `/${i}`, i % 2 === 0 ? 100 : 300);
  assert.ok(sizes.size <= SLOTS && sizes.size > SLOTS / 2);
  const known = Array.from({ length: 3 * SLOTS }, (_, i) => sizes.of('s', `/${i}`)!);
  const exact = known.filter((bytes, i) => bytes === (i % 2 === 0 ? 100 : 300)).length;
  assert.equal(exact, sizes.size);
  assert.ok(known.every((bytes) => bytes >= 100 && bytes <= 300));
});
