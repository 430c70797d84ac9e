/** The router's rules for segments to the client (egress), and the filters of both directions. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { monotonicMs } from '../../../src/kernel/linux/monotonic.ts';
import { listenOn } from '../../../src/kernel/linux/socket.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, arpFrame, build, FIN, ipFrame, neighbourFrame, PSH, RST, SYN } from './frames.ts';
import {
  assertReset,
  assertResult,
  BASES,
  copyToTarget,
  FAMILIES,
  type Family,
  fromClient,
  PUBLIC_PORT,
  range,
  SHOT,
  Stand,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
const WORD = Buffer.from('payload to the client');
const STAMP = 7000;
const NS_PER_MS = 1_000_000;
const UDP = 17;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { own } of FAMILIES)
    run('ip', 'address', 'add', own, 'dev', 'lo', ...(own.includes(':') ? ['nodad'] : []));
  stand = new Stand();
});
after(() => {
  if (skip === false) stand.close();
});

/** While somebody listens: the process lives (rule ended). */
function whileListening(family: Family, work: () => void): void {
  const listener = listenOn({ address: parseAddress(family.own), port: PUBLIC_PORT }, 1);
  work();
  libc.close(listener);
}

/** Own [0,300), target 1 [300,1000), own again from 1000, open; 100 more were written. */
function anchorRules(base: number): ranges.FlowRules {
  const at = (n: number) => add(base, n);
  return {
    ...ranges.emptyRules(layout.ROLE_ANCHOR),
    ownNext: at(400),
    stamp: 2 * STAMP,
    ranges: [
      range({ start: at(0), end: at(300), local: at(0) }),
      range({ start: at(300), end: at(1000), owner: 1 }),
      range({ start: at(1000), local: at(300), open: true, stamp: STAMP }),
    ],
  };
}

/** A target with 200 bytes from 300, its own numbers from 5000; an open range from 900. */
function targetRules(base: number): ranges.FlowRules {
  const at = (n: number) => add(base, n);
  return {
    ...ranges.emptyRules(layout.ROLE_TARGET),
    inLocal: at(77),
    inWire: at(8000),
    inWindow: 4321,
    inTsecr: 600,
    ownNext: at(5300),
    ranges: [
      range({ start: at(300), end: at(500), local: at(5000), stamp: STAMP }),
      range({ start: at(900), local: at(5200), open: true, stamp: 2 * STAMP }),
    ],
  };
}

function egress(family: Family, pub: string, parts: Parameters<typeof toClient>[2]) {
  const sent = toClient(family, pub, parts);
  return { sent, result: stand.run('baton_egress', sent) };
}

for (const family of FAMILIES) {
  for (const base of BASES) {
    const name = `${family.name} at ${base}`;
    const at = (n: number) => add(base, n);
    const install = (rules: ranges.FlowRules, ack: number, edge: number, sentNext = 0) =>
      stand.install(family.client, rules.role === layout.ROLE_ANCHOR ? family.own : family.foreign, rules, {
        ack: at(ack),
        edge: at(edge),
        sentNext: at(sentNext),
      });

    test(`${name}: own ranges to the client's space, with their time`, { skip }, () => {
      install(anchorRules(base), 0, 5000);
      for (const [local, wire, stamp] of [
        [0, 0, 0],
        [300 - WORD.length, 300 - WORD.length, 0],
        [300, 1000, STAMP],
        [400, 1100, STAMP],
      ]) {
        for (const payload of [WORD, Buffer.alloc(0)]) {
          const parts = { seq: at(local), ack: 99, payload, timestamps: [0xffff_ff00, 5] as const };
          const { sent, result } = egress(family, family.own, parts);
          assertResult(result, sent, {
            verdict: UNSPEC,
            counts: { translated_out: 1 },
            parts: { seq: at(wire), timestamps: [add(0xffff_ff00, stamp), 5] },
          });
        }
      }
      const { sent, result } = egress(family, family.own, { seq: at(400), flags: FIN | ACK });
      assertResult(result, sent, {
        verdict: UNSPEC,
        counts: { translated_out: 1 },
        parts: { seq: at(1100) },
      });
      // A tail beyond the range would land on a target's bytes.
      const beyond = egress(family, family.own, { seq: at(301 - WORD.length), payload: WORD });
      assertResult(beyond.result, beyond.sent, { verdict: SHOT, counts: { no_range: 1 } });
    });

    test(`${name}: a reset inside an own range is heard where the client is`, { skip }, () => {
      for (const [ack, seq, seen] of [
        [1050, 400, 1100],
        [1100, 400, 1100],
        [2500, 400, 2500], // a target that has failed had sent further
      ]) {
        install(anchorRules(base), ack, 5000);
        assertReset(stand, toClient(family, family.own, { seq: at(seq), flags: RST }), at(seen));
      }
    });

    test(`${name}: away-ack, probe and no-range`, { skip }, () => {
      const rules = anchorRules(base);
      rules.ownNext = at(300);
      rules.ranges.pop();
      rules.ranges[1].open = true;
      const counts = { translated_out: 1, away_ack: 1 };
      const parts = { seq: at(300), timestamps: [10, 20] as const };
      const away = (ack: number, edge: number, wire: number) => {
        install(rules, ack, edge);
        const { sent, result } = egress(family, family.own, parts);
        const seen = { seq: at(wire), timestamps: [10 + 2 * STAMP, 20] as const };
        assertResult(result, sent, { verdict: UNSPEC, counts, parts: seen });
      };
      away(400, 2000, 1999);
      away(400, 400, 400);
      for (const forbidden of [{ payload: WORD }, { flags: FIN | ACK }]) {
        whileListening(family, () => {
          const { sent, result } = egress(family, family.own, { ...parts, ...forbidden });
          assertResult(result, sent, { verdict: SHOT, counts: { no_range: 1 } });
        });
      }
      assertReset(stand, toClient(family, family.own, { seq: at(300), flags: RST | ACK }), at(400));
      rules.ranges = [range({ start: at(300), end: at(1000), owner: 1 })];
      away(1000, 2000, 1000);
      const probe = egress(family, family.own, { seq: at(299) });
      assertResult(probe.result, probe.sent, { verdict: UNSPEC, counts, parts: { seq: at(999) } });
    });

    test(`${name}: probe of an anchor with bytes that the window has held back`, { skip }, () => {
      const rules = anchorRules(base);
      // 100 bytes wait behind what the client has; the ranges before are gone, and with the FIN all are counted.
      rules.ranges = [range({ start: at(1000), local: at(300), open: true })];
      for (const ownNext of [300, 400]) {
        rules.ownNext = at(ownNext);
        install(rules, 1000, 1000);
        const probe = egress(family, family.own, { seq: at(299) });
        assertResult(probe.result, probe.sent, {
          verdict: UNSPEC,
          counts: { translated_out: 1 },
          parts: { seq: at(999) },
        });
        whileListening(family, () => {
          const fin = egress(family, family.own, { seq: at(299), flags: FIN | ACK });
          assertResult(fin.result, fin.sent, { verdict: SHOT, counts: { no_range: 1 } });
        });
      }
    });

    test(`${name}: a target's segments: ranges, frozen-in-half, time`, { skip }, () => {
      const slot = install(targetRules(base), 300, 5000, 5000);
      for (const [local, wire, tsecr, echoed, stamp] of [
        [5000, 300, 500, 600, STAMP],
        [5100, 400, 700, 700, STAMP],
        [5200, 900, 600, 600, 2 * STAMP],
      ]) {
        const parts = { seq: at(local), ack: at(77), payload: WORD, flags: ACK | PSH };
        const { sent, result } = egress(family, family.foreign, { ...parts, timestamps: [1000, tsecr] });
        assertResult(result, sent, {
          verdict: UNSPEC,
          counts: { translated_out: 1 },
          parts: { seq: at(wire), ack: at(8000), window: 4321, timestamps: [1000 + stamp, echoed] },
        });
        assert.equal(stand.observed(slot, layout.OBSERVED_SENT_NEXT), at(local + WORD.length));
      }
      egress(family, family.foreign, { seq: at(5000), payload: WORD });
      assert.equal(stand.observed(slot, layout.OBSERVED_SENT_NEXT), at(5200 + WORD.length), 'sent again');
      const before = egress(family, family.foreign, { seq: at(4000), payload: WORD });
      assertResult(before.result, before.sent, { verdict: SHOT, counts: { no_range: 1 } });
    });

    test(`${name}: quiet, but for probes`, { skip }, () => {
      install(targetRules(base), 300, 5000, 5100);
      for (const local of [5100, 5101, 5300]) {
        const { sent, result } = egress(family, family.foreign, { seq: at(local) });
        assertResult(result, sent, { verdict: SHOT, counts: { quiet: 1 } });
      }
      for (const [local, wire] of [
        [5099, 399],
        [5000, 300],
        [4999, 299],
      ]) {
        const { sent, result } = egress(family, family.foreign, { seq: at(local) });
        assertResult(result, sent, {
          verdict: UNSPEC,
          counts: { translated_out: 1 },
          parts: { seq: at(wire), ack: at(8000), window: 4321 },
        });
      }
      const { sent, result } = egress(family, family.foreign, { seq: at(4998) });
      assertResult(result, sent, { verdict: SHOT, counts: { no_range: 1 } });
    });

    test(`${name}: lease`, { skip }, () => {
      const rules = targetRules(base);
      for (const g of rules.ranges) g.leased = true;
      const slot = install(rules, 300, 5000, 5000);
      const first = { seq: at(5000), payload: WORD };
      const second = { seq: at(5200), payload: WORD };
      const late = egress(family, family.foreign, first);
      assertResult(late.result, late.sent, { verdict: SHOT, counts: { lease_ended: 1 } });
      assert.equal(stand.observed(slot, layout.OBSERVED_SENT_NEXT), at(5000), 'nothing left');
      stand.engine.flows.write(slot, { ...rules, leaseNs: (monotonicMs() + 60_000) * NS_PER_MS });
      assert.equal(egress(family, family.foreign, first).result.verdict, UNSPEC);
      stand.engine.flows.write(slot, { ...rules, leaseNs: 1 });
      assert.deepEqual(egress(family, family.foreign, first).result.counts, { lease_ended: 1 }, 'sent again');
      stand.run('baton_ingress', copyToTarget(family, family.foreign, { ack: at(300) }));
      assert.equal(
        egress(family, family.foreign, first).result.verdict,
        SHOT,
        'nothing of it is acknowledged',
      );
      stand.run('baton_ingress', copyToTarget(family, family.foreign, { ack: at(301) }));
      assert.equal(egress(family, family.foreign, first).result.verdict, UNSPEC, 'what has arrived goes on');
      assert.deepEqual(egress(family, family.foreign, second).result.counts, { lease_ended: 1 });
      for (const g of rules.ranges) g.leased = false;
      stand.engine.flows.write(slot, { ...rules, leaseNs: 1 });
      assert.equal(egress(family, family.foreign, second).result.verdict, UNSPEC, 'confirmed');
    });

    test(`${name}: guard, with rules in force or without`, { skip }, () => {
      for (const state of ['flow', 'not alive', 'no flow']) {
        if (state === 'no flow') stand.uninstall(family.client, family.foreign);
        else install(targetRules(base), 300, 5000, 5000);
        stand.setAlive(state !== 'not alive');
        for (const [flags, counter] of [
          [FIN | ACK, 'guard_fin'],
          [SYN, 'guard_fin'],
          [SYN | ACK, 'guard_fin'],
          [RST, 'guard_rst'],
          [RST | ACK, 'guard_rst'],
        ] as const) {
          const { sent, result } = egress(family, family.foreign, { flags, seq: at(5000) });
          assertResult(result, sent, { verdict: SHOT, counts: { [counter]: 1 } });
        }
        if (state === 'flow') continue;
        const { sent, result } = egress(family, family.foreign, { seq: at(5000), payload: WORD });
        assertResult(result, sent, { verdict: SHOT, counts: { guard_stray: 1 } });
        const arriving = fromClient(family, family.foreign, { ack: at(400) });
        assertResult(stand.run('baton_ingress', arriving), arriving, { verdict: SHOT, counts: { stray: 1 } });
      }
      stand.setAlive(true);
    });
  }

  test(`${family.name}: the role decides, whoever owns the address`, { skip }, () => {
    const observed = { ack: 0, edge: 0, sentNext: 0 };
    stand.install(family.client, family.own, targetRules(0), { ...observed, sentNext: 5000 });
    const reset = egress(family, family.own, { flags: RST, seq: 5000 });
    assertResult(reset.result, reset.sent, { verdict: SHOT, counts: { guard_rst: 1 } });
    stand.install(family.client, family.foreign, anchorRules(0), observed);
    const anchors = egress(family, family.foreign, { flags: FIN | ACK, seq: 1100 });
    assert.deepEqual([anchors.result.verdict, anchors.result.counts], [UNSPEC, { translated_out: 1 }]);
    for (const pub of [family.own, family.foreign]) stand.uninstall(family.client, pub);
  });

  test(`${family.name}: own connections without rules, and other addresses, are left alone`, { skip }, () => {
    for (const state of ['no flow', 'no ranges', 'a SYN']) {
      stand.uninstall(family.client, family.own);
      const rules = state === 'no ranges' ? ranges.emptyRules(layout.ROLE_ANCHOR) : anchorRules(0);
      if (state !== 'no flow')
        stand.install(family.client, family.own, rules, { ack: 0, edge: 0, sentNext: 0 });
      for (const flags of state === 'a SYN' ? [SYN | ACK] : [ACK, FIN | ACK, RST, SYN | ACK]) {
        const { sent, result } = egress(family, family.own, { flags, seq: 1100, payload: WORD });
        assertResult(result, sent, { verdict: UNSPEC, counts: {} });
        assert.deepEqual(result.frame, build(sent));
      }
    }
    stand.uninstall(family.client, family.own);
    for (const flags of [ACK, RST, SYN, FIN | ACK]) {
      const out = toClient(family, family.node, { flags, payload: WORD });
      assertResult(stand.run('baton_egress', out), out, { verdict: UNSPEC, counts: {} });
      const into = fromClient(family, family.node, { flags, payload: WORD });
      assertResult(stand.run('baton_ingress', into), into, { verdict: UNSPEC, counts: {} });
    }
  });

  test(`${family.name}: TCP that cannot be read says nothing with a foreign address`, { skip }, () => {
    const short = Buffer.alloc(19);
    const bad = Buffer.alloc(20); // data offset 0
    for (const body of [short, bad]) {
      const into = stand.runFrame('baton_ingress', ipFrame(family.client, family.foreign, 6, body));
      assert.deepEqual([into.verdict, into.counts], [SHOT, { stray: 1 }]);
      const out = stand.runFrame('baton_egress', ipFrame(family.foreign, family.client, 6, body));
      assert.deepEqual([out.verdict, out.counts], [SHOT, { guard_stray: 1 }]);
      const own = stand.runFrame('baton_ingress', ipFrame(family.client, family.own, 6, body));
      assert.deepEqual([own.verdict, own.counts], [UNSPEC, {}]);
    }
    const udp = stand.runFrame('baton_ingress', ipFrame(family.client, family.own, UDP, Buffer.alloc(8)));
    assert.deepEqual([udp.verdict, udp.counts], [UNSPEC, {}]);
  });
}

test('arp-filter', { skip }, () => {
  const { own, foreign, node, client } = FAMILIES[0];
  const [request, reply] = [1, 2];
  const filtered = { arp_filtered: 1 };
  for (const [program, operation, sender, target, verdict, counts] of [
    ['baton_ingress', request, client, foreign, SHOT, filtered],
    ['baton_ingress', request, client, own, UNSPEC, {}],
    ['baton_ingress', request, client, node, UNSPEC, {}],
    ['baton_ingress', reply, foreign, node, UNSPEC, {}],
    ['baton_egress', reply, foreign, client, SHOT, filtered],
    ['baton_egress', reply, own, client, UNSPEC, {}],
    ['baton_egress', request, node, client, UNSPEC, {}],
    ['baton_egress', request, own, client, UNSPEC, {}],
  ] as const) {
    const frame = arpFrame(operation, sender, target);
    const result = stand.runFrame(program, frame, true);
    assert.deepEqual([result.verdict, result.counts], [verdict, counts], `${program} ${operation} ${sender}`);
    assert.deepEqual(result.frame, frame);
  }
  const asked = stand.runFrame('baton_egress', arpFrame(request, foreign, client), true);
  assert.deepEqual([asked.verdict, asked.counts], [UNSPEC, filtered]);
  assert.deepEqual(asked.frame, arpFrame(request, node, client), 'asked with the own address');
});

test('ndp-filter', { skip }, () => {
  const { own, foreign, node, client } = FAMILIES[1];
  const [solicitation, advertisement] = [135, 136];
  for (const [program, type, target, verdict] of [
    ['baton_ingress', solicitation, foreign, SHOT],
    ['baton_ingress', solicitation, own, UNSPEC],
    ['baton_ingress', advertisement, foreign, UNSPEC],
    ['baton_egress', advertisement, foreign, SHOT],
    ['baton_egress', advertisement, own, UNSPEC],
    ['baton_egress', solicitation, foreign, UNSPEC],
  ] as const) {
    const frame = neighbourFrame(type, node, client, target);
    const result = stand.runFrame(program, frame);
    assert.deepEqual([result.verdict, result.counts], [verdict, verdict === SHOT ? { arp_filtered: 1 } : {}]);
    assert.deepEqual(result.frame, frame);
  }
});
