/** Rows of numbers against a list of objects. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type LingeringFlow, LingerQueue } from '../../../src/handoff/anchor/linger-queue.ts';

const flow = fc.record({
  slot: fc.nat(2 ** 20),
  closedAtMs: fc.double({ min: 0, max: 1e12, noNaN: true }),
  hasFin: fc.boolean(),
  segments: fc.nat(2 ** 31 - 1).map((half) => 2 * half + 1),
});
/** So many come, then so many go. */
const steps = fc.array(fc.tuple(fc.array(flow, { maxLength: 90 }), fc.nat(120)), { maxLength: 12 });

test('what comes first goes first, whole, however many there are', () => {
  fc.assert(
    fc.property(steps, (taken) => {
      const queue = new LingerQueue();
      const model: { dueMs: number; flow: LingeringFlow }[] = [];
      let dueMs = 0;
      for (const [come, go] of taken) {
        for (const one of come) {
          queue.push(++dueMs, one);
          model.push({ dueMs, flow: one });
        }
        for (let i = 0; i < go && model.length > 0; i++) {
          assert.equal(queue.firstDueMs, model[0].dueMs);
          assert.deepEqual(queue.shift(), { ...model.shift()!.flow });
        }
        assert.equal(queue.size, model.length);
        assert.deepEqual(
          queue.slots(go),
          model.slice(0, go).map(({ flow: { slot } }) => slot),
        );
      }
      if (model.length === 0) assert.equal(queue.firstDueMs, Number.POSITIVE_INFINITY);
    }),
  );
});

test('of an empty one nothing is taken', () => {
  assert.throws(() => new LingerQueue().shift(), { name: 'AssertionError' });
});
