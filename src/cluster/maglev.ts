/**
 * Maglev hashing: a table that gives each of its entries to one node, in equal shares, so that a node that comes or
 * goes moves little more than its own share (Eisenbud et al., Maglev, NSDI 2016, section 3.4). Pure.
 *
 * Every node has its own permutation of the entries, made from its name: (offset + j * skip) mod size. In turns each
 * node takes the next entry of its permutation that nobody has, until none is left. The size is a prime, so that any
 * skip gives a permutation, and at least 100 times the number of nodes, so that shares differ by 1 % at most.
 */
import assert from 'node:assert';
import { TEXT_SEED, textHash } from '../base/text-hash.ts';

export interface SpreadNode {
  readonly name: string;
  /** Node index + 1; 1 to 255. */
  readonly owner: number;
}

const SKIP_SEED = 0x9747b28c;

/**
 * The table for `nodes` (at least one, names distinct): an owner for each of `size` entries. The same whatever the
 * order of the nodes. `size` is a prime.
 */
export function maglevTable(nodes: readonly SpreadNode[], size: number): Uint8Array {
  assert(nodes.length > 0 && nodes.length <= size, `${nodes.length} nodes for ${size} entries`);
  const table = new Uint8Array(size);
  // Turns go by name: the outcome must not depend on where a node stands in a list.
  const takers = [...nodes]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, owner }) => {
      assert(owner > 0 && owner <= 255, `owner ${owner}`);
      return {
        owner,
        at: textHash(name, TEXT_SEED) % size,
        skip: (textHash(name, SKIP_SEED) % (size - 1)) + 1,
      };
    });
  for (let taken = 0; taken < size; ) {
    for (const taker of takers) {
      if (taken === size) break;
      while (table[taker.at] !== 0) taker.at = (taker.at + taker.skip) % size;
      table[taker.at] = taker.owner;
      taken++;
    }
  }
  return table;
}
