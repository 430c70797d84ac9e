/** The router's table with what rules must be like to be put in force. */
import assert from 'node:assert/strict';
import { FLAG_WATCH, OWNER_SELF, ROLE_ANCHOR } from '../../../src/kernel/router/layout.ts';
import { distance, type FlowRules, type Range } from '../../../src/kernel/router/ranges.ts';
import { TableModel } from '../table.ts';

export class CheckedTable extends TableModel {
  override write(slot: number, rules: FlowRules): void {
    checkRanges(rules);
    // Rule no-ranges: nothing is seen.
    if ((rules.flags & FLAG_WATCH) !== 0 && rules.ranges.length > 0) checkWatch(rules, this.ack(slot));
    super.write(slot, rules);
  }
}

/** They lie one behind the other (what is collected has gone from between them), and only the last one's end may be unknown. */
function checkRanges({ ranges }: FlowRules): void {
  for (const [i, { start, end, open }] of ranges.entries()) {
    if (i < ranges.length - 1) {
      assert.ok(!open, 'only the last range is open');
      assert.ok(distance(end, ranges[i + 1].start) >= 0, 'ranges are in order');
    }
    if (!open) assert.ok(distance(start, end) >= 0, 'a range ends behind its start');
  }
}

/**
 * Rule watch fires once an epoch: for the newest response, when its end is known, and not for one before. What is watched
 * for is a byte of whom it is about: at an anchor a target's, at a target the own socket's.
 */
function checkWatch({ ranges, role, watch }: FlowRules, acknowledged: number): void {
  const isOthers = ({ owner }: Range) => (role === ROLE_ANCHOR) === (owner !== OWNER_SELF);
  const last = ranges.at(-1);
  assert.ok(last === undefined || !isOthers(last) || !last.open, 'a response without an end is not watched');
  if (distance(watch, acknowledged) >= 0) return;
  const range = ranges.findLast(({ start }) => distance(start, watch) > 0);
  assert.ok(range !== undefined && isOthers(range), 'what is watched for is in a response');
  assert.ok(distance(watch, range.end) >= 0, 'what is watched for is not behind its end');
}
