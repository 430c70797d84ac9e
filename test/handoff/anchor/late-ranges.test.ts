/** How long the router forwards acknowledgements of what the client has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LateRanges } from '../../../src/handoff/anchor/late-ranges.ts';
import { ROLE_ANCHOR } from '../../../src/kernel/router/layout.ts';
import { emptyRules, endTarget, openTarget } from '../../../src/kernel/router/ranges.ts';

const B = 2;
const BYTES = 1000;
const LATE_MS = 1000;

test('a range that is late stays so for a second, wherever in the sequence space the connection is', () => {
  for (const start of [0, 0x1000, 0x7fff_ff00, 0x8000_0000, 0xffff_f000]) {
    const rules = emptyRules(ROLE_ANCHOR);
    openTarget(rules, B, start);
    const end = (start + BYTES) >>> 0;
    endTarget(rules, end);
    const late = new LateRanges(rules, () => true);
    const owned = () => rules.ranges.some(({ owner }) => owner === B);
    for (let nowMs = 5000; nowMs < 5000 + LATE_MS; nowMs += 100) {
      late.drop(end, nowMs);
      assert.ok(owned(), `${nowMs}`);
    }
    assert.ok(late.drop(end, 5000 + LATE_MS));
    assert.ok(!owned());
  }
});

test('what is not acknowledged, or owed by one that says when it lets go, stays', () => {
  for (const [acknowledged, letsGo] of [
    [BYTES - 1, true],
    [BYTES, false],
  ] as const) {
    const rules = emptyRules(ROLE_ANCHOR);
    openTarget(rules, B, 0);
    endTarget(rules, BYTES);
    const late = new LateRanges(rules, () => letsGo);
    for (let nowMs = 0; nowMs < 5 * LATE_MS; nowMs += 100)
      assert.equal(late.drop(acknowledged, nowMs), false);
  }
});
