/** The router's rules for connections that live elsewhere, or here with an address of others: divert, spread, arrived. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { restoreHalfPipe } from '../../../src/kernel/linux/half-pipe.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, build, FIN, NODE_MAC, PSH, RST, type Segment, SYN } from './frames.ts';
import {
  assertResult,
  CLIENT_PORT,
  copyToTarget,
  FAMILIES,
  type Family,
  fromClient,
  PUBLIC_PORT,
  REDIRECT,
  ROUTER_MARK,
  SHOT,
  Stand,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
/** A socket of the client's connection, as a half-pipe is made. */
function established(family: Family, pub: string): number {
  return restoreHalfPipe({
    client: at(family.client, CLIENT_PORT),
    public: at(pub, PUBLIC_PORT),
    mss: 1400,
    options: { sack: true, timestamps: true, sendScale: 7, receiveScale: 7 },
    sequence: 1,
    acknowledge: 1,
    receiveWindow: 65_536,
    sendWindow: 65_536,
    maxWindow: 65_536,
    tsval: 2,
    srttUs: 0,
  });
}

const WORD = Buffer.from('payload of the client');
const PEERS = ['020000000002', '020000000003'].map((mac) => Buffer.from(mac, 'hex'));
const KINDS = [ACK, ACK | PSH, FIN | ACK, RST, SYN];
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { client, foreign } of FAMILIES)
    for (const address of [client, foreign])
      run('ip', 'address', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
  stand = new Stand(PEERS);
});
after(() => {
  if (skip === false) stand.close();
});

const at = (address: string, port: number) => ({ address: parseAddress(address), port });

function table(owner: (slot: number) => number): Uint8Array {
  return Uint8Array.from({ length: layout.SPREAD_SIZE }, (_, slot) => owner(slot));
}

/** The segment went on to a peer, one hop further, otherwise as it was. */
function assertDiverted(sent: Segment, owner: number): void {
  const result = stand.run('baton_ingress', sent);
  assert.equal(result.verdict, REDIRECT, 'verdict');
  assert.equal(result.counts.diverted, 1);
  assert.equal(stand.markAfter, ROUTER_MARK);
  assert.deepEqual(result.segment, { ...sent, hops: sent.hops - 1 });
  assert.deepEqual(result.frame.subarray(0, 6), PEERS[owner - 1]);
  assert.deepEqual(result.frame.subarray(6, 12), NODE_MAC);
}

/** The same segment from another port of the client. */
const fromPort = (family: Family, port: number, parts: Partial<Segment>) =>
  fromClient(family, family.own, { sourcePort: port, ...parts });

for (const family of FAMILIES) {
  test(`${family.name}: divert, whoever owns the address, alive or not`, { skip }, () => {
    for (const pub of [family.own, family.foreign]) {
      stand.route(family.client, pub, 2);
      for (const alive of [true, false]) {
        stand.setAlive(alive);
        for (const flags of KINDS)
          assertDiverted(
            fromClient(family, pub, { flags, payload: flags === RST ? Buffer.alloc(0) : WORD }),
            2,
          );
      }
      stand.setAlive(true);
      const other = fromClient(family, pub, { sourcePort: CLIENT_PORT + 1 });
      const verdict = pub === family.own ? UNSPEC : SHOT;
      assert.equal(stand.run('baton_ingress', other).verdict, verdict, 'another connection');
      stand.route(family.client, pub, 0);
      assert.equal(stand.run('baton_ingress', fromClient(family, pub, {})).verdict, verdict);
    }
  });

  test(`${family.name}: a route by which a SYN went a moment ago is not ended`, { skip }, () => {
    const client = { address: parseAddress(family.client), port: CLIENT_PORT };
    const pub = { address: parseAddress(family.own), port: PUBLIC_PORT };
    const { routes } = stand.engine;
    assert.ok(routes.end(client, pub, 2), 'there is none');
    for (const flags of KINDS) {
      assert.ok(routes.set(client, pub, 2));
      stand.run('baton_ingress', fromClient(family, family.own, { flags }));
      assert.ok(routes.end(client, pub, 1), "another's");
      assert.equal(routes.owner(client, pub), 2);
      const isSyn = flags === SYN;
      assert.equal(routes.end(client, pub, 2), !isSyn);
      assert.equal(routes.owner(client, pub), isSyn ? 2 : 0);
    }
    routes.delete(client, pub);
  });

  test(`${family.name}: divert stops at the last hop, and without a peer`, { skip }, () => {
    stand.route(family.client, family.own, 1);
    const last = stand.run('baton_ingress', fromClient(family, family.own, { hops: 2 }));
    assert.deepEqual([last.verdict, last.counts], [SHOT, { divert_failed: 1 }]);
    assertDiverted(fromClient(family, family.own, { hops: 3 }), 1);
    for (const parts of [{}, { payload: WORD }, { flags: FIN | ACK }]) {
      const copy = stand.run('baton_ingress', copyToTarget(family, family.own, parts));
      assert.deepEqual([copy.verdict, copy.counts], [SHOT, { stray: 1 }], 'a copy goes nowhere else');
    }
    stand.route(family.client, family.own, 0);
  });

  test(`${family.name}: a target of a connection that left: copies of its owner are translated, the client's own go on`, {
    skip,
  }, () => {
    const rules: ranges.FlowRules = {
      ...ranges.emptyRules(layout.ROLE_TARGET),
      ownNext: 5000,
      ranges: [{ start: 300, end: 0, local: 5000, stamp: 0, owner: 0, open: true, leased: false }],
    };
    stand.install(family.client, family.own, rules, { ack: 300, edge: 300, sentNext: 5100 });
    stand.route(family.client, family.own, 1);
    const sent = fromClient(family, family.own, { ack: 400 });
    assertDiverted(sent, 1);
    const copy = stand.run('baton_ingress', copyToTarget(family, family.own, { ack: 400 }));
    assert.deepEqual([copy.verdict, copy.counts], [UNSPEC, { translated_in: 1 }]);
    assert.equal(copy.segment.ack, 5100);
    stand.route(family.client, family.own, 0);
    assertResult(stand.run('baton_ingress', sent), sent, { verdict: SHOT, counts: { stray: 1 } });
    stand.engine.spread.write(table(() => 2));
    stand.engine.spread.setFront(true);
    assertDiverted(sent, 2);
    stand.engine.spread.setFront(false);
    stand.engine.spread.write(table(() => 0));
    stand.route(family.client, family.own, 0);
    stand.uninstall(family.client, family.own);
  });

  test(`${family.name}: spread: a SYN goes by the table, and what follows goes where it went`, {
    skip,
  }, () => {
    const port = (family.name === 'IPv4' ? 10_000 : 20_000) + 1;
    const syn = fromPort(family, port, { flags: SYN });
    stand.engine.spread.write(table(() => 2));
    assertDiverted(syn, 2);
    stand.engine.spread.write(table(() => 1));
    assertDiverted(syn, 2);
    for (const flags of [ACK, FIN | ACK, RST]) assertDiverted(fromPort(family, port, { flags }), 2);
    assertDiverted(fromPort(family, port + 1, { flags: SYN }), 1);
    stand.engine.spread.write(table(() => 0));
    assertDiverted(fromPort(family, port, { payload: WORD }), 2);
    const stays = fromPort(family, port + 2, { flags: SYN });
    assertResult(stand.run('baton_ingress', stays), stays, { verdict: UNSPEC, counts: {} });
    stand.engine.spread.write(table(() => 1));
    for (const flags of [SYN, ACK, FIN | ACK]) {
      const more = fromPort(family, port + 2, { flags });
      assertResult(stand.run('baton_ingress', more), more, { verdict: UNSPEC, counts: {} });
    }
    const old = fromPort(family, port + 3, { payload: WORD });
    assertResult(stand.run('baton_ingress', old), old, { verdict: UNSPEC, counts: {} });
    stand.engine.spread.write(table(() => 0));
  });

  test(`${family.name}: spread: a flow of this node, and a route, come before the table`, { skip }, () => {
    stand.engine.spread.write(table(() => 1));
    const rules = { ...ranges.emptyRules(layout.ROLE_ANCHOR), ownNext: 1000 };
    ranges.beginOwn(rules, 1000);
    stand.install(family.client, family.own, rules, { ack: 1000, edge: 1000, sentNext: 1000 });
    const segment = fromClient(family, family.own, { ack: 1000, payload: WORD });
    assert.deepEqual(stand.run('baton_ingress', segment).counts, { translated_in: 1 });
    stand.uninstall(family.client, family.own);
    stand.route(family.client, family.own, 2);
    assertDiverted(fromClient(family, family.own, { flags: SYN }), 2);
    stand.route(family.client, family.own, 0);
    stand.engine.spread.write(table(() => 0));
  });

  test(`${family.name}: spread evens out, and a front has an owner for everything`, { skip }, () => {
    stand.engine.spread.write(table((slot) => 1 + (slot % 2)));
    const counts = [0, 0];
    for (let i = 0; i < 2000; i++) {
      const result = stand.run('baton_ingress', fromPort(family, 30_000 + i, { flags: SYN }));
      counts[PEERS.findIndex((mac) => mac.equals(result.frame.subarray(0, 6)))]++;
    }
    assert.ok(Math.min(...counts) > 850, `${counts}`);
    const unknown = fromPort(family, 29_000, { payload: WORD });
    assert.equal(stand.run('baton_ingress', unknown).verdict, UNSPEC, 'no front: its own');
    stand.engine.spread.setFront(true);
    const first = stand.run('baton_ingress', unknown);
    assert.equal(first.verdict, REDIRECT);
    const again = stand.run('baton_ingress', fromPort(family, 29_000, { flags: SYN }));
    assert.deepEqual(again.frame.subarray(0, 6), first.frame.subarray(0, 6), 'by the same table');
    stand.engine.spread.setFront(false);
    stand.engine.spread.write(table(() => 0));
  });

  test(`${family.name}: guard: the kernel does not reset a connection that has left, or is leaving`, {
    skip,
  }, () => {
    const reset = toClient(family, family.own, { flags: RST });
    const passes = () => stand.run('baton_egress', reset);
    assertResult(passes(), reset, { verdict: UNSPEC, counts: {} });
    stand.route(family.client, family.own, 1);
    assertResult(passes(), reset, { verdict: SHOT, counts: { guard_rst: 1 } });
    stand.route(family.client, family.own, 0);
    const ends = [at(family.client, CLIENT_PORT), at(family.own, PUBLIC_PORT)] as const;
    const restore = stand.engine.routes.park(...ends, 0)!;
    assertResult(passes(), reset, { verdict: SHOT, counts: { guard_rst: 1 } });
    stand.setAlive(false);
    assertResult(passes(), reset, { verdict: UNSPEC, counts: {} });
    stand.setAlive(true);
    restore();
    stand.engine.routes.set(...ends, layout.OWNER_SELF);
    assertResult(passes(), reset, { verdict: UNSPEC, counts: {} });
    stand.engine.routes.delete(...ends);
  });

  test(`${family.name}: arrived: silent after the lease until the client's segments come here`, {
    skip,
  }, () => {
    const rules = {
      ...ranges.emptyRules(layout.ROLE_ARRIVING),
      anchor: 1,
      leaseNs: Number(process.hrtime.bigint()) + 1e9,
    };
    const observed = { ack: 0, edge: 0, sentNext: 0 };
    for (const pub of [family.own, family.foreign]) {
      const slot = stand.install(family.client, pub, rules, observed);
      for (const flags of [ACK, FIN | ACK, RST]) {
        const out = toClient(family, pub, { flags, payload: WORD });
        const ends = flags !== ACK;
        const expected = ends
          ? { verdict: SHOT, counts: { lease_ended: 1 } }
          : { verdict: UNSPEC, counts: {} };
        assertResult(stand.run('baton_egress', out), out, expected);
      }
      stand.engine.flows.write(slot, { ...rules, leaseNs: 1 });
      const out = toClient(family, pub, { payload: WORD });
      assertResult(stand.run('baton_egress', out), out, { verdict: SHOT, counts: { lease_ended: 1 } });
      stand.route(family.client, pub, 1);
      assertDiverted(fromClient(family, pub, {}), 1);
      assert.equal(stand.run('baton_egress', out).verdict, SHOT, 'what went on confirms nothing');
      stand.route(family.client, pub, 0);
      const listener = sockets.listenOn(at(family.foreign, PUBLIC_PORT), 1);
      assert.equal(
        stand.run('baton_ingress', fromClient(family, pub, {})).verdict,
        SHOT,
        'a listener is not it',
      );
      libc.close(listener);
      if (pub === family.foreign) {
        const fd = established(family, pub);
        assert.equal(stand.run('baton_ingress', fromClient(family, pub, {})).verdict, UNSPEC);
        assertResult(stand.run('baton_egress', out), out, { verdict: UNSPEC, counts: {} });
        silentClose(fd);
      }
      stand.uninstall(family.client, pub);
    }
  });

  test(`${family.name}: a socket here makes a foreign address ours, but not a half-pipe's`, { skip }, () => {
    const into = (flags: number) => stand.run('baton_ingress', fromClient(family, family.foreign, { flags }));
    const out = (flags: number) => stand.run('baton_egress', toClient(family, family.foreign, { flags }));
    assert.deepEqual([into(SYN).verdict, out(ACK).verdict], [SHOT, SHOT]);
    const listener = sockets.listenOn(at(family.foreign, PUBLIC_PORT), 1);
    assert.equal(into(SYN).verdict, UNSPEC, 'a listener');
    assert.equal(into(ACK).verdict, SHOT, 'which gets nothing that it would answer with a reset');
    const client = sockets.tcpSocket(parseAddress(family.client));
    sockets.bindTo(client, at(family.client, CLIENT_PORT));
    sockets.connectTo(client, at(family.foreign, PUBLIC_PORT));
    const accepted = sockets.acceptFrom(listener);
    assert.ok(accepted >= 0);
    libc.close(listener);
    for (const flags of [ACK, FIN | ACK, RST]) assert.equal(into(flags).verdict, UNSPEC);
    for (const flags of [ACK, FIN | ACK])
      assert.deepEqual([out(flags).verdict, out(flags).counts], [UNSPEC, {}]);
    assert.deepEqual(out(RST).counts, { guard_rst: 1 }, 'a reset that no socket sends');
    stand.mark = layout.HALF_PIPE_MARK;
    assert.deepEqual(out(ACK).counts, { guard_stray: 1 });
    assert.deepEqual(out(FIN | ACK).counts, { guard_fin: 1 });
    stand.mark = 0;
    sockets.abortClose(client);
    libc.close(accepted);
    assert.deepEqual([into(ACK).verdict, out(ACK).verdict], [SHOT, SHOT], 'and is foreign again');
  });
}

test('a segment with IPv4 options is handled like any other; fragments say nothing', { skip }, () => {
  const family = FAMILIES[0];
  const plain = build(fromClient(family, family.own, { payload: WORD }));
  const withOptions = Buffer.concat([
    plain.subarray(0, 34),
    Buffer.from('01010100', 'hex'),
    plain.subarray(34),
  ]);
  withOptions[14] = 0x46;
  withOptions.writeUInt16BE(plain.length - 14 + 4, 16);
  stand.route(family.client, family.own, 1);
  assert.equal(stand.runFrame('baton_ingress', withOptions, true).verdict, REDIRECT);
  stand.route(family.client, family.own, 0);
  for (const [pub, verdict] of [
    [family.own, UNSPEC],
    [family.foreign, SHOT],
  ] as const) {
    const fragment = build(fromClient(family, pub, { payload: WORD }));
    fragment.writeUInt16BE(0x2000, 20);
    assert.equal(stand.runFrame('baton_ingress', fragment, true).verdict, verdict);
  }
});
