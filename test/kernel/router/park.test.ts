/** The router's rules for a connection that moves: park, replay, and what its next node takes from the one before. */
import assert from 'node:assert';
import { after, afterEach, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import { restoreHalfPipe } from '../../../src/kernel/linux/half-pipe.ts';
import { silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import { flowKeyText } from '../../../src/kernel/router/flow-key.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { privateNetwork, run, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, build, FIN, PSH, RST, type Segment, SYN } from './frames.ts';
import {
  assertResult,
  CLIENT_PORT,
  copyToTarget,
  FAMILIES,
  type Family,
  fromClient,
  PUBLIC_PORT,
  REDIRECT,
  SHOT,
  Stand,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
const WORD = Buffer.from('payload of the client');
const KINDS = [ACK, ACK | PSH, FIN | ACK, RST, SYN];
const PEERS = ['020000000002', '020000000003'].map((mac) => Buffer.from(mac, 'hex'));
const SOURCE_MAC = 6;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  for (const { client, foreign } of FAMILIES)
    for (const address of [client, foreign])
      run('ip', 'address', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : []));
  stand = new Stand(PEERS);
});
afterEach(() => {
  if (skip === false) parked();
});
after(() => {
  if (skip === false) stand.close();
});

const at = (address: string, port: number) => ({ address: parseAddress(address), port });
const ends = ({ client }: Family, pub: string) => [at(client, CLIENT_PORT), at(pub, PUBLIC_PORT)] as const;

function parked(): Array<{ key: string; frame: Buffer; segmentBytes: number }> {
  const out: ReturnType<typeof parked> = [];
  stand.engine.parked.drain((key, { frame, segmentBytes }) =>
    out.push({ key, frame: Buffer.from(frame), segmentBytes }),
  );
  return out;
}

function assertParked(sent: Segment): void {
  const frame = build(sent);
  const { verdict, counts } = stand.runFrame('baton_ingress', frame);
  assert.deepEqual([verdict, counts], [SHOT, { parked: 1 }]);
  const key = flowKeyText(at(sent.source, sent.sourcePort), at(sent.destination, sent.destinationPort));
  assert.deepEqual(parked(), [{ key, frame, segmentBytes: 0 }]);
}

for (const family of FAMILIES) {
  test(`${family.name}: park keeps every segment as it came, whoever owns the address`, { skip }, () => {
    for (const pub of [family.own, family.foreign]) {
      const restore = stand.engine.routes.park(...ends(family, pub), 0);
      assert.ok(restore !== null);
      for (const flags of KINDS) assertParked(fromClient(family, pub, { flags }));
      for (const bytes of [0, 1, 1400, 1960, 1990, 2100, 3000])
        assertParked(fromClient(family, pub, { payload: Buffer.alloc(bytes, WORD), timestamps: [1, 2] }));
      const other = fromClient(family, pub, { sourcePort: CLIENT_PORT + 1 });
      assert.equal(stand.run('baton_ingress', other).counts.parked, undefined, 'another connection');
      const copy = stand.run('baton_ingress', copyToTarget(family, pub, {}));
      assert.deepEqual([copy.verdict, copy.counts], [SHOT, { stray: 1 }], 'a copy is nobody’s here');
      restore();
      assert.equal(stand.run('baton_ingress', fromClient(family, pub, {})).counts.parked, undefined);
      assert.deepEqual(parked(), []);
    }
  });

  test(`${family.name}: park comes before the flow of an anchor, which sees nothing of it`, { skip }, () => {
    const rules = { ...ranges.emptyRules(layout.ROLE_ANCHOR), ownNext: 1000 };
    ranges.beginOwn(rules, 2000);
    const slot = stand.install(family.client, family.own, rules, { ack: 2000, edge: 3000, sentNext: 1000 });
    const restore = stand.engine.routes.park(...ends(family, family.own), 0)!;
    assertParked(fromClient(family, family.own, { ack: 2500, payload: WORD }));
    assert.equal(stand.observed(slot, layout.OBSERVED_ACK), 2000);
    restore();
    const segment = fromClient(family, family.own, { ack: 2500, payload: WORD });
    assert.deepEqual(stand.run('baton_ingress', segment).counts, { translated_in: 1 });
    stand.uninstall(family.client, family.own);
  });

  test(`${family.name}: what was known of the connection is known again`, { skip }, () => {
    const { routes } = stand.engine;
    const [client, pub] = ends(family, family.own);
    const known = () => routes.entries().map(({ owner }) => owner);
    for (const former of [null, layout.OWNER_SELF, 2]) {
      if (former !== null) routes.set(client, pub, former);
      const restore = routes.park(client, pub, 3)!;
      assert.deepEqual(known(), [layout.OWNER_PARKED | 3]);
      restore();
      assert.deepEqual(known(), former === null ? [] : [former]);
      routes.delete(client, pub);
    }
  });

  test(`${family.name}: nothing is kept for a process that is gone`, { skip }, () => {
    const restore = stand.engine.routes.park(...ends(family, family.own), 0)!;
    stand.setAlive(false);
    const segment = fromClient(family, family.own, { payload: WORD });
    assertResult(stand.run('baton_ingress', segment), segment, { verdict: UNSPEC, counts: {} });
    stand.setAlive(true);
    restore();
  });

  test(`${family.name}: what has no room, or no engine, is lost, and counted`, { skip }, () => {
    const [client, pub] = ends(family, family.own);
    let restore = stand.engine.routes.park(client, pub, 1)!;
    const segment = fromClient(family, family.own, { payload: Buffer.alloc(2500) });
    const lost = stand.run('baton_ingress', segment);
    assert.deepEqual([lost.verdict, lost.counts], [SHOT, { park_failed: 1 }], 'no such engine');
    restore();
    restore = stand.engine.routes.park(client, pub, 0)!;
    let kept = 0;
    while (stand.run('baton_ingress', segment).counts.parked === 1) kept++;
    assert.equal(kept, 15);
    assert.equal(parked().length, 15);
    assertParked(segment);
    restore();
  });

  test(`${family.name}: replay: what an engine writes to the interface comes in`, { skip }, () => {
    const sent = fromClient(family, family.own, { payload: WORD });
    stand.mark = layout.REPLAY_MARK;
    assertResult(stand.run('baton_egress', sent), sent, { verdict: REDIRECT, counts: {} });
    stand.mark = 0;
    assertResult(stand.run('baton_egress', sent), sent, { verdict: UNSPEC, counts: {} });
  });

  test(`${family.name}: arrived: what the initiator sends on is not sent back, wherever a route leads`, {
    skip,
  }, () => {
    const frameFrom = (mac: Buffer) => {
      const frame = build(fromClient(family, family.foreign, { payload: WORD }));
      mac.copy(frame, SOURCE_MAC);
      return frame;
    };
    const runs = (mac: Buffer) => {
      const { verdict, counts } = stand.runFrame('baton_ingress', frameFrom(mac));
      return [verdict, counts];
    };
    const diverted = [REDIRECT, { diverted: 1 }];
    stand.route(family.client, family.foreign, 1);
    assert.deepEqual(runs(PEERS[0]), diverted, 'nothing arrives here');
    const rules = { ...ranges.emptyRules(layout.ROLE_ARRIVING), leaseNs: 1, anchor: 1 };
    const slot = stand.install(family.client, family.foreign, rules, { ack: 0, edge: 0, sentNext: 0 });
    assert.deepEqual(runs(PEERS[0]), [SHOT, { stray: 1 }], 'there is no socket');
    const fd = restoreHalfPipe({
      client: at(family.client, CLIENT_PORT),
      public: at(family.foreign, PUBLIC_PORT),
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
    assert.deepEqual(runs(PEERS[1]), diverted, 'another node');
    stand.route(family.client, family.foreign, 2);
    assert.deepEqual(runs(PEERS[1]), diverted, 'one that had the connection before');
    assert.equal(stand.engine.flows.segments(slot), 0);
    const out = toClient(family, family.foreign, { payload: WORD });
    assert.deepEqual(stand.run('baton_egress', out).counts, { lease_ended: 1 });
    assert.deepEqual(runs(PEERS[0]), [UNSPEC, {}], 'the initiator, and the route leads elsewhere');
    assert.equal(stand.engine.flows.segments(slot), 1);
    assertResult(stand.run('baton_egress', out), out, { verdict: UNSPEC, counts: {} });
    silentClose(fd);
    stand.uninstall(family.client, family.foreign);
    stand.route(family.client, family.foreign, 0);
  });
}
