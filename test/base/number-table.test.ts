/** A table by numbers, against a Map; and what the collector finds of those that have left. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { NumberTable } from '../../src/base/number-table.ts';

/** Few enough to come again, with neighbours, steps of two and both ends of 32 bits. */
const NUMBERS = [0, 1, 2, 3, 4, 6, 8, 10, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];
const number = fc.oneof(fc.constantFrom(...NUMBERS), fc.nat(40));

test('a number has what was set for it last, until it is deleted', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('set', 'set', 'delete'), number), { maxLength: 200 });
  fc.assert(
    fc.property(steps, fc.boolean(), (taken, clears) => {
      const table = new NumberTable<{ readonly step: number }>();
      const model = new Map<number, { readonly step: number }>();
      for (const [step, [what, at]] of taken.entries()) {
        if (what === 'set') {
          table.set(at, { step });
          model.set(at, table.get(at)!);
        } else assert.equal(table.delete(at), model.delete(at));
        assert.equal(table.size, model.size);
      }
      for (const at of [...NUMBERS, ...taken.map(([, one]) => one)]) {
        assert.equal(table.get(at), model.get(at));
        assert.equal(table.has(at), model.has(at));
      }
      const byStep = (a: { step: number }, b: { step: number }) => a.step - b.step;
      assert.deepEqual(table.all.sort(byStep), [...model.values()].sort(byStep));
      if (!clears) return;
      table.clear();
      assert.equal(table.size, 0);
      assert.deepEqual(table.all, []);
      assert.ok(NUMBERS.every((at) => !table.has(at)));
    }),
  );
});

setFlagsFromString('--expose-gc');
// What survived once is not made as an old object the next time.
setFlagsFromString('--no-allocation-site-pretenuring');
const gc = runInNewContext('gc') as (options?: { type: 'minor' }) => void;

interface Table<T> {
  get(at: number): T | undefined;
  set(at: number, item: T): unknown;
  delete(at: number): boolean;
}

const MEMBERS = 32;
const ITEMS = 20_000;
/** Of numbers: what an item is large by. */
const WORDS = 100;

/** Bytes that members of a table take which are no members any more, when only young objects are collected. */
function leftBytes(table: Table<number[]>): number {
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let at = 0; at < ITEMS; at++) {
    table.set(at, new Array<number>(WORDS).fill(at));
    table.delete(at - MEMBERS);
    if (at % 1000 === 0) gc({ type: 'minor' });
  }
  gc({ type: 'minor' });
  gc({ type: 'minor' });
  return process.memoryUsage().heapUsed - before;
}

test('what has left a table does not outlive the collection of young objects, as it does with a Map', () => {
  const ofMap = leftBytes(new Map<number, number[]>());
  const ofTable = leftBytes(new NumberTable<number[]>());
  assert.ok(ofTable < ofMap / 4, `${ofTable} bytes, of a Map ${ofMap}`);
});
