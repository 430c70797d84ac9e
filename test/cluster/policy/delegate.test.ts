/** Policy delegate: how much is given away, to whom, and why. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { DelegateConfig } from '../../../src/base/config/config.ts';
import type { NodeLoad } from '../../../src/cluster/load.ts';
import { Delegate } from '../../../src/cluster/policy/delegate.ts';
import type { Candidate } from '../../../src/cluster/policy/policy.ts';
import type { RequestHead } from '../../../src/protocol/http/request.ts';

const HEAD = {} as RequestHead;
const SELF = 1;

const candidate = (index: number, cpuPermille = 0): Candidate => ({
  index,
  name: String(index),
  load: { cpuPermille } as NodeLoad,
});
const ALL = [candidate(0), candidate(SELF), candidate(2)];

function delegate(config: Partial<DelegateConfig>, clock = { ms: 0 }): Delegate {
  const none = { kind: 'delegate', percent: 0, requestsPerSecond: null, cpuPermille: null } as const;
  return new Delegate({ ...none, ...config }, () => clock.ms);
}

const chosen = (policy: Delegate, count: number, candidates = ALL): number[] =>
  Array.from({ length: count }, () => policy.choose(HEAD, candidates, SELF));

describe('policy delegate', () => {
  test('a percentage, evenly spread, to the others in turn', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 100 }), (percent) => {
        const nodes = chosen(delegate({ percent }), 400);
        const given = nodes.filter((node) => node !== SELF);
        assert.equal(given.length, 4 * percent);
        assert.ok(Math.abs(given.filter((node) => node === 0).length - given.length / 2) <= 1);
        // Evenly: any hundred in a row holds its share, give or take one.
        for (let at = 0; at + 100 <= nodes.length; at += 7) {
          const share = nodes.slice(at, at + 100).filter((node) => node !== SELF).length;
          assert.ok(Math.abs(share - percent) <= 1, `${share} of ${percent}`);
        }
      }),
    );
  });

  test('what is more than so many requests in a second', () => {
    const clock = { ms: 5 };
    const policy = delegate({ requestsPerSecond: 3 }, clock);
    assert.deepEqual(
      chosen(policy, 6).map((node) => node === SELF),
      [true, true, true, false, false, false],
    );
    clock.ms = 1004;
    assert.notEqual(chosen(policy, 1)[0], SELF);
    clock.ms = 1005;
    assert.equal(chosen(policy, 1)[0], SELF);
  });

  test('while the own engine is busy', () => {
    const policy = delegate({ cpuPermille: 800 });
    assert.deepEqual(chosen(policy, 2, [candidate(0), candidate(SELF, 799)]), [SELF, SELF]);
    assert.deepEqual(chosen(policy, 2, [candidate(0), candidate(SELF, 800)]), [0, 0]);
  });

  test('always, when the document is elsewhere; never, when it is here alone', () => {
    assert.deepEqual(chosen(delegate({}), 3, [candidate(2)]), [2, 2, 2]);
    assert.deepEqual(chosen(delegate({ percent: 100 }), 2, [candidate(SELF)]), [SELF, SELF]);
  });
});
