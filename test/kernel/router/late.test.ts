/** Rules of handoffs that end without a word: watch, late-forward. docs/protocol.md names them. */
import assert from 'node:assert';
import { after, before, test } from 'node:test';
import * as layout from '../../../src/kernel/router/layout.ts';
import * as ranges from '../../../src/kernel/router/ranges.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { privateNetwork, skipWithoutRoot } from '../tcp/network.ts';
import { ACK, FIN, RST } from './frames.ts';
import { BASES, FAMILIES, type Family, fromClient, Stand } from './stand.ts';

const skip = skipWithoutRoot();
const WORD = Buffer.from('the next request');
let stand: Stand;

before(() => {
  if (skip !== false) return;
  privateNetwork();
  stand = new Stand(['020000000002', '020000000003'].map((mac) => Buffer.from(mac, 'hex')));
});
after(() => {
  if (skip === false) stand.close();
});

const target = (start: number, end: number, owner: number, late = false): ranges.Range => ({
  start,
  end,
  local: 0,
  stamp: 0,
  owner,
  open: false,
  leased: false,
  late,
});

/** Clones at 1 [0,300) and 2 [300,1000), nothing of the own socket open. */
function clones(base: number, first: number, second: number, lateFirst: boolean, lateSecond: boolean) {
  const at = (n: number) => add(base, n);
  return {
    ...ranges.emptyRules(layout.ROLE_ANCHOR),
    ownNext: at(0),
    ranges: [target(at(0), at(300), first, lateFirst), target(at(300), at(1000), second, lateSecond)],
  };
}

function install(family: Family, rules: ranges.FlowRules, ack: number): number {
  return stand.install(family.client, family.own, rules, { ack, edge: add(ack, 4096), sentNext: 0 });
}

for (const family of FAMILIES) {
  for (const base of BASES) {
    const name = `${family.name} at ${base}`;
    const at = (n: number) => add(base, n);
    const arrive = (parts: Parameters<typeof fromClient>[2]) =>
      stand.run('baton_ingress', fromClient(family, family.own, { flags: ACK, ...parts })).counts.forwarded ??
      0;

    test(`${name}: late-forward gives an owner only what says nothing new`, { skip }, () => {
      const late = clones(base, 1, 2, true, false);
      for (const { acked, parts, forwarded, why } of [
        { acked: 300, parts: { ack: at(400) }, forwarded: 1, why: 'news about the second' },
        { acked: 400, parts: { ack: at(400) }, forwarded: 2, why: 'it answers a retransmission of either' },
        { acked: 400, parts: { ack: at(300) }, forwarded: 2, why: 'an old one, reordered' },
        {
          acked: 400,
          parts: { ack: at(400), payload: WORD },
          forwarded: 1,
          why: 'a request answers nothing',
        },
        { acked: 400, parts: { ack: at(400), flags: ACK | FIN }, forwarded: 1, why: 'nor does a FIN' },
      ]) {
        install(family, late, at(acked));
        assert.equal(arrive(parts), forwarded, why);
      }
    });

    test(`${name}: an owner that is late in one range and not in the next gets everything, once`, {
      skip,
    }, () => {
      install(family, clones(base, 1, 1, true, false), at(300));
      assert.equal(arrive({ ack: at(400) }), 1);
      assert.equal(arrive({ ack: at(400) }), 1);
      install(family, clones(base, 1, 1, true, true), at(1000));
      assert.equal(arrive({ ack: at(1000), payload: WORD }), 0);
      assert.equal(arrive({ ack: at(1000) }), 1);
    });

    test(`${name}: watch tells once, whatever the acknowledgements do on the way`, { skip }, () => {
      const flags = layout.FLAG_WATCH | layout.FLAG_WAKE;
      const rules = { ...clones(base, 1, 2, true, false), watch: at(1000), epoch: 9, flags };
      const slot = install(family, rules, at(300));
      // In disorder, twice, and with the last but one lost.
      for (const ack of [700, 500, 700, 300, 999]) arrive({ ack: at(ack) });
      // With the next request, for which the engine is woken anyhow.
      arrive({ ack: at(1000), payload: WORD });
      assert.deepEqual(stand.events(), []);
      for (const ack of [1000, 999, 1000]) arrive({ ack: at(ack) });
      assert.deepEqual(
        stand.events().map(([where, epoch, ack]) => [where, epoch, ack]),
        [[slot, 9, at(1000)]],
      );
    });

    test(`${name}: a reset while closing is told apart from a watch that has fired`, { skip }, () => {
      const watched = { ...clones(base, 1, 2, false, false), watch: at(1000), epoch: 3 };
      const slot = install(family, { ...watched, flags: layout.FLAG_WATCH }, at(300));
      arrive({ ack: at(1000), payload: WORD });
      assert.equal(stand.events().length, 1);
      assert.equal(stand.engine.flows.wasReset(slot), false);
      stand.engine.flows.write(slot, { ...watched, flags: layout.FLAG_CLOSING });
      arrive({ ack: at(1000), flags: RST | ACK });
      assert.equal(stand.engine.flows.wasReset(slot), true);
    });
  }
}
