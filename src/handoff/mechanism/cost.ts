/**
 * Which row of the mechanism table a request costs least by, as estimated. Pure: a situation comes in, numbers go out.
 *
 *   cost  = processor time of the whole, that of a node with little of it left counting for up to MOST_TIMES as much
 *         + what has to be changed first, less what the connection has overpaid:
 *           TURN_US        from the anchor's own socket to a target, or back
 *           HALF_PIPE_US   for a half-pipe, divided by how many requests are expected to use it
 *
 * To relay a request, or to make a half-pipe that later ones use as well, is to rent or to buy, and how many will come
 * is known of connections on average only. So one goes on as before until it has paid as much too much as the change
 * costs (ski rental: that is at most twice what the best choice in hindsight costs). Therefore nothing flaps either.
 */
import {
  AUTO_ROWS,
  type AutoRow,
  HALF_PIPE_US,
  type Price,
  type PriceList,
  type Prices,
  TURN_US,
} from './prices.ts';

/** What of a request, its connection and the nodes the estimates go by. */
export interface Situation {
  /** Bytes of the response's body, as far as they are known. */
  readonly bytes: number;
  /** The body of the request is too large for SETUP. */
  readonly bodyFollows: boolean;
  /** No request of the connection has been answered here. */
  readonly isFirst: boolean;
  /** The connection ends with the response. */
  readonly isLast: boolean;
  /** Requests that are to be expected of the connection, this one included; of the last one 1. */
  readonly requestsLeft: number;
  /** The client has sent its next request already. */
  readonly hasMore: boolean;
  /** The target has a half-pipe of the connection. */
  readonly hasHalfPipe: boolean;
  /** The response before came from the anchor's own socket: by relay, or the anchor's own. */
  readonly ownSentLast: boolean;
  /** What the requests since the last change have cost beyond what they would have cost after one. */
  readonly overpaidUs: number;
  /** What processor time of the nodes counts for: `times`. */
  readonly anchorTimes: number;
  readonly targetTimes: number;
  /** What rows cost on this machine. */
  readonly prices: PriceList;
}

/**
 * From this load on a node is spared. Below it no node is what limits the cluster, and a request is to cost as little as
 * a whole: who spares a node that has a quarter of its processor left takes more of another's than it saves.
 */
const SPARED_PERMILLE = 750;
/** What processor time of the busiest node counts for, in that of an idle one. */
export const MOST_TIMES = 4;

/**
 * What processor time of a node counts for whose busiest engine has that load: by how much a request more makes those
 * wait that are there, which is 1 / (1 - utilisation) of its time (M/M/1), of the part that it has left where it begins
 * to be spared.
 */
export function times(permille: number): number {
  const left = (1000 - Math.max(permille, SPARED_PERMILLE)) / (1000 - SPARED_PERMILLE);
  return 1 / Math.max(left, 1 / MOST_TIMES);
}

/** Why a row is not to be had, in words; null: it is. */
export function objectionTo(row: AutoRow, situation: Situation): string | null {
  if (row === 'relay') return null;
  if (situation.bodyFollows) return 'the request’s body is too large for SETUP';
  if (row === 'anchor')
    return buysInVain(situation) ? 'later requests of that size would not use its half-pipe' : null;
  if (!situation.isLast) return 'a clone serves one response, and the connection goes on';
  return situation.hasMore
    ? 'the client has asked for more, which would wait for its acknowledgements'
    : null;
}

/**
 * A half-pipe's price is divided by all requests that are to be expected: it must be of use to those behind the first.
 * What a connection that has one sends itself, its router translates from then on.
 */
function buysInVain(situation: Situation): boolean {
  if (!situation.isFirst || situation.isLast) return false;
  return listedUs('anchor', 'later', situation) >= listedUs('relay', 'later', situation);
}

/** Microseconds. */
export function costOf(row: AutoRow, situation: Situation): number {
  const changesUs = changeTimes(situation) * changeUs(row, situation);
  return responseUs(row, situation) + Math.max(0, changesUs - situation.overpaidUs);
}

/** Anchor and target both work on a change: the mean of their two speeds. */
const changeTimes = ({ anchorTimes, targetTimes }: Situation): number => (anchorTimes + targetTimes) / 2;

/** When nothing has to be changed first. */
function responseUs(row: AutoRow, situation: Situation): number {
  const { isFirst } = situation;
  const us = listedUs(row, isFirst ? 'first' : 'later', situation);
  // The measured price of a first request by anchor includes making the half-pipe, which is counted as a change.
  return isFirst && row === 'anchor' ? us - changeTimes(situation) * HALF_PIPE_US : us;
}

function listedUs(row: AutoRow, kind: keyof Prices, situation: Situation): number {
  const { bytes, prices, anchorTimes, targetTimes } = situation;
  return weighed(prices[row][kind], bytes, anchorTimes - 1, targetTimes - 1);
}

/** What has to be changed first. */
function changeUs(row: AutoRow, { isFirst, hasHalfPipe, ownSentLast, requestsLeft }: Situation): number {
  const turnUs = isFirst || ownSentLast === (row === 'relay') ? 0 : TURN_US;
  return row === 'anchor' && !hasHalfPipe ? turnUs + HALF_PIPE_US / requestsLeft : turnUs;
}

/** By the list, with what counts more at a node. */
function weighed(list: readonly Price[], bytes: number, moreAtAnchor: number, moreAtTarget: number): number {
  let at = 1;
  while (at < list.length - 1 && bytes > list[at].bytes) at++;
  const low = list[at - 1];
  const high = list[at];
  const lowUs = weighedPrice(low, moreAtAnchor, moreAtTarget);
  const highUs = weighedPrice(high, moreAtAnchor, moreAtTarget);
  return lowUs + (Math.max(0, bytes - low.bytes) / (high.bytes - low.bytes)) * (highUs - lowUs);
}

function weighedPrice(
  { wholeUs, anchorUs, targetUs }: Price,
  moreAtAnchor: number,
  moreAtTarget: number,
): number {
  return wholeUs + moreAtAnchor * anchorUs + moreAtTarget * targetUs;
}

/** The row that costs least of those that can be had. */
export function cheapest(situation: Situation): AutoRow {
  let best: AutoRow = 'relay';
  let leastUs = Number.POSITIVE_INFINITY;
  for (const row of AUTO_ROWS) {
    if (objectionTo(row, situation) !== null) continue;
    const us = costOf(row, situation);
    if (us >= leastUs) continue;
    best = row;
    leastUs = us;
  }
  return best;
}

/** What the connection has overpaid once `row` has served a request. */
export function overpaidAfter(row: AutoRow, situation: Situation): number {
  const { overpaidUs, isFirst, ownSentLast } = situation;
  if (!isFirst && ownSentLast !== (row === 'relay')) return 0;
  const otherUs = responseUs(row === 'relay' ? 'anchor' : 'relay', situation);
  const most = MOST_TIMES * (HALF_PIPE_US + TURN_US);
  return Math.min(Math.max(0, overpaidUs + responseUs(row, situation) - otherUs), most);
}
