/**
 * Mechanisms anchor, clone and split, at a target: a half-pipe, in its conversation with the anchor. Its socket is
 * made by the first SETUP of a flow and kept for the next ones: congestion window and RTT stay, and the router maps
 * its contiguous sequence space into the client's.
 *
 * The answer to SETUP is always handed to the kernel before the first byte of the response. So an anchor that got no
 * answer from a dead target knows more than nothing; what it cannot know, the lease settles.
 *
 *   SETUP --> turn --all is with the kernel--> uncollected --all is acknowledged--> resting --SETUP--> turn
 *
 *           acknowledged         then
 *   anchor  COLLECTED            rests until RESET
 *   clone   nothing is said      closes by itself; with `keep` rests until RESET
 *   split   nothing is said      closes by itself
 */

import type { Count } from '../../base/counters.ts';
import { EPOLLERR, EPOLLHUP } from '../../kernel/linux/epoll.ts';
import { SystemError } from '../../kernel/linux/errors.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import type { Later } from '../../kernel/loop/ports.ts';
import { distance, lastRange, nextWire } from '../../kernel/router/ranges.ts';
import type { FollowedBytes } from '../../kernel/router/router-engine.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  type HalfPipe as HalfPipeBlock,
  RejectReason,
  type Setup,
  type Window,
} from '../../protocol/backplane/frames.ts';
import type { Link, Sink } from '../../protocol/backplane/link.ts';
import type { Exchange } from '../../serve/exchange.ts';
import { KEEP_IDLE_MS } from '../flow/agreed.ts';
import { type Ends, endsKey } from '../flow/ends.ts';
import { nextEpoch } from '../flow/epoch.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import { liftLease } from '../flow/lease.ts';
import { HalfPipeResponse } from './half-pipe-response.ts';
import type { HalfPipeSocket } from './half-pipe-socket.ts';
import { KeptTarget, type NextPorts } from './kept-target.ts';
import { beginResponse, endResponse } from './target-rules.ts';

const ERROR_CHECK_MS = 1000;

/** Who has the half-pipes, and what all of them share. */
export interface HalfPipeOwner {
  readonly ports: NextPorts & { readonly count: Count; readonly later: Later };
  /** Something is not known to be acknowledged: `collect` is to be called in every turn. */
  uncollected(pipe: HalfPipe): void;
  /** Nothing more is waited for. */
  collected(pipe: HalfPipe): void;
  /** It sends nothing more; its slot is about to be given back. */
  closed(pipe: HalfPipe): void;
}

export class HalfPipe implements Sink, Source {
  readonly #owner: HalfPipeOwner;
  readonly #link: Link;
  readonly #id: number;
  readonly #socket: HalfPipeSocket;
  /** Null until it is asked to stay. */
  #kept: KeptTarget | null = null;
  #turn: HalfPipeResponse | null = null;
  /** The anchor wants nothing more of this half-pipe; gone when its queue is empty. */
  #leaving = false;
  /** The newest turn was of a mechanism without COLLECTED and RESET. */
  #implicit = false;
  #restsSinceMs = 0;
  #closed = false;
  /** End of the newest turn in the client's space, while it is not all acknowledged; -1: all is. */
  #uncollected = -1;
  #checkedAtMs = 0;

  /** One that has sent nothing yet. */
  constructor(owner: HalfPipeOwner, link: Link, id: number, socket: HalfPipeSocket) {
    this.#owner = owner;
    this.#link = link;
    this.#id = id;
    this.#socket = socket;
  }

  /** Its entry in the router. */
  get slot(): number {
    return this.#socket.slot;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Whether it sends on the connection with these ends. */
  isOf(ends: Ends): boolean {
    return endsKey(ends) === endsKey(this.#socket);
  }

  /**
   * Begins a response that SETUP asks for, sent at `sentMs` of the own clock; it then is answered. Else says why not,
   * and the exchange is the caller's to end.
   */
  begin(setup: Setup, block: HalfPipeBlock, exchange: Exchange, sentMs: number): RejectReason | null {
    const socket = this.#socket;
    const { rules } = socket;
    if (this.#turn !== null) return RejectReason.STATE_INVALID;
    if (!socket.prepare(block, sentMs)) return RejectReason.FULL;
    beginResponse(rules, setup, block, sentMs);
    const turn = new HalfPipeResponse(socket, setup.mechanism, exchange);
    const digest = turn.implicit && !exchange.close ? setup.keep : null;
    if (digest !== null) this.#kept ??= new KeptTarget(this.#owner.ports, socket);
    this.#kept?.begin(digest, block.acknowledge);
    if (turn.promised) endResponse(rules, (block.sequence + exchange.lengthBytes) >>> 0, this.#stays);
    const isUsed = socket.isOpen;
    const failure = isUsed
      ? socket.reuse(block, exchange, this.#uncollected < 0)
      : socket.open(block, sentMs);
    if (failure !== null) {
      if (isUsed) this.#fail(AbortReason.HALF_PIPE_FAILED);
      return failure;
    }
    this.#implicit = turn.implicit;
    this.#start(turn);
    return null;
  }

  /** Tells the anchor; the bytes follow when that is out (the loop settles before it runs what was put off). */
  #start(turn: HalfPipeResponse): void {
    this.#turn = turn;
    turn.exchange.onProgress = () => this.#drive();
    this.#link.send(turn.answer(this.#id));
    this.#owner.ports.later.defer(() => this.#drive());
  }

  get #stays(): boolean {
    return this.#kept?.stays === true;
  }

  /** Whether this epoch is in progress, or was, without SETUP. */
  hasTaken(epoch: number): boolean {
    return this.#kept?.hasTaken(epoch) === true;
  }

  /** The next request is taken by SETUP. */
  forgetNext(): void {
    this.#kept?.forget();
  }

  /** What the client sends next, as the router has seen it (rule follow). */
  followed(piece: FollowedBytes): void {
    const { epoch } = this.#socket.rules;
    if (this.#kept === null || !this.#socket.isOpen || this.#turn !== null || piece.epoch !== epoch) return;
    const sentMs = piece.arrivedMs - this.#link.clock.excessOf16Ms(piece.sentMs, piece.arrivedMs);
    const turn = this.#kept.hear(piece, sentMs, !this.#leaving);
    if (turn === null) return;
    if (turn === 'cannot') {
      const reason = RejectReason.NOT_KEPT;
      this.#link.send({ type: FrameType.SETUP_REJECT, request: this.#id, epoch: nextEpoch(epoch), reason });
      return;
    }
    // The client has all that was sent before: it acknowledged that with this very request.
    this.#collected();
    this.#start(turn);
  }

  #drive(): void {
    const turn = this.#turn;
    if (turn === null || this.#closed) return;
    if (turn.exchange.elsewhere && this.#letsGo(turn)) return;
    const state = turn.run();
    if (state === 'broken') this.#fail(turn.failure);
    else if (state === 'yield') this.#owner.ports.later.defer(() => this.#drive());
    else if (state === 'blocked') this.#socket.watchWrites(this);
    else if (state === 'done') this.#finishTurn(turn);
  }

  /**
   * The upstream has failed the request, and another node may be asked. Not when bytes of an older response are on
   * their way: they would go with this half-pipe.
   */
  #letsGo(turn: HalfPipeResponse): boolean {
    if (turn.exchange.pump.sentBytes > 0) return false;
    this.collect();
    if (this.#uncollected >= 0) return false;
    this.#abort(AbortReason.UPSTREAM_FAILED);
    this.discard();
    return true;
  }

  #finishTurn(turn: HalfPipeResponse): void {
    const { exchange, promised } = turn;
    const { rules } = this.#socket;
    const bytes = exchange.pump.sentBytes;
    this.#turn = null;
    this.#owner.ports.count.add('served_bytes', bytes);
    exchange.end();
    const range = lastRange(rules)!;
    if (range.open) {
      endResponse(rules, nextWire(rules), this.#stays);
      this.#socket.write();
    }
    if (!promised) this.#link.send(turn.done(this.#id, bytes));
    this.#uncollected = range.end;
    this.#owner.uncollected(this);
  }

  #askConfirm(): void {
    if (!this.#socket.needsConfirm()) return;
    const { epoch } = this.#socket.rules;
    // The rest it has been told before.
    const told = { identity: null, promise: null };
    this.#link.send({ type: FrameType.SETUP_OK, request: this.#id, epoch, confirmWanted: true, ...told });
  }

  ready(events: number): void {
    if (this.#closed) return;
    // A client that takes nothing would take nothing from another node either.
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0)
      return this.#fail(this.#socket.hasStalled ? AbortReason.TIMED_OUT : AbortReason.HALF_PIPE_FAILED);
    this.#drive();
    this.#turn?.resume();
  }

  frame(frame: Frame): void {
    if (this.#closed) return this.#last(frame);
    switch (frame.type) {
      case FrameType.CONFIRM:
        return this.#confirm(frame.epoch);
      case FrameType.WINDOW:
        return this.#widen(frame);
      case FrameType.RESET:
        return this.#reset(frame.discard, frame.onlyEpoch);
      case FrameType.ABORT:
        // Superseded: the anchor has closed the conversation already.
        return this.#close();
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
    const { rules } = this.#socket;
    if (rules.epoch !== epoch || rules.ranges.length === 0) return;
    liftLease(rules);
    this.#socket.write();
    this.#turn?.confirmed();
    this.#drive();
  }

  #widen({ epoch, edge }: Window): void {
    if (this.#socket.rules.epoch !== epoch || !this.#socket.isOpen) return;
    try {
      this.#socket.widen(edge);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      this.#fail(AbortReason.HALF_PIPE_FAILED);
    }
  }

  #reset(discard: boolean, onlyEpoch: boolean): void {
    if (onlyEpoch) {
      // The anchor says all is acknowledged and forwards no more of it. If our kernel missed that, it must not ask.
      if (this.#turn !== null || !this.#socket.isOpen || this.#socket.queuedBytes === 0) return;
      // The conversation goes on: the next SETUP makes a new socket.
      this.#socket.close();
      return this.#collected();
    }
    if (discard || !this.#owes) {
      this.#link.send({ type: FrameType.RESET_OK, request: this.#id });
      return this.#close();
    }
    this.#leaving = true;
  }

  /** Bytes of it are not sent, or not acknowledged. */
  get #owes(): boolean {
    return this.#turn !== null || this.#uncollected >= 0;
  }

  /** Nothing of the newest turn is waited for. */
  #collected(): void {
    this.#uncollected = -1;
    this.#owner.collected(this);
  }

  /** Looks whether the newest turn is acknowledged. Called on the router's event, and every tick. */
  collect(): void {
    const end = this.#uncollected;
    if (this.#closed || end < 0) return;
    this.#askConfirm();
    const { nowMs } = this.#owner.ports.clock;
    if (distance(end, this.#socket.acknowledged) < 0 || this.#socket.queuedBytes > 0) {
      // A socket that gave up is not in epoll unless it blocked: ask it now and then.
      if (nowMs - this.#checkedAtMs < ERROR_CHECK_MS) return;
      this.#checkedAtMs = nowMs;
      if (this.#socket.hasGivenUp) this.#fail(AbortReason.TIMED_OUT);
      return;
    }
    if (this.#implicit) {
      // The anchor has seen the same acknowledgement, and may have sent the next request already.
      const stays = this.#stays && !this.#leaving && !this.#owner.ports.isStopping();
      if (this.#turn === null && !stays) return this.discard();
      this.#restsSinceMs = nowMs;
      return this.#collected();
    }
    const { epoch } = this.#socket.rules;
    const report = this.#socket.report(0);
    this.#link.send({ type: FrameType.COLLECTED, request: this.#id, epoch, end, ...report });
    this.#collected();
    if (this.#leaving || this.#owner.ports.isStopping()) this.discard();
  }

  /** The connection comes here by another way, or is another one. What is owed is somebody else's: the anchor's. */
  giveWay(): void {
    if (this.#owes) this.#fail(AbortReason.HALF_PIPE_FAILED);
    else this.discard();
  }

  /** Ends at once: all is acknowledged, or the process stops. */
  discard(): void {
    if (this.#leaving) this.#link.send({ type: FrameType.RESET_OK, request: this.#id });
    this.#close();
  }

  /**
   * The node stops. What owes nothing goes at once. What does asks the anchor to have another node go on, and sends on
   * until the anchor says so (ABORT, superseded) or it is out: an anchor that cannot loses nothing.
   */
  drain(): void {
    if (!this.#owes) return this.#close();
    this.#abort(AbortReason.DRAINING);
  }

  #abort(reason: AbortReason): void {
    this.#link.send({ type: FrameType.ABORT, request: this.#id, epoch: this.#socket.rules.epoch, reason });
  }

  /** What the response is may come to be known only while it is sent. */
  #identify(): void {
    const { epoch } = this.#socket.rules;
    const identity = this.#turn?.newlyIdentified() ?? null;
    if (identity === null) return;
    const told = { identity, promise: null, confirmWanted: false };
    this.#link.send({ type: FrameType.SETUP_OK, request: this.#id, epoch, ...told });
  }

  /** Keeps sequence distances small while much is sent in one turn. */
  round(): void {
    this.#identify();
    if (this.#turn === null) {
      const rests = this.#stays && this.#uncollected < 0;
      if (rests && this.#owner.ports.clock.nowMs - this.#restsSinceMs > KEEP_IDLE_MS) this.discard();
      return;
    }
    this.#askConfirm();
    if (this.#socket.trim()) this.#socket.write();
  }

  #fail(reason: AbortReason): void {
    this.#owner.ports.count.add('half_pipes_failed');
    this.#abort(reason);
    this.#close(this.hasTaken(this.#socket.rules.epoch));
  }

  linkDown(): void {
    this.#close();
  }

  /** `waits`: for the anchor's last word. */
  #close(waits = false): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#turn?.exchange.end();
    this.#turn = null;
    if (!waits) this.#link.closeSink(this.#id);
    this.#owner.closed(this);
    this.#socket.release();
  }

  get #state(): string {
    if (this.#leaving) return 'closing';
    if (this.#turn !== null) return 'sending';
    return this.#uncollected < 0 ? 'idle' : 'sent';
  }

  status(): StatusParts {
    const socket = this.#socket;
    return { role: 'target', state: this.#state, ends: socket, nodes: [this.#link.node], entry: socket };
  }
}
