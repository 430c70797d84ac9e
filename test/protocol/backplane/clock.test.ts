import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CLOCK_WINDOW_MS, ClockFilter } from '../../../src/protocol/backplane/clock.ts';

const u32 = (value: number) => value >>> 0;

describe('ClockFilter', () => {
  it('gives each frame the delay beyond that of the fastest so far', () => {
    const filter = new ClockFilter();
    const delays = [5, 5, 9, 3, 5, 103, 3];
    const expected = [0, 0, 4, 0, 2, 100, 0];
    const got = delays.map((delay, i) => filter.excessMs(1000 + i * 10, 500_000 + i * 10 + delay));
    assert.deepEqual(got, expected);
  });

  it('knows how late something is whose time is told modulo 2^16, and learns nothing from it', () => {
    const early = new ClockFilter();
    assert.equal(early.excessOf16Ms(1, 2), Number.POSITIVE_INFINITY);
    const u16 = (value: number) => value & 0xffff;
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: -5, max: 30_000 }),
        (sent, now, late) => {
          const filter = new ClockFilter();
          filter.excessMs(sent, now);
          const expected = Math.max(0, late);
          assert.equal(filter.excessOf16Ms(u16(sent + 100), now + 100 + late), expected);
          assert.equal(filter.excessMs(u32(sent + 200), u32(now + 200)), 0);
        },
      ),
    );
  });

  it('is the same whatever the clocks read, wrapping ones among them', () => {
    const frames = fc.array(fc.tuple(fc.nat(3000), fc.nat(500)), { minLength: 1, maxLength: 50 });
    fc.assert(
      fc.property(frames, fc.nat(), fc.integer({ min: 0, max: 0xffffffff }), (steps, local, skew) => {
        const plain = new ClockFilter();
        const wrapping = new ClockFilter();
        const bothWrap = new ClockFilter();
        let sent = 0;
        let now = 0;
        for (const [step, delay] of steps) {
          sent += step;
          now = Math.max(now, sent + delay);
          const expected = plain.excessMs(sent, now);
          assert.equal(wrapping.excessMs(u32(sent + skew), local + now), expected);
          // Starts one second before both clocks wrap.
          assert.equal(bothWrap.excessMs(u32(sent - 1000), u32(now - 1000)), expected);
          assert.ok(expected >= 0);
        }
      }),
    );
  });

  it('forgets a fast frame after one to two windows, not before', () => {
    const filter = new ClockFilter();
    assert.equal(filter.excessMs(0, 0), 0);
    assert.equal(filter.excessMs(CLOCK_WINDOW_MS - 50, CLOCK_WINDOW_MS), 50);
    assert.equal(filter.excessMs(2 * CLOCK_WINDOW_MS - 51, 2 * CLOCK_WINDOW_MS - 1), 50);
    assert.equal(filter.excessMs(2 * CLOCK_WINDOW_MS - 50, 2 * CLOCK_WINDOW_MS), 0);
  });

  it('keeps its windows in step, however late the first frame of one is', () => {
    const filter = new ClockFilter();
    assert.equal(filter.excessMs(0, 0), 0);
    assert.equal(filter.excessMs(2 * CLOCK_WINDOW_MS - 51, 2 * CLOCK_WINDOW_MS - 1), 50);
    assert.equal(filter.excessMs(2 * CLOCK_WINDOW_MS - 49, 2 * CLOCK_WINDOW_MS + 1), 0);
  });

  it('starts over after a silence of two windows', () => {
    const filter = new ClockFilter();
    filter.excessMs(0, 0);
    assert.equal(filter.excessMs(5 * CLOCK_WINDOW_MS, 5 * CLOCK_WINDOW_MS + 700), 0);
  });
});
