/** A list whose members keep its links, against a Set. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Member, Members, type Places } from '../../src/base/members.ts';

class Item implements Member {
  readonly places: Places = [];
}

test('who joins goes behind the last, who leaves is gone, and lists know nothing of each other', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('add', 'delete'), fc.nat(5), fc.nat(9)), { maxLength: 60 });
  fc.assert(
    fc.property(steps, (taken) => {
      const items = Array.from({ length: 6 }, () => new Item());
      const list = new Members<Item>();
      const other = new Members<Item>();
      for (const item of items) other.add(item);
      const model = new Map<Item, number>();
      for (const [step, at, mark] of taken) {
        const item = items[at];
        if (step === 'delete') assert.equal(list.delete(item), model.delete(item));
        else {
          list.add(item, mark);
          if (!model.has(item)) model.set(item, mark);
        }
        assert.deepEqual(list.all, [...model.keys()]);
        assert.equal(list.size, model.size);
        assert.equal(list.first, [...model.keys()][0] ?? null);
        assert.equal(list.firstMark, [...model.values()][0] ?? 0);
        for (const one of items) assert.equal(list.has(one), model.has(one));
      }
      assert.deepEqual(other.all, items);
    }),
  );
});
