/**
 * Rule in-ack: targets acknowledge what the anchor has acknowledged. A client takes no timestamp from a segment whose
 * acknowledgement is older than one before, and then echoes an old one for ever (seen: a lost burst recovered by one
 * segment a timeout, because every timeout looked premature).
 */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, PSH, read } from './frames.ts';
import {
  BASES,
  COPY_HOPS,
  copyToTarget,
  FAMILIES,
  fromClient,
  REDIRECT,
  Stand,
  toClient,
  UNSPEC,
} from './stand.ts';

const skip = skipWithoutRoot();
const WORD = Buffer.from('GET / HTTP/1.1');
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand([Buffer.from('020000000002', 'hex')]);
});
after(() => {
  if (skip === false) stand.close();
});

for (const family of FAMILIES) {
  for (const base of BASES) {
    const at = (n: number) => add(base, n);
    const range = {
      start: at(300),
      end: 0,
      local: 0,
      stamp: 0,
      owner: 1,
      open: true,
      leased: false,
      late: false,
    };

    test(`${family.name} at ${base}: the anchor tells with its copies, its own socket gets the segment as it was`, {
      skip,
    }, () => {
      const rules = { ...ranges.emptyRules(layout.ROLE_ANCHOR), ownNext: at(300), ranges: [range] };
      const observed = { ack: at(300), edge: at(5000), sentNext: at(300), inAck: at(7000) };
      const slot = stand.install(family.client, family.own, rules, observed);
      const out = toClient(family, family.own, { seq: at(300), ack: at(7040) });
      assert.equal(stand.run('baton_egress', out).verdict, UNSPEC);
      assert.equal(stand.engine.flows.inAck(slot), at(7040));
      stand.run('baton_egress', { ...out, ack: at(7020) });
      assert.equal(stand.engine.flows.inAck(slot), at(7040), 'never back');

      const plain = fromClient(family, family.own, { seq: at(7081), ack: at(400) });
      const forwarded = stand.run('baton_ingress', plain);
      assert.equal(forwarded.verdict, REDIRECT);
      assert.deepEqual(forwarded.segment, { ...plain, seq: at(7040), hops: COPY_HOPS });

      const request = { ...plain, seq: at(7040), flags: ACK | PSH, payload: WORD };
      stand.run('baton_egress', { ...out, ack: at(7030) });
      const kept = stand.run('baton_ingress', request);
      assert.equal(kept.segment.seq, request.seq, 'as it was');
      const [copy] = stand.wire.take(1);
      assert.equal(read(copy, request).seq, at(7040));
      stand.uninstall(family.client, family.own);
    });

    test(`${family.name} at ${base}: a target acknowledges what it was told last`, { skip }, () => {
      const own = { ...range, owner: 0, local: at(300) };
      const rules = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        inLocal: at(77),
        inWire: at(7000),
        ownNext: at(900),
        ranges: [own],
      };
      const observed = { ack: at(300), edge: at(5000), sentNext: at(300), inAck: at(7000) };
      stand.install(family.client, family.foreign, rules, observed);
      const data = toClient(family, family.foreign, { seq: at(300), payload: WORD });
      assert.equal(stand.run('baton_egress', data).segment.ack, at(7000));
      stand.run('baton_ingress', copyToTarget(family, family.foreign, { seq: at(7040), ack: at(350) }));
      assert.equal(stand.run('baton_egress', data).segment.ack, at(7040));
      stand.run('baton_ingress', copyToTarget(family, family.foreign, { seq: at(7010), ack: at(351) }));
      assert.equal(stand.run('baton_egress', data).segment.ack, at(7040), 'never back');
      stand.uninstall(family.client, family.foreign);
    });
  }
}
