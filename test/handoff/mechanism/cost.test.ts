/** Mechanism auto's estimates: what holds for any request, and what a connection pays for them over its life. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  cheapest,
  costOf,
  MOST_TIMES,
  objectionTo,
  overpaidAfter,
  type Situation,
  times,
} from '../../../src/handoff/mechanism/cost.ts';
import {
  AUTO_ROWS,
  type AutoRow,
  byteTimes,
  CALLS_PER_KIB,
  HALF_PIPE_US,
  PRICES,
  pricesFor,
  TURN_US,
} from '../../../src/handoff/mechanism/prices.ts';

const KIB = 1024;
const MOST_BYTES = 64 * KIB * KIB;
const IDLE: Situation = {
  bytes: KIB,
  bodyFollows: false,
  isFirst: false,
  isLast: false,
  requestsLeft: 1,
  hasMore: false,
  hasHalfPipe: false,
  ownSentLast: true,
  overpaidUs: 0,
  anchorTimes: 1,
  targetTimes: 1,
  prices: PRICES,
};

const permille = fc.integer({ min: 0, max: 1000 });
const bytes = fc.oneof(fc.integer({ min: 0, max: 128 * KIB }), fc.integer({ min: 0, max: MOST_BYTES }));
const situation: fc.Arbitrary<Situation> = fc
  .record({
    bytes,
    bodyFollows: fc.boolean(),
    isFirst: fc.boolean(),
    isLast: fc.boolean(),
    requestsLeft: fc.integer({ min: 1, max: 256 }),
    hasMore: fc.boolean(),
    hasHalfPipe: fc.boolean(),
    ownSentLast: fc.boolean(),
    overpaidUs: fc.integer({ min: 0, max: HALF_PIPE_US + TURN_US }),
    anchorTimes: permille.map(times),
    targetTimes: permille.map(times),
    prices: fc.double({ min: 0.25, max: 4, noNaN: true }).map(pricesFor),
  })
  .map((one) => {
    const hasHalfPipe = one.hasHalfPipe && !one.isFirst;
    return { ...one, hasHalfPipe, ownSentLast: one.ownSentLast || !hasHalfPipe };
  });
const row = fc.constantFrom(...AUTO_ROWS);

test('prices grow with sizes, and are no less than what the two nodes have of them', () => {
  for (const name of AUTO_ROWS) {
    for (const list of Object.values(PRICES[name])) {
      list.forEach(({ wholeUs, anchorUs, targetUs }, i) => {
        assert.ok(wholeUs >= anchorUs + targetUs && anchorUs > 0 && targetUs > 0, `${name} ${i}`);
        if (i === 0) return;
        const before = list[i - 1];
        assert.ok(list[i].bytes > before.bytes && wholeUs >= before.wholeUs, `${name} ${i}`);
        assert.ok(anchorUs >= before.anchorUs && targetUs >= before.targetUs, `${name} ${i}`);
      });
    }
  }
});

describe('where bytes cost more or less beside calls', () => {
  test('a difference within what is measured in 2 ms is none, and a measurement that has failed is bounded', () => {
    const times = [0.9, 1.1, 2, 0.5, 100, 0].map((more) => byteTimes(more * CALLS_PER_KIB));
    assert.deepEqual(times, [1, 1, 2, 0.5, 4, 0.25]);
  });

  test('an empty response costs the same, a large one so many times as much', () => {
    const twice = pricesFor(2);
    assert.deepEqual(pricesFor(1), PRICES);
    for (const name of AUTO_ROWS) {
      const [then, now] = [PRICES[name].later, twice[name].later];
      assert.deepEqual(now[0], then[0]);
      assert.equal(now.at(-1)!.wholeUs, 2 * then.at(-1)!.wholeUs - then[0].wholeUs);
    }
  });

  test('relay, which passes them on twice, is chosen for smaller responses only, or for larger ones as well', () => {
    const rowAt = (times: number, bytes: number) =>
      cheapest({ ...IDLE, bytes, hasHalfPipe: true, prices: pricesFor(times) });
    assert.deepEqual(
      [4, 1, 0.25].map((times) => rowAt(times, 8 * KIB)),
      ['anchor', 'relay', 'relay'],
    );
    assert.deepEqual(
      [4, 1, 0.25].map((times) => rowAt(times, 48 * KIB)),
      ['anchor', 'anchor', 'relay'],
    );
  });
});

describe('a row’s cost', () => {
  test('grows with the response, and with how busy a node is', () => {
    fc.assert(
      fc.property(row, situation, bytes, permille, permille, (name, one, more, x, y) => {
        const us = costOf(name, one);
        assert.ok(costOf(name, { ...one, bytes: one.bytes + more }) >= us);
        const anchorTimes = Math.max(one.anchorTimes, times(x));
        const targetTimes = Math.max(one.targetTimes, times(y));
        assert.ok(costOf(name, { ...one, anchorTimes, targetTimes }) >= us);
      }),
    );
  });

  test('is above nothing, and for busy nodes at most so many times that for idle ones', () => {
    fc.assert(
      fc.property(row, situation, (name, one) => {
        const idle = costOf(name, { ...one, overpaidUs: 0, anchorTimes: 1, targetTimes: 1 });
        const us = costOf(name, { ...one, overpaidUs: 0 });
        assert.ok(idle > 0 && us >= idle && us <= MOST_TIMES * idle + 1e-6);
      }),
    );
  });

  test('has no jump where the sizes that were measured lie', () => {
    for (const name of AUTO_ROWS) {
      for (const { bytes } of PRICES[name].later) {
        const [below, at] = [bytes - 1, bytes].map((size) => costOf(name, { ...IDLE, bytes: size }));
        assert.ok(at - below < 0.1, `${name} ${bytes}`);
      }
    }
  });

  test('a busy node counts for more, up to a bound', () => {
    assert.deepEqual([0, 500, 750, 875, 1000].map(times), [1, 1, 1, 2, 4]);
    assert.equal(times(5000), MOST_TIMES);
  });
});

describe('the row that is chosen', () => {
  test('can be had, and none that can be had costs less', () => {
    fc.assert(
      fc.property(situation, (one) => {
        const chosen = cheapest(one);
        assert.equal(objectionTo(chosen, one), null);
        for (const name of AUTO_ROWS)
          assert.ok(objectionTo(name, one) !== null || costOf(chosen, one) <= costOf(name, one));
      }),
    );
  });

  test('is relay for small responses and for bodies that follow, and never for large ones', () => {
    for (const isFirst of [true, false]) {
      assert.equal(cheapest({ ...IDLE, isFirst, bytes: KIB }), 'relay');
      assert.equal(cheapest({ ...IDLE, isFirst, bytes: 10 * KIB * KIB, bodyFollows: true }), 'relay');
      for (const size of [256 * KIB, KIB * KIB, 1e9])
        for (const isLast of [true, false])
          assert.notEqual(cheapest({ ...IDLE, isFirst, isLast, bytes: size }), 'relay');
    }
  });

  test('is the same on a first request however busy both nodes are alike: all that they do is dearer', () => {
    const first = { ...IDLE, isFirst: true, bytes: 32 * KIB, requestsLeft: 8 };
    for (const load of [0, 800, 900, 1000])
      assert.equal(
        cheapest({ ...first, anchorTimes: times(load), targetTimes: times(load) }),
        'anchor',
        `${load}`,
      );
  });

  test('makes no half-pipe on a first request that later ones of its size would not use, however busy the anchor is', () => {
    for (const permille of [0, 800, 900, 1000]) {
      const first = { ...IDLE, isFirst: true, requestsLeft: 256, anchorTimes: times(permille) };
      assert.equal(cheapest(first), 'relay', `${permille}`);
      assert.equal(cheapest({ ...first, bytes: 256 * KIB }), 'anchor', `${permille}`);
    }
  });

  test('is relay less often when the anchor is busy: it has most of its work there', () => {
    fc.assert(
      fc.property(bytes, permille, (size, load) => {
        const idle = cheapest({ ...IDLE, bytes: size });
        const busy = cheapest({ ...IDLE, bytes: size, anchorTimes: times(load) });
        assert.ok(idle === 'relay' || busy !== 'relay');
      }),
    );
  });
});

/** A kept connection to one target, of those that have so many requests on average. */
class Connection {
  readonly #requestsLeft: number;
  paidUs = 0;
  readonly rows: AutoRow[] = [];
  #overpaidUs = 0;
  #hasHalfPipe = false;
  #ownSentLast = true;

  constructor(requestsLeft = 1) {
    this.#requestsLeft = requestsLeft;
  }

  request(size: number, load: Pick<Situation, 'anchorTimes' | 'targetTimes'> = IDLE, fixed?: AutoRow): void {
    const one: Situation = {
      ...IDLE,
      requestsLeft: this.#requestsLeft,
      bytes: size,
      hasHalfPipe: this.#hasHalfPipe,
      ownSentLast: this.#ownSentLast,
      overpaidUs: this.#overpaidUs,
      anchorTimes: load.anchorTimes,
      targetTimes: load.targetTimes,
    };
    const chosen = fixed ?? cheapest(one);
    // What is paid is what it costs: what was overpaid before lowers what is compared, not that.
    this.paidUs += costOf(chosen, {
      ...one,
      requestsLeft: 1,
      overpaidUs: 0,
      anchorTimes: 1,
      targetTimes: 1,
    });
    this.rows.push(chosen);
    this.#overpaidUs = overpaidAfter(chosen, one);
    this.#ownSentLast = chosen === 'relay';
    this.#hasHalfPipe ||= chosen === 'anchor';
  }

  get changes(): number {
    return this.rows.filter((name, i) => i > 0 && name !== this.rows[i - 1]).length;
  }
}

const mean = fc.integer({ min: 1, max: 256 });
const paid = (sizes: readonly number[], fixed?: AutoRow, requestsLeft = 1): number => {
  const connection = new Connection(requestsLeft);
  for (const size of sizes) connection.request(size, IDLE, fixed);
  return connection.paidUs;
};

describe('a connection', () => {
  test('that asks for one size pays little more than by the best row: a half-pipe at most', () => {
    fc.assert(
      fc.property(bytes, fc.integer({ min: 1, max: 200 }), mean, (size, count, left) => {
        const sizes = Array.from({ length: count }, () => size);
        const best = Math.min(paid(sizes, 'relay'), paid(sizes, 'anchor'));
        assert.ok(paid(sizes, undefined, left) <= best + 2 * (HALF_PIPE_US + TURN_US));
      }),
    );
  });

  test('that asks for anything pays at most twice what the best row does, and a half-pipe', () => {
    fc.assert(
      fc.property(fc.array(bytes, { minLength: 1, maxLength: 60 }), mean, (sizes, left) => {
        const best = Math.min(paid(sizes, 'relay'), paid(sizes, 'anchor'));
        assert.ok(paid(sizes, undefined, left) <= 2 * best + HALF_PIPE_US + TURN_US);
      }),
    );
  });

  test('changes its row once at most while sizes stay, however loads come and go by a tenth', () => {
    const near = fc.array(fc.tuple(fc.integer({ min: -50, max: 50 }), fc.integer({ min: -50, max: 50 })), {
      minLength: 2,
      maxLength: 40,
    });
    fc.assert(
      fc.property(bytes, permille, permille, near, mean, (size, a, b, wobble, left) => {
        const connection = new Connection(left);
        for (const [x, y] of wobble)
          connection.request(size, { anchorTimes: times(a + x), targetTimes: times(b + y) });
        assert.ok(connection.changes <= 1, connection.rows.join());
      }),
    );
  });

  test('relays what is between, until it has paid for a half-pipe', () => {
    const connection = new Connection();
    for (let i = 0; i < 12; i++) connection.request(40 * KIB);
    assert.equal(connection.rows[0], 'relay');
    assert.equal(connection.rows.at(-1), 'anchor');
    assert.equal(connection.changes, 1);
  });

  test('has a half-pipe sooner where connections have many requests', () => {
    const changedAt = [1, 4, 256].map((left) => {
      const connection = new Connection(left);
      for (let i = 0; i < 24; i++) connection.request(32 * KIB);
      return connection.rows.indexOf('anchor');
    });
    assert.ok(
      changedAt[0] > changedAt[1] && changedAt[1] > changedAt[2] && changedAt[2] >= 0,
      `${changedAt}`,
    );
  });
});
