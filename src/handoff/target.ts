/**
 * Mechanisms anchor, clone and split, at a target: a half-pipe, the socket that sends its part of a client's out-half. It is made by
 * the first SETUP of a flow and kept for the next ones: congestion window and RTT stay, and the router maps its
 * contiguous sequence space into the client's.
 *
 * The answer to SETUP is always handed to the kernel before the first byte of the response. So an anchor that got no
 * answer from a dead target knows more than nothing; what it cannot know, the lease settles.
 *
 *           end is told                        acknowledged         half-pipe
 *   anchor  DATA_DONE (64 KiB or less: first)  COLLECTED            until RESET
 *   clone   SETUP_OK, first                    nothing is said      closes by itself; with `keep` until RESET
 *   split   DATA_DONE, first                   nothing is said      closes by itself
 *
 * A response whose length is not known is served as with anchor, whatever the mechanism.
 *
 * With clone's option `keep` a half-pipe whose response the client has acknowledged waits for the next request, which
 * the anchor's router sends here as well (rule follow). It takes it as if SETUP had come with the last copy:
 *
 *   waiting --whole head, this node's--> taken: SETUP_OK, response --acknowledged--> waiting
 *     |--whole head, this node's, but cannot--> SETUP_REJECT (not kept)        `--SETUP--> as ever
 *     `--another's head, a gap, too late--> waits for SETUP
 */
import {
  AbortReason,
  type DataDone,
  type Frame,
  FrameType,
  type HalfPipe as HalfPipeBlock,
  MAX_PROMISE_BYTES,
  NO_WINDOW_SCALE,
  RejectReason,
  type Setup,
  SetupMechanism,
} from '../backplane/frames.ts';
import type { Engine } from '../engine/engine.ts';
import type { Exchange } from '../engine/exchange.ts';
import type { Link, Sink } from '../engine/link.ts';
import type { Source } from '../engine/loop.ts';
import type { FlowStatus } from '../engine/messages.ts';
import { SocketOut } from '../engine/out.ts';
import { nowUs } from '../engine/time.ts';
import { HeadError } from '../http/request.ts';
import { type Endpoint, formatEndpoint } from '../linux/address.ts';
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLOUT } from '../linux/epoll.ts';
import { ETIMEDOUT, SystemError } from '../linux/errors.ts';
import { lastRestored, monotonicMs, refreshSendWindow, restoreHalfPipe } from '../linux/half-pipe.ts';
import { lastInfo, readInfo, TcpState } from '../linux/repair-options.ts';
import { IPPROTO_TCP, pendingError, sendQueueBytes, setOption, TCP_USER_TIMEOUT } from '../linux/socket.ts';
import { silentClose } from '../linux/tcp-repair.ts';
import { FLAG_FOLLOW, FLAG_WATCH, HALF_PIPE_MARK, OWNER_SELF, ROLE_TARGET } from '../router/layout.ts';
import * as ranges from '../router/ranges.ts';
import { distance } from '../router/ranges.ts';
import type { FollowedBytes } from '../router/router-engine.ts';
import { NO_SCALING } from '../tcp/state.ts';
import { nextEpoch } from './attempt.ts';
import { NextRequest } from './next-request.ts';

/** A target may send its first byte this long after SETUP was sent, not later: then the anchor may have moved on. */
export const SETUP_LEASE_MS = 250;
/** A half-pipe that is kept, and that nothing was asked of for so long, goes. */
export const KEEP_IDLE_MS = 10_000;
/** Responses up to this size are promised (DATA_DONE) before their bytes are handed to the kernel. */
const PROMISE_BYTES = 64 * 1024;
/**
 * A promise says what the response is when it is larger than this. What is smaller leaves in one burst (RFC 6928), and
 * a hash of it would be a cost that counts.
 */
const IDENTIFIED_BYTES = 16 * 1024;
/** Congestion state is reported when it can matter: on paths of some length, or after many bytes. */
const REPORT_RTT_US = 1000;
const REPORT_BYTES = 64 * 1024;
const ERROR_CHECK_MS = 1000;
/** More than lies between two looks at a turn in progress (housekeeping), and than an answer takes. */
const ASK_BEFORE_MS = 130;
const NS_PER_MS = 1_000_000;

const NOTHING = Buffer.alloc(0);

const MECHANISM_NAMES = {
  [SetupMechanism.RELAY]: 'relay',
  [SetupMechanism.ANCHOR]: 'anchor',
  [SetupMechanism.CLONE]: 'clone',
  [SetupMechanism.SPLIT]: 'split',
} as const;

/** Whether the end of a response is told before it is sent, and whether nothing is said after it. */
function promiseOf(
  mechanism: SetupMechanism,
  { complete, lengthBytes }: Exchange,
): { promised: boolean; implicit: boolean } {
  const implicit = mechanism !== SetupMechanism.ANCHOR && complete && lengthBytes <= MAX_PROMISE_BYTES;
  return { promised: implicit || (complete && lengthBytes <= PROMISE_BYTES), implicit };
}

/** Why a request is not served here. */
export function unserved(setup: Setup): RejectReason {
  return setup.continuation === null ? RejectReason.NOT_SERVED : RejectReason.DIFFERENT;
}

/** One request on a half-pipe. */
interface Turn {
  readonly epoch: number;
  readonly exchange: Exchange;
  readonly receivedUs: number;
  promised: boolean;
  /** SETUP_OK asked for CONFIRM, or it has come. */
  waitsConfirm: boolean;
  firstByteUs: number;
}

export class HalfPipe implements Sink, Source {
  readonly slot: number;
  readonly rules = ranges.emptyRules(ROLE_TARGET);
  readonly #engine: Engine;
  readonly #link: Link;
  readonly #id: number;
  readonly #client: Endpoint;
  readonly #public: Endpoint;
  #fd = -1;
  #out: SocketOut | null = null;
  #clockOffset = 0;
  #watchesWrites = false;
  #turn: Turn | null = null;
  #srttUs = 0;
  /** The anchor wants nothing more of this half-pipe; gone when its queue is empty. */
  #leaving = false;
  /** The newest turn was of a mechanism without COLLECTED and RESET. */
  #implicit = false;
  /** What the anchor's choice goes by, when the next request may be taken; null: it may not. */
  #keep: number | null = null;
  /** The next request, as far as it is here; null: it is not waited for. */
  #next: NextRequest | null = null;
  /** The epoch that began without SETUP; 0: none has. */
  #takenEpoch = 0;
  #restsSinceMs = 0;
  #closed = false;
  /** End of the newest turn in the client's space, while it is not all acknowledged; -1: all is. */
  #uncollected = -1;
  #checkedAtMs = 0;
  /** The epoch for which a confirmation was asked. */
  #askedEpoch = 0;
  /** Segments of the client seen when the socket's window was last set from here. */
  #refreshedAt = 0;

  /** Serves a SETUP, on the half-pipe there is or on a new one. Answers it in every case. */
  static setup(engine: Engine, link: Link, known: HalfPipe | null, setup: Setup): void {
    // It has been answered already.
    if (known?.hasTaken(setup.epoch)) return;
    // Whatever becomes of this one: the next request is taken by SETUP.
    if (known !== null) known.#next = null;
    engine.counters.add('setups_received');
    const receivedMs = monotonicMs();
    const lateMs = link.clock.excessMs(setup.sentAtMs, receivedMs);
    const refuse = (reason: RejectReason): void => {
      engine.counters.add('setups_rejected');
      link.send({ type: FrameType.SETUP_REJECT, request: setup.request, epoch: setup.epoch, reason });
    };
    if (lateMs > SETUP_LEASE_MS / 2) return refuse(RejectReason.STALE);
    if (engine.stopping) return refuse(RejectReason.SHUTTING_DOWN);
    const block = setup.halfPipe!;
    if (!engine.isPublic(block.publicAddress)) return refuse(RejectReason.STATE_INVALID);
    const usable = known === null || known.#closed ? null : known;
    let pipe = usable;
    if (pipe === null) {
      const slot = engine.halfPipes.size < engine.config.limits.flows ? engine.flows.allocate() : -1;
      if (slot < 0) return refuse(RejectReason.FULL);
      pipe = new HalfPipe(engine, link, setup.request, block, slot);
    }
    const exchange = engine.sites.serve(setup, MECHANISM_NAMES[setup.mechanism]);
    if (exchange === null) {
      if (usable === null) pipe.#close();
      return refuse(unserved(setup));
    }
    const refused = pipe.#begin(setup, block, exchange, receivedMs - lateMs);
    if (refused === null) return;
    exchange.end();
    if (usable === null) pipe.#close();
    refuse(refused);
  }

  private constructor(engine: Engine, link: Link, id: number, block: HalfPipeBlock, slot: number) {
    this.#engine = engine;
    this.#link = link;
    this.#id = id;
    this.slot = slot;
    this.#client = { address: Buffer.from(block.clientAddress), port: block.clientPort };
    this.#public = { address: Buffer.from(block.publicAddress), port: block.publicPort };
    engine.halfPipes.add(this);
    engine.halfPipesBySlot.set(slot, this);
    link.attachSink(id, this);
  }

  #begin(setup: Setup, block: HalfPipeBlock, exchange: Exchange, sentMs: number): RejectReason | null {
    const rules = this.rules;
    if (this.#turn !== null) return RejectReason.STATE_INVALID;
    const cold = this.#fd < 0;
    if (cold) {
      rules.ranges = [];
      rules.ownNext = block.sequence;
      rules.inLocal = block.acknowledge;
      const edge = (block.sequence + block.sendWindow) >>> 0;
      this.#engine.flows.resetObserved(this.slot, {
        ack: block.sequence,
        edge,
        sentNext: block.sequence,
        inAck: block.acknowledge,
      });
    } else {
      ranges.trim(rules, this.#engine.flows.ack(this.slot));
      if (!ranges.hasRoom(rules)) return RejectReason.FULL;
      // The anchor goes on from what was sent before: nothing of it can be given up any more.
      for (const range of rules.ranges) range.leased = false;
    }
    const now = monotonicMs();
    // What the anchor's clock says now, as far as frames tell time; never behind what it said when it sent.
    const stampNow = (block.tsval + (now - sentMs)) >>> 0;
    rules.stamp = cold ? 0 : (stampNow - ((now + this.#clockOffset) >>> 0)) >>> 0;
    rules.clientScale = block.sendScale === NO_WINDOW_SCALE ? 0 : block.sendScale;
    const receiveScale = block.receiveScale === NO_WINDOW_SCALE ? 0 : block.receiveScale;
    rules.inWire = block.acknowledge;
    rules.inWindow = Math.min(65_535, block.receiveWindow >>> receiveScale);
    rules.inTsecr = block.tsecr;
    rules.engine = this.#engine.index;
    rules.epoch = setup.epoch;
    rules.flags = 0;
    rules.congestionWindow = block.congestionWindow;
    rules.leaseNs = (sentMs + SETUP_LEASE_MS) * NS_PER_MS;
    // Bytes of a response that goes on are the same whoever sends them: they may begin at any time.
    ranges.openOwn(rules, block.sequence, setup.continuation === null);
    const { promised, implicit } = promiseOf(setup.mechanism, exchange);
    this.#keep = implicit && !exchange.close ? setup.keep : null;
    this.#next = this.#keep === null ? null : new NextRequest(block.acknowledge);
    if (promised) this.#setEnd((block.sequence + exchange.lengthBytes) >>> 0);
    if (cold) {
      // Before connect(): the sock_ops program looks the flow up. Without ranges, until there is a socket: what comes
      // before would reach the listener of this address, which answers with a reset.
      this.#engine.flows.write(this.slot, { ...rules, ranges: [] });
      if (!this.#claim()) return RejectReason.BUSY_TUPLE;
      const failure = this.#open(block, stampNow, now);
      if (failure !== null) return failure;
    }
    this.#engine.flows.write(this.slot, rules);
    if (!cold) {
      this.#engine.counters.add('half_pipes_reused');
      if (!this.#windowSuffices(exchange, block)) {
        try {
          refreshSendWindow(this.#fd, Math.min(block.sendWindow + sendQueueBytes(this.#fd), 2 ** 30));
          this.#refreshedAt = this.#engine.flows.segments(this.slot);
        } catch (error) {
          if (!(error instanceof SystemError)) throw error;
          this.#fail(AbortReason.HALF_PIPE_FAILED);
          return RejectReason.STATE_INVALID;
        }
      }
    }
    this.#srttUs = block.srttUs;
    this.#implicit = implicit;
    this.#answerSetup(exchange, promised, setup.mechanism);
    return null;
  }

  /** Whether this epoch is in progress, or was, without SETUP. */
  hasTaken(epoch: number): boolean {
    return this.#takenEpoch === epoch;
  }

  /** What the client sends next, as the router has seen it (rule follow). */
  followed(piece: FollowedBytes): void {
    const next = this.#next;
    if (next === null || this.#closed || this.#turn !== null || piece.epoch !== this.rules.epoch) return;
    const sentMs = piece.arrivedMs - this.#link.clock.excessOf16Ms(piece.sentMs, piece.arrivedMs);
    // As late as a SETUP may be; the anchor may have given the request to another node after that.
    const isLate = !(monotonicMs() - sentMs <= SETUP_LEASE_MS / 2);
    const head =
      isLate || !next.push(piece.sequence, piece.bytes)
        ? undefined
        : this.#engine.sites.heads.parse(next.bytes, 0, next.bytes.length);
    if (head === null) return;
    this.#next = null;
    if (head === undefined || head instanceof HeadError) return;
    const site = this.#engine.sites.find(head.host);
    const choice = site === null ? null : this.#engine.nextChoices.of(site);
    if (choice?.nodeFor(head) !== this.#engine.self) return;
    const isSure = choice.digest === this.#keep && site?.content != null;
    if (isSure && head.headLength === next.bytes.length && this.#take(next, sentMs)) return;
    const { epoch } = this.rules;
    const reason = RejectReason.NOT_KEPT;
    this.#link.send({ type: FrameType.SETUP_REJECT, request: this.#id, epoch: nextEpoch(epoch), reason });
  }

  /** Goes on with the next request, from behind the response before it. */
  #take(next: NextRequest, sentMs: number): boolean {
    const { rules } = this;
    const engine = this.#engine;
    const asked = { head: next.bytes, body: NOTHING, bodyFollows: false, close: false, continuation: null };
    const exchange = engine.stopping || this.#leaving ? null : engine.sites.serve(asked, 'clone');
    if (exchange === null) return false;
    const { end } = rules.ranges.at(-1)!;
    ranges.trim(rules, engine.flows.ack(this.slot));
    if (!promiseOf(SetupMechanism.CLONE, exchange).implicit || exchange.close || !ranges.hasRoom(rules)) {
      exchange.end();
      return false;
    }
    // The client has it all: it acknowledged that with this very request.
    this.#uncollected = -1;
    engine.uncollected.delete(this);
    rules.epoch = nextEpoch(rules.epoch);
    rules.leaseNs = (sentMs + SETUP_LEASE_MS) * NS_PER_MS;
    for (const range of rules.ranges) range.leased = false;
    ranges.openOwn(rules, end, true);
    this.#setEnd((end + exchange.lengthBytes) >>> 0);
    engine.flows.write(this.slot, rules);
    this.#takenEpoch = rules.epoch;
    this.#next = new NextRequest((next.start + next.bytes.length) >>> 0);
    this.#answerSetup(exchange, true, SetupMechanism.CLONE);
    return true;
  }

  /** The client uses a port anew: a half-pipe of the connection before it has nothing to wait for any more. */
  #claim(): boolean {
    const { flows } = this.#engine;
    if (flows.claim(this.#client, this.#public, this.slot)) return true;
    this.#engine.dropHalfPipeOf({ client: this.#client, public: this.#public });
    // What is left is another engine's, or a connection's: its entry must stay.
    return flows.claim(this.#client, this.#public, this.slot);
  }

  /**
   * Whether the whole response fits into the client's window as it is, and as the socket last heard of it. Then the
   * socket needs to hear nothing: with an empty queue, what it was told last is what it goes by, unless it was told
   * otherwise from here since.
   */
  #windowSuffices(exchange: Exchange, block: HalfPipeBlock): boolean {
    const { flows } = this.#engine;
    return (
      exchange.complete &&
      this.#uncollected < 0 &&
      this.#refreshedAt !== flows.segments(this.slot) &&
      exchange.lengthBytes <= Math.min(flows.window(this.slot), block.sendWindow)
    );
  }

  /**
   * The range's end, as soon as it is known: the anchor may send right behind it (a FIN, the next response), and an
   * acknowledgement of that must not reach our kernel as one of bytes that it never sent.
   */
  #setEnd(end: number): void {
    const range = this.rules.ranges.at(-1)!;
    range.end = end;
    range.open = false;
    this.rules.watch = end;
    this.rules.flags = this.#keep === null ? FLAG_WATCH : FLAG_WATCH | FLAG_FOLLOW;
  }

  #open(block: HalfPipeBlock, tsval: number, tsvalAtMs: number): RejectReason | null {
    try {
      this.#fd = restoreHalfPipe({
        client: this.#client,
        public: this.#public,
        mss: block.mss,
        options: {
          sack: block.sack,
          timestamps: block.timestamps,
          sendScale: block.sendScale === NO_WINDOW_SCALE ? NO_SCALING : block.sendScale,
          receiveScale: block.receiveScale === NO_WINDOW_SCALE ? NO_SCALING : block.receiveScale,
        },
        sequence: block.sequence,
        acknowledge: block.acknowledge,
        receiveWindow: block.receiveWindow,
        sendWindow: block.sendWindow,
        maxWindow: block.maxWindow,
        tsval,
        tsvalAtMs,
        tsecr: block.tsecr,
        srttUs: block.srttUs >= REPORT_RTT_US ? block.srttUs : 0,
        mark: HALF_PIPE_MARK,
      });
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#engine.log('warn', 'half-pipe refused by the kernel', { error: error.message });
      return error.code === 'EADDRNOTAVAIL' ? RejectReason.BUSY_TUPLE : RejectReason.STATE_INVALID;
    }
    this.#clockOffset = lastRestored.clockOffset;
    this.#out = new SocketOut(this.#fd, true);
    setOption(this.#fd, IPPROTO_TCP, TCP_USER_TIMEOUT, this.#engine.config.limits.stallSeconds * 1000);
    this.#engine.counters.add('half_pipes_opened');
    return null;
  }

  /** Tells the anchor; the bytes follow when that is out (the loop settles before it runs what was put off). */
  #answerSetup(exchange: Exchange, promised: boolean, mechanism: SetupMechanism): void {
    const { epoch } = this.rules;
    const turn: Turn = {
      epoch,
      exchange,
      receivedUs: nowUs(),
      promised,
      waitsConfirm: false,
      firstByteUs: -1,
    };
    this.#turn = turn;
    exchange.onProgress = () => this.#drive();
    if (turn.promised && mechanism !== SetupMechanism.CLONE) {
      this.#done(turn, exchange.lengthBytes);
    } else {
      const { status, close, lengthBytes, bodyBytes } = exchange;
      turn.waitsConfirm = !exchange.complete;
      this.#link.send({
        type: FrameType.SETUP_OK,
        request: this.#id,
        epoch: turn.epoch,
        confirmWanted: turn.waitsConfirm,
        identity: turn.promised && lengthBytes <= IDENTIFIED_BYTES ? null : exchange.identity(),
        promise: turn.promised ? { status, close, bytes: lengthBytes, bodyBytes } : null,
      });
    }
    this.#engine.loop.defer(() => this.#drive());
  }

  #done(turn: Turn, bytes: number): void {
    const { exchange } = turn;
    const end = this.rules.ranges.at(-1)!.end;
    const report = this.#report(bytes);
    const done: DataDone = {
      type: FrameType.DATA_DONE,
      request: this.#id,
      epoch: turn.epoch,
      end,
      status: exchange.status,
      close: exchange.close,
      bytes,
      bodyBytes: exchange.bodyBytes,
      congestionWindow: report.window,
      srttUs: report.srttUs,
      firstByteUs: turn.firstByteUs < 0 ? nowUs() - turn.receivedUs : turn.firstByteUs,
      identity: turn.promised && bytes > IDENTIFIED_BYTES ? exchange.identity() : null,
    };
    this.#link.send(done);
  }

  #report(bytes: number): { window: number; srttUs: number } {
    if (this.#srttUs < REPORT_RTT_US && bytes < REPORT_BYTES) return { window: 0, srttUs: 0 };
    readInfo(this.#fd);
    return { window: lastInfo.congestionWindow(), srttUs: lastInfo.srttUs() };
  }

  #drive(): void {
    const turn = this.#turn;
    if (turn === null || this.#closed) return;
    if (turn.waitsConfirm && turn.exchange.pump.queuedBytes > 0) {
      // Inside the lease it needs no confirmation to begin; the router stops it otherwise.
      if (monotonicMs() * NS_PER_MS >= this.rules.leaseNs) return;
      turn.waitsConfirm = false;
    }
    const { exchange } = turn;
    const before = exchange.pump.sentBytes;
    const state = exchange.pump.run(this.#out!);
    const sent = exchange.pump.sentBytes - before;
    if (sent > 0) {
      if (turn.firstByteUs < 0) turn.firstByteUs = nowUs() - turn.receivedUs;
      ranges.advanceOwn(this.rules, sent);
    }
    if (state === 'broken' || (exchange.failed && state !== 'blocked'))
      return this.#fail(AbortReason.HALF_PIPE_FAILED);
    if (state === 'yield') this.#engine.loop.defer(() => this.#drive());
    if (state === 'waiting') exchange.feed?.resume();
    if (state === 'blocked') this.#watchWrites();
    if (state === 'done') this.#finishTurn(turn);
  }

  /**
   * The lease is about to end, and the client has acknowledged nothing of the range: the first bytes are lost, or held
   * back (the client's window is full), or the path is long. Then they may go out, or out again, only with the
   * anchor's word that nobody else sends in their place.
   */
  #askConfirm(): void {
    const range = this.rules.ranges.at(-1);
    const { epoch, leaseNs } = this.rules;
    if (range === undefined || !range.leased || this.#askedEpoch === epoch) return;
    if (distance(range.start, this.#engine.flows.ack(this.slot)) > 0) return;
    if (monotonicMs() < leaseNs / NS_PER_MS - ASK_BEFORE_MS) return;
    this.#askedEpoch = epoch;
    // The rest it has been told before.
    const told = { identity: null, promise: null };
    this.#link.send({ type: FrameType.SETUP_OK, request: this.#id, epoch, confirmWanted: true, ...told });
  }

  #watchWrites(): void {
    if (this.#watchesWrites) return;
    this.#watchesWrites = true;
    this.#engine.loop.add(this.#fd, EPOLLOUT | EPOLLET, this);
  }

  #finishTurn(turn: Turn): void {
    this.#turn = null;
    this.#engine.counters.add('served_bytes', turn.exchange.pump.sentBytes);
    turn.exchange.end();
    const range = this.rules.ranges.at(-1)!;
    if (range.open) {
      this.#setEnd((range.start + distance(range.local, this.rules.ownNext)) >>> 0);
      this.#engine.flows.write(this.slot, this.rules);
    }
    if (!turn.promised) this.#done(turn, turn.exchange.pump.sentBytes);
    this.#uncollected = range.end;
    this.#engine.uncollected.add(this);
  }

  ready(events: number): void {
    if (this.#closed) return;
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0) {
      // A client that takes nothing would take nothing from another node either.
      const stalled = pendingError(this.#fd) === ETIMEDOUT;
      return this.#fail(stalled ? AbortReason.TIMED_OUT : AbortReason.HALF_PIPE_FAILED);
    }
    this.#drive();
    this.#turn?.exchange.feed?.resume();
  }

  frame(frame: Frame): void {
    if (this.#closed) return this.#last(frame);
    switch (frame.type) {
      case FrameType.CONFIRM:
        return this.#confirm(frame.epoch);
      case FrameType.RESET:
        return this.#reset(frame.discard, frame.onlyEpoch);
      case FrameType.ABORT:
        // Superseded: the anchor has closed the conversation already.
        this.#close();
        return;
      default:
        return;
    }
  }

  /** It has failed, and waits for the anchor's word: a SETUP that crosses that must not begin again. */
  #last(frame: Frame): void {
    if (frame.type === FrameType.RESET && !frame.onlyEpoch)
      this.#link.send({ type: FrameType.RESET_OK, request: this.#id });
    else if (frame.type !== FrameType.ABORT) return;
    this.#link.closeSink(this.#id);
  }

  #confirm(epoch: number): void {
    const range = this.rules.ranges.at(-1);
    if (this.rules.epoch !== epoch || range === undefined) return;
    range.leased = false;
    this.#engine.flows.write(this.slot, this.rules);
    if (this.#turn === null) return;
    this.#turn.waitsConfirm = false;
    this.#drive();
  }

  #reset(discard: boolean, onlyEpoch: boolean): void {
    if (onlyEpoch) {
      // The anchor says all is acknowledged and forwards no more of it. If our kernel missed that, it must not ask.
      if (this.#turn === null && this.#fd >= 0 && sendQueueBytes(this.#fd) > 0) this.#renew();
      return;
    }
    if (discard || (this.#turn === null && this.#uncollected < 0)) {
      this.#link.send({ type: FrameType.RESET_OK, request: this.#id });
      return this.#close();
    }
    this.#leaving = true;
  }

  /** Drops the socket but keeps the conversation: the next SETUP makes a new one. */
  #renew(): void {
    this.#closeSocket();
    this.#engine.uncollected.delete(this);
    this.#uncollected = -1;
    this.rules.ranges = [];
  }

  /** Looks whether the newest turn is acknowledged. Called on the router's event, and every tick. */
  collect(): void {
    if (this.#closed || this.#uncollected < 0) return;
    this.#askConfirm();
    if (distance(this.#uncollected, this.#engine.flows.ack(this.slot)) < 0 || sendQueueBytes(this.#fd) > 0) {
      if (this.#engine.loop.nowMs - this.#checkedAtMs >= ERROR_CHECK_MS) this.#check();
      return;
    }
    if (this.#implicit) {
      // The anchor has seen the same acknowledgement, and may have sent the next request already.
      const stays = this.#keep !== null && !this.#leaving && !this.#engine.stopping;
      if (this.#turn === null && !stays) return this.#letGo();
      this.#restsSinceMs = this.#engine.loop.nowMs;
      this.#uncollected = -1;
      this.#engine.uncollected.delete(this);
      return;
    }
    const report = this.#report(0);
    this.#link.send({
      type: FrameType.COLLECTED,
      request: this.#id,
      epoch: this.rules.epoch,
      end: this.#uncollected,
      congestionWindow: report.window,
      srttUs: report.srttUs,
    });
    this.#uncollected = -1;
    this.#engine.uncollected.delete(this);
    if (this.#leaving || this.#engine.stopping) this.#letGo();
  }

  #letGo(): void {
    if (this.#leaving) this.#link.send({ type: FrameType.RESET_OK, request: this.#id });
    this.#close();
  }

  /**
   * The node stops. What owes nothing goes at once. What does asks the anchor to have another node go on, and sends on
   * until the anchor says so (ABORT, superseded) or it is out: an anchor that cannot loses nothing.
   */
  drain(): void {
    if (this.#turn === null && this.#uncollected < 0) return this.#close();
    const { epoch } = this.rules;
    this.#link.send({ type: FrameType.ABORT, request: this.#id, epoch, reason: AbortReason.DRAINING });
  }

  /** Keeps sequence distances small while much is sent in one turn. */
  tick(): void {
    if (this.#turn === null) {
      const rests = this.#keep !== null && this.#uncollected < 0;
      if (rests && this.#engine.loop.nowMs - this.#restsSinceMs > KEEP_IDLE_MS) this.#letGo();
      return;
    }
    this.#askConfirm();
    if (ranges.trim(this.rules, this.#engine.flows.ack(this.slot)))
      this.#engine.flows.write(this.slot, this.rules);
  }

  /** A socket that gave up (TCP_USER_TIMEOUT) is not in epoll unless it blocked: ask it now and then. */
  #check(): void {
    this.#checkedAtMs = this.#engine.loop.nowMs;
    readInfo(this.#fd);
    if (lastInfo.state() === TcpState.CLOSE) this.#fail(AbortReason.TIMED_OUT);
  }

  #fail(reason: AbortReason): void {
    this.#engine.counters.add('half_pipes_failed');
    this.#link.send({ type: FrameType.ABORT, request: this.#id, epoch: this.rules.epoch, reason });
    this.#close(this.hasTaken(this.rules.epoch));
  }

  linkDown(): void {
    this.#close();
  }

  #closeSocket(): void {
    if (this.#fd < 0) return;
    // Without ranges every segment is dropped: none may reach the listener of this address, which would reset it.
    this.rules.ranges = [];
    this.#engine.flows.write(this.slot, this.rules);
    this.#engine.loop.forget(this.#fd);
    this.#watchesWrites = false;
    silentClose(this.#fd);
    this.#engine.flows.uninstall(this.#client, this.#public, this.slot);
    this.#fd = -1;
    this.#out = null;
  }

  /** `waits`: for the anchor's last word. */
  #close(waits = false): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#turn?.exchange.end();
    this.#turn = null;
    this.#closeSocket();
    this.#engine.flows.uninstall(this.#client, this.#public, this.slot);
    if (!waits) this.#link.closeSink(this.#id);
    this.#engine.uncollected.delete(this);
    this.#engine.halfPipes.delete(this);
    this.#engine.halfPipesBySlot.delete(this.slot);
    this.#engine.flows.release(this.slot);
  }

  /** Ends at once: the process stops, or the connection is another one. */
  discard(): void {
    this.#letGo();
  }

  status(): FlowStatus {
    const nodes = this.#engine.config.nodes;
    return {
      engine: this.#engine.index,
      slot: this.slot,
      role: 'target',
      client: formatEndpoint(this.#client),
      public: formatEndpoint(this.#public),
      nodes: [nodes[this.#link.node]?.name ?? '?'],
      state: this.#leaving
        ? 'closing'
        : this.#turn !== null
          ? 'sending'
          : this.#uncollected < 0
            ? 'idle'
            : 'sent',
      acknowledged: this.#engine.flows.ack(this.slot),
      ranges: this.rules.ranges.map((g) => ({
        node: nodes[g.owner === OWNER_SELF ? this.#engine.self : g.owner - 1].name,
        start: g.start,
        end: g.open ? null : g.end,
      })),
    };
  }
}
