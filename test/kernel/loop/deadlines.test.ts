/** Deadlines of one kind, against a list that is sorted anew each time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Deadlines, type Places, type Timed } from '../../../src/kernel/loop/deadlines.ts';

const DURATION_MS = 50;

class Item implements Timed {
  readonly places: Places = [];
}

test('what is set runs out in its order, once, and not when it was moved or cleared', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('set', 'clear', 'pass'), fc.nat(5), fc.nat(40)), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (taken) => {
      const items = Array.from({ length: 6 }, () => new Item());
      const ended: Item[] = [];
      const deadlines = new Deadlines<Item>(DURATION_MS, (item) => ended.push(item));
      // Another kind, for the same items: the two know nothing of each other.
      const others = new Deadlines<Item>(1e9, () => assert.fail('not due'));
      for (const item of items) others.set(item, 0);
      let model: Array<{ item: Item; dueMs: number }> = [];
      let nowMs = 0;
      for (const [step, at, ms] of taken) {
        const item = items[at];
        if (step !== 'pass') model = model.filter((entry) => entry.item !== item);
        if (step === 'set') {
          deadlines.set(item, nowMs);
          model.push({ item, dueMs: nowMs + DURATION_MS });
        } else if (step === 'clear') {
          deadlines.clear(item);
        } else {
          nowMs += ms;
          deadlines.run(nowMs);
          const due = model.filter(({ dueMs }) => dueMs <= nowMs);
          model = model.filter(({ dueMs }) => dueMs > nowMs);
          assert.deepEqual(
            ended.splice(0),
            due.map((entry) => entry.item),
          );
        }
        assert.deepEqual(
          deadlines.items,
          model.map((entry) => entry.item),
        );
        assert.equal(deadlines.size, model.length);
        for (const one of items)
          assert.equal(
            deadlines.has(one),
            model.some((entry) => entry.item === one),
          );
      }
      assert.equal(others.size, items.length);
    }),
  );
});

test('one that is set again while it runs out has its full time', () => {
  const item = new Item();
  let ends = 0;
  let nowMs = 0;
  const deadlines: Deadlines<Item> = new Deadlines<Item>(DURATION_MS, () => {
    ends++;
    deadlines.set(item, nowMs);
  });
  deadlines.set(item, nowMs);
  for (const [atMs, expected] of [
    [DURATION_MS, 1],
    [2 * DURATION_MS - 1, 1],
    [2 * DURATION_MS, 2],
  ]) {
    nowMs = atMs;
    deadlines.run(nowMs);
    assert.equal(ends, expected);
  }
});

test('a few at a time keep up with thousands that are set each second, and none has to wait for long', () => {
  const PER_TURN = 8;
  let ended = 0;
  let latestMs = 0;
  let nowMs = 0;
  const dueMs = new Map<Item, number>();
  const deadlines = new Deadlines<Item>(DURATION_MS, (item) => {
    ended++;
    latestMs = Math.max(latestMs, nowMs - dueMs.get(item)!);
  });
  const set = (count: number) => {
    for (let i = 0; i < count; i++) {
      const item = new Item();
      dueMs.set(item, nowMs + DURATION_MS);
      deadlines.set(item, nowMs);
    }
  };
  let most = 0;
  for (; nowMs < 2000; nowMs++) {
    set(PER_TURN);
    const before = ended;
    deadlines.runSome(nowMs);
    most = Math.max(most, ended - before);
  }
  assert.ok(latestMs > 0 && latestMs < DURATION_MS, `${latestMs} ms late`);
  assert.ok(most <= 2 * PER_TURN, `${most} in one turn`);
  // Thousands that come at once.
  set(4000);
  nowMs += DURATION_MS;
  let turns = 0;
  for (; deadlines.isDue(nowMs); turns++) {
    deadlines.runSome(nowMs);
    nowMs += 0.1;
  }
  assert.equal(deadlines.size, 0);
  assert.ok(turns > 100, `${turns} turns`);
});
