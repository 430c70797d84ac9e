/** How long nodes are passed over whose upstream failed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SAY_AGAIN_MS } from '../../src/base/line-limit.ts';
import { FIRST_MS, MOST_MS, Outages } from '../../src/cluster/outages.ts';

const NODES = [{ index: 0 }, { index: 1 }, { index: 2 }];
const left = (outages: Outages, nowMs: number) => outages.without(NODES, nowMs).map(({ index }) => index);

test('a node that failed is passed over, then tried with one request, and longer when that fails, too', () => {
  const outages = new Outages();
  assert.equal(outages.failed(1, 0), true);
  let nowMs = 0;
  for (let lengthMs = FIRST_MS; lengthMs < 8 * MOST_MS; lengthMs *= 2) {
    const untilMs = nowMs + Math.min(lengthMs, MOST_MS);
    assert.deepEqual(left(outages, untilMs - 1), [0, 2]);
    assert.deepEqual(left(outages, untilMs), [0, 1, 2]);
    outages.chosen(0, untilMs);
    assert.deepEqual(left(outages, untilMs), [0, 1, 2]);
    outages.chosen(1, untilMs);
    assert.deepEqual(left(outages, untilMs), [0, 2], 'one request tries');
    assert.equal(outages.failed(1, untilMs), false);
    nowMs = untilMs;
  }
  assert.deepEqual(outages.list(nowMs), [{ node: 1, forMs: nowMs }]);
  assert.equal(outages.answered(1, nowMs), nowMs);
  assert.deepEqual(left(outages, nowMs), [0, 1, 2]);
  assert.equal(outages.answered(1, nowMs), null);
  assert.equal(outages.size, 0);
});

test('one that comes and goes is told of now and then', () => {
  const outages = new Outages();
  const told: number[] = [];
  const again: number[] = [];
  for (let nowMs = 0; nowMs < 3 * SAY_AGAIN_MS; nowMs += 100) {
    if (outages.failed(1, nowMs)) told.push(nowMs);
    if (outages.answered(1, nowMs + 50) !== null) again.push(nowMs);
  }
  assert.deepEqual(told, [0, SAY_AGAIN_MS, 2 * SAY_AGAIN_MS]);
  assert.deepEqual(again, told);
});

test('a trial that nobody hears of again is followed by another', () => {
  const outages = new Outages();
  outages.failed(1, 0);
  outages.chosen(1, FIRST_MS);
  assert.deepEqual(left(outages, FIRST_MS + 2 * FIRST_MS), [0, 1, 2]);
});

test('when all have failed, none is passed over', () => {
  const outages = new Outages();
  for (const { index } of NODES) outages.failed(index, 0);
  assert.deepEqual(left(outages, 1), [0, 1, 2]);
});
