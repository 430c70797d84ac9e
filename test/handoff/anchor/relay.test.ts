/** Mechanism relay at the anchor: a request's body that follows waits for a busy link, and goes on by itself. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { RelayDelivery } from '../../../src/handoff/anchor/relay.ts';
import { FrameType, SetupMechanism } from '../../../src/protocol/backplane/frames.ts';
import { STREAM_PIECE_BYTES } from '../../../src/protocol/backplane/stream.ts';
import { LINK_BACKLOG_BYTES } from '../../../src/protocol/backplane/streams.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { AnchorStand, LinkModel, request } from './stand.ts';

const B = 1;
const FORM = { name: 'relay', mechanism: SetupMechanism.RELAY } as const;

/** The target takes the request. */
function accept(link: LinkModel): void {
  const { request: id } = link.last(FrameType.SETUP);
  const told = { epoch: 1, confirmWanted: false, identity: null, announcement: null };
  link.hear({ type: FrameType.SETUP_OK, request: id, ...told });
}

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
  assert.equal(delivery.wantsBody, false, 'the target may refuse it');
  accept(link);
  assert.equal(wanted, 1);
  assert.ok(delivery.wantsBody);
  link.queuedBytes = LINK_BACKLOG_BYTES + 1;
  assert.equal(delivery.wantsBody, false);
  streams.turn();
  assert.deepEqual([wanted, streams.waitMs], [1, 10]);
  link.queuedBytes = 0;
  streams.turn();
  assert.equal(wanted, 2);
  streams.turn();
  assert.equal(wanted, 2);
});

test('what had come of a body waits for a link without room, in order, its end with it; nothing more is wanted meanwhile', () => {
  const first = randomBytes(STREAM_PIECE_BYTES + 1000);
  const second = randomBytes(500);
  for (const fate of ['room again', 'the link goes'] as const) {
    const it = new AnchorStand();
    const link = new LinkModel(B);
    const { counters: count, handoffs, streams, host } = it;
    const ports = { count, later: { defer: () => {} }, handoffs, streams, sharesConnections: false };
    let wanted = 0;
    const reasons: string[] = [];
    host.bodyWanted = () => wanted++;
    host.broken = (reason: string) => reasons.push(reason);
    const given = {
      ports,
      host,
      request: request({ bodyFollows: true }),
      node: B,
      link: link.link,
      form: FORM,
    };
    const delivery = RelayDelivery.start(given)!;
    accept(link);
    wanted = 0;
    link.full = true;
    const borrowed = Buffer.from(first);
    delivery.body(borrowed, false);
    borrowed.fill(0);
    delivery.body(second, true);
    streams.turn();
    assert.deepEqual([delivery.wantsBody, wanted, reasons], [false, 0, []]);
    if (fate === 'the link goes') {
      link.down();
      assert.deepEqual(reasons, ['the target failed']);
      continue;
    }
    link.full = false;
    streams.turn();
    const frames = link.sent.filter((frame) => frame.type === FrameType.RELAY_DATA);
    assert.deepEqual(
      frames.map(({ last }) => last),
      [false, true],
    );
    assert.ok(Buffer.concat(frames.map(({ bytes }) => bytes)).equals(Buffer.concat([first, second])));
    assert.equal(wanted, 1);
  }
});

test('each piece ends its segment, over TLS too: what follows may belong elsewhere in the client’s space', () => {
  const suite = SUITES[0];
  const half = new WriteHalf({ suite, secret: Buffer.alloc(suite.secretBytes), number: 0 });
  for (const wayOut of [null, half]) {
    const it = new AnchorStand();
    const link = new LinkModel(B);
    const { counters: count, handoffs, streams, host } = it;
    const ends: boolean[] = [];
    const send = (bytes: Buffer, from: number, _more: boolean, last: boolean) => {
      ends.push(last);
      return bytes.length - from;
    };
    const out = () => ({ send, sendFile: () => 0, flush: () => 0 });
    Object.assign(host, { wayOut: { half: wayOut, mayLend: () => true, out } });
    const ports = { count, later: { defer: () => {} }, handoffs, streams, sharesConnections: true };
    RelayDelivery.start({ ports, host, request: request(), node: B, link: link.link, form: FORM });
    const { request: id } = link.last(FrameType.SETUP);
    for (let i = 0; i < 3; i++)
      link.hear({
        type: FrameType.RELAY_DATA,
        request: id,
        last: false,
        requestBody: false,
        end: null,
        bytes: Buffer.alloc(9),
      });
    assert.deepEqual(ends, [true, true, true]);
  }
  half.wipe();
});
