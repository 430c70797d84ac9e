/** Mechanism relay at the anchor when its target fails: whether another node can be asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RelayDelivery } from '../../../src/handoff/anchor/relay.ts';
import {
  AbortReason,
  FrameType,
  RejectReason,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import { AnchorStand, LinkModel, request, SETUP_MS } from './stand.ts';

const B = 1;

class Case extends AnchorStand {
  readonly link = new LinkModel(B);
  readonly delivery: RelayDelivery;

  constructor(bodyFollows: boolean) {
    super();
    const { counters: count, handoffs, host } = this;
    const ports = { count, handoffs, later: { defer: () => {} }, sharesConnections: true };
    const form = { name: 'relay', mechanism: SetupMechanism.RELAY } as const;
    const delivery = RelayDelivery.start({
      ports,
      host,
      request: request({ bodyFollows }),
      node: B,
      link: this.link.link,
      form,
    });
    assert(delivery !== null);
    this.delivery = delivery;
  }

  get id(): number {
    return this.link.last(FrameType.SETUP).request;
  }
}

const FAILURES: ReadonlyArray<readonly [name: string, fail: (it: Case) => void]> = [
  [
    'refuses',
    ({ link, id }) =>
      link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch: 1, reason: RejectReason.FULL }),
  ],
  [
    'gives up',
    ({ link, id }) =>
      link.hear({ type: FrameType.ABORT, request: id, epoch: 1, reason: AbortReason.UPSTREAM_FAILED }),
  ],
  ['cannot be reached any more', ({ link }) => link.down()],
  ['says nothing', (it) => it.pass(2 * SETUP_MS)],
];

for (const [name, fail] of FAILURES) {
  for (const bodyFollows of [false, true])
    test(`the target ${name}, ${bodyFollows ? 'a body is to follow of which it has nothing' : 'no body follows'}: another is asked`, () => {
      const it = new Case(bodyFollows);
      fail(it);
      assert.deepEqual(it.host.ends, [`again without ${B}`]);
      assert.equal(it.link.up ? it.link.conversations.size : 0, 0);
    });

  test(`the target ${name}, and has some of the body: nobody else can have all of it`, () => {
    const it = new Case(true);
    it.delivery.body(Buffer.from('some'), false);
    fail(it);
    assert.deepEqual(it.host.ends, ['broken: the target failed']);
  });
}

test('what was sent of a body before the link was full is gone as well', () => {
  const it = new Case(true);
  it.link.full = true;
  it.delivery.body(Buffer.from('some'), false);
  assert.deepEqual(it.host.ends, ['broken: the target failed']);
});
