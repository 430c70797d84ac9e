/** Rounds that alternate between the sides of a comparison, so that a disturbance meets all of them. */

export const ROUNDS = 3;

/**
 * A B C A B C ...: calls each side once a round; the result is [side][round]. A round of its own, not counted, warms
 * caches, the JIT and connections' paths first.
 */
export async function alternate<T>(sides: ReadonlyArray<() => Promise<T>>, rounds = ROUNDS): Promise<T[][]> {
  for (const side of sides) await side();
  const results: T[][] = sides.map(() => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, side] of sides.entries()) results[index].push(await side());
  }
  return results;
}

/** Of a list that is not empty. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The median of one property over the rounds of a side. */
export function medianOf<T>(rounds: readonly T[], property: (round: T) => number): number {
  return median(rounds.map(property));
}
