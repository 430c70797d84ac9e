/** What a target's router is to know of a response that is asked for: SETUP as rules of the flow. Pure. */

import { FLAG_FOLLOW, FLAG_WATCH } from '../../kernel/router/layout.ts';
import { type FlowRules, lastRange, openOwn } from '../../kernel/router/ranges.ts';
import {
  type HalfPipe as HalfPipeBlock,
  NO_WINDOW_SCALE,
  type Setup,
} from '../../protocol/backplane/frames.ts';
import { nextEpoch } from '../flow/epoch.ts';
import { grantLease, liftLease } from '../flow/lease.ts';

/** A response that SETUP asks for, sent at `sentMs`. There is room for its range. */
export function beginResponse(rules: FlowRules, setup: Setup, block: HalfPipeBlock, sentMs: number): void {
  const receiveScale = block.receiveScale === NO_WINDOW_SCALE ? 0 : block.receiveScale;
  rules.clientScale = block.sendScale === NO_WINDOW_SCALE ? 0 : block.sendScale;
  rules.inWire = block.acknowledge;
  rules.inWindow = Math.min(65_535, block.receiveWindow >>> receiveScale);
  rules.inTsecr = block.tsecr;
  rules.epoch = setup.epoch;
  rules.flags = 0;
  rules.congestionWindow = block.congestionWindow;
  grantLease(rules, sentMs);
  // The anchor has asked for a next response behind those before: those it does not give up any more.
  liftLease(rules);
  // Bytes of a response that goes on are the same whoever sends them: they may begin at any time.
  openOwn(rules, block.sequence, setup.continuation === null);
}

/** The response to a request that was taken without SETUP, behind the one before it. There is room for its range. */
export function beginNext(rules: FlowRules, start: number, sentMs: number): void {
  rules.epoch = nextEpoch(rules.epoch);
  grantLease(rules, sentMs);
  liftLease(rules);
  openOwn(rules, start, true);
}

/**
 * The response's end, as soon as it is known: the anchor may send right behind it (a FIN, the next response), and an
 * acknowledgement of that must not reach our kernel as one of bytes that it never sent. `follows`: the anchor's router
 * sends the next request here as well.
 */
export function endResponse(rules: FlowRules, end: number, follows: boolean): void {
  const range = lastRange(rules)!;
  range.end = end;
  range.open = false;
  rules.watch = end;
  rules.flags = follows ? FLAG_WATCH | FLAG_FOLLOW : FLAG_WATCH;
}
