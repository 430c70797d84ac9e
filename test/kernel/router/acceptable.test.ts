/**
 * Rule acceptable: the anchor's router believes what a kernel would that had sent all the bytes itself. Everything else
 * reaches this node's kernel as it came, changes nothing here and goes nowhere else.
 */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { restoreHalfPipe } from '../../../src/kernel/linux/half-pipe.ts';
import { silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, build, checksum, FIN, PSH, RST, type Segment } from './frames.ts';
import {
  BASES,
  CLIENT_PORT,
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
/** What the own socket has told the client that it takes, what the client has told, and what it allows now, in bytes. */
const IN_WINDOW = 5000;
const MAX_WINDOW = 2000;
const WINDOW = 1500;
/** Timestamps may be out of order by so much, and go on by so much in a ms at most. */
const STAMP_SLACK = 65_536;
const STAMP_RATE = 1900;
const TSVAL = 7;
const FAR = 2 ** 26;
const bytes = (length: number) => Buffer.from(Array.from({ length }, (_, i) => (i * 7 + 1) & 0xff));
const WORD = bytes(20);
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { client, own } of FAMILIES)
    for (const address of [client, own])
      run('ip', 'address', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
  stand = new Stand(['020000000002'].map((mac) => Buffer.from(mac, 'hex')));
});
after(() => {
  if (skip === false) stand.close();
});

/** Where TCP's checksum is in a frame of ours. */
const checkAt = (segment: Segment): number => (segment.source.includes(':') ? 14 + 40 : 14 + 20) + 16;

function withWrongChecksum(segment: Segment): Buffer {
  const frame = build(segment);
  const at = checkAt(segment);
  frame.writeUInt16BE((frame.readUInt16BE(at) + 1) & 0xffff, at);
  return frame;
}

/** As a kernel of this machine sends it: the sum of the pseudo-header alone, for the interface to complete. */
function withPartialChecksum(segment: Segment): Buffer {
  const frame = build(segment);
  const at = checkAt(segment);
  const four = !segment.source.includes(':');
  const addresses = frame.subarray(four ? 26 : 22, four ? 34 : 54);
  const rest = Buffer.alloc(8);
  rest.writeUInt32BE(frame.length - (at - 16), 0);
  rest.writeUInt32BE(6, 4);
  frame.writeUInt16BE(~checksum(addresses, rest) & 0xffff, at);
  return frame;
}

for (const family of FAMILIES) {
  for (const base of BASES) {
    const at = (n: number) => add(base, n);
    /** The in-half crosses a boundary at another base than the out-half. */
    const inAt = (n: number) => add(base, 2 ** 30 + n);
    const name = `${family.name} at ${base}`;

    /** Target 1 sends from 300 on. */
    const rules = (change: Partial<ranges.FlowRules> = {}): ranges.FlowRules => ({
      ...ranges.emptyRules(layout.ROLE_ANCHOR),
      ownNext: at(300),
      ranges: [range({ start: at(300), owner: 1, open: true })],
      ...change,
    });
    const install = (change: Partial<ranges.FlowRules> = {}, parts = {}): number => {
      stand.wire.take(0);
      return stand.install(family.client, family.own, rules(change), {
        ack: at(500),
        edge: at(500 + WINDOW),
        sentNext: at(300),
        inNext: inAt(0),
        inAck: inAt(0),
        maxWindow: MAX_WINDOW,
        inMaxWindow: IN_WINDOW,
        ...parts,
      });
    };
    const segment = (parts: Partial<Segment>): Segment =>
      fromClient(family, family.own, { seq: inAt(0), ack: at(500), window: WINDOW, ...parts });
    const words = (slot: number) =>
      Array.from({ length: layout.OBSERVED_WORDS }, (_, word) => stand.observed(slot, word));

    /** The frame is believed, or it is not and leaves no trace. */
    const judge = (slot: number, frame: Buffer, what: string): boolean => {
      const before = words(slot);
      const { verdict, counts, frame: out } = stand.runFrame('baton_ingress', frame);
      if (!('unacceptable' in counts)) return true;
      assert.deepEqual([verdict, counts], [SHOT, { unacceptable: 1 }], what);
      assert.deepEqual(words(slot), before, `${what}: nothing is learnt`);
      assert.deepEqual(out, frame, `${what}: as it came`);
      return false;
    };
    const believes = (parts: Partial<Segment>, change: Partial<ranges.FlowRules> = {}, seen = {}): boolean =>
      judge(install(change, seen), build(segment(parts)), JSON.stringify({ parts, change, seen }));

    test(`${name}: sequence numbers from what the own socket has, as far as it has allowed`, { skip }, () => {
      for (const [seq, length, flags, believed] of [
        [0, 0, ACK, true],
        [0, 1400, ACK | PSH, true],
        [IN_WINDOW, 0, ACK, true],
        [IN_WINDOW, 20, ACK | PSH, true],
        [IN_WINDOW + 1, 0, ACK, false],
        [IN_WINDOW + 1, 20, ACK | PSH, false],
        [-20, 20, ACK | PSH, true], // the acknowledgement was lost
        [-1, 1, ACK, true], // a keepalive with a byte
        [-1, 0, ACK | FIN, true], // a FIN comes again
        [-1, 0, ACK, false], // a keepalive: the own kernel answers it
        [-21, 20, ACK | PSH, false],
        [FAR, 0, ACK, false],
        [-FAR, 0, ACK, false],
        [2 ** 31, 20, ACK, false],
        [0, 20, PSH, false], // without ACK
      ] as const)
        assert.equal(
          believes({ seq: inAt(seq), payload: bytes(length), flags }),
          believed,
          `${seq} ${length}`,
        );
    });

    test(`${name}: acknowledgements of what may have been sent`, { skip }, () => {
      const ends = { ranges: [range({ start: at(300), end: at(900), owner: 1 })] };
      const own = [range({ start: at(0), end: at(4000) }), range({ start: at(4000), owner: 1, open: true })];
      const ownSends = { ranges: [range({ start: at(0), local: at(0), open: true })] };
      for (const [ack, believed, change, seen] of [
        [500, true],
        [500 - MAX_WINDOW, true],
        [500 - MAX_WINDOW - 1, false],
        [500 + WINDOW, true],
        [500 + WINDOW + 1, true], // a unit of the window
        [500 + WINDOW + 2, false],
        [500 + WINDOW + 128, true, { clientScale: 7 }],
        [500 + WINDOW + 129, false, { clientScale: 7 }],
        [FAR, false],
        [-FAR, false],
        [2 ** 31, false],
        [900, true, ends],
        [901, false, ends],
        [901, true, { ...ends, flags: layout.FLAG_FOLLOW }], // a clone may have begun
        [500 + WINDOW + 2, false, { ...ends, flags: layout.FLAG_FOLLOW }],
        [4000, true, { ranges: own }], // sent before the flow began
        [4001, false, { ranges: own }],
        [3000, true, ownSends, { sentNext: at(3000) }],
        [3001, false, ownSends, { sentNext: at(3000) }],
        [500, true, {}, { edge: at(500) }], // the window is closed
        [502, false, {}, { edge: at(500) }],
      ] as ReadonlyArray<[number, boolean, Partial<ranges.FlowRules>?, object?]>)
        assert.equal(believes({ ack: at(ack) }, change, seen), believed, `${ack}`);
    });

    test(`${name}: timestamps near the client's clock`, { skip }, () => {
      for (const [first, next, believed] of [
        [TSVAL, TSVAL, true],
        [TSVAL, add(TSVAL, STAMP_SLACK), true],
        [TSVAL, add(TSVAL, -STAMP_SLACK), true],
        [TSVAL, add(TSVAL, -STAMP_SLACK - 1), false],
        [TSVAL, add(TSVAL, FAR), false],
        [TSVAL, add(TSVAL, -FAR), false],
        [TSVAL, add(TSVAL, 2 ** 31), false],
        [0xffff_fff0, 5, true],
        [2 ** 31 - 5, 2 ** 31 + 5, true],
      ] as const) {
        const slot = install();
        assert.ok(judge(slot, build(segment({ timestamps: [first, 0] })), 'the first'));
        const frame = build(segment({ timestamps: [next, 0] }));
        assert.equal(judge(slot, frame, `${next} after ${first}`), believed, `${next} after ${first}`);
        assert.ok(judge(slot, build(segment({})), 'none'));
        assert.ok(judge(slot, build(segment({ timestamps: [first, 0] })), 'and the client goes on'));
      }
      const slot = install();
      const seen = () => stand.engine.flows.tsval(slot);
      judge(slot, build(segment({ seq: inAt(10), payload: WORD, timestamps: [TSVAL, 0] })), 'ahead of a gap');
      assert.equal(seen(), 0, 'what is out of order is ahead of its time');
      judge(slot, build(segment({ timestamps: [TSVAL, 0] })), 'in order');
      assert.equal(seen(), TSVAL);
      // A client that was silent for 100 s, then for 10 minutes.
      const later = add(TSVAL, 100_000 * STAMP_RATE);
      stand.passed(slot, layout.OBSERVED_TSVAL_UNITS, 100_000);
      assert.ok(judge(slot, build(segment({ timestamps: [later, 0] })), 'as fast as clocks go'));
      assert.equal(seen(), later);
      stand.passed(slot, layout.OBSERVED_TSVAL_UNITS, 600_000);
      assert.ok(
        judge(slot, build(segment({ timestamps: [add(later, 2 ** 31), 0] })), 'wherever it is by now'),
      );
    });

    test(`${name}: only what is as it was sent`, { skip }, () => {
      for (const length of [0, 1, 2, 3, 4, 511, 512, 513, 515, 1024, 1400, 2500]) {
        for (const timestamps of [undefined, [TSVAL, 0] as const]) {
          const sent = segment({ payload: bytes(length), ...(timestamps && { timestamps }) });
          const what = `${length} bytes`;
          assert.ok(judge(install(), build(sent), what));
          assert.ok(judge(install(), withPartialChecksum(sent), `${what}, for the interface to complete`));
          assert.ok(!judge(install(), withWrongChecksum(sent), `${what}, wrong`));
          if (length === 0) continue;
          const damaged = build(sent);
          damaged[damaged.length - 1] ^= 0x40;
          assert.ok(!judge(install(), damaged, `${what}, the last one wrong`));
        }
      }
    });

    test(`${name}: the own socket's window and acknowledgements are learnt from what leaves`, {
      skip,
    }, () => {
      const slot = install({ inScale: 7 });
      const out = (parts: Partial<Segment>) =>
        stand.run('baton_egress', toClient(family, family.own, { seq: at(300), ack: inAt(0), ...parts }));
      out({ ack: inAt(100), window: 1000 });
      assert.equal(stand.engine.flows.inAck(slot), inAt(100));
      assert.ok(judge(slot, build(segment({ seq: inAt(100 + 128_000) })), 'as far as was allowed'));
      assert.ok(!judge(slot, build(segment({ seq: inAt(100 + 128_001) })), 'further'));
      assert.ok(!judge(slot, build(segment({ seq: inAt(99) })), 'acknowledged'));
      out({ ack: inAt(200), window: 0 });
      assert.ok(judge(slot, build(segment({ seq: inAt(200 + 128_000) })), 'what was allowed once'));
      // The kernel answers what nobody has a socket for by acknowledging it.
      out({ flags: RST | ACK, ack: inAt(4000) });
      assert.equal(stand.engine.flows.inAck(slot), inAt(200), 'a reset says nothing');
    });

    test(`${name}: the client's largest window is learnt from what is believed`, { skip }, () => {
      const slot = install({ clientScale: 3 });
      const old = (n: number) => judge(slot, build(segment({ ack: at(n), window: 1 })), `${n}`);
      assert.ok(!old(500 - 4000));
      for (const window of [500, 1]) judge(slot, build(segment({ window })), `a window of ${window}`);
      assert.ok(old(500 - 4000));
      assert.ok(!old(500 - 4001));
    });

    test(`${name}: a reset of a closing connection is the client's by its number`, { skip }, () => {
      let inNext = 20;
      const resets = (seq: number, frame: (segment: Segment) => Buffer = build): boolean => {
        const slot = install({ flags: layout.FLAG_CLOSING }, { inNext: inAt(inNext) });
        const sent = segment({ seq: inAt(seq), flags: RST, ack: 0 });
        assert.equal(
          stand.runFrame('baton_ingress', frame(sent)).verdict,
          UNSPEC,
          'the kernel judges it, too',
        );
        return stand.engine.flows.wasReset(slot);
      };
      for (const seq of [0, 20, 21]) assert.ok(resets(seq), `${seq}`);
      for (const seq of [-1, 22, 60_000, -60_000, FAR, 2 ** 31]) assert.ok(!resets(seq), `${seq}`);
      assert.ok(!resets(0, withWrongChecksum));
      // Its FIN has been acknowledged, of which a target may not have heard.
      inNext = -1;
      for (const seq of [-1, 0]) assert.ok(resets(seq), `${seq}`);
      for (const seq of [-2, 1]) assert.ok(!resets(seq), `${seq}`);
    });

    test(`${name}: a target takes copies of its anchor, and undamaged ones`, { skip }, () => {
      const target = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        ownNext: at(900),
        ranges: [range({ start: at(300), local: at(300), open: true })],
      };
      const observed = { ack: at(300), edge: at(5000), sentNext: at(900) };
      const slot = stand.install(family.client, family.foreign, target, observed);
      const copy = copyToTarget(family, family.foreign, { ack: at(400), payload: WORD });
      const stranger = build(copy);
      stranger.set([0x02, 0, 0, 0, 0, 0x99], 6);
      for (const frame of [stranger, withWrongChecksum(copy)]) {
        const { verdict, counts } = stand.runFrame('baton_ingress', frame);
        assert.deepEqual([verdict, counts], [SHOT, { stray: 1 }]);
        assert.equal(stand.engine.flows.ack(slot), at(300));
      }
      const { counts } = stand.run('baton_ingress', copy, true);
      assert.equal(counts.translated_in, 1);
      assert.equal(stand.engine.flows.ack(slot), at(400));
      stand.uninstall(family.client, family.foreign);
      stand.uninstall(family.client, family.own);
    });
  }

  test(`${family.name}: once the own FIN is acknowledged, one more acknowledgement is for a kernel that has the connection`, {
    skip,
  }, () => {
    const base = 2 ** 32 - 200;
    const [finAt, over] = [add(base, 400), add(base, 401)];
    const arrives = (parts: Partial<Segment>, ack = over, flags = layout.FLAG_CLOSING): number => {
      const own = [range({ start: base, local: base, open: true })];
      const rules = { ...ranges.emptyRules(layout.ROLE_ANCHOR), ownNext: finAt, flags, ranges: own };
      const observed = { ack, edge: over, sentNext: over, inAck: 40, inNext: 50 };
      stand.install(family.client, family.own, rules, observed);
      const sent = fromClient(family, family.own, { seq: 50, ack: over, ...parts });
      return stand.runFrame('baton_ingress', build(sent)).verdict;
    };
    assert.equal(arrives({}), SHOT);
    assert.equal(arrives({}, finAt), UNSPEC, 'the first one');
    assert.equal(arrives({}, over, 0), UNSPEC, 'the connection is not closing');
    assert.equal(arrives({ payload: WORD }), UNSPEC);
    assert.equal(arrives({ flags: ACK | FIN }), UNSPEC);
    assert.equal(arrives({ seq: 49 }), UNSPEC, 'a probe wants an answer');
    const fd = established(family);
    assert.equal(arrives({}), UNSPEC, 'the kernel still has it');
    silentClose(fd);
    stand.uninstall(family.client, family.own);
  });

  test(`${family.name}: what is refused is for the kernel's socket, and for nobody when there is none`, {
    skip,
  }, () => {
    const base = 1000;
    const ranged = { ...ranges.emptyRules(layout.ROLE_ANCHOR), ownNext: base };
    const observed = { ack: base, edge: base, sentNext: base, inAck: base };
    const refused = [
      { seq: base + FAR, ack: base },
      { seq: base, ack: base + FAR },
      { seq: base, ack: base, flags: PSH },
      { seq: base, ack: base, flags: FIN },
    ].map((parts) => fromClient(family, family.own, { payload: WORD, ...parts }));
    for (const flags of [0, layout.FLAG_CLOSING]) {
      const own = { ...ranged, flags, ranges: [range({ start: base, local: base, open: true })] };
      for (const there of [true, false]) {
        const fd = there ? established(family) : -1;
        stand.install(family.client, family.own, own, observed);
        for (const sent of refused) {
          const { verdict, counts, frame } = stand.runFrame('baton_ingress', build(sent));
          assert.deepEqual([verdict, counts], [there ? UNSPEC : SHOT, { unacceptable: 1 }]);
          assert.deepEqual(frame, build(sent));
        }
        if (fd >= 0) silentClose(fd);
      }
    }
    stand.uninstall(family.client, family.own);
  });

  test(`${family.name}: what is shorter than it says, or than its header, is not read`, { skip }, () => {
    const sent = fromClient(family, family.own, { payload: WORD, timestamps: [1, 1] });
    const lengthAt = family.name === 'IPv4' ? 16 : 18;
    const rules = ranges.emptyRules(layout.ROLE_ANCHOR);
    ranges.beginOwn(rules, 0);
    const slot = stand.install(family.client, family.own, rules, { ack: 0, edge: 0, sentNext: 0 });
    const whole = build(sent).readUInt16BE(lengthAt);
    for (const [length, read] of [
      [whole, true],
      [whole + 1, false],
      [whole - WORD.length - 1, false],
      [0xffff, false],
    ] as const) {
      const frame = build(sent);
      frame.writeUInt16BE(length, lengthAt);
      const { verdict, counts } = stand.runFrame('baton_ingress', frame);
      assert.deepEqual([verdict, counts], [UNSPEC, read ? { translated_in: 1 } : {}], `${length}`);
    }
    assert.equal(stand.engine.flows.segments(slot), 1);
    stand.uninstall(family.client, family.own);
  });
}

/** A socket of this node for the connection. */
function established(family: Family): number {
  return restoreHalfPipe({
    client: { address: parseAddress(family.client), port: CLIENT_PORT },
    public: { address: parseAddress(family.own), port: PUBLIC_PORT },
    mss: 1400,
    options: { sack: true, timestamps: false, sendScale: 7, receiveScale: 7 },
    sequence: 1,
    acknowledge: 1,
    receiveWindow: 65_536,
    sendWindow: 65_536,
    maxWindow: 65_536,
    tsval: 2,
    srttUs: 0,
  });
}
