import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DelayLine, Loss } from '../../../src/tools/lab/delay-line.ts';

test('frames leave in order, each exactly after the delay, and never more than fit', () => {
  const step = fc.record({ waitMs: fc.nat(8), arrive: fc.nat(6) });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.nat(10), fc.array(step), (capacity, delayMs, steps) => {
      const line = new DelayLine(capacity, delayMs);
      const model: Array<{ slot: number; length: number; due: number }> = [];
      let now = 0;
      let next = 1;
      for (const { waitMs, arrive } of steps) {
        now += waitMs;
        for (let slot = line.dueSlot(now); slot >= 0; slot = line.dueSlot(now)) {
          const oldest = model.shift();
          assert.deepEqual(
            { slot, length: line.lengthOf(slot) },
            { slot: oldest?.slot, length: oldest?.length },
          );
          assert.ok(oldest!.due <= now);
          line.shift();
        }
        assert.ok(model.every(({ due }) => due > now));
        for (let i = 0; i < arrive; i++) {
          const slot = line.freeSlot();
          assert.equal(slot < 0, model.length === capacity);
          if (slot < 0) continue;
          assert.ok(
            model.every((frame) => frame.slot !== slot),
            'a slot in use is never given',
          );
          line.push(next, now);
          model.push({ slot, length: next++, due: now + delayMs });
        }
        assert.equal(line.count, model.length);
        assert.equal(line.nextDueMs(), model[0]?.due ?? Number.POSITIVE_INFINITY);
      }
    }),
  );
});

test('loss is near its percentage, the same for the same seed, and independent', () => {
  const draw = (percent: number, seed: number): boolean[] => {
    const loss = new Loss(percent, seed);
    return Array.from({ length: 100_000 }, () => loss.next());
  };
  const lost = draw(4, 1);
  const count = lost.filter(Boolean).length;
  assert.ok(count > 3700 && count < 4300, `${count} of 100000`);
  assert.deepEqual(draw(4, 1), lost);
  assert.notDeepEqual(draw(4, 2), lost);
  const pairs = lost.filter((isLost, i) => isLost && lost[i + 1]).length;
  assert.ok(pairs > 100 && pairs < 220, `${pairs} pairs where 160 are expected`);
  assert.ok(!draw(0, 1).includes(true));
  assert.ok(!draw(100, 1).includes(false));
});
