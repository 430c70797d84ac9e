/**
 * Mechanisms anchor, clone and split, at a target: a half-pipe, in its conversation with the anchor. Its socket is
 * made by the first SETUP of a flow and kept for the next ones: congestion window and RTT stay, and the router maps
 * its contiguous sequence space into the client's.
 *
 * The answer to SETUP is always handed to the kernel before the first byte of the response. So an anchor that got no
 * answer from a dead target knows more than nothing; what it cannot know, the lease settles.
 *
 *           acknowledged         then
 *   anchor  COLLECTED            idle until RESET
 *   clone   nothing is said      idle for a second, then closes by itself; with `keep` idle until RESET
 *   split   nothing is said      closes by itself
 */

import assert from 'node:assert';
import { EPOLLERR, EPOLLHUP } from '../../kernel/linux/epoll.ts';
import { SystemError } from '../../kernel/linux/errors.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import { lastRange, nextWire } from '../../kernel/router/ranges.ts';
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
import type { Conversation } from '../../protocol/backplane/link.ts';
import { nextEpoch } from '../flow/epoch.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import { type FourTuple, sameTuple } from '../flow/four-tuple.ts';
import { liftLease } from '../flow/lease.ts';
import type { HalfPipeConversation } from './half-pipe-conversation.ts';
import type { HalfPipeOwner } from './half-pipe-ports.ts';
import { HalfPipeResponse, type ToSend } from './half-pipe-response.ts';
import type { HalfPipeSocket } from './half-pipe-socket.ts';
import { assertEdge, type HalfPipeState, owedEnd, owes, unacknowledgedEnd } from './half-pipe-state.ts';
import { beginResponse, endResponse } from './target-rules.ts';
import { TargetStandby } from './target-standby.ts';

export class HalfPipe implements Conversation, Source {
  readonly #owner: HalfPipeOwner;
  readonly #anchor: HalfPipeConversation;
  readonly #socket: HalfPipeSocket;
  /** How it stays for the flow's next request, where the anchor wants that. */
  readonly standby: TargetStandby;
  #state: HalfPipeState;
  /** One function for all responses: a response makes none of its own. */
  readonly #goOn = () => this.#drive();
  /** How long it waits for the flow's next request when all is acknowledged; for ever: until RESET. */
  #restMs = Number.POSITIVE_INFINITY;
  /** The anchor wants nothing more of this half-pipe, which closes as soon as it owes nothing. */
  #leaving = false;

  /** A half-pipe that has sent nothing yet. */
  constructor(owner: HalfPipeOwner, anchor: HalfPipeConversation, socket: HalfPipeSocket) {
    this.#owner = owner;
    this.#anchor = anchor;
    this.#socket = socket;
    this.standby = new TargetStandby(owner.ports, socket);
    this.#state = { name: 'idle', sinceMs: owner.ports.clock.nowMs };
  }

  /** The half-pipe's slot in the router's table. */
  get slot(): number {
    return this.#socket.slot;
  }

  /** Whether it sends nothing more; it may still wait for the anchor's last word. */
  get isClosed(): boolean {
    return this.#state.name === 'failed' || this.#state.name === 'closed';
  }

  #become(state: HalfPipeState): void {
    assertEdge(this.#state, state);
    assert(!owes(state) || this.#socket.isOpen, 'what owes bytes has a socket');
    assert(state.name !== 'idle' || !this.#leaving, 'what leaves is not idle');
    this.#state = state;
    if (unacknowledgedEnd(state) === null) this.#owner.collected(this);
    else this.#owner.uncollected(this);
  }

  /** The response that is on its way; null: none is. */
  get #response(): HalfPipeResponse | null {
    return this.#state.name === 'sending' ? this.#state.response : null;
  }

  /** Whether it sends on the connection with these ends. */
  isOf(ends: FourTuple): boolean {
    return sameTuple(ends, this.#socket);
  }

  /**
   * Begins a response that SETUP asks for, sent at `sentMs` of the own clock; it then is answered. Else says why not,
   * and what is to be sent is the caller's to end.
   */
  begin(setup: Setup, block: HalfPipeBlock, toSend: ToSend, sentMs: number): RejectReason | null {
    const socket = this.#socket;
    const { rules } = socket;
    if (this.#response !== null) return RejectReason.STATE_INVALID;
    if (!socket.prepare(block, sentMs)) return RejectReason.FULL;
    beginResponse(rules, setup, block, sentMs);
    const response = new HalfPipeResponse(socket, setup.mechanism, toSend);
    const digest = response.implicit && !toSend.exchange.close ? setup.keep : null;
    this.standby.begin(digest, block.acknowledge);
    if (response.announced)
      endResponse(rules, (block.sequence + response.wireBytes) >>> 0, this.standby.stays);
    // An anchor that asks for more has seen the same acknowledgements: it is told only of older bytes that are owed.
    const olderEnd = owedEnd(this.#state, this.#socket);
    const isUsed = socket.isOpen;
    const { wireBytes } = response;
    const failure = isUsed ? socket.reuse(block, wireBytes, olderEnd === null) : socket.open(block, sentMs);
    if (failure !== null) {
      if (isUsed) this.#fail(AbortReason.HALF_PIPE_FAILED);
      return failure;
    }
    this.#start(response, olderEnd);
    return null;
  }

  /** Tells the anchor; the bytes follow when that is out (the loop settles before it runs what was put off). */
  #start(response: HalfPipeResponse, olderEnd: number | null): void {
    this.#restMs = response.restMs(this.standby.stays);
    this.#become({ name: 'sending', response, olderEnd });
    response.exchange.onProgress = this.#goOn;
    this.#anchor.say(response.answer(this.#anchor.id));
    this.#owner.ports.later.defer(this.#goOn);
  }

  /** What the client sends next, as the router has seen it (rule follow). */
  followed(piece: FollowedBytes): void {
    const { isOpen, rules } = this.#socket;
    const { epoch } = rules;
    if (!isOpen || this.#response !== null || piece.epoch !== epoch) return;
    const sentMs = this.#anchor.sentAtMs(piece.sentMs, piece.arrivedMs);
    const response = this.standby.hear(piece, sentMs, !this.#leaving);
    if (response === null) return;
    if (response === 'cannot') return this.#anchor.refuse(nextEpoch(epoch), RejectReason.NOT_KEPT);
    // The client has all that was sent before: it acknowledged that with this very request.
    this.#start(response, null);
  }

  #drive(): void {
    const response = this.#response;
    if (response === null || (response.exchange.elsewhere && this.#letsGo(response))) return;
    const state = response.run();
    if (state === 'broken') this.#fail(response.failure);
    else if (state === 'yield') this.#owner.ports.later.defer(this.#goOn);
    else if (state === 'blocked') this.#socket.watchWrites(this);
    else if (state === 'done') this.#finish(response);
  }

  /**
   * The upstream has failed the request, and another node may be asked. Not when bytes of an older response are on
   * their way: they would go with this half-pipe. Returns whether it has gone.
   */
  #letsGo(response: HalfPipeResponse): boolean {
    if (response.exchange.pump.sentBytes > 0) return false;
    this.collect();
    if (this.isClosed) return true;
    if (unacknowledgedEnd(this.#state) !== null) return false;
    this.#abort(AbortReason.UPSTREAM_FAILED);
    this.discard();
    return true;
  }

  #finish(response: HalfPipeResponse): void {
    const { exchange, announced, implicit } = response;
    const { rules } = this.#socket;
    const bytes = exchange.pump.sentBytes;
    this.#owner.ports.count.add('served_bytes', bytes);
    response.end();
    const range = lastRange(rules);
    assert(range !== undefined, 'what is sent has a range');
    if (range.open) {
      endResponse(rules, nextWire(rules), this.standby.stays);
      this.#socket.write();
    }
    if (!announced) this.#anchor.say(response.done(this.#anchor.id, bytes));
    this.#become({ name: 'sent', end: range.end, implicit });
  }

  #askConfirm(): void {
    if (this.#socket.needsConfirm()) this.#anchor.askConfirm(this.#socket.rules.epoch);
  }

  ready(events: number): void {
    if (this.isClosed) return;
    // A client that takes nothing would take nothing from another node either.
    if ((events & (EPOLLERR | EPOLLHUP)) !== 0)
      return this.#fail(this.#socket.hasStalled ? AbortReason.TIMED_OUT : AbortReason.HALF_PIPE_FAILED);
    this.#drive();
    this.#response?.resume();
  }

  frame(frame: Frame): void {
    if (this.isClosed) return this.#last(frame);
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

  /** After a failure: the anchor's word is waited for, and a SETUP that crosses that must not begin again. */
  #last(frame: Frame): void {
    if (frame.type === FrameType.RESET && !frame.onlyEpoch) this.#anchor.resetDone();
    else if (frame.type !== FrameType.ABORT) return;
    this.#anchor.close();
    if (this.#state.name === 'failed') this.#become({ name: 'closed' });
  }

  #confirm(epoch: number): void {
    const { rules } = this.#socket;
    if (rules.epoch !== epoch || rules.ranges.length === 0) return;
    liftLease(rules);
    this.#socket.write();
    this.#response?.confirmed();
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
      if (this.#response !== null || this.#socket.queuedBytes === 0) return;
      // The conversation goes on: the next SETUP makes a new socket.
      this.#socket.close();
      if (this.#leaving) return this.discard();
      return this.#rest();
    }
    if (discard || !owes(this.#state)) {
      this.#anchor.resetDone();
      return this.#close();
    }
    this.#leaving = true;
  }

  /** Nothing of the newest response is waited for. */
  #rest(): void {
    if (this.#state.name !== 'idle') this.#become({ name: 'idle', sinceMs: this.#owner.ports.clock.nowMs });
  }

  /** Looks whether what is sent is acknowledged. Called on the router's event, and every tick. */
  collect(): void {
    const end = unacknowledgedEnd(this.#state);
    if (end === null) return;
    this.#askConfirm();
    if (owedEnd(this.#state, this.#socket) === null) return this.#acknowledged(end);
    // A socket that gave up is not in epoll unless it blocked.
    if (this.#socket.hasGivenUp(this.#owner.ports.clock.nowMs)) this.#fail(AbortReason.TIMED_OUT);
  }

  #acknowledged(end: number): void {
    const state = this.#state;
    assert(state.name === 'sending' || state.name === 'sent', 'it has sent something');
    // With an implicit one the anchor has seen the same acknowledgement, and may have sent the next request already.
    const { implicit } = state.name === 'sending' ? state.response : state;
    if (!implicit) this.#anchor.collected(this.#socket.rules.epoch, end, this.#socket.report(0));
    if (state.name === 'sending')
      return this.#become({ name: 'sending', response: state.response, olderEnd: null });
    if (this.#restMs > 0 && !this.#leaving && !this.#owner.ports.isStopping()) this.#rest();
    else this.discard();
  }

  /** The connection comes here by another way, or is another one. What is owed is somebody else's: the anchor's. */
  giveWay(): void {
    if (owes(this.#state)) this.#fail(AbortReason.HALF_PIPE_FAILED);
    else this.discard();
  }

  /** Ends at once: all is acknowledged, or the process stops. */
  discard(): void {
    if (this.#leaving) this.#anchor.resetDone();
    this.#close();
  }

  /**
   * The node stops. What owes nothing goes at once. What does asks the anchor to have another node go on, and sends on
   * until the anchor says so (ABORT, superseded) or it is out: an anchor that cannot loses nothing.
   */
  drain(): void {
    if (!owes(this.#state)) return this.#close();
    this.#abort(AbortReason.DRAINING);
  }

  #abort(reason: AbortReason): void {
    this.#anchor.abort(this.#socket.rules.epoch, reason);
  }

  round(): void {
    const state = this.#state;
    if (state.name === 'sending') {
      // What the response is may come to be known only while it is sent.
      const identity = state.response.newlyIdentified();
      if (identity !== null) this.#anchor.identify(this.#socket.rules.epoch, identity);
      this.#askConfirm();
      // Keeps sequence distances small while much is sent in one response.
      if (this.#socket.trim()) this.#socket.write();
    } else if (state.name === 'idle' && this.#owner.ports.clock.nowMs - state.sinceMs > this.#restMs)
      this.discard();
  }

  #fail(reason: AbortReason): void {
    this.#owner.ports.count.add('half_pipes_failed');
    this.#abort(reason);
    this.#close(!this.#leaving && this.standby.hasTaken(this.#socket.rules.epoch));
  }

  linkDown(): void {
    if (this.#state.name === 'failed') this.#become({ name: 'closed' });
    this.#close();
  }

  /** `waits`: for the anchor's last word, which RESET would have been. */
  #close(waits = false): void {
    if (this.isClosed) return;
    const response = this.#response;
    this.#become({ name: waits ? 'failed' : 'closed' });
    response?.end();
    if (!waits) this.#anchor.close();
    this.#owner.closed(this.slot);
    this.#socket.release();
  }

  status(): StatusParts {
    const socket = this.#socket;
    const state = this.#leaving ? 'closing' : this.#state.name;
    return { role: 'target', state, ends: socket, nodes: [this.#anchor.node], entry: socket };
  }
}
