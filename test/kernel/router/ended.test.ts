/** Rules ended and heirs: what a router does for a node whose process was killed. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { KernelMap } from '../../../src/kernel/linux/bpf.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { Control } from '../../../src/kernel/router/control.ts';
import { writeFlowKey } from '../../../src/kernel/router/flow-key.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, build, FIN, NODE_MAC, PSH, RST, read, type Segment, SYN } from './frames.ts';
import {
  assertReset,
  assertResult,
  CLIENT_PORT,
  FAMILIES,
  type Family,
  fromClient,
  PUBLIC_PORT,
  REDIRECT,
  ROUTER_MARK,
  range,
  SHOT,
  Stand,
  TLS_PORT,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
const BASES = [1_000_000, 2 ** 32 - 500];
const WORD = Buffer.from('payload');
const PEERS = ['020000000002', '020000000003'].map((mac) => Buffer.from(mac, 'hex'));
/** SO_MARK of what the router itself has made, as in router.h. */
const RESET_HOPS = 64;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { own } of FAMILIES)
    run('ip', 'address', 'add', own, 'dev', 'lo', ...(own.includes(':') ? ['nodad'] : []));
  stand = new Stand(PEERS);
});
after(() => {
  if (skip === false) stand.close();
});

const at = (address: string, port: number) => ({ address: parseAddress(address), port });

/** Own [0,300), target 1 [300,1000), and, unless that still sends, own from 1000: 100 were written there. */
function anchorRules(base: number, sends = false): ranges.FlowRules {
  const n = (offset: number) => add(base, offset);
  const rules = {
    ...ranges.emptyRules(layout.ROLE_ANCHOR),
    ownNext: n(sends ? 300 : 400),
    ranges: [
      range({ start: n(0), end: n(300), local: n(0) }),
      range({ start: n(300), end: n(1000), owner: 1, open: sends }),
      range({ start: n(1000), local: n(300), open: true }),
    ],
  };
  if (sends) rules.ranges.pop();
  return rules;
}

function install(family: Family, pub: string, rules: ranges.FlowRules, ack: number): number {
  return stand.install(family.client, pub, rules, { ack, edge: add(ack, 5000), sentNext: rules.ownNext });
}

/** The segment went back as a reset that the client accepts: its number is what was acknowledged. */
function assertAnswered(sent: Segment): void {
  const { frame, verdict, counts } = stand.runFrame('baton_ingress', build(sent), true);
  assert.deepEqual([verdict, counts], [REDIRECT, { ended: 1 }]);
  const back = { source: sent.destination, destination: sent.source };
  assert.deepEqual(read(frame, back), {
    ...back,
    sourcePort: sent.destinationPort,
    destinationPort: sent.sourcePort,
    seq: sent.ack,
    ack: 0,
    flags: RST,
    window: 0,
    hops: RESET_HOPS,
    payload: Buffer.alloc(0),
  });
}

for (const family of FAMILIES) {
  const from = (pub: string, parts: Partial<Segment>) => fromClient(family, pub, parts);
  const to = (pub: string, parts: Partial<Segment>) => toClient(family, pub, parts);

  for (const base of BASES) {
    const name = `${family.name} at ${base}`;
    const n = (offset: number) => add(base, offset);

    test(`${name}: without life, a flow of which a target owes bytes is over, whoever owns the address`, {
      skip,
    }, () => {
      for (const pub of [family.own, family.foreign]) {
        for (const rules of [anchorRules(base), anchorRules(base, true)]) {
          install(family, pub, rules, n(700));
          stand.setAlive(false);
          const timestamps = [7, 8] as [number, number];
          for (const parts of [{}, { payload: WORD, flags: ACK | PSH }, { timestamps }, { flags: FIN | ACK }])
            assertAnswered(from(pub, { seq: 5, ack: n(800), hops: 17, ...parts }));
          const mute = from(pub, { flags: PSH, payload: WORD });
          assertResult(stand.run('baton_ingress', mute), mute, { verdict: SHOT, counts: {} });
          const reset = from(pub, { flags: RST });
          assertResult(stand.run('baton_ingress', reset), reset, { verdict: UNSPEC, counts: {} });
          for (const parts of [
            { flags: FIN | ACK },
            { flags: FIN | ACK | PSH, payload: WORD, timestamps },
            { flags: RST },
            {},
          ])
            assertReset(stand, to(pub, { seq: n(300), ...parts }), n(700));
          stand.setAlive(true);
          stand.uninstall(family.client, pub);
        }
      }
    });

    test(`${name}: without life, one in which nobody owes anything goes on as before`, { skip }, () => {
      install(family, family.own, anchorRules(base), n(1000));
      stand.setAlive(false);
      const inHalf = from(family.own, {}).seq;
      const data = to(family.own, { seq: n(350), ack: inHalf, payload: WORD, flags: ACK | PSH });
      assertResult(stand.run('baton_egress', data), data, {
        verdict: UNSPEC,
        counts: { translated_out: 1 },
        parts: { seq: n(1050) },
      });
      const ack = from(family.own, { ack: n(1050) });
      assert.deepEqual(stand.run('baton_ingress', ack).counts, { translated_in: 1, forwarded: 1 });
      stand.setAlive(true);
      stand.wire.take(0);
    });

    test(`${name}: once the socket has sent a reset, every further word of the client is answered with one`, {
      skip,
    }, () => {
      const slot = install(family, family.own, anchorRules(base, true), n(700));
      const reset = to(family.own, { seq: n(300), flags: RST });
      assertReset(stand, reset, n(700));
      assert.equal(stand.observed(slot, layout.OBSERVED_ENDED), 1);
      assertAnswered(from(family.own, { ack: n(900) }));
      install(family, family.own, anchorRules(base, true), n(700));
      assert.equal(stand.observed(slot, layout.OBSERVED_ENDED), 0, 'the slot’s next flow begins anew');
    });

    test(`${name}: the FIN of a killed process`, { skip }, () => {
      const fin = to(family.own, { seq: n(300), ack: from(family.own, {}).seq, flags: FIN | ACK });
      const placed = (seq: number) => {
        const result = stand.run('baton_egress', fin);
        assertResult(result, fin, { verdict: UNSPEC, counts: { translated_out: 1 }, parts: { seq } });
      };
      const sending = anchorRules(base, true);
      const announced = { ...anchorRules(base), ownNext: n(300) };
      announced.ranges.pop();

      install(family, family.own, sending, n(700));
      const listener = sockets.listenOn(at(family.own, PUBLIC_PORT), 1);
      const early = stand.run('baton_egress', fin);
      assertResult(early, fin, { verdict: SHOT, counts: { no_range: 1 } });
      libc.close(listener);
      // One that stops has closed its listeners, too, and ends connections of which targets owe bytes.
      const control = new Control(stand.router.handles.control);
      control.raise(layout.CONTROL_STOPS);
      const stopping = stand.run('baton_egress', fin);
      assertResult(stopping, fin, { verdict: SHOT, counts: { no_range: 1 } });
      stand.setAlive(false);
      assertReset(stand, fin, n(700));
      stand.setAlive(true);
      control.lower(layout.CONTROL_STOPS);
      control.close();
      install(family, family.own, sending, n(700));
      assertReset(stand, fin, n(700));
      assertAnswered(from(family.own, { ack: n(720) }));

      install(family, family.own, announced, n(700));
      placed(n(1000));
      stand.run('baton_ingress', from(family.own, { ack: n(800) }));
      placed(n(1000));
      assertReset(stand, fin, n(800));

      // A process that stops listens no more, and its targets go on behind connections that it has closed.
      const closed = { ...anchorRules(base), flags: layout.FLAG_CLOSING };
      install(family, family.own, closed, n(700));
      const last = to(family.own, { seq: n(400), ack: from(family.own, {}).seq, flags: FIN | ACK });
      for (let time = 0; time < 3; time++) {
        const result = stand.run('baton_egress', last);
        const parts = { seq: n(1100) };
        assertResult(result, last, { verdict: UNSPEC, counts: { translated_out: 1 }, parts });
      }
      stand.setAlive(false);
      assertReset(stand, last, n(700));
      stand.setAlive(true);

      install(family, family.own, announced, n(1000));
      placed(n(1000));
      placed(n(1000));
      // Its acknowledgement is the socket's.
      const acknowledged = stand.run('baton_ingress', from(family.own, { payload: WORD, ack: n(1001) }));
      assert.deepEqual([acknowledged.counts.translated_in, acknowledged.segment.ack], [1, n(301)]);
      assert.deepEqual(stand.run('baton_ingress', from(family.own, { ack: n(1002) })).counts, {
        unacceptable: 1,
      });
      install(family, family.own, { ...announced, flags: layout.FLAG_FOLLOW }, n(1000));
      assertReset(stand, fin, n(1000));
      stand.wire.take(0);
    });
  }

  test(`${family.name}: what a process has left is ended by the next one’s router`, { skip }, () => {
    const ended = new KernelMap(stand.router.handles.ended, layout.KEY_BYTES, 4);
    const control = new Control(stand.router.handles.control);
    const leave = (pub: string) => {
      writeFlowKey(ended.key.bytes, at(family.client, CLIENT_PORT), at(pub, PUBLIC_PORT));
      ended.value.bytes.writeUInt32LE(4711, 0);
      ended.update();
    };
    const isLeft = (pub: string) => {
      writeFlowKey(ended.key.bytes, at(family.client, CLIENT_PORT), at(pub, PUBLIC_PORT));
      return ended.lookup();
    };
    for (const pub of [family.own, family.foreign]) {
      stand.uninstall(family.client, pub);
      leave(pub);
      control.raise(layout.CONTROL_ENDED);
      assertAnswered(from(pub, { ack: 4812, payload: WORD }));
      for (const parts of [{ flags: FIN | ACK }, { payload: WORD }, { flags: RST }])
        assertReset(stand, to(pub, { seq: 99, ...parts }), 4711);
      // The reset that the router has made goes by.
      stand.mark = ROUTER_MARK;
      const made = to(pub, { seq: 4812, flags: RST });
      assertResult(stand.run('baton_egress', made), made, { verdict: UNSPEC, counts: {} });
      stand.mark = 0;
      // One that comes back from another node is a new connection.
      const slot = stand.engine.flows.allocate();
      assert.ok(stand.engine.flows.claim(at(family.client, CLIENT_PORT), at(pub, PUBLIC_PORT), slot));
      assert.equal(isLeft(pub), false);
      stand.engine.flows.uninstall(slot);
      stand.engine.flows.release(slot);
      leave(pub);
      control.lower(layout.CONTROL_ENDED);
      const late = from(pub, { ack: 4812 });
      // The kernel answers by itself for its own address; for another it never does.
      if (pub === family.foreign) assertAnswered(late);
      else assertResult(stand.run('baton_ingress', late), late, { verdict: UNSPEC, counts: {} });
      control.raise(layout.CONTROL_ENDED);
      stand.run('baton_ingress', from(pub, { flags: SYN }));
      assert.equal(isLeft(pub), false, 'the client uses its port anew');
      control.lower(layout.CONTROL_ENDED);
    }
    control.close();
  });

  test(`${family.name}: heirs: a SYN for which nobody listens goes to another server, and what follows`, {
    skip,
  }, () => {
    const { spread } = stand.engine;
    const fromPort = (port: number, parts: Partial<Segment>) =>
      from(family.own, { sourcePort: port, ...parts });
    const syn = fromPort(2000, { flags: SYN });
    assertResult(stand.run('baton_ingress', syn), syn, { verdict: UNSPEC, counts: {} });
    spread.writeHeirs(new Uint8Array(layout.SPREAD_SIZE).fill(2));
    const listener = sockets.listenOn(at(family.own, PUBLIC_PORT), 1);
    assertResult(stand.run('baton_ingress', syn), syn, { verdict: UNSPEC, counts: {} });
    libc.close(listener);
    const goes = (segment: Segment, counts: object) => {
      const result = stand.run('baton_ingress', segment);
      assert.deepEqual([result.verdict, result.counts], [REDIRECT, { diverted: 1, ...counts }]);
      assert.deepEqual(result.frame.subarray(0, 12), Buffer.concat([PEERS[1], NODE_MAC]));
    };
    // Another connection: of the first it is remembered that it stayed.
    const next = fromPort(2001, { flags: SYN });
    goes(next, { inherited: 1 });
    goes(fromPort(2001, {}), {});
    goes(next, {});
    goes(fromPort(2006, { flags: SYN, destinationPort: TLS_PORT }), { inherited: 1 });
    // Where nobody ever listened the kernel refuses: with another server the client would wait.
    const closed = fromPort(2005, { flags: SYN, destinationPort: PUBLIC_PORT + 1 });
    assertResult(stand.run('baton_ingress', closed), closed, { verdict: UNSPEC, counts: {} });
    const again = sockets.listenOn(at(family.own, PUBLIC_PORT), 1);
    goes(fromPort(2001, { payload: WORD }), {});
    const here = fromPort(2002, { flags: SYN });
    assertResult(stand.run('baton_ingress', here), here, { verdict: UNSPEC, counts: {} });
    libc.close(again);
    const foreign = from(family.foreign, { sourcePort: 2003, flags: SYN });
    assertResult(stand.run('baton_ingress', foreign), foreign, { verdict: SHOT, counts: { stray: 1 } });
    spread.writeHeirs(new Uint8Array(layout.SPREAD_SIZE));
    const alone = fromPort(2004, { flags: SYN });
    assertResult(stand.run('baton_ingress', alone), alone, { verdict: UNSPEC, counts: {} });
  });
}
