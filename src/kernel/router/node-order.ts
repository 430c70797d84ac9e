/**
 * The nodes' order in the configuration, as one number. The router knows other nodes by their places in it, and its maps
 * outlive the process: the next one, whose file may be another, must not take one node's place for another's.
 */
import { TEXT_SEED, textHash } from '../../base/text-hash.ts';

/** What a map holds that no process has written an order to. */
export const NO_ORDER = 0;
/** Bits for the number of nodes, at most 63; the others hold a hash of their names. */
const COUNT_BITS = 6;
const COUNT_MASK = (1 << COUNT_BITS) - 1;

export function nodeOrder(names: readonly string[]): number {
  const hash = textHash(names.join('\n'), TEXT_SEED) & ~COUNT_MASK;
  return (hash | names.length) >>> 0;
}

/** Whether a place in `former` is the same node's in `names`: nodes have only been added at the end. */
export function keepsPlaces(former: number, names: readonly string[]): boolean {
  const count = former & COUNT_MASK;
  return former === NO_ORDER || (count <= names.length && nodeOrder(names.slice(0, count)) === former);
}
