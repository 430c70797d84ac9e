/** Whether a place in one file's nodes is the same node's in another's. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keepsPlaces, NO_ORDER, nodeOrder } from '../../../src/kernel/router/node-order.ts';

const NODES = Array.from({ length: 63 }, (_, i) => `node${i}`);

test('places stay when nodes are added at the end, and in no other case', () => {
  for (const count of [1, 2, 3, 63]) {
    const names = NODES.slice(0, count);
    const order = nodeOrder(names);
    assert.notEqual(order, NO_ORDER);
    for (let more = count; more <= NODES.length; more++)
      assert.ok(keepsPlaces(order, NODES.slice(0, more)), `${count} of ${more}`);
    for (let fewer = 0; fewer < count; fewer++)
      assert.ok(!keepsPlaces(order, NODES.slice(0, fewer)), `${count} of ${fewer}`);
    assert.ok(!keepsPlaces(order, ['first', ...names]), 'added at the beginning');
    assert.ok(!keepsPlaces(order, [...names.slice(0, -1), 'another']), 'renamed');
    if (count > 1) assert.ok(!keepsPlaces(order, [names[1], names[0], ...names.slice(2)]), 'changed places');
  }
});

test('a process that did not say is believed', () => {
  assert.ok(keepsPlaces(NO_ORDER, NODES));
});
