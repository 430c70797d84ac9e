/** SURGE's workload, which the benchmark boost rests on: documents and users are as its distributions say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DOCUMENTS, MEAN_BYTES, meanBytes, surgeDocuments, User } from '../../bench/lib/surge.ts';

test('documents: the same for everybody, each once, and a request brings what the paper has', () => {
  const documents = surgeDocuments();
  assert.deepEqual(surgeDocuments(), documents);
  assert.equal(new Set(documents.map(({ path }) => path)).size, DOCUMENTS);
  assert.ok(Math.abs(meanBytes(documents) / MEAN_BYTES - 1) < 0.011);
  const sorted = documents.map(({ bytes }) => bytes).sort((a, b) => a - b);
  assert.ok(sorted[0] > 0);
  // The lognormal's median is e^9.357; with the tail above it that of all is a little higher.
  assert.ok(sorted[DOCUMENTS / 2] > 9_000 && sorted[DOCUMENTS / 2] < 18_000, String(sorted[DOCUMENTS / 2]));
});

test('a user asks for the popular documents by Zipf’s law, in pages of 1.4, and waits as SURGE’s do', () => {
  const user = new User(1);
  const steps = Array.from({ length: 100_000 }, () => user.next());
  const counts = new Array<number>(DOCUMENTS).fill(0);
  for (const { document } of steps) counts[document]++;
  const ratio = counts[0] / counts[9];
  assert.ok(ratio > 8 && ratio < 12, `the first is asked for ${ratio} times as often as the tenth`);
  // An active wait is below a second, an inactive one above: 25 ms when times are 40 times as short.
  const pages = steps.filter(({ waitMs }) => waitMs > 25).length;
  const size = steps.length / pages;
  assert.ok(size > 1.3 && size < 1.45, `${size} documents a page`);
  assert.ok(steps.every(({ waitMs }) => waitMs >= 0 && waitMs <= 2500));
});

test('the same user does the same, another one something else', () => {
  const of = (seed: number) => {
    const user = new User(seed);
    return Array.from({ length: 100 }, () => user.next());
  };
  assert.deepEqual(of(1), of(1));
  assert.notDeepEqual(of(1), of(2));
});
