/** Rule follow: the next request goes to the clone as the client sent it, marked, and there to the engine alone. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, CWR, PSH, read, type Segment, URG } from './frames.ts';
import { BASES, COPY_HOPS, copyToTarget, FAMILIES, fromClient, Stand, toClient, UNSPEC } from './stand.ts';

const skip = skipWithoutRoot();
const WORD = Buffer.from('GET /next HTTP/1.1\r\n');
const EPOCH = 5;
/** Where the doff byte of TCP is, after the Ethernet header. */
const RESERVED_BITS = 0x0e;
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand([Buffer.from('020000000002', 'hex')]);
});
after(() => {
  if (skip === false) stand.close();
});

const tcpAt = (segment: Segment): number => (segment.source.includes(':') ? 14 + 40 : 14 + 20);

for (const family of FAMILIES) {
  for (const base of BASES) {
    const at = (n: number) => add(base, n);
    const range = (change: Partial<ranges.Range>): ranges.Range => ({
      start: at(300),
      end: at(900),
      local: at(300),
      stamp: 0,
      owner: 1,
      open: false,
      leased: false,
      late: false,
      ...change,
    });
    const anchor = (change: Partial<ranges.Range> = {}, flags = layout.FLAG_FOLLOW) => ({
      ...ranges.emptyRules(layout.ROLE_ANCHOR),
      ownNext: at(300),
      epoch: EPOCH,
      watch: at(900),
      flags: flags | layout.FLAG_WATCH,
      ranges: [range(change)],
    });
    const seen = { ack: at(300), edge: at(5000), sentNext: at(300), inNext: at(7000), inAck: at(7000) };
    const request = fromClient(family, family.own, {
      seq: at(7000),
      ack: at(900),
      flags: ACK | PSH,
      timestamps: [77, 78],
      payload: WORD,
    });
    const name = `${family.name} at ${base}`;

    test(`${name}: the copy has the client's number and the epoch, the own socket gets the segment as it was`, {
      skip,
    }, () => {
      for (const late of [false, true]) {
        const slot = stand.install(family.client, family.own, anchor({ late }), seen);
        stand.wire.take(0);
        const kept = stand.run('baton_ingress', request);
        assert.equal(kept.verdict, UNSPEC);
        assert.equal(kept.counts.followed, 1);
        assert.equal(stand.markAfter, 0, "what is for the own socket is the client's");
        assert.deepEqual({ ...kept.segment, ack: 0 }, { ...request, ack: 0 });
        const sent = stand.wire.take(1);
        assert.equal(sent.length, 1);
        const [copy] = sent;
        const doff = copy[tcpAt(request) + 12];
        assert.equal((doff & RESERVED_BITS) >> 1, EPOCH & 7);
        const parts = { flags: ACK | PSH | URG, hops: COPY_HOPS };
        assert.deepEqual(read(copy, request), { ...request, ...parts });
        assert.equal(stand.engine.flows.followed(slot), at(7000 + WORD.length));
        stand.uninstall(family.client, family.own);
      }
    });

    test(`${name}: only payload that acknowledges all of the response, or some while its end is not known`, {
      skip,
    }, () => {
      const followed = (rules: ranges.FlowRules, parts: Partial<Segment>): number => {
        stand.install(family.client, family.own, rules, seen);
        stand.wire.take(0);
        const { counts } = stand.run('baton_ingress', { ...request, ...parts });
        stand.uninstall(family.client, family.own);
        return counts.followed ?? 0;
      };
      assert.equal(followed(anchor(), {}), 1);
      assert.equal(followed(anchor({}, 0), {}), 0, 'not told');
      assert.equal(followed(anchor(), { ack: at(899) }), 0, 'pipelined');
      assert.equal(followed(anchor(), { ack: at(901) }), 0, 'of a later response');
      assert.equal(followed(anchor(), { flags: ACK | URG }), 0, 'urgent data of the client');
      assert.equal(followed(anchor(), { payload: Buffer.alloc(0) }), 0, 'nothing in it');
      assert.equal(followed(anchor({ open: true }), { ack: at(300) }), 0, 'pipelined');
      assert.equal(followed(anchor({ open: true }), { ack: at(301) }), 1);
      assert.equal(followed(anchor({ owner: 0 }), {}), 0, 'of the own socket');
      stand.wire.take(0);
    });

    test(`${name}: at the clone the bytes go to the engine, and the in-half stands still`, { skip }, () => {
      const rules = {
        ...ranges.emptyRules(layout.ROLE_TARGET),
        inLocal: at(77),
        inWire: at(7000),
        ownNext: at(900),
        epoch: EPOCH,
        watch: at(900),
        flags: layout.FLAG_FOLLOW,
        ranges: [range({ owner: 0 })],
      };
      const observed = { ack: at(300), edge: at(5000), sentNext: at(900), inAck: at(7000) };
      const slot = stand.install(family.client, family.foreign, rules, observed);
      const copy = copyToTarget(family, family.foreign, {
        seq: at(7000),
        ack: at(900),
        flags: ACK | PSH | URG,
        payload: WORD,
      });
      const got = (parts: Partial<Segment>, epoch = EPOCH) => {
        const result = stand.runMarked({ ...copy, ...parts }, { epoch, sentMs: 0xabcd });
        assert.equal(result.verdict, UNSPEC);
        assert.deepEqual(result.segment, {
          ...copy,
          seq: at(77),
          ack: parts.ack ?? copy.ack,
          flags: ACK | CWR,
          payload: Buffer.alloc(0),
        });
        return stand.followed();
      };
      const [piece, ...more] = got({});
      assert.equal(more.length, 0);
      const { slot: where, arrivedMs, ...rest } = piece;
      assert.equal(where, slot);
      assert.ok(arrivedMs > 0);
      assert.deepEqual(rest, { epoch: EPOCH, sequence: at(7000), sentMs: 0xabcd, bytes: WORD });
      const data = toClient(family, family.foreign, { seq: at(300), payload: WORD });
      assert.equal(stand.run('baton_egress', data).segment.ack, at(7000), 'it acknowledges nothing of it');
      assert.equal(got({}, EPOCH + 1).length, 0, 'it is of another request');
      assert.equal(got({ ack: at(899) }).length, 0, 'the response is not all acknowledged');
      assert.equal(got({ payload: Buffer.alloc(layout.MAX_FOLLOWED_BYTES + 1) }).length, 0, 'too long');
      assert.equal(got({ payload: Buffer.alloc(1400, 1) })[0].bytes.length, 1400);
      stand.engine.flows.write(slot, { ...rules, flags: 0 });
      assert.equal(got({}).length, 0, 'not told');
      stand.uninstall(family.client, family.foreign);
    });

    test(`${name}: what the anchor acknowledges meanwhile is not where its time is remembered`, {
      skip,
    }, () => {
      const out = toClient(family, family.own, { seq: at(300), ack: at(7020) });
      const observed = { ...seen, ack: at(900) };
      stand.install(family.client, family.own, anchor(), observed);
      assert.equal(stand.run('baton_egress', out).segment.seq, at(4999));
      stand.install(family.client, family.own, anchor({}, 0), observed);
      assert.equal(stand.run('baton_egress', out).segment.seq, at(900));
      stand.uninstall(family.client, family.own);
    });
  }
}
