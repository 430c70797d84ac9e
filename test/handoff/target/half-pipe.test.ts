/** Mechanisms anchor, clone and split at the target, state by state and edge by edge, without a kernel. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EPOLLERR, EPOLLOUT } from '../../../src/kernel/linux/epoll.ts';
import { FLAG_FOLLOW, FLAG_WATCH } from '../../../src/kernel/router/layout.ts';
import {
  AbortReason,
  FrameType,
  RejectReason,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import { Answer, CLIENT_START, DIGEST, HEAD, ID, MOST, SELF, START, TargetStand } from './stand.ts';

const KIB = 1024;
const KEEP_IDLE_MS = 10_000;
const CLONE = { mechanism: SetupMechanism.CLONE };
const KEEP = { ...CLONE, keep: DIGEST };

class Case extends TargetStand {
  answer = new Answer(KIB);

  /** A SETUP whose request is answered with `bytes`. */
  ask(bytes = KIB, changes: Parameters<TargetStand['setup']>[0] = {}, sequence = START, close = false): this {
    this.answer = new Answer(bytes, close);
    this.serves = this.answer.exchange;
    this.setup(changes, { sequence });
    return this;
  }

  get end(): number {
    return (START + this.answer.text.length) >>> 0;
  }

  /** An upstream's response, of which nothing is there yet. */
  open(changes: Parameters<TargetStand['setup']>[0] = {}, sequence = START): Exchange {
    const exchange = new Exchange();
    this.serves = exchange;
    this.setup(changes, { sequence });
    this.settle();
    return exchange;
  }

  reset(changes: { discard?: boolean; onlyEpoch?: boolean } = {}): this {
    const what = { discard: false, onlyEpoch: false, ...changes };
    this.link.hear({ type: FrameType.RESET, request: ID, epoch: this.rules.epoch, ...what });
    return this;
  }

  abort(reason: AbortReason = AbortReason.SUPERSEDED): this {
    this.link.hear({ type: FrameType.ABORT, request: ID, epoch: 1, reason });
    return this;
  }

  confirm(epoch = 1): this {
    this.link.hear({ type: FrameType.CONFIRM, request: ID, epoch });
    return this.settle();
  }

  get refusal(): RejectReason {
    return this.link.last(FrameType.SETUP_REJECT).reason;
  }

  /** A clone with `keep` whose response the client has. */
  standby(): this {
    return this.ask(KIB, KEEP).settle().acknowledge(this.end);
  }

  /** A copy of what the client sends next. */
  copy(bytes: Buffer, at = 0, epoch = 1): this {
    const { nowMs: arrivedMs } = this.clock;
    const sequence = (CLIENT_START + at) >>> 0;
    this.pipes.followed(this.slot, { epoch, sequence, sentMs: 0, arrivedMs, bytes });
    return this;
  }
}

describe('SETUP at the target', () => {
  test('anchor: the end is told first, then the bytes go, in the rules that the router has', () => {
    const it = new Case().ask();
    assert.equal(it.link.last(FrameType.DATA_DONE).end, it.end);
    assert.equal(it.socket.sent, '', 'nothing before the links are flushed');
    const [range] = it.rules.ranges;
    assert.deepEqual([range.start, range.end, range.open, range.leased], [START, it.end, false, true]);
    assert.equal(it.rules.flags, FLAG_WATCH);
    assert.equal(it.table.installed(it.socket.seed.client, it.socket.seed.public), it.slot);
    it.settle();
    assert.equal(it.socket.sent, it.answer.text);
    assert.equal(it.state, 'sent');
    assert.equal(it.answer.released, 1);
    assert.equal(it.counters.get('served_bytes'), it.answer.text.length);
  });

  test('a response that is too large to be announced: SETUP_OK, the bytes, DATA_DONE', () => {
    const it = new Case().ask(100 * KIB);
    const { confirmWanted, announcement, identity } = it.link.last(FrameType.SETUP_OK);
    assert.deepEqual(
      [confirmWanted, announcement, identity?.lengthBytes],
      [false, null, it.answer.text.length],
    );
    assert.equal(it.link.count(FrameType.DATA_DONE), 0);
    assert.ok(it.rules.ranges[0].open);
    it.settle();
    assert.equal(it.link.last(FrameType.DATA_DONE).end, it.end);
    assert.equal(it.link.count(FrameType.DATA_DONE), 1);
    assert.equal(it.rules.ranges[0].end, it.end);
  });

  test('one that is too large for a turn goes on in the next', () => {
    const it = new Case().ask(5 * 1024 * KIB).settle();
    assert.equal(it.socket.sent.length, it.answer.text.length);
    assert.equal(it.link.count(FrameType.DATA_DONE), 1);
  });

  test('clone: SETUP_OK announces the end, and nothing is said after it', () => {
    const it = new Case().ask(KIB, CLONE);
    assert.equal(it.link.last(FrameType.SETUP_OK).announcement?.bytes, it.answer.text.length);
    it.settle().acknowledge(it.end);
    assert.equal(it.state, 'idle');
    const second = it.end;
    it.pass(900)
      .ask(2 * KIB, { ...CLONE, epoch: 2 }, second)
      .settle();
    assert.equal(it.kernel.made, 1, 'a client that asks again at once');
    it.acknowledge((second + it.answer.text.length) >>> 0).pass(900);
    assert.equal(it.state, 'idle');
    it.pass(300).assertGone();
    assert.equal(it.link.sent.length, 2);
    assert.deepEqual(it.kernel.gone, ['spare']);
  });

  test('clone: one whose connection ends with the response closes when all is acknowledged', () => {
    const it = new Case().ask(KIB, CLONE, START, true).settle();
    it.acknowledge(it.end).assertGone();
  });

  test('split: DATA_DONE, and it closes when all is acknowledged', () => {
    const it = new Case().ask(KIB, { mechanism: SetupMechanism.SPLIT }).settle();
    assert.equal(it.link.sent.length, 1);
    assert.equal(it.link.last(FrameType.DATA_DONE).end, it.end);
    it.acknowledge(it.end).assertGone();
  });

  const refusals: Array<[name: string, reason: RejectReason, change: (it: Case) => void]> = [
    ['one that was long on its way', RejectReason.STALE, (it) => Object.assign(it.link, { lateMs: 126 })],
    ['at a node that stops', RejectReason.SHUTTING_DOWN, (it) => Object.assign(it, { stopping: true })],
    ['of no client’s connection', RejectReason.STATE_INVALID, (it) => Object.assign(it, { ours: false })],
    [
      'for endpoints that the kernel has',
      RejectReason.BUSY_TUPLE,
      (it) => Object.assign(it.kernel, { isTaken: true }),
    ],
    ['without a slot', RejectReason.FULL, (it) => it.table.take(4)],
  ];
  for (const [name, reason, change] of refusals)
    test(`refused: ${name}`, () => {
      const it = new Case();
      change(it);
      it.ask();
      assert.equal(it.refusal, reason);
      assert.equal(it.counters.get('setups_rejected'), 1);
      assert.equal(it.link.conversations.size, 0);
      it.table.giveBack();
      it.assertGone();
    });

  test('refused: what this node does not serve, and one more than there may be', () => {
    const it = new Case();
    it.serves = RejectReason.DIFFERENT;
    it.setup();
    assert.equal(it.refusal, RejectReason.DIFFERENT);
    it.assertGone();
    for (let i = 0; i < MOST; i++) {
      it.serves = new Answer(KIB).exchange;
      it.setup({ request: 11 + 2 * i }, { clientPort: 50_000 + i });
    }
    it.setup({ request: 21 }, { clientPort: 60_000 });
    assert.equal(it.refusal, RejectReason.FULL);
    assert.equal(it.pipes.size, MOST);
  });

  test('refused: a second one while the first is sent; that goes on', () => {
    const it = new Case();
    const exchange = it.open();
    const { answer } = it.ask(KIB, { epoch: 2 });
    assert.equal(it.refusal, RejectReason.STATE_INVALID);
    assert.equal(answer.released, 1, 'what was refused is given back');
    exchange.pump.add({ bytes: Buffer.from('abc') });
    exchange.onProgress();
    assert.equal(it.socket.sent, 'abc');
  });

  test('of another connection, in the conversation: the link ends', () => {
    const it = new Case().ask();
    it.setup({ epoch: 2 }, { clientPort: 1 });
    assert.equal(it.link.errors.length, 1);
    it.assertGone();
  });

  test('of a connection that another half-pipe is of: the older one gives way', () => {
    const it = new Case().ask().settle().acknowledge(new Case().ask().end);
    it.serves = new Answer(KIB).exchange;
    it.setup({ request: 5 });
    assert.equal(it.link.count(FrameType.ABORT), 0, 'it owed nothing');
    assert.deepEqual([...it.link.conversations.keys()], [5]);
    it.serves = new Answer(KIB).exchange;
    it.setup({ request: 7 });
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.HALF_PIPE_FAILED);
    assert.deepEqual([...it.link.conversations.keys()], [7]);
    assert.equal(it.pipes.size, 1);
  });
});

describe('a half-pipe', () => {
  test('anchor: COLLECTED, then idle until RESET; the next response is sent by the same socket', () => {
    const it = new Case().ask().settle();
    it.table.acknowledge(it.slot, it.end);
    it.turn();
    assert.equal(it.link.count(FrameType.COLLECTED), 0, 'the socket holds something');
    it.acknowledge(it.end);
    assert.equal(it.link.last(FrameType.COLLECTED).end, it.end);
    assert.equal(it.state, 'idle');
    assert.equal(it.pipes.isWaiting, false);
    const second = it.end;
    it.ask(2 * KIB, { epoch: 2 }, second).settle();
    assert.equal(it.kernel.made, 1);
    assert.equal(it.counters.get('half_pipes_reused'), 1);
    assert.equal(it.rules.ranges.at(-1)?.start, second);
    it.acknowledge((second + it.answer.text.length) >>> 0).reset();
    assert.equal(it.link.count(FrameType.RESET_OK), 1);
    it.assertGone();
  });

  test('a next response while the one before is not acknowledged: the socket is told of its window', () => {
    const it = new Case().ask().settle();
    const second = it.end;
    it.ask(KIB, { epoch: 2 }, second).settle();
    assert.equal(
      it.socket.window,
      2 * it.answer.text.length,
      'from the first byte that it holds, to its end',
    );
    assert.equal(it.rules.ranges.length, 2);
    it.acknowledge((second + it.answer.text.length) >>> 0);
    assert.equal(it.link.count(FrameType.COLLECTED), 1, 'one word for both');
  });

  test('a next response when the one before is acknowledged, but not seen to be: nothing of it is waited for', () => {
    const it = new Case().ask().settle();
    const second = it.end;
    it.table.acknowledge(it.slot, second);
    it.socket.queued = 0;
    it.ask(KIB, { epoch: 2 }, second).settle().turn();
    assert.equal(it.socket.window, it.answer.text.length, 'from its start to its end');
    assert.equal(it.rules.ranges.length, 1);
    assert.equal(it.link.count(FrameType.COLLECTED), 0);
    it.acknowledge((second + it.answer.text.length) >>> 0);
    assert.equal(it.link.count(FrameType.COLLECTED), 1, 'one word for both');
  });

  test('what was sent before is acknowledged while a response is made: COLLECTED, and nothing ends', () => {
    for (const stopping of [false, true]) {
      const it = new Case().ask().settle();
      const exchange = it.open({ epoch: 2 }, it.end);
      it.stopping = stopping;
      it.acknowledge(it.end);
      assert.equal(it.link.count(FrameType.COLLECTED), 1);
      assert.equal(it.state, 'sending');
      exchange.pump.add({ bytes: Buffer.from('abc') });
      exchange.pump.finish();
      exchange.onProgress();
      assert.ok(it.socket.sent.endsWith('abc'));
      it.acknowledge((it.end + 3) >>> 0);
      assert.equal(it.link.count(FrameType.COLLECTED), 2);
      assert.equal(it.state, stopping ? 'none' : 'idle');
    }
  });

  test('a socket that takes a part is watched, and goes on when it takes more', () => {
    const it = new Case().ask(100 * KIB);
    it.socket.room = 1000;
    it.settle();
    assert.equal(it.state, 'sending');
    it.socket.room = Number.POSITIVE_INFINITY;
    it.ready(EPOLLOUT);
    assert.equal(it.socket.sent, it.answer.text);
    it.acknowledge(it.end).reset().assertGone();
    assert.deepEqual(it.kernel.gone, ['closed'], 'one that epoll knows is no spare');
  });

  test('ABORT: it closes in any state, and says nothing', () => {
    for (const begin of [
      (it: Case) => it.ask(),
      (it: Case) => it.ask().settle(),
      (it: Case) => it.ask().settle().acknowledge(it.end),
    ]) {
      const it = begin(new Case());
      const said = it.link.sent.length;
      it.abort().settle().assertGone();
      assert.equal(it.link.sent.length, said);
      assert.equal(it.answer.released, 1);
    }
  });

  test('the link is down: it closes in any state', () => {
    for (const begin of [
      (it: Case) => it.ask(),
      (it: Case) => it.ask(100 * KIB).settle(),
      (it: Case) => it.ask().settle().acknowledge(it.end),
      (it: Case) => it.standby(),
    ]) {
      const it = begin(new Case());
      it.link.down();
      it.settle().assertGone();
      assert.equal(it.answer.released, 1);
    }
  });

  test('RESET while something is owed: it is sent to the end, then RESET_OK', () => {
    const it = new Case().ask().reset();
    assert.equal(it.state, 'closing');
    assert.equal(it.link.count(FrameType.RESET_OK), 0);
    it.settle();
    assert.equal(it.socket.sent, it.answer.text);
    it.acknowledge(it.end).assertGone();
    assert.equal(it.link.count(FrameType.RESET_OK), 1);
    assert.equal(it.link.conversations.size, 0);
  });

  test('RESET that discards: at once, whatever is owed', () => {
    const it = new Case().ask().settle().reset({ discard: true });
    assert.equal(it.link.count(FrameType.RESET_OK), 1);
    it.assertGone();
    assert.deepEqual(it.kernel.gone, ['closed'], 'one that holds something is no spare');
  });

  test('RESET of an epoch: the socket goes, the conversation stays, and a next response has a new one', () => {
    const it = new Case().ask().settle();
    it.table.acknowledge(it.slot, it.end);
    it.reset({ onlyEpoch: true });
    assert.equal(it.state, 'idle');
    assert.equal(it.kernel.open.size, 0);
    assert.equal(it.pipes.isWaiting, false);
    it.ask(KIB, { epoch: 2 }, it.end).settle();
    assert.equal(it.kernel.made, 2);
    assert.equal(it.socket.sent, it.answer.text);
  });

  test('RESET of an epoch: nothing happens while a response is made, or nothing is held', () => {
    const it = new Case();
    it.open();
    it.reset({ onlyEpoch: true });
    assert.equal(it.state, 'sending');
    const idle = new Case().ask().settle();
    idle.acknowledge(idle.end).reset({ onlyEpoch: true });
    assert.equal(idle.kernel.open.size, 1);
  });

  test('after RESET of an epoch, endpoints that are taken: refused, and asked again it works', () => {
    const it = new Case().ask().settle().reset({ onlyEpoch: true });
    it.kernel.isTaken = true;
    it.ask(KIB, { epoch: 2 }, it.end).turn();
    assert.equal(it.refusal, RejectReason.BUSY_TUPLE);
    assert.equal(it.state, 'idle');
    it.kernel.isTaken = false;
    it.ask(KIB, { epoch: 3 }, it.end).settle();
    assert.equal(it.state, 'sent');
  });

  test('the lease: asked for in time, once; confirmed, the range is free of it', () => {
    const it = new Case().ask().settle().pass(110);
    assert.equal(it.link.count(FrameType.SETUP_OK), 0);
    it.pass(20);
    assert.equal(it.link.last(FrameType.SETUP_OK).confirmWanted, true);
    it.pass(100);
    assert.equal(it.link.count(FrameType.SETUP_OK), 1);
    it.confirm(9);
    assert.equal(it.rules.ranges[0].leased, true, 'of another epoch');
    it.confirm();
    assert.equal(it.rules.ranges[0].leased, false);
  });

  test('the lease is not asked for when the client has acknowledged something', () => {
    const it = new Case().ask().settle();
    it.table.acknowledge(it.slot, (START + 1) >>> 0);
    it.pass(200);
    assert.equal(it.link.count(FrameType.SETUP_OK), 0);
  });

  test('a response that comes after the lease begins with the anchor’s word, not before', () => {
    const it = new Case();
    const exchange = it.open();
    assert.equal(it.link.last(FrameType.SETUP_OK).confirmWanted, true);
    it.pass(300);
    exchange.pump.add({ bytes: Buffer.from('abc') });
    exchange.onProgress();
    assert.equal(it.socket.sent, '');
    it.confirm();
    assert.equal(it.socket.sent, 'abc');
  });

  test('the client’s window grows: the socket is told; one that has died fails', () => {
    const it = new Case().ask(200 * KIB);
    it.socket.room = 1000;
    it.settle();
    const widen = (bytes: number): void => {
      const edge = (START + bytes) >>> 0;
      it.link.hear({ type: FrameType.WINDOW, request: ID, epoch: 1, edge });
    };
    widen(100_000);
    assert.equal(it.socket.window, 100_000);
    it.socket.broken = true;
    widen(200_000);
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.HALF_PIPE_FAILED);
    it.assertGone();
  });

  test('a socket that breaks: ABORT says why', () => {
    const broken = new Case().ask();
    broken.socket.broken = true;
    broken.settle().assertGone();
    assert.equal(broken.link.last(FrameType.ABORT).reason, AbortReason.HALF_PIPE_FAILED);
    for (const [fail, reason] of [
      [(it: Case) => it.stall(), AbortReason.TIMED_OUT],
      [(it: Case) => it.ready(EPOLLERR), AbortReason.HALF_PIPE_FAILED],
    ] as const) {
      const it = new Case().ask();
      it.socket.room = 100;
      it.settle();
      fail(it).assertGone();
      assert.equal(it.link.last(FrameType.ABORT).reason, reason);
      assert.equal(it.counters.get('half_pipes_failed'), 1);
    }
  });

  test('a socket that gave up after its last byte is asked now and then', () => {
    const it = new Case().ask().settle();
    it.socket.state = 7;
    it.pass(1100);
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.TIMED_OUT);
    it.assertGone();
  });

  test('an upstream that fails: the anchor may ask another node, unless older bytes would go with it', () => {
    const it = new Case();
    const exchange = it.open();
    exchange.elsewhere = true;
    exchange.onProgress();
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.UPSTREAM_FAILED);
    it.assertGone();
    const owing = new Case().ask().settle();
    const second = owing.open({ epoch: 2 }, owing.end);
    second.elsewhere = true;
    second.answer({ ...response502(), release: () => {} });
    second.onProgress();
    assert.equal(owing.link.count(FrameType.ABORT), 0);
    assert.ok(owing.socket.sent.endsWith('502'));
  });

  test('an upstream that fails while the socket has given up: one ABORT, and that is all', () => {
    const it = new Case().ask().settle();
    const exchange = it.open({ epoch: 2 }, it.end);
    it.socket.state = 7;
    it.clock.nowMs += 2000;
    exchange.elsewhere = true;
    exchange.answer({ ...response502(), release: () => {} });
    exchange.onProgress();
    it.settle().assertGone();
    assert.equal(it.link.count(FrameType.ABORT), 1);
  });

  test('the node drains: idle ones go, those that owe say so, send on, and go then', () => {
    const idle = new Case().ask().settle();
    idle.acknowledge(idle.end).pipes.drain();
    idle.assertGone();
    const it = new Case().ask();
    it.stopping = true;
    it.pipes.drain();
    assert.equal(it.link.last(FrameType.ABORT).reason, AbortReason.DRAINING);
    it.settle();
    assert.equal(it.socket.sent, it.answer.text);
    it.acknowledge(it.end).assertGone();
    const ended = new Case().ask(100 * KIB);
    ended.pipes.discard();
    ended.settle().assertGone();
  });
});

function response502() {
  const bytes = Buffer.from('502');
  return {
    status: 502,
    parts: [{ bytes }],
    lengthBytes: 3,
    bodyBytes: 0,
    close: false,
    body: 'inline' as const,
  };
}

describe('a standby', () => {
  test('it waits, and answers the next request without SETUP', () => {
    const it = new Case().standby();
    assert.equal(it.state, 'idle');
    assert.equal(it.rules.flags, FLAG_WATCH | FLAG_FOLLOW);
    const second = it.end;
    it.answer = new Answer(KIB);
    it.serves = it.answer.exchange;
    it.copy(HEAD.subarray(0, 9));
    assert.equal(it.state, 'idle', 'a part of it');
    it.copy(HEAD);
    assert.equal(it.link.last(FrameType.SETUP_OK).epoch, 2);
    assert.equal(it.rules.ranges.at(-1)?.start, second);
    it.settle();
    assert.ok(it.socket.sent.endsWith(it.answer.text));
    it.setup({ ...KEEP, epoch: 2 });
    assert.equal(it.link.count(FrameType.SETUP_REJECT), 0, 'a SETUP that crosses it has been answered');
    assert.equal(it.counters.get('setups_received'), 1);
    it.acknowledge((second + it.answer.text.length) >>> 0);
    assert.equal(it.state, 'idle');
  });

  test('it has taken one and the next: a SETUP for the first, from an anchor that hears late, begins nothing', () => {
    const it = new Case().standby();
    for (const epoch of [1, 2]) {
      it.answer = new Answer(KIB);
      it.serves = it.answer.exchange;
      it.copy(HEAD, (epoch - 1) * HEAD.length, epoch);
      it.settle().acknowledge(it.rules.ranges.at(-1)!.end);
      assert.equal(it.link.last(FrameType.SETUP_OK).epoch, epoch + 1);
    }
    const said = it.link.sent.length;
    for (const epoch of [2, 3]) it.setup({ ...KEEP, epoch });
    assert.equal(it.link.sent.length, said);
    assert.equal(it.counters.get('setups_received'), 1);
    it.serves = new Answer(KIB).exchange;
    it.setup({ ...KEEP, epoch: 4 });
    assert.equal(it.link.last(FrameType.SETUP_OK).epoch, 4, 'one that it has not taken');
  });

  test('it is another node’s, too late, has a gap, or is of another epoch: SETUP will come', () => {
    for (const happen of [
      (it: Case) => Object.assign(it.next, { node: SELF + 1 }) && it.copy(HEAD),
      (it: Case) => Object.assign(it.link, { lateMs: 200 }) && it.copy(HEAD),
      (it: Case) => it.copy(HEAD.subarray(5), 5).copy(HEAD),
      (it: Case) => it.copy(HEAD, 0, 5),
    ]) {
      const it = new Case().standby();
      const said = it.link.sent.length;
      it.serves = new Answer(KIB).exchange;
      happen(it);
      assert.equal(it.link.sent.length, said);
      it.link.lateMs = 0;
      it.ask(KIB, { ...KEEP, epoch: 2 }, it.end).settle();
      assert.equal(it.link.last(FrameType.SETUP_OK).epoch, 2);
    }
  });

  test('it is this node’s but cannot be taken: SETUP is asked for', () => {
    for (const happen of [
      (it: Case) => Object.assign(it.next, { digest: DIGEST + 1 }),
      (it: Case) => Object.assign(it, { stopping: true }),
      (it: Case) => Object.assign(it, { serves: new Answer(KIB, true).exchange }),
      (it: Case) => Object.assign(it, { serves: RejectReason.NOT_SERVED }),
    ]) {
      const it = new Case().standby();
      it.serves = new Answer(KIB).exchange;
      happen(it);
      it.copy(HEAD);
      assert.equal(it.refusal, RejectReason.NOT_KEPT);
      assert.equal(it.link.last(FrameType.SETUP_REJECT).epoch, 2);
      assert.equal(it.state, 'idle');
    }
  });

  test('SETUP for the next request comes first: a late copy is not taken', () => {
    const it = new Case().standby();
    it.ask(KIB, { ...KEEP, epoch: 2 }, it.end);
    it.copy(HEAD, 0, 2).settle();
    assert.equal(it.counters.get('setups_received'), 2);
    assert.equal(it.link.count(FrameType.SETUP_OK), 2);
  });

  test('what it took fails: it waits for the anchor’s last word, and a SETUP that crosses that begins nothing', () => {
    for (const last of [
      (it: Case) =>
        it.link.hear({ type: FrameType.RESET, request: ID, epoch: 2, discard: true, onlyEpoch: false }),
      (it: Case) => it.abort(),
      (it: Case) => it.link.down(),
    ]) {
      const it = new Case().standby();
      it.serves = new Answer(KIB).exchange;
      it.copy(HEAD);
      it.socket.broken = true;
      it.settle().assertGone();
      assert.equal(it.link.last(FrameType.ABORT).epoch, 2);
      assert.equal(it.link.conversations.size, 1);
      it.setup({ ...KEEP, epoch: 2 });
      assert.equal(it.pipes.size, 0);
      const { conversations } = it.link;
      last(it);
      assert.equal(it.link.up ? conversations.size : 0, 0);
    }
  });

  test('what it took fails behind RESET: that was the anchor’s last word', () => {
    const it = new Case().standby();
    it.serves = new Answer(KIB).exchange;
    it.copy(HEAD).settle();
    it.link.hear({ type: FrameType.RESET, request: ID, epoch: 2, discard: false, onlyEpoch: false });
    assert.equal(it.state, 'closing', 'it owes bytes');
    it.socket.state = 7;
    it.pass(1100).assertGone();
    assert.equal(it.link.last(FrameType.ABORT).epoch, 2);
    assert.equal(it.link.conversations.size, 0);
  });

  test('nothing is asked of it for long: it goes', () => {
    const it = new Case().standby().pass(KEEP_IDLE_MS - 100);
    assert.equal(it.state, 'idle');
    it.pass(300).assertGone();
  });
});
