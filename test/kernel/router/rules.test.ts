/** The router's rules for segments of the client (ingress): docs/protocol.md names them. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, build, FIN, NODE_MAC, PSH, RST, read, type Segment, SYN, URG } from './frames.ts';
import {
  assertResult,
  BASES,
  COPY_HOPS,
  copyToTarget,
  FAMILIES,
  type Family,
  fromClient,
  IN_HALF,
  REDIRECT,
  ROUTER_MARK,
  range,
  SHOT,
  Stand,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
const WORD = Buffer.from('payload of the client');
const PEER = Buffer.from('020000000002', 'hex');
const OTHER_PEER = Buffer.from('020000000003', 'hex');
const STAMP = 7000;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand([PEER, OTHER_PEER]);
});
after(() => {
  if (skip === false) stand.close();
});

/** Own [0,300), target 1 [300,1000), own again from 1000, open; 400 more were written. All from `base`. */
function threeRanges(base: number): ranges.FlowRules {
  const at = (n: number) => add(base, n);
  return {
    ...ranges.emptyRules(layout.ROLE_ANCHOR),
    ownNext: at(700),
    ranges: [
      range({ start: at(0), end: at(300), local: at(0) }),
      range({ start: at(300), end: at(1000), owner: 1 }),
      range({ start: at(1000), local: at(300), open: true, stamp: STAMP }),
    ],
  };
}

/** Own [0,300), then target 1, which sends now. */
function targetSends(base: number): ranges.FlowRules {
  const rules = threeRanges(base);
  rules.ownNext = add(base, 300);
  rules.ranges.pop();
  rules.ranges[1].open = true;
  return rules;
}

/** The client has acknowledged `ack`, and allows 1000 more. */
function anchor(family: Family, rules: ranges.FlowRules, ack: number): number {
  const edge = add(ack, 1000);
  return stand.install(family.client, family.own, rules, { ack, edge, sentNext: rules.ownNext });
}

/** A segment of the client with payload: the anchor's socket always gets those. */
function delivered(family: Family, parts: Partial<Segment>) {
  const sent = fromClient(family, family.own, { payload: WORD, flags: ACK | PSH, ...parts });
  return { sent, result: stand.run('baton_ingress', sent) };
}

for (const family of FAMILIES) {
  for (const base of BASES) {
    const name = `${family.name} at ${base}`;
    const at = (n: number) => add(base, n);

    test(`${name}: to-local and window`, { skip }, () => {
      const rules = threeRanges(base);
      anchor(family, rules, base);
      for (const [ack, local, window, seen] of [
        [100, 100, 4096, 3396], // the target's 700 are not ours to fill
        [299, 299, 500, 1], // the edge lies in the target's part: what it frees there is not ours
        [300, 300, 400, 0],
        [700, 300, 500, 200], // the edge is 200 into the second own range
        [1000, 300, 900, 900],
        [1234, 534, 65_535, 65_535],
      ]) {
        const { sent, result } = delivered(family, { ack: at(ack), window });
        const counts = { translated_in: 1, forwarded: 1 };
        assertResult(result, sent, { verdict: UNSPEC, counts, parts: { ack: at(local), window: seen } });
        assert.equal(ranges.localEdge(rules, at(ack)), at(local), 'as user space counts');
      }
      stand.wire.take(0);
    });

    test(`${name}: the window rule keeps to the client's scale, and waits while a target sends`, {
      skip,
    }, () => {
      anchor(family, { ...threeRanges(base), clientScale: 2 }, base);
      const scaled = delivered(family, { ack: at(700), window: 125 });
      assert.equal(scaled.result.segment.window, 50);
      anchor(family, { ...threeRanges(base), clientScale: 7 }, base);
      const beyond = delivered(family, { ack: at(700), window: 4 });
      assert.equal(beyond.result.segment.window, 1, '212: a byte beyond the edge would cost the segment');
      const rest = delivered(family, { ack: at(290), window: 6 });
      assert.equal(rest.result.segment.window, 1, '68: the range before ends within the unit');
      const begun = delivered(family, { ack: at(700), window: 3 });
      assert.equal(begun.result.segment.window, 0, '84: of the range before nothing is left');
      anchor(family, targetSends(base), base);
      const open = delivered(family, { ack: at(300), window: 1000 });
      const counts = { translated_in: 1, forwarded: 1 };
      assertResult(open.result, open.sent, { verdict: UNSPEC, counts });
      const ended = targetSends(base);
      ranges.endTarget(ended, at(1000));
      anchor(family, ended, base);
      const after = delivered(family, { ack: at(1000), window: 800 });
      assertResult(after.result, after.sent, { verdict: UNSPEC, counts, parts: { ack: at(300) } });
      stand.wire.take(0);
    });

    test(`${name}: sack-filter`, { skip }, () => {
      anchor(family, threeRanges(base), base);
      const timestamps = [1, 0] as const;
      const sack = (...pairs: number[][]) => pairs.map(([l, r]) => [at(l), at(r)] as [number, number]);
      for (const { ack, blocks, kept, local } of [
        { ack: 100, blocks: [[1100, 1200]], kept: [[400, 500]], local: 100 },
        { ack: 100, blocks: [[400, 600]], kept: [], local: 100 },
        {
          ack: 100,
          blocks: [
            [400, 600],
            [150, 250],
          ],
          kept: [[150, 250]],
          local: 100,
        },
        {
          ack: 100,
          blocks: [
            [150, 250],
            [400, 600],
            [1100, 1200],
          ],
          kept: [
            [150, 250],
            [400, 500],
          ],
          local: 100,
        },
        // One from the hole into the own range: only what is ours.
        { ack: 100, blocks: [[900, 1100]], kept: [[300, 400]], local: 100 },
        // The client waits for the target's bytes: to the own socket the held ones would be the very next.
        { ack: 400, blocks: [[1000, 1200]], kept: [], local: 300 },
        {
          ack: 400,
          blocks: [
            [1050, 1200],
            [600, 800],
          ],
          kept: [[350, 500]],
          local: 300,
        },
        // A duplicate below the acknowledgement (RFC 2883).
        { ack: 250, blocks: [[100, 200]], kept: [[100, 200]], local: 250 },
      ]) {
        const { sent, result } = delivered(family, { ack: at(ack), timestamps, sack: sack(...blocks) });
        assert.equal(result.verdict, UNSPEC);
        const expected: Segment = { ...sent, ack: at(local), sack: sack(...kept) };
        if (kept.length === 0) delete expected.sack;
        assert.deepEqual({ ...result.segment, window: 0 }, { ...expected, window: 0 });
        const removed = kept.length < blocks.length ? { sack_removed: 1 } : {};
        assert.deepEqual(result.counts, { translated_in: 1, forwarded: 1, ...removed });
      }
      stand.wire.take(0);
    });

    test(`${name}: held`, { skip }, () => {
      const slot = anchor(family, threeRanges(base), base);
      const holds = (ack: number, ...blocks: [number, number][]) => {
        const sack = blocks.map(([l, r]) => [at(l), at(r)] as [number, number]);
        delivered(family, { ack: at(ack), timestamps: [1, 0], ...(sack.length > 0 ? { sack } : {}) });
        return stand.engine.flows.holdsLater(slot);
      };
      assert.equal(holds(100), false);
      assert.equal(holds(100, [50, 100]), false, 'what has come twice is nothing beyond');
      assert.equal(holds(100, [150, 250]), true, 'of the own range');
      assert.equal(holds(100), true, 'until it acknowledges more');
      assert.equal(holds(350), false);
      assert.equal(holds(350, [100, 200], [400, 600]), true, 'of a target’s, behind what has come twice');
      assert.equal(holds(400), false);
      assert.equal(holds(350, [400, 600]), false, 'an old acknowledgement says nothing');
      stand.wire.take(0);
    });

    test(`${name}: timestamps of the own range are taken back`, { skip }, () => {
      const slot = anchor(family, threeRanges(base), base);
      for (const [ack, tsecr, seen] of [
        [100, 50_000, 50_000],
        [700, 50_000, 50_000],
        [1000, 50_000, 50_000 - STAMP],
        [1100, 5000, add(5000, -STAMP)],
        [1100, 0, 0],
      ]) {
        const { result } = delivered(family, { ack: at(ack), timestamps: [123, tsecr] });
        assert.deepEqual(result.segment.timestamps, [123, seen]);
      }
      assert.equal(stand.engine.flows.tsval(slot), 123);
      delivered(family, { ack: base, timestamps: [122, 1] });
      assert.equal(stand.engine.flows.tsval(slot), 123, 'the newest');
      for (const first of [0x7fff_ffff, 0x8000_0001, 0xffff_fff0]) {
        anchor(family, threeRanges(base), base);
        delivered(family, { ack: base, timestamps: [first, 1] });
        assert.equal(stand.engine.flows.tsval(slot), first, 'wherever the client clock stands');
        delivered(family, { ack: base, timestamps: [add(first, 32), 1] });
        assert.equal(stand.engine.flows.tsval(slot), add(first, 32));
      }
      stand.wire.take(0);
    });

    test(`${name}: forward, and nobody here waits for it`, { skip }, () => {
      const slot = anchor(family, targetSends(base), at(300));
      const sent = fromClient(family, family.own, { ack: at(350), window: 1000, timestamps: [1, 2] });
      const result = stand.run('baton_ingress', sent);
      assertResult(result, sent, {
        verdict: REDIRECT,
        counts: { forwarded: 1 },
        parts: { hops: COPY_HOPS },
      });
      assert.deepEqual(result.frame.subarray(0, 6), PEER);
      assert.deepEqual(result.frame.subarray(6, 12), NODE_MAC);
      assert.equal(stand.markAfter, ROUTER_MARK);
      assert.equal(stand.engine.flows.ack(slot), at(350));
      assert.equal(stand.engine.flows.edge(slot), at(1350));
      assert.equal(stand.engine.flows.segments(slot), 1);
      stand.run('baton_ingress', { ...sent, ack: at(340), window: 1 });
      assert.equal(stand.engine.flows.ack(slot), at(350), 'an old acknowledgement takes nothing back');
      assert.equal(stand.engine.flows.edge(slot), at(1350));
    });

    test(`${name}: forward and keep`, { skip }, () => {
      stand.wire.take(0);
      anchor(family, targetSends(base), at(100));
      const sent = fromClient(family, family.own, { ack: at(200), window: 500 });
      const result = stand.run('baton_ingress', sent);
      assertResult(result, sent, { verdict: UNSPEC, counts: { forwarded: 1, translated_in: 1 } });
      assert.equal(stand.markAfter, 0, "what is for the own socket is the client's");
      const [clone] = stand.wire.take(1);
      assert.deepEqual(clone.subarray(0, 6), PEER);
      assert.deepEqual(clone.subarray(6, 12), NODE_MAC);
      assert.deepEqual(
        clone.subarray(12),
        build({ ...sent, hops: COPY_HOPS }).subarray(12),
        'the peer gets it as the client sent it',
      );
    });

    test(`${name}: forward to several, to each once`, { skip }, () => {
      stand.wire.take(0);
      const rules = threeRanges(base);
      rules.ranges = [
        range({ start: at(0), end: at(100), owner: 1 }),
        range({ start: at(100), end: at(200), owner: 2 }),
        range({ start: at(200), end: at(300), owner: 1 }),
        range({ start: at(300), owner: 3, open: true }),
      ];
      anchor(family, rules, base);
      const sent = fromClient(family, family.own, { ack: at(0), window: 300 });
      const result = stand.run('baton_ingress', sent);
      // Peer 3 has no part of the window yet.
      assertResult(result, sent, {
        verdict: REDIRECT,
        counts: { forwarded: 2 },
        parts: { hops: COPY_HOPS },
      });
      assert.deepEqual(result.frame.subarray(0, 6), OTHER_PEER);
      const [clone] = stand.wire.take(1);
      assert.deepEqual(clone.subarray(0, 6), PEER);
      assert.deepEqual(clone.subarray(12), build({ ...sent, hops: COPY_HOPS }).subarray(12));
    });

    test(`${name}: local-delivery`, { skip }, () => {
      const closed = targetSends(base);
      closed.ranges[1] = range({ start: at(300), end: at(1000), owner: 1 });
      for (const { parts, acked, verdict } of [
        { parts: {}, acked: 300, verdict: REDIRECT },
        { parts: {}, acked: 299, verdict: UNSPEC },
        { parts: { payload: WORD }, acked: 300, verdict: UNSPEC },
        { parts: { flags: ACK | FIN }, acked: 300, verdict: UNSPEC },
      ]) {
        anchor(family, closed, at(acked));
        const sent = fromClient(family, family.own, { ack: at(300), window: 100, ...parts });
        assert.equal(stand.run('baton_ingress', sent).verdict, verdict);
      }
      anchor(family, targetSends(base), at(300));
      const shut = fromClient(family, family.own, { ack: at(300), window: 0 });
      assertResult(stand.run('baton_ingress', shut), shut, { verdict: SHOT, counts: {} });
      stand.wire.take(0);
    });

    test(`${name}: a reset is judged here alone`, { skip }, () => {
      const slot = anchor(family, threeRanges(base), at(300));
      const sent = fromClient(family, family.own, { ack: at(1100), flags: RST | ACK, window: 0 });
      assertResult(stand.run('baton_ingress', sent), sent, { verdict: UNSPEC, counts: {} });
      assert.equal(stand.engine.flows.ack(slot), at(300), 'and nothing is learned from it');
      assert.equal(stand.engine.flows.wasReset(slot), false, 'the connection is not closing');
      const bare = { ...sent, flags: RST, ack: 0 };
      assertResult(stand.run('baton_ingress', bare), bare, { verdict: UNSPEC, counts: {} });
    });

    test(`${name}: watch tells once`, { skip }, () => {
      const rules = { ...targetSends(base), watch: at(600), epoch: 5, flags: layout.FLAG_WATCH };
      const slot = anchor(family, rules, at(300));
      const arrive = (ack: number) =>
        stand.run('baton_ingress', fromClient(family, family.own, { ack: at(ack), window: 700 }));
      arrive(599);
      assert.deepEqual(stand.events(), []);
      arrive(600);
      assert.deepEqual(stand.events(), [[slot, 5, at(600), at(1300)]]);
      arrive(700);
      assert.deepEqual(stand.events(), []);
      stand.engine.flows.write(slot, { ...rules, epoch: 6, flags: layout.FLAG_WATCH | layout.FLAG_WAKE });
      arrive(650);
      assert.deepEqual(stand.events(), [[slot, 6, at(700), at(1400)]]);
      stand.engine.flows.write(slot, { ...rules, epoch: 7, flags: 0 });
      arrive(800);
      assert.deepEqual(stand.events(), []);
    });

    test(`${name}: trim and frozen-in-half`, { skip }, () => {
      const rules: ranges.FlowRules = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        inLocal: at(77),
        ownNext: at(5300),
        ranges: [range({ start: at(300), local: at(5000), open: true, stamp: STAMP })],
      };
      const observed = { ack: at(300), edge: at(300), sentNext: rules.ownNext };
      const slot = stand.install(family.client, family.foreign, rules, observed);
      for (const payload of [Buffer.alloc(0), Buffer.from('x'), WORD, Buffer.alloc(1400, 0xa5)]) {
        const flags = ACK | PSH | FIN | URG;
        const sack = [[at(500), at(600)]] as [number, number][];
        const parts = { ack: at(400), window: 900, timestamps: [9, 50_000] as const, sack, payload, flags };
        const sent = copyToTarget(family, family.foreign, parts);
        assertResult(stand.run('baton_ingress', sent, payload.length > 0), sent, {
          verdict: UNSPEC,
          counts: { translated_in: 1, ...(payload.length > 0 ? { trimmed: 1 } : {}) },
          parts: {
            seq: at(77),
            ack: at(5100),
            flags: ACK,
            timestamps: [9, 50_000 - STAMP],
            sack: [[at(5200), at(5300)]],
            payload: Buffer.alloc(0),
          },
        });
        assert.equal(stand.engine.flows.ack(slot), at(400));
      }
      for (const flags of [SYN, RST, RST | ACK, SYN | ACK, FIN, 0]) {
        const sent = copyToTarget(family, family.foreign, { flags, ack: at(400) });
        assertResult(stand.run('baton_ingress', sent), sent, { verdict: SHOT, counts: { stray: 1 } });
      }
      stand.uninstall(family.client, family.foreign);
    });

    test(`${name}: unsent: what another sender's bytes had acknowledged ends where the own socket has come to`, {
      skip,
    }, () => {
      const target: ranges.FlowRules = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        ownNext: at(9000),
        ranges: [range({ start: at(300), local: at(5000), open: true })],
      };
      const own: ranges.FlowRules = { ...target, role: layout.ROLE_ANCHOR };
      for (const [rules, pub] of [
        [target, family.foreign],
        [own, family.own],
      ] as const) {
        const slot = stand.install(family.client, pub, rules, {
          ack: at(300),
          edge: at(4300),
          sentNext: at(5100),
        });
        const acknowledged = (ack: number) => {
          const arriving = pub === family.own ? fromClient : copyToTarget;
          const sent = arriving(family, pub, { ack: at(ack), window: 4000 });
          const { segment, verdict } = stand.run('baton_ingress', sent);
          assert.equal(verdict, UNSPEC);
          return segment.ack;
        };
        assert.equal(acknowledged(399), at(5099));
        assert.equal(acknowledged(400), at(5100));
        assert.equal(acknowledged(2000), at(5100), 'the kernel would drop the segment');
        assert.equal(stand.engine.flows.ack(slot), at(2000), 'user space learns what the client holds');
        const leaves = (seq: number, flags: number, payload: Buffer) =>
          stand.run('baton_egress', toClient(family, pub, { seq: at(seq), ack: IN_HALF, flags, payload }));
        leaves(5100, ACK | PSH, Buffer.alloc(700));
        assert.equal(acknowledged(2000), at(5800));
        leaves(5100, ACK | PSH, Buffer.alloc(100));
        assert.equal(acknowledged(2000), at(5800), 'a retransmission takes nothing back');
        if (rules === own) {
          leaves(5800, FIN | ACK, Buffer.alloc(0));
          assert.equal(acknowledged(2000), at(5801), 'a FIN takes a number');
        }
        stand.uninstall(family.client, pub);
      }
    });

    test(`${name}: the end of a range is no edge of the window`, { skip }, () => {
      const rules: ranges.FlowRules = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        ownNext: at(5200),
        ranges: [range({ start: at(300), end: at(500), local: at(5000) })],
      };
      const observed = { ack: at(300), edge: at(300), sentNext: rules.ownNext };
      for (const [clientScale, ack, local, field, seen] of [
        [0, 100, 5000, 4000, 200],
        [0, 400, 5100, 4000, 4000],
        [0, 500, 5200, 4000, 4000],
        [0, 900, 5200, 4000, 4000],
        [7, 100, 5000, 3, 1], // the edge is at 484, 184 into the range
        [7, 100, 5000, 4, 2], // at 612: the last 72 of the range must go, too
      ]) {
        stand.install(family.client, family.foreign, { ...rules, clientScale }, observed);
        const sent = copyToTarget(family, family.foreign, { ack: at(ack), window: field });
        const { segment } = stand.run('baton_ingress', sent);
        assert.deepEqual([segment.ack, segment.window], [at(local), seen]);
        stand.uninstall(family.client, family.foreign);
      }
    });
  }

  test(`${family.name}: without rules nothing is changed here`, { skip }, () => {
    const segments = [ACK, SYN, FIN | ACK, RST].map((flags) =>
      fromClient(family, family.own, { flags, ack: 1100, payload: WORD }),
    );
    for (const state of ['no flow', 'no ranges']) {
      stand.uninstall(family.client, family.own);
      if (state === 'no ranges') anchor(family, ranges.emptyRules(layout.ROLE_ANCHOR), 0);
      for (const sent of segments) {
        // A SYN of which the kernel knows no connection ends a flow, with ranges or without: syn.test.ts.
        if (state === 'no ranges' && sent.flags === SYN) continue;
        const result = stand.run('baton_ingress', sent);
        assertResult(result, sent, { verdict: UNSPEC, counts: {} });
        assert.deepEqual(result.frame, build(sent));
      }
    }
    anchor(family, threeRanges(0), 100);
    const result = stand.run('baton_ingress', segments[0]);
    assert.equal(result.counts.translated_in, 1, 'with rules it is');
    assert.deepEqual(read(result.frame, segments[0]).payload, WORD);
    stand.wire.take(0);
  });
}
