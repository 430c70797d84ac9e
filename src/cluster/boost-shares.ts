/**
 * How many clients a booster has for each of its origins at most, so that one that is overloaded leaves room for the
 * others. Pure.
 *
 *     an origin may have its equal part of seven eighths of the places, whatever the others have;
 *     and whatever of them the others do not use
 *
 * The last eighth is for an origin that comes when the others have all the rest: until some of theirs have left. It is
 * told when it has nearly all that it may have; until it has heard that, some more may come, a sixteenth at most.
 */

/** An origin with this share of its limit is told that its booster is full. */
const FULL_SHARE = 0.95;
/** Below this share it is told that there is room again. */
const ROOM_SHARE = 0.85;

/** An origin's client is turned away from so many on. */
export function turnedAwayFrom(origin: number, counts: ReadonlyMap<number, number>, most: number): number {
  return boundFor(origin, counts, most) + Math.floor(most / 16);
}

/** Clients that `origin` may have. `counts`: of those that have some. `most`: of all together. */
export function boundFor(origin: number, counts: ReadonlyMap<number, number>, most: number): number {
  const shared = most - Math.ceil(most / 8);
  let others = 0;
  for (const [one, count] of counts) if (one !== origin) others += count;
  const origins = counts.size + (counts.has(origin) ? 0 : 1);
  return Math.max(Math.floor(shared / origins), shared - others, 1);
}

/** Whether it should get no more. `was`: it should not the last time. */
export function isFullFor(
  origin: number,
  counts: ReadonlyMap<number, number>,
  most: number,
  was: boolean,
): boolean {
  const share = (counts.get(origin) ?? 0) / boundFor(origin, counts, most);
  return share >= (was ? ROOM_SHARE : FULL_SHARE);
}
