/** Mechanisms migrate and drain at both ends, state by state and edge by edge, without a kernel. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LOST_LIMIT_MS } from '../../../src/handoff/flow/agreed.ts';
import { tupleToFrame } from '../../../src/handoff/flow/four-tuple.ts';
import { MAX_INCOMING, MAX_INCOMING_BYTES } from '../../../src/handoff/move/moves.ts';
import { QUICK_TICK_MS, TICK_MS } from '../../../src/kernel/loop/loop.ts';
import { decodeState, encodeState } from '../../../src/kernel/tcp/codec.ts';
import { AbortReason, FrameType, RejectReason } from '../../../src/protocol/backplane/frames.ts';
import type { TlsSession } from '../../../src/protocol/tls/session.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import { B, ENDS, FD, ID, MoveStand, SELF, SETUP_MS, STATE } from './stand.ts';

const LEAVING_MS = 10_000;
const IN_DOUBT_MS = 10_000;
const C = 2;

describe('a connection that goes', () => {
  test('frozen, sent, and gone when the target has it: the route first, then CONFIRM', () => {
    const it = new MoveStand();
    assert.ok(it.give());
    assert.equal(it.kernel.sockets.get(FD), 'frozen');
    assert.equal(it.link.last(FrameType.MIGRATE).serveFirst, true);
    assert.equal(it.moves.waitMs, TICK_MS);
    it.hear(FrameType.MIGRATE_OK);
    assert.deepEqual(it.done, ['parked', `route to ${B}`, `moved on to ${B}`, 'released']);
    assert.equal(it.link.count(FrameType.CONFIRM), 1);
    assert.deepEqual(it.connection.became, ['moved']);
    assert.equal(it.kernel.sockets.has(FD), false);
    it.pass(2 * SETUP_MS).assertOver();
  });

  const stays: Array<[name: string, happens: (it: MoveStand) => void]> = [
    ['refused', (it) => it.hear(FrameType.SETUP_REJECT)],
    ['no answer in time', (it) => it.pass(SETUP_MS)],
    ['the link is gone', (it) => it.link.down()],
    [
      'no room for the route',
      (it) => {
        it.hasRouteRoom = false;
        it.hear(FrameType.MIGRATE_OK);
      },
    ],
  ];
  for (const [name, happens] of stays) {
    test(`${name}: it goes on here, with what has come meanwhile`, () => {
      const it = new MoveStand();
      it.give();
      happens(it);
      assert.deepEqual(it.connection.became, ['resumed']);
      assert.deepEqual(it.done, ['parked', 'given back']);
      assert.equal(it.counters.get('migrations_resumed'), 1);
      assert.equal(it.link.count(FrameType.CONFIRM), 0);
      it.assertOver();
    });
  }

  test('a target that is told off may ask a home elsewhere, which is told first that the connection is here', () => {
    const it = new MoveStand();
    it.home = C;
    it.give();
    it.pass(SETUP_MS);
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.SUPERSEDED);
    assert.ok(it.done.includes('guest of epoch 2'));
    assert.equal(it.connection.guest?.epoch, 2);
  });

  test('a link that takes nothing, or is down: it stays as it was', () => {
    const it = new MoveStand();
    it.link.full = true;
    assert.equal(it.give(), false);
    it.assertOver();
    it.link.up = false;
    assert.equal(it.give(), false);
    assert.deepEqual(it.connection.became, []);
    it.assertOver();
  });

  test('a node that gives no sign of life gets none', () => {
    const it = new MoveStand();
    it.link.isSilent = true;
    assert.equal(it.give(), false);
    it.assertOver();
    it.link.isSilent = false;
    assert.equal(it.give(), true);
  });

  test('a link that is behind: nothing is frozen for it', () => {
    const it = new MoveStand();
    it.link.queuedBytes = 2 ** 30;
    assert.equal(it.give(), false);
    it.assertOver();
  });

  test('drain waits until everything is acknowledged, and looks often', () => {
    const it = new MoveStand();
    it.kernel.queued = 1000;
    assert.ok(it.give('drain'));
    it.pass(50);
    assert.equal(it.link.count(FrameType.MIGRATE), 0);
    assert.equal(it.moves.waitMs, QUICK_TICK_MS);
    it.kernel.queued = 0;
    it.pass(10);
    assert.equal(it.link.count(FrameType.MIGRATE), 1);
    it.hear(FrameType.MIGRATE_OK).assertOver();
  });

  test('a client that acknowledges nothing stays', () => {
    const it = new MoveStand();
    it.kernel.queued = 1000;
    it.give('drain');
    it.pass(60_010);
    assert.deepEqual(it.connection.became, ['resumed']);
    it.assertOver();
  });

  test('the connection ends on its way: the target is told off', () => {
    const it = new MoveStand();
    const move = it.moves.start(it.connection, { node: B, mechanism: 'migrate' });
    move?.cancel();
    assert.equal(it.link.count(FrameType.ABORT), 1);
    assert.deepEqual(it.connection.became, []);
    it.hear(FrameType.MIGRATE_OK);
    assert.deepEqual(it.connection.became, []);
    it.pass(SETUP_MS);
    assert.equal(it.counters.get('handoffs_timed_out'), 0);
  });

  test('a node that goes away is more patient, says so, and freezes only so many at a time', () => {
    const it = new MoveStand();
    it.stopping = true;
    it.give();
    const { draining, serveFirst } = it.link.last(FrameType.MIGRATE);
    assert.deepEqual([draining, serveFirst], [true, false]);
    it.pass(LEAVING_MS - 10);
    assert.deepEqual(it.connection.became, []);
    it.pass(10);
    assert.deepEqual(it.connection.became, ['resumed']);
    for (let i = 0; it.moves.hasRoomToLeave; i++) {
      assert.ok(i < 10_000, 'there is a limit');
      it.kernel.sockets.set(FD, 'open');
      assert.ok(it.give());
    }
  });
});

describe('a connection that comes', () => {
  test('restored, silent, and in use with CONFIRM', () => {
    const it = new MoveStand().migrate();
    assert.equal(it.link.count(FrameType.MIGRATE_OK), 1);
    assert.deepEqual([...it.kernel.sockets.values()], ['open', 'silent']);
    assert.equal(it.table.free, 3);
    assert.equal(it.moves.status()[0].state, 'restored');
    assert.deepEqual(it.done, [], 'what comes of it goes where it went');
    assert.equal([...it.table.rules.values()][0].anchor, B + 1, 'but for what the initiator sends');
    it.confirm();
    assert.equal(it.adopted.length, 1);
    assert.equal(it.adopted[0].guest.epoch, 1);
    assert.equal(it.adopted[0].serveFirst, true);
    assert.deepEqual(it.done, ['nothing is forwarded', 'guest of epoch 1, still arriving'], 'routes first');
    it.assertOver();
  });

  test('in pieces: answered when it is whole', () => {
    const it = new MoveStand().migrate({}, 10);
    assert.equal(it.link.sent.length, 0);
    assert.equal(it.moves.incoming, 1);
    assert.equal(it.moves.waitMs, TICK_MS);
    it.link.hear({ type: FrameType.MIGRATE_DATA, request: ID, bytes: encodeState(STATE).subarray(10) });
    assert.equal(it.link.count(FrameType.MIGRATE_OK), 1);
    it.confirm();
    assert.equal(it.adopted.length, 1);
    it.assertOver();
  });

  test('more pieces than the state has', () => {
    const it = new MoveStand().migrate({}, 10);
    it.link.hear({ type: FrameType.MIGRATE_DATA, request: ID, bytes: encodeState(STATE) });
    assert.equal(it.link.last(FrameType.SETUP_REJECT).reason, RejectReason.STATE_INVALID);
    it.assertOver();
  });

  const refusals: Array<[name: string, reason: RejectReason, prepare: (it: MoveStand) => void]> = [
    ['this node takes none', RejectReason.SHUTTING_DOWN, (it) => Object.assign(it, { accepts: false })],
    ['no room for connections', RejectReason.FULL, (it) => Object.assign(it, { hasRoom: false })],
    ['no slot in the router', RejectReason.FULL, (it) => it.table.take(4)],
    ['its ends are taken', RejectReason.BUSY_TUPLE, (it) => Object.assign(it.kernel, { isTaken: true })],
    ['it comes late', RejectReason.STALE, (it) => Object.assign(it.link, { lateMs: SETUP_MS / 2 + 1 })],
  ];
  for (const [name, reason, prepare] of refusals) {
    test(`refused: ${name}`, () => {
      const it = new MoveStand();
      prepare(it);
      it.migrate();
      assert.equal(it.link.last(FrameType.SETUP_REJECT).reason, reason);
      assert.equal(it.counters.get('migrations_refused'), 1);
      it.table.giveBack();
      it.assertOver();
    });
  }

  test('refused: a state that is none', () => {
    const it = new MoveStand().migrate({ bytes: Buffer.alloc(20), stateBytes: 20 });
    assert.equal(it.link.last(FrameType.SETUP_REJECT).reason, RejectReason.STATE_INVALID);
    it.assertOver();
  });

  test('only so many at a time, and so many bytes of them', () => {
    const it = new MoveStand();
    for (let i = 0; i < MAX_INCOMING; i++) it.migrate({ request: 5 + 2 * i }, 10);
    it.migrate();
    assert.equal(it.link.last(FrameType.SETUP_REJECT).reason, RejectReason.FULL);
    const large = new MoveStand();
    const stateBytes = 1024 * 1024;
    for (let bytes = 0; bytes < MAX_INCOMING_BYTES; bytes += stateBytes)
      large.migrate({ request: 5 + 2 * (bytes / stateBytes), stateBytes }, 10);
    assert.equal(large.link.count(FrameType.SETUP_REJECT), 0);
    large.migrate();
    assert.equal(large.link.last(FrameType.SETUP_REJECT).reason, RejectReason.FULL);
  });

  test('the initiator goes on: dropped without a word', () => {
    const it = new MoveStand().migrate();
    it.link.hear({ type: FrameType.ABORT, request: ID, epoch: 1, reason: AbortReason.SUPERSEDED });
    assert.deepEqual([it.adopted.length, it.link.sent.length], [0, 1]);
    it.assertOver();
  });

  test('the initiator is gone, and this node is the home: what it sends on says that it has given the connection', () => {
    const it = new MoveStand().migrate();
    it.link.down();
    it.pass(1000);
    assert.ok(it.kernel.probes >= 2);
    assert.equal(it.adopted.length, 0);
    it.table.acknowledge([...it.table.seen.keys()][0], 1000);
    it.pass(10);
    assert.equal(it.adopted.length, 1);
    it.assertOver();
  });

  test('the same, and nothing comes: it lets go before its own route to the initiator does, and tells nobody', () => {
    const it = new MoveStand().migrate();
    it.link.down();
    it.pass(LOST_LIMIT_MS - 500);
    assert.equal(it.adopted.length, 0);
    assert.equal(it.link.count(FrameType.ROUTE) + it.link.count(FrameType.CLEANUP), 0);
    it.assertOver();
  });

  test('in doubt, and a node says that it has had the connection for longer: it lets go', () => {
    for (const type of [FrameType.ROUTE, FrameType.CLEANUP] as const) {
      const it = new MoveStand().migrate();
      const told = (epoch: number, clientPort = ENDS.client.port) => {
        const { client, public: pub } = ENDS;
        it.moves.told({
          type,
          flow: tupleToFrame({ client: { ...client, port: clientPort }, public: pub }),
          epoch,
        });
      };
      told(2);
      assert.equal(it.moves.incoming, 1, 'as long as the initiator is there it says so itself');
      it.link.down();
      told(1);
      told(2, 1);
      assert.equal(it.moves.incoming, 1, 'what was said before, and of another connection');
      told(2);
      it.assertOver();
      assert.equal(it.adopted.length, 0);
    }
  });

  test('in doubt: the client is made to speak, and whoever hears it has the connection', () => {
    const it = new MoveStand();
    it.home = C;
    it.migrate();
    it.link.down();
    assert.equal(it.moves.status()[0].state, 'in doubt');
    assert.deepEqual(it.done, ['nothing is forwarded'], 'what the home sends here is heard');
    it.pass(1000);
    assert.ok(it.kernel.probes >= 2);
    assert.equal(it.adopted.length, 0);
    it.table.acknowledge([...it.table.seen.keys()][0], 1000);
    it.pass(10);
    assert.equal(it.adopted.length, 1);
    it.assertOver();
  });

  test('in doubt for long: its home, a third node, is asked for its segments; then another has it', () => {
    const it = new MoveStand();
    it.home = C;
    it.migrate();
    it.link.down();
    it.link.up = true;
    it.pass(2100);
    assert.equal(it.link.count(FrameType.ROUTE), 1);
    assert.equal(it.link.count(FrameType.CLEANUP), 0);
    it.pass(IN_DOUBT_MS - 1600);
    assert.equal(it.link.count(FrameType.ROUTE), 1);
    assert.equal(it.link.count(FrameType.CLEANUP), 1, 'and has no route here any more');
    assert.equal(it.adopted.length, 0);
    it.assertOver();
  });

  test('an initiator that says nothing more', () => {
    const it = new MoveStand().migrate({}, 10);
    it.pass(2 * LEAVING_MS + 2100).assertOver();
  });

  test('the process stops', () => {
    const it = new MoveStand().migrate();
    it.moves.discard();
    it.assertOver();
  });
});

describe('a connection over TLS', () => {
  const secrets = { clientSecret: Buffer.alloc(32, 1), serverSecret: Buffer.alloc(32, 2) };
  const numbers = { clientRecord: 3, serverRecord: 4 };
  const rest = { behind: Buffer.from([23]), held: Buffer.from('GET') };
  const session = (): TlsSession => ({
    suite: SUITES[0],
    resumed: false,
    ...numbers,
    ...rest,
    clientSecret: Buffer.from(secrets.clientSecret),
    serverSecret: Buffer.from(secrets.serverSecret),
  });

  test('goes with its session, which is wiped when it is sent; what was opened is not put back', () => {
    const it = new MoveStand();
    it.connection.session = session();
    assert.ok(it.give());
    const sent = it.link.last(FrameType.MIGRATE);
    assert.deepEqual(sent.bytes.length, encodeState(STATE).length);
    assert.deepEqual(sent.session?.serverRecord, 4);
    for (const secret of ['clientSecret', 'serverSecret'] as const)
      assert.deepEqual(it.connection.session[secret], Buffer.alloc(32));
    it.hear(FrameType.MIGRATE_OK);
    assert.deepEqual(it.connection.became, ['moved']);
  });

  test('in the middle of a response: without what was not sent, from the record in which that begins', () => {
    const it = new MoveStand();
    it.connection.session = session();
    const identity = { headBytes: 100, lengthBytes: 50_100, validator: 1n };
    const [head, piece] = [100, 16384].map((bytes) => bytes + SUITES[0].overheadBytes);
    const records = { number: 4, wire: head + 2 * piece + 300, lengthBytes: identity.lengthBytes };
    const continuation = { ...identity, offset: 40_000 };
    it.connection.movingResponse = { continuation, close: true, head: Buffer.from('GET'), cut: 0, records };
    it.kernel.state = { ...STATE, sendQueue: Buffer.alloc(9), unsentQueue: Buffer.alloc(5000) };
    assert.ok(it.give());
    const sent = it.link.last(FrameType.MIGRATE);
    assert.equal(sent.session?.serverRecord, 4 + 2);
    assert.deepEqual(sent.response?.continuation, { ...identity, offset: 100 + 16384 });
    assert.equal(sent.response?.cut, piece + 300 - 5000);
    const travelled = decodeState(sent.bytes);
    assert.deepEqual([travelled.sendQueue.length, travelled.unsentQueue.length], [9, 0]);
  });

  const doubts: Array<[string, (it: MoveStand) => void]> = [
    [
      'no answer in time, and no sign of life',
      (it) => {
        it.link.isSilent = true;
        it.pass(SETUP_MS);
      },
    ],
    ['the link is gone', (it) => it.link.down()],
  ];
  for (const [name, happens] of doubts) {
    test(`${name}: it ends, unless this node says where its segments go`, () => {
      for (const home of [C, SELF]) {
        const it = new MoveStand();
        it.home = home;
        it.connection.session = session();
        it.give();
        happens(it);
        assert.deepEqual(it.connection.became, [home === SELF ? 'resumed' : 'broken']);
        assert.equal(it.kernel.sockets.get(FD), 'open', 'not in repair: a reset can be sent');
        it.assertOver();
      }
    });
  }

  test('the answer of a target that lives is waited for, where it would end without', () => {
    for (const end of [FrameType.MIGRATE_OK, FrameType.SETUP_REJECT, null] as const) {
      const it = new MoveStand();
      it.home = C;
      it.connection.session = session();
      it.give();
      it.pass(LEAVING_MS - SETUP_MS);
      assert.deepEqual(it.connection.became, []);
      if (end !== null) it.hear(end);
      else it.pass(2 * SETUP_MS);
      const became = { [FrameType.MIGRATE_OK]: 'moved', [FrameType.SETUP_REJECT]: 'resumed' };
      assert.deepEqual(it.connection.became, [end === null ? 'broken' : became[end]]);
      it.assertOver();
    }
  });

  test('refused, it goes on here wherever its home is', () => {
    const it = new MoveStand();
    it.home = C;
    it.connection.session = session();
    it.give();
    it.hear(FrameType.SETUP_REJECT);
    assert.deepEqual(it.connection.became, ['resumed']);
  });

  test('comes with its session, which is wiped where it came', () => {
    const it = new MoveStand();
    const sent = session();
    it.migrate({ session: sent });
    assert.deepEqual(sent.clientSecret, Buffer.alloc(32));
    it.link.hear({ type: FrameType.CONFIRM, request: ID, epoch: 1 });
    assert.deepEqual(it.adopted[0].session, session());
  });
});
