/** Rule icmp-error: what routers on the way say of segments to clients goes to those who send them. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { NODE_MAC } from './frames.ts';
import {
  anchored,
  assertUntouched,
  type IcmpError,
  isFour,
  others,
  readError,
  runError,
  tooBig,
} from './icmp-frames.ts';
import { BASES, COPY_HOPS, FAMILIES, range, SHOT, Stand, UNSPEC } from './stand.ts';

const skip = skipWithoutRoot();
const PEERS = ['020000000002', '020000000003', '020000000004'].map((mac) => Buffer.from(mac, 'hex'));
const LOCAL = 70_000;
const WINDOW = 4096;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand(PEERS);
});
after(() => {
  if (skip === false) stand.close();
});

/** Copies of the error, as it came, to these owners. */
function assertCopies(error: IcmpError, owners: readonly number[]): void {
  const frames = stand.wire.take(owners.length);
  assert.deepEqual(
    frames.map((frame) => frame.subarray(0, 12)),
    owners.map((owner) => Buffer.concat([PEERS[owner - 1], NODE_MAC])),
  );
  for (const frame of frames)
    assert.deepEqual(readError(frame, error), { hops: COPY_HOPS, seq: error.quoted.seq });
}

for (const family of FAMILIES) {
  for (const base of BASES) {
    const name = `${family.name} at ${base}`;
    const at = (n: number) => add(base, n);
    const local = add(base, LOCAL);
    const install = (acked: number, sent: number, rules = anchored(base, local)) =>
      stand.install(family.client, family.own, rules, {
        ack: at(acked),
        edge: at(acked + WINDOW),
        sentNext: add(local, sent),
      });

    test(`${name}: at the anchor all who send are told, each as it counts`, { skip }, () => {
      for (const { quoted, own, why } of [
        { quoted: 500, own: 500, why: 'sent here: as it was sent' },
        { quoted: 999, own: 999, why: 'the last byte of a range' },
        { quoted: 1000, own: 1000, why: 'sent by a target: the end of what was sent here before' },
        { quoted: 2999, own: 1000, why: 'and its last byte' },
        { quoted: 3000, own: 1000, why: 'sent here again' },
        { quoted: 3700, own: 1700, why: 'sent here again' },
        { quoted: 4400, own: 1800, why: 'by another: what was sent here, which is not all' },
        { quoted: 4595, own: 1800, why: 'of an open range, before the edge of the window' },
      ]) {
        const slot = install(500, 1800);
        const error = tooBig(family, family.own, at(quoted));
        const { verdict, counts, seq, hops } = runError(stand, error);
        const expected = { errors_forwarded: 2, errors_translated: 1 };
        assert.deepEqual([verdict, counts, hops], [UNSPEC, expected, 60], why);
        assert.equal(seq, add(local, own), why);
        assertCopies(error, [1, 2]);
        assert.equal(stand.observed(slot, layout.OBSERVED_PATH_MTU), 1280);
      }
    });

    test(`${name}: at the anchor what nobody can have sent goes nowhere`, { skip }, () => {
      const closed = anchored(base, local);
      closed.ranges.pop();
      for (const { quoted, rules, why } of [
        { quoted: 499, why: 'acknowledged' },
        { quoted: -1, why: 'before everything' },
        { quoted: 3801, why: 'in an own range, and not sent' },
        { quoted: 500 + WINDOW, why: 'beyond the window' },
        { quoted: 2 ** 31, why: 'far away' },
        { quoted: 4500, rules: closed, why: 'in no range' },
      ]) {
        const slot = install(500, 1800, rules);
        const error = tooBig(family, family.own, at(quoted));
        const { verdict, counts, seq } = runError(stand, error);
        assert.deepEqual([verdict, counts, seq], [SHOT, { errors_refused: 1 }, at(quoted)], why);
        assert.equal(stand.observed(slot, layout.OBSERVED_PATH_MTU), 0);
      }
      assertCopies(tooBig(family, family.own, 0), []);
    });

    test(`${name}: a target is told as it counts, by copies only`, { skip }, () => {
      const rules: ranges.FlowRules = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        ownNext: add(local, 800),
        anchor: 3,
        ranges: [
          range({ start: at(1000), end: at(1500), local }),
          range({ start: at(4000), local: add(local, 500), open: true }),
        ],
      };
      const copy = { hops: COPY_HOPS, station: PEERS[2] };
      for (const pub of [family.own, family.foreign]) {
        for (const { quoted, own, why } of [
          { quoted: 1000, own: 0, why: 'its first byte' },
          { quoted: 1200, own: 200, why: 'its own' },
          { quoted: 4100, own: 600, why: 'its own, later' },
          { quoted: 4900, own: 1400, why: 'its own, not sent: for the kernel to judge' },
          { quoted: 700, own: 0, why: 'of another, before' },
          { quoted: 2000, own: 500, why: 'of another, between' },
        ]) {
          stand.install(family.client, pub, rules, {
            ack: at(1000),
            edge: at(5096),
            sentNext: add(local, 700),
          });
          const { verdict, counts, seq } = runError(stand, tooBig(family, pub, at(quoted), copy));
          assert.deepEqual([verdict, counts, seq], [UNSPEC, { errors_translated: 1 }, add(local, own)], why);
        }
        assertUntouched(stand, tooBig(family, pub, at(1200)), 'no copy');
        const strange = runError(stand, tooBig(family, pub, at(1200), { hops: COPY_HOPS }));
        assert.deepEqual([strange.verdict, strange.counts], [SHOT, { stray: 1 }], 'not from the anchor');
        stand.setAlive(false);
        const late = runError(stand, tooBig(family, pub, at(1200), copy));
        assert.deepEqual([late.verdict, late.counts], [SHOT, { stray: 1 }], 'its process is gone');
        stand.setAlive(true);
        stand.uninstall(family.client, pub);
      }
    });
  }

  const install = () =>
    stand.install(family.client, family.own, anchored(0, LOCAL), {
      ack: 500,
      edge: 500 + WINDOW,
      sentNext: LOCAL + 1800,
    });

  test(`${family.name}: the smallest MTU is kept, as far as the kernel believes it`, { skip }, () => {
    const slot = install();
    // RFC 1191 section 4: routers of before tell none, which is 0.
    const told = isFour(family)
      ? [
          [1400, 1400],
          [1450, 1400],
          [600, 600],
          [0, 552],
        ]
      : [
          [1400, 1400],
          [1500, 1400],
          [1279, 1400],
          [0xffff_ffff, 1400],
          [1280, 1280],
        ];
    for (const [rest, kept] of told) {
      runError(stand, tooBig(family, family.own, 500, { rest }));
      assert.equal(stand.observed(slot, layout.OBSERVED_PATH_MTU), kept, `${rest}`);
    }
    stand.wire.take(0);
  });

  test(`${family.name}: other errors are for the own socket alone`, { skip }, () => {
    for (const [type, code] of others(family)) {
      const slot = install();
      const { verdict, counts, seq } = runError(stand, tooBig(family, family.own, 700, { type, code }));
      assert.deepEqual([verdict, counts, seq], [UNSPEC, { errors_translated: 1 }, LOCAL + 700], `${type}`);
      assert.equal(stand.observed(slot, layout.OBSERVED_PATH_MTU), 0);
    }
    assertCopies(tooBig(family, family.own, 0), []);
  });

  test(`${family.name}: who has let go is not told`, { skip }, () => {
    const rules = anchored(0, LOCAL);
    for (const g of rules.ranges) if (g.owner === 1) g.late = true;
    stand.install(family.client, family.own, rules, { ack: 500, edge: 5096, sentNext: LOCAL + 1800 });
    const error = tooBig(family, family.own, 3500);
    assert.deepEqual(runError(stand, error).counts, { errors_forwarded: 1, errors_translated: 1 });
    assertCopies(error, [2]);
    // What the own socket has sent goes on without the process.
    stand.setAlive(false);
    assert.equal(runError(stand, error).counts.errors_translated, 1);
    stand.wire.take(1);
    stand.setAlive(true);
    stand.uninstall(family.client, family.own);
    assertUntouched(stand, error, 'no flow');
    assertUntouched(stand, tooBig(family, family.foreign, 3500), 'a whole connection that lives here');
    const copy = runError(stand, { ...error, hops: COPY_HOPS });
    assert.deepEqual([copy.verdict, copy.counts], [SHOT, { stray: 1 }], 'a copy for somebody else');
  });
}
