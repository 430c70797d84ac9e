/** The next request's head as a clone puts it together: any cut, any repetition; never over a gap. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MAX_NEXT_HEAD_BYTES, NextRequestCopy } from '../../../src/handoff/target/next-request-copy.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';

const start = fc.oneof(fc.nat({ max: 2 ** 32 - 1 }), fc.integer({ min: 2 ** 32 - 300, max: 2 ** 32 - 1 }));

test('pieces in order, some again: the bytes as they were sent, also around 2^32', () => {
  fc.assert(
    fc.property(
      start,
      fc.uint8Array({ minLength: 1, maxLength: 400 }),
      fc.array(fc.record({ back: fc.nat({ max: 60 }), length: fc.integer({ min: 1, max: 90 }) })),
      (from, array, pieces) => {
        const sent = Buffer.from(array);
        const next = new NextRequestCopy(from);
        for (const { back, length } of pieces) {
          const at = Math.max(0, next.bytes.length - back);
          const piece = Buffer.from(sent.subarray(at, at + length));
          assert.ok(next.push(add(from, at), piece));
          // The view it came in is used for the next one.
          piece.fill(0);
        }
        assert.deepEqual(next.bytes, sent.subarray(0, next.bytes.length));
      },
    ),
  );
});

test('what comes over a gap is refused, and what is too long', () => {
  fc.assert(
    fc.property(start, fc.nat({ max: 100 }), fc.integer({ min: 1, max: 1000 }), (from, have, gap) => {
      const next = new NextRequestCopy(from);
      assert.ok(next.push(from, Buffer.alloc(have, 1)));
      assert.equal(next.push(add(from, have + gap), Buffer.from('x')), false);
      assert.equal(next.bytes.length, have);
      assert.equal(next.push(add(from, have), Buffer.alloc(MAX_NEXT_HEAD_BYTES + 1 - have)), false);
    }),
  );
});
