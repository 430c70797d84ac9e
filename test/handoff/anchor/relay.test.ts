/** Mechanism relay at the anchor: a request's body that follows waits for a busy link, and goes on by itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayDelivery } from '../../../src/handoff/anchor/relay.ts';
import { SetupMechanism } from '../../../src/protocol/backplane/frames.ts';
import { LINK_BACKLOG_BYTES } from '../../../src/protocol/backplane/streams.ts';
import { AnchorStand, LinkModel, request } from './stand.ts';

const B = 1;
const FORM = { name: 'relay', mechanism: SetupMechanism.RELAY } as const;

test('a body that was not wanted because others had filled the link is wanted when they have not', () => {
  const it = new AnchorStand();
  const link = new LinkModel(B);
  const { counters: count, handoffs, streams } = it;
  const ports = { count, later: { defer: () => {} }, handoffs, streams, sharesConnections: false };
  let wanted = 0;
  it.host.bodyWanted = () => {
    wanted++;
  };
  const delivery = RelayDelivery.start({
    ports,
    host: it.host,
    request: request({ bodyFollows: true }),
    node: B,
    link: link.link,
    form: FORM,
  })!;
  assert.ok(delivery.wantsBody);
  link.queuedBytes = LINK_BACKLOG_BYTES + 1;
  assert.equal(delivery.wantsBody, false);
  streams.turn();
  assert.deepEqual([wanted, streams.waitMs], [0, 10]);
  link.queuedBytes = 0;
  streams.turn();
  assert.equal(wanted, 1);
  streams.turn();
  assert.equal(wanted, 1);
});
