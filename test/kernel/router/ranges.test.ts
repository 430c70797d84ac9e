import assert from 'node:assert';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_RANGES, OWNER_SELF, ROLE_ANCHOR } from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add, distance } from '../../../src/kernel/tcp/sequence.ts';

const BASES = [0, 1, 12_345, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32 - 150, 2 ** 32 - 300];

function begun(base: number): ranges.FlowRules {
  const rules = ranges.emptyRules(ROLE_ANCHOR);
  ranges.beginOwn(rules, base);
  return rules;
}

/** own 100, target 1 with 200, own again: open. */
function handedOff(base: number): ranges.FlowRules {
  const rules = begun(base);
  ranges.advanceOwn(rules, 100);
  ranges.openTarget(rules, 1, ranges.closeOwn(rules));
  ranges.endTarget(rules, add(base, 300));
  ranges.openOwn(rules, add(base, 300));
  return rules;
}

for (const base of BASES) {
  test(`a flow that begins at ${base}`, () => {
    const rules = begun(base);
    assert.equal(ranges.nextWire(rules), base, 'identity at first');
    assert.equal(distance(rules.ranges[0].start, base), ranges.OWN_LEAD_BYTES);
    assert.equal(rules.ranges[0].local, rules.ranges[0].start);
    ranges.advanceOwn(rules, 100);
    assert.equal(ranges.nextWire(rules), add(base, 100));
    assert.equal(ranges.closeOwn(rules), add(base, 100));
    assert.equal(ranges.nextWire(rules), add(base, 100));
    ranges.openTarget(rules, 3, add(base, 100));
    assert.throws(() => ranges.nextWire(rules), /not known/);
    assert.throws(() => ranges.closeOwn(rules), /own range is open/);
    ranges.endTarget(rules, add(base, 300));
    assert.equal(ranges.nextWire(rules), add(base, 300));
    assert.throws(() => ranges.endTarget(rules, add(base, 300)), /target range is open/);
    ranges.openOwn(rules, add(base, 300));
    assert.equal(rules.ranges[2].local, add(base, 100), 'the own numbers go on where they stood');
    ranges.advanceOwn(rules, 50);
    assert.equal(ranges.nextWire(rules), add(base, 350));
  });

  test(`forget at ${base}: what is acknowledged of an owner, but not the flow's newest range`, () => {
    const rules = begun(base);
    ranges.openTarget(rules, 1, ranges.closeOwn(rules));
    for (const [end, next] of [
      [200, 1],
      [300, 2],
      [400, 1],
    ]) {
      ranges.endTarget(rules, add(base, end));
      ranges.openTarget(rules, next, add(base, end));
    }
    ranges.endTarget(rules, add(base, 500));
    const ends = () => rules.ranges.filter((g) => g.owner === 1).map((g) => distance(base, g.end));
    assert.deepEqual(ends(), [200, 300, 500]);
    assert.equal(ranges.forget(rules, 1, add(base, 199)), false);
    assert.equal(ranges.forget(rules, 1, add(base, 250)), true);
    assert.deepEqual(ends(), [300, 500]);
    assert.equal(ranges.forget(rules, 1, add(base, 500)), true);
    assert.deepEqual(ends(), [500]);
    assert.equal(ranges.forget(rules, 1, add(base, 500)), false, 'the newest stays');
  });

  test(`collect and trim at ${base}`, () => {
    const rules = handedOff(base);
    assert.equal(ranges.collect(rules, 1, add(base, 299)), false, 'a byte is missing');
    assert.equal(ranges.collect(rules, 2, add(base, 300)), false, 'not its range');
    assert.equal(ranges.trim(rules, add(base, 99)), false);
    assert.equal(rules.ranges.length, 3);
    assert.equal(ranges.trim(rules, add(base, 100)), true);
    assert.deepEqual(
      rules.ranges.map((g) => g.owner),
      [1, OWNER_SELF],
    );
    assert.equal(ranges.collect(rules, 1, add(base, 300)), true);
    assert.equal(rules.ranges.length, 1);
    assert.equal(ranges.trim(rules, add(base, 1000)), false, 'the open range stays');
    assert.equal(ranges.nextWire(rules), add(base, 300));
  });

  test(`whoever goes last, a flow keeps a range that goes on: ${base}`, () => {
    for (const last of ['own', 'target']) {
      const rules = begun(base);
      ranges.advanceOwn(rules, 100);
      let end = ranges.closeOwn(rules);
      if (last === 'target') {
        ranges.openTarget(rules, 1, end);
        end = add(end, 200);
        ranges.endTarget(rules, end);
        ranges.trim(rules, end);
        ranges.collect(rules, 1, end);
      } else {
        ranges.trim(rules, end);
      }
      const [only] = rules.ranges;
      assert.equal(rules.ranges.length, 1);
      assert.deepEqual(
        [only.owner, only.open, only.start, only.local],
        [OWNER_SELF, true, end, add(base, 100)],
      );
      assert.equal(ranges.nextWire(rules), end);
    }
  });

  test(`what nobody sent leaves no range: ${base}`, () => {
    const rules = handedOff(base);
    const end = ranges.closeOwn(rules);
    assert.equal(end, add(base, 300));
    assert.equal(rules.ranges.length, 2, 'the empty own range went');
    ranges.openTarget(rules, 2, end);
    ranges.endTarget(rules, end);
    assert.equal(rules.ranges.length, 2, 'the empty target range went');
    assert.equal(ranges.nextWire(rules), end);
    const target = ranges.emptyRules(ROLE_ANCHOR);
    target.ownNext = 77;
    ranges.openTarget(target, 1, base);
    ranges.endTarget(target, base);
    assert.deepEqual(
      target.ranges.map((g) => [g.owner, g.start, g.local, g.open]),
      [[OWNER_SELF, base, 77, true]],
    );
  });

  test(`an own range goes on when nobody else sent: ${base}`, () => {
    const rules = handedOff(base);
    ranges.advanceOwn(rules, 10);
    const end = ranges.closeOwn(rules);
    ranges.openOwn(rules, end);
    assert.equal(rules.ranges.length, 3, 'reopened');
    ranges.openOwn(rules, end);
    assert.equal(rules.ranges.length, 3, 'open already');
    ranges.closeOwn(rules);
    ranges.openOwn(rules, end, true);
    assert.equal(rules.ranges.length, 4, 'a leased range is one of its own');
    ranges.advanceOwn(rules, 5);
    ranges.openOwn(rules, ranges.closeOwn(rules));
    assert.equal(rules.ranges.length, 5, 'and what follows it is not leased');
    assert.deepEqual(
      rules.ranges.map((g) => g.leased),
      [false, false, false, true, false],
    );
  });

  test(`a start far behind is moved up with its local number: ${base}`, () => {
    const rules = begun(base);
    const step = 2 ** 27;
    for (let sent = 0, at = base; sent < 2 ** 33; sent += step) {
      ranges.advanceOwn(rules, step);
      at = add(at, step);
      assert.equal(ranges.nextWire(rules), at);
      ranges.trim(rules, at);
      assert.equal(ranges.nextWire(rules), at, 'moving it moves no byte');
      const [range] = rules.ranges;
      const behind = distance(range.start, at);
      assert.ok(behind > 0 && behind <= 2 ** 28, `${behind} behind`);
      assert.equal(range.start, range.local);
    }
  });
}

test('room: a handoff needs two places', () => {
  const rules = begun(1000);
  let owner = 1;
  while (ranges.hasRoom(rules)) {
    ranges.advanceOwn(rules, 10);
    const start = ranges.closeOwn(rules);
    ranges.openTarget(rules, owner++, start);
    ranges.endTarget(rules, add(start, 10));
    ranges.openOwn(rules, add(start, 10));
  }
  assert.ok(rules.ranges.length <= MAX_RANGES && rules.ranges.length > MAX_RANGES - 2);
  ranges.advanceOwn(rules, 10);
  assert.throws(() => {
    for (let i = 0; i < 2; i++) ranges.openTarget(rules, 1, add(ranges.closeOwn(rules), i));
  });
});

/** A handoff (or none): bytes of the own socket, then of a target; who acknowledged how much then. */
const anyStep = fc.record({
  own: fc.integer({ min: 0, max: 100_000 }),
  target: fc.integer({ min: 0, max: 100_000 }),
  owner: fc.integer({ min: 1, max: 3 }),
  forget: fc.constantFrom('nothing', 'trim', 'collect', 'trim, collect', 'collect, trim'),
});
const anyBase = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  fc.integer({ min: 2 ** 32 - 300_000, max: 2 ** 32 - 1 }),
);

test('own space is contiguous, the wire has no gap, and nothing is sent twice', () => {
  fc.assert(
    fc.property(anyBase, fc.array(anyStep, { maxLength: 12 }), (base, steps) => {
      const rules = begun(base);
      let wire = base;
      let own = base;
      for (const step of steps) {
        if (!ranges.hasRoom(rules)) {
          for (const owner of [1, 2, 3]) ranges.collect(rules, owner, wire);
          ranges.trim(rules, wire);
        }
        assert.ok(ranges.hasRoom(rules), 'acknowledging everything makes room');
        ranges.openOwn(rules, wire);
        ranges.advanceOwn(rules, step.own);
        own = add(own, step.own);
        wire = add(wire, step.own);
        assert.equal(ranges.nextWire(rules), wire);
        assert.equal(ranges.closeOwn(rules), wire);
        ranges.openTarget(rules, step.owner, wire);
        wire = add(wire, step.target);
        ranges.endTarget(rules, wire);
        // In any order, and not always both: what is forgotten never moves the end.
        if (step.forget === 'trim' || step.forget === 'trim, collect') ranges.trim(rules, wire);
        if (step.forget !== 'nothing' && step.forget !== 'trim') ranges.collect(rules, step.owner, wire);
        if (step.forget === 'collect, trim') ranges.trim(rules, wire);
        assert.equal(rules.ownNext, own);
        assert.equal(ranges.nextWire(rules), wire);
        let end: number | undefined;
        let local: number | undefined;
        for (const range of rules.ranges) {
          if (end !== undefined)
            assert.ok(distance(end, range.start) >= 0, 'ranges are in order, none overlap');
          if (range.open) assert.equal(range, rules.ranges.at(-1), 'only the last is open');
          else assert.ok(distance(range.start, range.end) > 0, 'a range that ended has bytes');
          if (!range.open) end = range.end;
          if (range.owner !== OWNER_SELF) continue;
          if (local !== undefined) assert.ok(distance(local, range.local) >= 0);
          local = range.open ? own : add(range.local, distance(range.start, range.end));
          assert.ok(distance(local, own) >= 0);
        }
      }
    }),
  );
});
