/**
 * Maglev hashing: a table that gives each of its entries to one node, in equal shares, so that a node that comes or
 * goes moves little more than its own share (Eisenbud et al., Maglev, NSDI 2016, section 3.4). Pure.
 *
 * Every node has its own order of the entries, made from its name. In turns each node takes the next entry of its
 * order that nobody has, until none is left. With at least 100 times as many entries as nodes, shares differ by 1 % at
 * most.
 *
 * The paper steps through the entries, (offset + j * skip) mod size. Two nodes whose skips stand in a simple ratio then
 * meet at the same entries again and again, and when a third node goes, up to 8 % of the entries changed hands between
 * the two. So each order is a shuffle: between nodes that stay, 1.2 % at most were seen to move.
 */
import assert from 'node:assert';
import { TEXT_SEED, textHash } from '../base/text-hash.ts';

export interface SpreadNode {
  readonly name: string;
  /** Node index + 1; 1 to 255. */
  readonly owner: number;
}

const MAX_ENTRIES = 65536;

/** The entries in an order of the node's own (Fisher and Yates's shuffle, by Marsaglia's xorshift). */
function entryOrder(name: string, size: number): Uint16Array {
  const order = new Uint16Array(size);
  for (let entry = 0; entry < size; entry++) order[entry] = entry;
  // Xorshift never leaves 0.
  let random = textHash(name, TEXT_SEED) || 1;
  for (let last = size - 1; last > 0; last--) {
    random ^= random << 13;
    random ^= random >>> 17;
    random ^= random << 5;
    const other = (random >>> 0) % (last + 1);
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}

/**
 * The table for `nodes` (at least one, names distinct): an owner for each of `size` entries, 65,536 at most. The same
 * whatever the order of the nodes.
 */
export function maglevTable(nodes: readonly SpreadNode[], size: number): Uint8Array {
  assert(nodes.length > 0 && nodes.length <= size, `${nodes.length} nodes for ${size} entries`);
  assert(size <= MAX_ENTRIES, `${size} entries`);
  const table = new Uint8Array(size);
  // Turns go by name: the outcome must not depend on where a node stands in a list.
  const takers = [...nodes]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, owner }) => {
      assert(owner > 0 && owner <= 255, `owner ${owner}`);
      return { owner, order: entryOrder(name, size), at: 0 };
    });
  for (let taken = 0; taken < size; ) {
    for (const taker of takers) {
      if (taken === size) break;
      while (table[taker.order[taker.at]] !== 0) taker.at++;
      table[taker.order[taker.at]] = taker.owner;
      taken++;
    }
  }
  return table;
}
