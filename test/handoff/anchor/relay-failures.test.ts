/** Mechanism relay at the anchor when its target fails: whether another node can be asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LAST_RESORT_MS } from '../../../src/handoff/anchor/handoffs.ts';
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
    const { counters: count, handoffs, streams, host } = this;
    const ports = { count, handoffs, streams, later: { defer: () => {} }, sharesConnections: true };
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
  ['says nothing', (it) => it.pass(LAST_RESORT_MS + 2 * SETUP_MS)],
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

test('what waits of a body because the link was full is gone with it', () => {
  const it = new Case(true);
  it.link.full = true;
  it.delivery.body(Buffer.from('some'), false);
  assert.deepEqual(it.host.ends, []);
  it.link.down();
  assert.deepEqual(it.host.ends, ['broken: the target failed']);
});

test('a target whose link is up and that says nothing is given up after setupMs when somebody else can answer', () => {
  const it = new Case(false);
  it.pass(SETUP_MS - 20);
  assert.deepEqual(it.host.ends, []);
  it.pass(40);
  assert.deepEqual(it.host.ends, [`again without ${B}`]);
  assert.equal(it.counters.get('handoffs_waited'), 0);
});

for (const bodyFollows of [false, true]) {
  const what = `nobody else could answer${bodyFollows ? ', and a body is to follow' : ''}`;
  const waiting = (): Case => {
    const it = new Case(bodyFollows);
    it.host.others = false;
    it.pass(LAST_RESORT_MS - SETUP_MS);
    assert.deepEqual(it.host.ends, []);
    assert.ok(it.counters.get('handoffs_waited') > 1);
    return it;
  };
  const END = `again without ${B}`;

  test(`${what}: a target whose link is up gets more time, and then no more`, () => {
    const it = waiting();
    it.pass(2 * SETUP_MS);
    assert.deepEqual(it.host.ends, [END]);
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.SUPERSEDED);
    assert.equal(it.counters.get('handoffs_timed_out'), 1);
  });

  test(`${what}: one that answers so late is heard, and waited for no longer`, () => {
    const it = waiting();
    const told = { confirmWanted: false, identity: null, announcement: null };
    it.link.hear({ type: FrameType.SETUP_OK, request: it.id, epoch: 1, ...told });
    it.pass(2 * LAST_RESORT_MS);
    assert.deepEqual(it.host.ends, []);
  });

  test(`${what}: one whose link goes down is lost at once`, () => {
    const it = waiting();
    it.link.down();
    assert.deepEqual(it.host.ends, [END]);
  });
}
