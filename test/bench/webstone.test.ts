/** What the benchmark webstone rests on: the mix of requests, and the memory and disk that are simulated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CLASSES, DOCUMENTS_A_CLASS, documentOf, Mix, parsePath } from '../../bench/lib/webstone-mix.ts';
import { Storage } from '../../bench/lib/webstone-storage.ts';

const PAGE_BYTES = 4096;
const pages = (bytes: number): number => Math.ceil(bytes / PAGE_BYTES);

const documents = fc
  .tuple(fc.nat(CLASSES.length - 1), fc.nat(DOCUMENTS_A_CLASS - 1))
  .map(([index, rank]) => documentOf(index, rank));

test('the path of every document is read back, and no other path', () => {
  fc.assert(
    fc.property(documents, (document) => {
      assert.deepEqual(parsePath(document.path), document);
    }),
  );
  for (const path of ['/', '/class4/1', '/class0/', '/class0/12345', '/class0/1x', '/class0/400'])
    assert.equal(parsePath(path), undefined, path);
});

test('every hundred requests have the shares of the classes, the same for the same seed', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (seed) => {
      const [mix, again] = [new Mix(seed), new Mix(seed)];
      for (let hundred = 0; hundred < 3; hundred++) {
        const counts = CLASSES.map(() => 0);
        for (let i = 0; i < 100; i++) {
          const document = mix.next();
          assert.deepEqual(again.next(), document);
          assert.equal(document.bytes, CLASSES[document.class].bytes);
          counts[document.class]++;
        }
        assert.deepEqual(
          counts,
          CLASSES.map(({ percent }) => percent),
        );
      }
    }),
    { numRuns: 20 },
  );
});

test('popularity falls as the exponent says', () => {
  const mix = new Mix(7);
  const counts = Array<number>(DOCUMENTS_A_CLASS).fill(0);
  for (let i = 0; i < 400_000; i++) counts[Number(mix.next().path.split('/')[2])]++;
  const ratio = (a: number, b: number): number => counts[a] / counts[b];
  // Rank 1 against ranks 2, 16 and 256, which are 2 ** 0.75, 2 ** 3 and 2 ** 6 times as rare.
  for (const [rank, expected] of [
    [2, 2 ** 0.75],
    [16, 8],
    [256, 64],
  ]) {
    assert.ok(Math.abs(ratio(0, rank - 1) / expected - 1) < 0.2, `rank ${rank}: ${ratio(0, rank - 1)}`);
  }
  assert.ok(counts.every((count) => count > 0));
});

test('memory keeps what was used last, in pages; the disk does one read after the other', () => {
  const shape = { memoryBytes: 40 * PAGE_BYTES, seekMs: 10, bytesPerMs: 1000 };
  const step = fc.record({
    index: fc.nat(2),
    rank: fc.nat(20),
    waitMs: fc.nat(60),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const storage = new Storage(shape);
      /** The one used last is at the end. */
      let held: Array<{ path: string; pages: number; readyAtMs: number }> = [];
      let [nowMs, freeAtMs] = [0, 0];
      for (const { index, rank, waitMs } of steps) {
        nowMs += waitMs;
        const document = documentOf(index, rank);
        const found = held.find(({ path }) => path === document.path);
        assert.equal(storage.has(document), found !== undefined);
        held = held.filter((one) => one !== found);
        if (found === undefined) {
          freeAtMs = Math.max(freeAtMs, nowMs) + shape.seekMs + document.bytes / shape.bytesPerMs;
          held.push({ path: document.path, pages: pages(document.bytes), readyAtMs: freeAtMs });
        } else held.push(found);
        while (held.reduce((sum, one) => sum + one.pages, 0) > 40) held.shift();
        assert.equal(storage.read(document, nowMs), Math.max(held.at(-1)!.readyAtMs, nowMs));
      }
    }),
  );
});

test('a warm memory holds what its classes would have left, and the disk is idle', () => {
  const shape = { memoryBytes: 1000 * PAGE_BYTES, seekMs: 10, bytesPerMs: 1000 };
  const storage = new Storage(shape);
  storage.warm(new Mix(3), 20_000, [0, 1]);
  assert.ok(storage.has(documentOf(0, 0)) && storage.has(documentOf(1, 0)));
  assert.ok(!storage.has(documentOf(2, 0)) && !storage.has(documentOf(3, 0)));
  assert.equal(storage.read(documentOf(0, 0), 5), 5);
  assert.equal(storage.read(documentOf(2, 0), 5), 5 + 10 + 50);
});
