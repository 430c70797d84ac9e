/** Mechanism local: with what the last byte of a response leaves. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LocalDelivery } from '../../../src/handoff/anchor/local.ts';
import type { Behind } from '../../../src/serve/byte-sink.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import { AnchorStand, HostModel, request } from './stand.ts';

function behindOf(close: boolean, flow: object | null, sharesConnections: boolean): Behind {
  const { counters: count } = new AnchorStand();
  const ports = { count, later: { defer: () => {} }, self: 0, sharesConnections };
  const asked: Behind[] = [];
  const model = new HostModel();
  const { out: sink } = model.wayOut;
  const out = (behind: Behind) => {
    asked.push(behind);
    return sink();
  };
  const host = Object.assign(model, { flow, wayOut: { ...model.wayOut, out } });
  const exchange = Exchange.error(503, null, { close, extraFields: '', nowMs: 0 });
  new LocalDelivery(ports, host, request({ close }), exchange, 'local');
  assert.equal(asked.length, 1);
  return asked[0];
}

test('one that ends its connection goes with FIN, but in a flow, whose FIN has a place of its own', () => {
  for (const shares of [false, true]) {
    assert.equal(behindOf(true, null, shares), 'end');
    assert.equal(behindOf(false, null, shares), shares ? 'anyone' : 'own');
    assert.equal(behindOf(true, {}, shares), shares ? 'anyone' : 'own');
  }
});
