/** Mechanisms anchor, clone and split at the anchor, state by state and edge by edge, without a kernel. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AnchorDelivery } from '../../../src/handoff/anchor/anchor.ts';
import { LAST_RESORT_MS } from '../../../src/handoff/anchor/handoffs.ts';
import { FLOW_LINGER_MS } from '../../../src/handoff/flow/agreed.ts';
import { SystemError } from '../../../src/kernel/linux/errors.ts';
import { FLAG_CLOSING, FLAG_WATCH, OWNER_SELF } from '../../../src/kernel/router/layout.ts';
import { StateError } from '../../../src/kernel/tcp/state.ts';
import { AbortReason, FrameType, RejectReason } from '../../../src/protocol/backplane/frames.ts';
import { B, HandoffCase } from './handoff-case.ts';
import { AnchorStand, capture, FD, PEER_MS, request, SETUP_MS, START } from './stand.ts';

const BYTES = 1200;
const HEAD_BYTES = 176;
const END = (START + BYTES) >>> 0;
const identity = { headBytes: HEAD_BYTES, lengthBytes: BYTES, validator: 1n };

class Case extends HandoffCase {
  constructor() {
    super(identity, null);
  }

  announced(changes: object = {}): this {
    return this.setupOk({
      announcement: { status: 200, close: false, bytes: BYTES, bodyBytes: 1024, ...changes },
    });
  }

  done(changes: object = {}): this {
    const { request: id, epoch } = this.setup;
    const sizes = { end: END, status: 200, close: false, bytes: BYTES, bodyBytes: 1024 };
    const path = { congestionWindow: 20, srttUs: 300, firstByteUs: 5, records: 0, identity };
    this.link.hear({ type: FrameType.DATA_DONE, request: id, epoch, ...sizes, ...path, ...changes });
    return this;
  }

  acknowledge(ack: number): this {
    this.table.acknowledge(this.slot, ack);
    return this;
  }
}

describe('a handoff at the anchor', () => {
  test('SETUP says where the target starts, and the router knew before it was sent', () => {
    const it = new Case().begin();
    assert.ok(it.delivery !== null);
    assert.equal(it.setup.halfPipe?.sequence, START);
    assert.equal(it.setup.epoch, 1);
    const rules = it.table.rules.get(it.slot);
    const { owner, open, start } = rules!.ranges.at(-1)!;
    assert.deepEqual({ owner, open, start }, { owner: B + 1, open: true, start: START });
    assert.ok(it.table.isInstalled(it.slot));
  });

  test('a link that takes no SETUP leaves the flow as it was', () => {
    const it = new Case();
    it.link.full = true;
    assert.equal(it.begin().delivery, null);
    it.link.full = false;
    assert.ok(it.begin().delivery !== null);
    assert.equal(it.setup.halfPipe?.sequence, START);
    assert.equal(it.setup.epoch, 2);
  });

  test('anchor: finished with DATA_DONE, the next target starts where it ended', () => {
    const it = new Case().begin().setupOk().done();
    assert.deepEqual(it.host.ends, ['finished']);
    assert.equal(it.host.outcome?.mechanism, 'anchor');
    it.begin();
    assert.equal(it.setup.halfPipe?.sequence, END);
    assert.equal(it.setup.halfPipe?.congestionWindow, 20);
  });

  test('the own socket is read out again when it has sent something, and not before', () => {
    const it = new Case().begin().setupOk().done();
    it.acknowledge(END);
    it.link.hear({
      ...{ type: FrameType.COLLECTED, request: it.setup.request, epoch: 1, end: END },
      ...{ congestionWindow: 0, srttUs: 0 },
    });
    assert.equal(
      it.table.rules.get(it.slot)?.ranges.at(-1)?.owner,
      OWNER_SELF,
      'its turn, if it had anything',
    );
    it.begin();
    assert.equal(it.captures, 1);
    assert.equal(it.setup.halfPipe?.sequence, END);
    it.done({ end: (END + BYTES) >>> 0 });
    const { writeSequence } = it.captured;
    it.flow1.beginOwn();
    it.captured = capture({ writeSequence: (writeSequence + 10) >>> 0 });
    it.begin();
    assert.equal(it.captures, 2);
    assert.equal(it.setup.halfPipe?.sequence, (END + BYTES + 10) >>> 0);
  });

  test('acknowledgements are left to targets, as long as requests follow each other', () => {
    const it = new Case().begin();
    assert.equal(it.delays, 0, 'it may be the only one');
    it.done()
      .begin()
      .done({ end: (END + BYTES) >>> 0 });
    it.begin().done({ end: (END + 2 * BYTES) >>> 0 });
    assert.equal(it.delays, 1);
    it.pass(100);
    it.begin();
    assert.equal(it.delays, 2, 'the kernel has forgotten it');
  });

  test('a target starts with what the path is known to let through', () => {
    const it = new Case().begin().setupOk();
    assert.equal(it.setup.halfPipe?.mss, 1448, 'as agreed');
    it.table.seen.get(it.slot)!.pathMtu = 1280;
    it.done().begin();
    assert.equal(it.setup.halfPipe?.mss, 1240, 'a router has said so since');
    it.setupOk().done({ end: (END + BYTES) >>> 0 });
    it.captured = capture({ pathMtu: 1000 });
    it.flow1.beginOwn();
    it.begin();
    assert.equal(it.setup.halfPipe?.mss, 960, 'the own kernel has learnt it');
  });

  test('anchor: DATA_DONE before SETUP_OK, and twice, counts once', () => {
    const it = new Case().begin().done().setupOk().done();
    assert.deepEqual(it.host.ends, ['finished']);
  });

  for (const form of ['clone', 'split'] as const) {
    test(`${form}: finished when the client has acknowledged what was announced`, () => {
      const it = new Case().begin(form).announced();
      assert.deepEqual(it.host.ends, []);
      const flags = it.table.rules.get(it.slot)!.flags;
      assert.ok((flags & FLAG_WATCH) !== 0);
      it.acknowledge((START + 1) >>> 0);
      it.pass(10);
      assert.deepEqual(it.host.ends, form === 'split' ? ['finished'] : []);
      it.acknowledge(END);
      it.pass(10);
      assert.deepEqual(it.host.ends, ['finished']);
      assert.equal(it.host.outcome?.close, form === 'split');
    });

    test(`${form}: of unknown length it goes by DATA_DONE`, () => {
      const it = new Case().begin(form).setupOk();
      it.acknowledge(END);
      it.pass(20);
      assert.deepEqual(it.host.ends, []);
      it.done();
      assert.deepEqual(it.host.ends, ['finished']);
    });
  }

  for (const form of ['anchor', 'clone', 'split'] as const)
    test(`${form}: of unknown length it may be longer than numbers can be apart`, () => {
      const it = new Case().begin(form).setupOk({ identity: null });
      const { sequence } = it.setup.halfPipe!;
      const STEP = 2 ** 28;
      for (let bytes = STEP; bytes <= 9 * STEP; bytes += STEP) {
        it.acknowledge((sequence + bytes) >>> 0);
        it.flow1.tick(it.clock.nowMs);
        assert.equal(it.delivery!.soFar.bytes, bytes);
      }
      assert.deepEqual(it.host.ends, []);
    });

  test('a refusal has the request asked elsewhere, from the same byte', () => {
    const it = new Case().begin();
    const { request: id, epoch } = it.setup;
    it.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason: RejectReason.FULL });
    assert.deepEqual(it.host.ends, [`again without ${B}`]);
    it.begin();
    assert.equal(it.setup.halfPipe?.sequence, START);
  });

  test('one that cannot tell yet is asked again, from where the client is by then', () => {
    const it = new Case().begin().setupOk();
    it.acknowledge((START + HEAD_BYTES) >>> 0);
    it.link.down();
    it.pass(10);
    it.link.up = true;
    it.begin();
    const { request: id, epoch } = it.setup;
    it.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason: RejectReason.PENDING });
    assert.equal(it.host.ends.at(-1), 'later');
    assert.equal(it.flow1.catchUp(), 0);
    // The target that was cut off still delivers.
    it.acknowledge((START + HEAD_BYTES + 100) >>> 0);
    assert.equal(it.flow1.catchUp(), 100);
    it.begin();
    assert.equal(it.setup.halfPipe?.sequence, (START + HEAD_BYTES + 100) >>> 0);
  });

  test('a response that is to begin cannot be pending: the link ends, and another node is asked', () => {
    const it = new Case().begin();
    const { request: id, epoch } = it.setup;
    it.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason: RejectReason.PENDING });
    assert.equal(it.link.errors.length, 1);
    assert.ok(!it.host.ends.includes('later'));
  });

  test('what no target says ends the link, and the response is taken over', () => {
    const wrong: Array<(it: Case) => void> = [
      // An end that is not where the bytes end.
      (it) => it.setupOk().done({ end: (END + 1) >>> 0 }),
      // A refusal of what was accepted.
      (it) => {
        const { request: id, epoch } = it.setupOk().setup;
        it.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason: RejectReason.FULL });
      },
      // An end of the conversation that nobody has asked for.
      (it) => it.link.hear({ type: FrameType.RESET_OK, request: it.setup.request }),
    ];
    for (const say of wrong) {
      const it = new Case().begin();
      say(it);
      assert.equal(it.link.errors.length, 1);
      assert.ok(!it.host.ends.includes('finished'));
    }
  });

  test('COLLECTED for what the client has not acknowledged takes nothing away', () => {
    const it = new Case().begin().setupOk().done();
    const { request: id, epoch } = it.setup;
    const ranges = () => it.table.rules.get(it.slot)!.ranges.filter(({ owner }) => owner === B + 1).length;
    const path = { congestionWindow: 0, srttUs: 0 };
    for (const end of [END, (END + 1) >>> 0, 2, 0x8000_0000])
      it.link.hear({ type: FrameType.COLLECTED, request: id, epoch, end, ...path });
    assert.equal(ranges(), 1);
    it.acknowledge(END);
    it.link.hear({ type: FrameType.COLLECTED, request: id, epoch, end: END, ...path });
    assert.equal(ranges(), 0);
  });

  test('what an older handoff says is not taken for the newest', () => {
    const it = new Case().begin().done();
    const first = it.setup;
    it.begin();
    it.link.hear({ type: FrameType.ABORT, request: first.request, epoch: 1, reason: AbortReason.DRAINING });
    assert.deepEqual(it.host.ends, ['finished']);
    assert.equal(it.flow1.current, it.delivery);
  });

  test('a half-pipe that fails when the client has all of its response does not take the next one along', () => {
    for (const hasAll of [true, false]) {
      const it = new Case().begin().setupOk().done();
      const { request: id } = it.setup;
      if (hasAll) it.acknowledge(END);
      it.begin();
      it.link.hear({ type: FrameType.ABORT, request: id, epoch: 1, reason: AbortReason.HALF_PIPE_FAILED });
      assert.deepEqual(it.host.ends, hasAll ? ['finished'] : ['finished', 'take-over']);
      assert.equal(it.flow1.current, hasAll ? it.delivery : null);
    }
  });

  test('confirmation is given to whom it is due, once it is asked for', () => {
    const it = new Case().begin().setupOk({ confirmWanted: true });
    assert.deepEqual(it.link.last(FrameType.CONFIRM), {
      type: FrameType.CONFIRM,
      request: it.setup.request,
      epoch: 1,
    });
    assert.ok(it.flow1.confirmed);
  });

  test('a window that opened after SETUP is told to the target with its first answer', () => {
    const it = new Case();
    it.captured = { ...it.captured, sendWindow: 0 };
    it.flow1.discard();
    const flow = it.flow();
    const { handoffs, host, link } = it;
    AnchorDelivery.start({ handoffs, host, flow, request: request(), node: B, link: link.link, half: null });
    assert.equal(it.setup.halfPipe?.sendWindow, 0);
    it.table.acknowledge(it.slot, START, 5000);
    it.setupOk();
    assert.equal(it.link.last(FrameType.WINDOW).edge, (START + 5000) >>> 0);
  });

  test('a target whose node is silent is given up after setupMs', () => {
    const it = new Case().begin();
    it.link.isSilent = true;
    it.pass(SETUP_MS - 20);
    assert.deepEqual(it.host.ends, []);
    it.pass(40);
    assert.deepEqual(it.host.ends, ['take-over']);
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.SUPERSEDED);
    assert.equal(it.counters.get('handoffs_timed_out'), 1);
  });

  for (const form of ['anchor', 'clone', 'split'] as const) {
    test(`${form}: a target that lives is waited for though its answer is late: its first bytes may be under way`, () => {
      const it = new Case().begin(form);
      it.pass(3 * SETUP_MS);
      assert.deepEqual(it.host.ends, []);
      assert.ok(it.counters.get('handoffs_waited') > 0);
      it.acknowledge((START + 10) >>> 0).pass(3 * SETUP_MS);
      if (form === 'anchor') it.setupOk().done();
      else it.announced();
      it.acknowledge(END).pass(10);
      assert.deepEqual(it.host.ends, ['finished']);
      assert.equal(it.counters.get('handoffs_timed_out'), 0);
    });

    test(`${form}: until its node falls silent`, () => {
      const it = new Case().begin(form);
      it.pass(2 * SETUP_MS);
      it.link.isSilent = true;
      it.pass(110);
      assert.deepEqual(it.host.ends, ['take-over']);
    });

    test(`${form}: and not for ever`, () => {
      const it = new Case().begin(form);
      it.pass(LAST_RESORT_MS - SETUP_MS);
      assert.deepEqual(it.host.ends, []);
      it.pass(2 * SETUP_MS);
      assert.deepEqual(it.host.ends, ['take-over']);
      assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.SUPERSEDED);
    });
  }

  test('one that was given up is asked nothing more before it has said that it has heard: its lease may be lifted', () => {
    for (const end of ['heard', 'down', 'closed']) {
      const it = new Case().begin();
      const { request: id } = it.setup;
      it.link.isSilent = true;
      it.pass(SETUP_MS + 20);
      const { discard, onlyEpoch } = it.link.last(FrameType.RESET);
      assert.deepEqual([discard, onlyEpoch], [true, false]);
      it.acknowledge(START).pass(400);
      it.acknowledge(START).pass(10);
      assert.deepEqual(it.host.ends.at(-1), `again without ${B}`);
      assert.deepEqual([it.flow1.makeRoom(B), it.flow1.makeRoom(B + 1)], [false, true]);
      it.setupOk({ confirmWanted: true });
      assert.equal(it.link.count(FrameType.CONFIRM), 0, 'what it says crosses that');
      if (end === 'heard') it.link.hear({ type: FrameType.RESET_OK, request: id });
      else if (end === 'down') it.link.down();
      else it.flow1.end(false);
      assert.equal(it.link.conversations.size, 0);
      if (end !== 'closed') assert.equal(it.flow1.makeRoom(B), true);
    }
  });

  test('a target that is silent, and the only one that can answer, gets more time while its link is up', () => {
    for (const end of [LAST_RESORT_MS, 0]) {
      const it = new Case().begin();
      it.host.others = false;
      it.pass(LAST_RESORT_MS - SETUP_MS);
      assert.deepEqual(it.host.ends, []);
      if (end === 0) it.link.down();
      else it.pass(2 * SETUP_MS);
      assert.deepEqual(it.host.ends, ['take-over']);
    }
  });

  test('a refusal says whether the target was asked too late', () => {
    for (const [reason, why] of [
      [RejectReason.STALE, 'late'],
      [RejectReason.FULL, 'refused'],
    ] as const) {
      const it = new Case().begin();
      const { request: id, epoch } = it.setup;
      it.link.hear({ type: FrameType.SETUP_REJECT, request: id, epoch, reason });
      assert.deepEqual([it.host.ends, it.host.why], [[`again without ${B}`], why]);
    }
  });

  test('one of which the client has bytes is not, though its answer is late', () => {
    const it = new Case().begin();
    it.acknowledge((START + 10) >>> 0);
    it.pass(SETUP_MS + 100);
    assert.deepEqual(it.host.ends, []);
    it.done();
    assert.deepEqual(it.host.ends, ['finished']);
  });

  test('a draining target is relieved when another can go on, and else sends on', () => {
    const it = new Case().begin().setupOk();
    it.acknowledge((START + HEAD_BYTES) >>> 0);
    it.host.others = false;
    it.abort(AbortReason.DRAINING);
    assert.deepEqual(it.host.ends, []);
    it.host.others = true;
    it.flow1.tick(it.clock.nowMs);
    assert.deepEqual(it.host.ends, ['take-over']);
  });
});

describe('take-over: what the client has of the response decides', () => {
  /** `have`: acknowledged bytes; `known`: identity and end were told. */
  const lost = (have: number, answer: (it: Case) => unknown = () => {}): Case => {
    const it = new Case().begin();
    answer(it);
    it.acknowledge((START + have) >>> 0);
    it.link.down();
    assert.deepEqual(it.host.ends, ['take-over']);
    return it;
  };

  test('nothing: served again, after the lease, when the client has said so twice', () => {
    const it = lost(0);
    it.pass(200);
    assert.equal(it.probes, 0, 'not before the lease is over');
    it.pass(200);
    assert.equal(it.probes, 1);
    assert.deepEqual(it.host.ends, ['take-over']);
    it.acknowledge(START);
    it.pass(10);
    assert.deepEqual(it.host.ends, ['take-over', `again without ${B}`]);
    assert.equal(it.counters.get('handoffs_taken_over'), 1);
  });

  test('nothing, and what the client says is of older bytes: that is no answer', () => {
    const it = new Case().begin().setupOk().done();
    it.begin();
    it.link.down();
    for (let have = 100; have < BYTES; have += 100) it.acknowledge((START + have) >>> 0).pass(100);
    assert.equal(it.probes, 0, 'it speaks by itself');
    it.acknowledge(END).pass(10);
    assert.deepEqual([it.probes, it.host.ends.at(-1)], [1, 'take-over']);
    it.acknowledge(END).pass(10);
    assert.equal(it.host.ends.at(-1), `again without ${B}`);
  });

  test('nothing, and the last acknowledgement of older bytes was lost: the client is asked for it', () => {
    const it = new Case().begin().setupOk().done();
    it.begin();
    it.link.down();
    it.pass(1000);
    assert.ok(it.probes > 0);
    it.acknowledge(END).pass(10);
    assert.equal(it.host.ends.at(-1), 'take-over');
    it.acknowledge(END).pass(10);
    assert.equal(it.host.ends.at(-1), `again without ${B}`);
  });

  test('nothing, and it owed older bytes: it hears no more of what is acknowledged, which would lift its lease', () => {
    const it = new Case().begin().setupOk().done();
    it.begin().setupOk();
    it.link.down();
    const owners = () => it.table.rules.get(it.slot)!.ranges.map(({ owner }) => owner);
    assert.ok(owners().includes(B + 1), 'the client needs its older bytes');
    it.acknowledge(END).pass(400);
    it.acknowledge(END).pass(10);
    assert.deepEqual(it.host.ends.at(-1), `again without ${B}`);
    assert.ok(!owners().includes(B + 1));
  });

  test('later bytes and not the first: the client would keep them, so the connection ends', () => {
    const it = lost(0);
    it.pass(400);
    it.acknowledge(START);
    it.table.acknowledge(it.slot, START, 65535, true);
    it.pass(10);
    const reason = 'the client has later bytes of the response, and not its first';
    assert.deepEqual(it.host.ends, ['take-over', `broken: ${reason}`]);
  });

  test('nothing, but the target was confirmed: only when its rules have run out as well', () => {
    const it = lost(0, (it) => it.setupOk({ confirmWanted: true }));
    it.acknowledge(START);
    it.pass(PEER_MS - 100);
    assert.equal(it.probes, 0);
  });

  test('its head: another goes on from there', () => {
    const it = lost(HEAD_BYTES + 5, (it) => it.setupOk());
    it.pass(10);
    assert.deepEqual(it.host.ends, ['take-over', `goes on without ${B} at ${HEAD_BYTES + 5}`]);
    assert.deepEqual(it.host.continuation, { ...identity, offset: HEAD_BYTES + 5 });
    it.link.up = true;
    it.begin();
    assert.equal(it.setup.halfPipe?.sequence, (START + HEAD_BYTES + 5) >>> 0);
  });

  test('what the target still sends of it may be acknowledged: the connection does not move for a while', () => {
    const it = lost(HEAD_BYTES + 5, (it) => it.setupOk());
    it.pass(10);
    it.flow1.beginOwn();
    it.pass(FLOW_LINGER_MS - 100);
    assert.equal(it.flow1.ownSpace(), null);
    it.pass(200);
    assert.notEqual(it.flow1.ownSpace(), null);
  });

  test('its head, of a response that was identified while it was sent: another goes on', () => {
    const it = lost(HEAD_BYTES, (it) => {
      it.setupOk({ identity: null });
      assert.equal(it.flow1.status().identified, false);
      it.setupOk();
      assert.equal(it.flow1.status().identified, true);
    });
    it.pass(10);
    assert.deepEqual(it.host.ends.at(-1), `goes on without ${B} at ${HEAD_BYTES}`);
  });

  test('its head, of a file that somebody wrote to meanwhile: the connection ends', () => {
    const it = new Case().begin().setupOk();
    it.acknowledge((START + HEAD_BYTES) >>> 0);
    it.abort(AbortReason.FILE_CHANGED);
    it.pass(10);
    assert.deepEqual(it.host.ends, ['take-over', 'broken: the target failed in the middle of its response']);
  });

  test('the same when the response was announced, and the request is done', () => {
    const it = new Case().begin().setupOk().done();
    const lost: boolean[] = [];
    it.flow1.onLost = (announced) => lost.push(announced !== null && announced.identity === null);
    it.acknowledge((START + HEAD_BYTES) >>> 0);
    it.abort(AbortReason.FILE_CHANGED);
    assert.deepEqual(lost, [true]);
  });

  test('all of it: nothing is missing', () => {
    const it = lost(BYTES, (it) => it.setupOk());
    it.pass(10);
    assert.deepEqual(it.host.ends, ['take-over', 'settled']);
  });

  test('a part of a response without identity: the connection ends', () => {
    const it = lost(10);
    it.pass(10);
    assert.deepEqual(it.host.ends, ['take-over', 'broken: the target failed in the middle of its response']);
  });

  test('a part of its head: what the target has may still come, else the connection ends', () => {
    const it = lost(HEAD_BYTES - 1, (it) => it.setupOk());
    it.pass(4000);
    assert.deepEqual(it.host.ends, ['take-over']);
    it.acknowledge((START + HEAD_BYTES) >>> 0);
    it.pass(10);
    assert.deepEqual(it.host.ends.at(-1), `goes on without ${B} at ${HEAD_BYTES}`);
  });

  test('a client that answers no probe is given up', () => {
    const it = lost(0);
    it.pass(6000);
    assert.deepEqual(it.host.ends, ['take-over', 'broken: the client does not answer']);
    assert.ok(it.probes > 10 && it.probes < 40, `${it.probes} probes`);
  });

  test('a client that is gone ends it', () => {
    const it = lost(0);
    it.host.successor?.cancel();
    it.pass(1000);
    assert.deepEqual(it.host.ends, ['take-over']);
    assert.equal(it.handoffs.waitMs > 100, true, 'nothing is waited for');
  });
});

describe('a flow whose connection closes', () => {
  test('the own socket is told of the window before it closes, unless it knows of room for its FIN', () => {
    const closed = (change: (it: Case) => void): number => {
      const it = new Case().begin().done();
      change(it);
      it.flow1.end(false);
      return it.windows;
    };
    assert.equal(
      closed(() => {}),
      0,
    );
    const upTo = (it: Case, edge: number) => Object.assign(it.table.seen.get(it.slot)!, { edge });
    assert.equal(
      closed((it) => upTo(it, (END + 1) >>> 0)),
      0,
    );
    assert.equal(
      closed((it) => upTo(it, END)),
      1,
      'the client has no room for it',
    );
    assert.equal(
      closed((it) => it.acknowledge(END)),
      0,
    );
    assert.equal(
      closed((it) => Object.assign(it.table.seen.get(it.slot)!, { window: 0 })),
      1,
      'the socket was told that there is no room',
    );
    const holding = closed((it) => {
      it.flow1.beginOwn();
      it.captured = capture({ acknowledged: (it.captured.writeSequence - 10) >>> 0 });
      it.begin().done({ end: (END + BYTES) >>> 0 });
      it.windows = 0;
    });
    assert.equal(holding, 1, 'it holds something');
  });

  test('lingers until targets have let go and the client is silent; then its slot is free', () => {
    const it = new Case().begin().done();
    it.acknowledge(END);
    it.flow1.end(false);
    assert.equal(it.link.last(FrameType.RESET).discard, false);
    assert.ok((it.table.rules.get(it.slot)!.flags & FLAG_CLOSING) !== 0);
    it.pass(5000);
    assert.equal(it.flows.size, 1, 'the target has not let go');
    it.link.hear({ type: FrameType.RESET_OK, request: it.setup.request });
    it.pass(1000);
    assert.equal(it.flows.size, 1, 'segments may still come');
    it.pass(3000);
    assert.equal(it.flows.size, 0);
    assert.equal(it.table.free, 4);
  });

  test('waits for its target no longer than the limit', () => {
    const it = new Case().begin().done();
    it.flow1.end(false);
    it.pass(75_000);
    assert.equal(it.flows.size, 0);
    assert.equal(it.link.conversations.size, 0);
  });

  test('a client that resets has the targets drop what they hold', () => {
    const it = new Case().begin().done();
    it.flow1.end(false);
    it.table.seen.get(it.slot)!.wasReset = true;
    it.pass(200);
    assert.equal(it.link.last(FrameType.RESET).discard, true);
  });

  for (const [form, lose] of [
    ['its link goes down', (it: Case) => it.link.down()],
    ['it gives up', (it: Case) => it.abort(AbortReason.HALF_PIPE_FAILED)],
  ] as const)
    test(`a target is lost that owes bytes, ${form}: the client is reset, five times within five seconds`, () => {
      const it = new Case().begin().done();
      it.flow1.end(false);
      lose(it);
      assert.equal(it.resets.length, 1, 'at once');
      it.pass(6000);
      assert.equal(it.resets.length, 5);
      const { ownNext, ranges } = it.table.rules.get(it.slot)!;
      assert.equal((ownNext - it.resets[0]) >>> 0, 2 ** 30, 'far from what its socket has sent');
      assert.ok(ranges.every(({ local }) => (local - it.resets[0]) >>> 0 < 2 ** 31));
      it.link.hear({ type: FrameType.RESET_OK, request: it.setup.request });
      it.pass(4000);
      assert.equal(it.flows.size, 0);
      assert.equal(it.table.free, 4);
    });

  test('a target is lost of which the client has everything, or whose client is gone: nobody is reset', () => {
    const lost = (change: (it: Case) => void, discard: boolean): number => {
      const it = new Case().begin().done();
      change(it);
      it.flow1.end(discard);
      it.link.down();
      it.pass(2000);
      return it.resets.length;
    };
    assert.equal(
      lost((it) => it.acknowledge(END), false),
      0,
    );
    assert.equal(
      lost(() => {}, true),
      0,
    );
  });

  test('a client that has been reset says so: it is not reset again', () => {
    const it = new Case().begin().done();
    it.flow1.end(false);
    it.link.down();
    it.table.seen.get(it.slot)!.wasReset = true;
    it.pass(3000);
    assert.equal(it.resets.length, 1);
  });

  test('when the process ends, every slot is given back at once', () => {
    const it = new Case().begin().done();
    it.flow();
    it.flow1.end(false);
    it.flows.discard();
    assert.equal(it.flows.size, 0);
    assert.equal(it.table.free, 4);
    assert.equal(it.link.conversations.size, 0);
  });

  test('a full table gives no flow', () => {
    const it = new AnchorStand();
    for (let i = 0; i < 4; i++) it.flow();
    assert.equal(it.flows.create(1), null);
  });

  test('a connection that no half-pipe can go on with gives no flow, one that has died neither; a defect is none of them', () => {
    const it = new AnchorStand();
    for (const failure of [
      new StateError('STATE_NOT_CAPTURABLE', 'microseconds'),
      new SystemError('getsockopt', 107),
    ]) {
      it.failure = failure;
      assert.equal(it.flows.create(FD), null);
      assert.equal(it.table.free, 4);
    }
    it.failure = new TypeError('a defect');
    assert.throws(() => it.flows.create(FD), it.failure);
    assert.equal(it.table.free, 4);
  });
});
