/** Rule icmp-error where the connection is elsewhere, or moves; and what is no error about one. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import { parseAddress } from '../../../src/base/address.ts';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { build, ipFrame, NODE_MAC } from './frames.ts';
import {
  anchored,
  assertUntouched,
  errorFrame,
  type IcmpError,
  icmpFrame,
  isFour,
  others,
  runError,
  tooBig,
} from './icmp-frames.ts';
import { CLIENT_PORT, FAMILIES, PUBLIC_PORT, REDIRECT, SHOT, Stand, UNSPEC } from './stand.ts';

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

for (const family of FAMILIES) {
  const install = () =>
    stand.install(family.client, family.own, anchored(0, LOCAL), {
      ack: 500,
      edge: 500 + WINDOW,
      sentNext: LOCAL + 1800,
    });

  test(`${family.name}: an error goes where the connection is`, { skip }, () => {
    const assertDiverted = (error: IcmpError, owner: number) => {
      const { verdict, counts, hops, seq, frame } = runError(stand, error);
      assert.deepEqual([verdict, counts, hops], [REDIRECT, { diverted: 1 }, error.hops - 1]);
      assert.equal(seq, error.quoted.seq);
      assert.deepEqual(frame.subarray(0, 12), Buffer.concat([PEERS[owner - 1], NODE_MAC]));
    };
    const kinds: Array<[number, number]> = [...others(family), isFour(family) ? [3, 4] : [2, 0]];
    for (const [type, code] of kinds) {
      for (const pub of [family.own, family.foreign]) {
        const error = tooBig(family, pub, 1234, { type, code });
        stand.route(family.client, pub, 3);
        assertDiverted(error, 3);
        stand.setAlive(false);
        assertDiverted(error, 3);
        stand.setAlive(true);
        // An anchor that has given the connection away has no say.
        stand.install(family.client, pub, anchored(0, LOCAL), { ack: 500, edge: 5096, sentNext: LOCAL });
        assertDiverted(error, 3);
        stand.uninstall(family.client, pub);
        stand.route(family.client, pub, 0);
        assertUntouched(stand, error, 'no route');
      }
      stand.engine.spread.write(new Uint8Array(layout.SPREAD_SIZE).fill(2));
      assertUntouched(stand, tooBig(family, family.own, 1234, { type, code }), 'no front');
      stand.engine.spread.setFront(true);
      assertDiverted(tooBig(family, family.own, 1234, { type, code }), 2);
      assertUntouched(stand, tooBig(family, family.foreign, 1234, { type, code }), "another's to spread");
      stand.engine.spread.setFront(false);
      stand.engine.spread.write(new Uint8Array(layout.SPREAD_SIZE));
    }
  });

  test(`${family.name}: while a connection moves, errors are kept with its segments`, { skip }, () => {
    const client = { address: parseAddress(family.client), port: CLIENT_PORT };
    const pub = { address: parseAddress(family.own), port: PUBLIC_PORT };
    const error = tooBig(family, family.own, 700);
    install();
    const restore = stand.engine.routes.park(client, pub, 0)!;
    const { verdict, counts } = runError(stand, error);
    assert.deepEqual([verdict, counts], [SHOT, { parked: 1 }]);
    const kept: Buffer[] = [];
    stand.engine.parked.drain((_, { frame }) => kept.push(Buffer.from(frame)));
    assert.deepEqual(kept, [errorFrame(error)]);
    restore();
    assert.deepEqual(
      runError(stand, error).counts,
      { errors_forwarded: 2, errors_translated: 1 },
      'it stays',
    );
    stand.wire.take(2);
    stand.uninstall(family.client, family.own);
    // At its next node, whose route still leads to the node before.
    const frame = errorFrame(tooBig(family, family.foreign, 700, { station: PEERS[0] }));
    stand.route(family.client, family.foreign, 1);
    assert.equal(stand.runFrame('baton_ingress', frame).verdict, REDIRECT, 'nothing arrives here');
    const rules = { ...ranges.emptyRules(layout.ROLE_ARRIVING), anchor: 1 };
    stand.install(family.client, family.foreign, rules, { ack: 0, edge: 0, sentNext: 0 });
    assert.equal(stand.runFrame('baton_ingress', frame).verdict, UNSPEC, 'not sent back');
    stand.uninstall(family.client, family.foreign);
    stand.route(family.client, family.foreign, 0);
  });

  test(`${family.name}: what is no error about a connection passes as it is`, { skip }, () => {
    install();
    const error = tooBig(family, family.own, 700);
    const whole = errorFrame(error);
    const assertPasses = (frame: Buffer, why: string) => {
      const result = stand.runFrame('baton_ingress', frame);
      assert.deepEqual([result.verdict, result.counts], [UNSPEC, {}], why);
      assert.deepEqual(result.frame, frame, why);
    };
    const icmpAt = 14 + (isFour(family) ? 20 : 40);
    for (let length = icmpAt; length < whole.length; length++)
      assertPasses(Buffer.from(whole.subarray(0, length)), `cut at ${length}`);
    const body = whole.subarray(icmpAt + 4);
    const types = isFour(family) ? [0, 4, 5, 8, 13] : [0, 5, 127, 128, 129, 137];
    for (const type of types)
      assertPasses(
        icmpFrame(error.source, error.destination, [type, 0], Buffer.from(body)),
        `a message of type ${type}`,
      );
    const quote = (source: string, protocol: number) => {
      const packet = ipFrame(source, family.client, protocol, build(error.quoted).subarray(icmpAt));
      return icmpFrame(
        error.source,
        family.own,
        [error.type, error.code],
        Buffer.concat([body.subarray(0, 4), packet.subarray(14)]),
      );
    };
    assertPasses(quote(family.own, 17), 'about UDP');
    assertPasses(quote(family.foreign, 6), 'about another address than it is sent to');
    assert.deepEqual(
      stand.runFrame('baton_ingress', quote(family.own, 6)).counts,
      { errors_forwarded: 2, errors_translated: 1 },
      'the same about this connection',
    );
    stand.wire.take(2);
    assertPasses(errorFrame({ ...error, quoted: { ...error.quoted, sourcePort: 81 } }), 'another connection');
    if (isFour(family)) {
      const piece = Buffer.from(whole);
      piece.writeUInt16BE(0x2000, 20);
      assertPasses(piece, 'a fragment');
      const ofPiece = Buffer.from(whole);
      ofPiece.writeUInt16BE(0x0001, icmpAt + 8 + 6);
      assertPasses(ofPiece, 'about a later fragment');
    }
    stand.uninstall(family.client, family.own);
  });
}
