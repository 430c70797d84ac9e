/**
 * A flow at its anchor: a client's connection of which other nodes have sent, or are sending, parts of the out-half.
 * It owns the connection's entry in the router and the conversations with its targets, and outlives the connection's
 * socket until the targets have let go and the client's last segments are through.
 */
import { AbortReason, type Frame, FrameType, frameSize } from '../backplane/frames.ts';
import type { Engine } from '../engine/engine.ts';
import type { Link, Sink } from '../engine/link.ts';
import type { FlowStatus } from '../engine/messages.ts';
import type { RequestHead } from '../http/request.ts';
import { formatEndpoint } from '../linux/address.ts';
import { unlessSocketDied } from '../linux/errors.ts';
import { captureHalfPipe, type HalfPipeCapture, monotonicMs } from '../linux/half-pipe.ts';
import { probe } from '../linux/repair-options.ts';
import { IPPROTO_TCP, receiveQueueBytes, sendQueueBytes, setOption, TCP_LINGER2 } from '../linux/socket.ts';
import {
  FLAG_CLOSING,
  FLAG_FOLLOW,
  FLAG_WAKE,
  FLAG_WATCH,
  OWNER_SELF,
  ROLE_ANCHOR,
} from '../router/layout.ts';
import * as ranges from '../router/ranges.ts';
import { distance } from '../router/ranges.ts';
import { max } from '../tcp/sequence.ts';
import {
  type BegunKept,
  type BegunTarget,
  type Handoff,
  type Kept,
  type Next,
  nextEpoch,
  type Promised,
} from './attempt.ts';
import { FlowTargets, type Target } from './flow-targets.ts';
import { Following } from './following.ts';
import { halfPipeBlock } from './half-pipe-block.ts';
import { LateRanges } from './late-ranges.ts';
import { FIN_WAIT_2_SECONDS, FLOW_LINGER_MS, Linger } from './linger.ts';
import type { OwnSpace } from './migrate-state.ts';
import { renewSendWindow } from './send-window.ts';

/** A range of another node that is not all acknowledged. */
function owes(range: ranges.Range, acknowledged: number): boolean {
  return range.owner !== OWNER_SELF && (range.open || distance(range.end, acknowledged) < 0);
}

export class AnchorFlow implements Sink {
  readonly slot: number;
  readonly rules = ranges.emptyRules(ROLE_ANCHOR);
  readonly #engine: Engine;
  readonly #targets = new FlowTargets(this);
  #capture: HalfPipeCapture;
  /** The client's number after the last byte that was read from the socket. */
  #readSequence: number;
  #congestion = { window: 0, srttUs: 0 };
  #installed = false;
  #discarding = false;
  #released = false;
  /** The socket; -1 once it is closed. */
  #fd: number;
  epoch = 0;
  /** The newest target was told that it may send whenever it likes: the lease says nothing about it any more. */
  confirmed = false;
  current: Handoff | null = null;
  /** Once the connection is closed. */
  #linger: Linger | null = null;
  /** The closed socket's FIN is waited for. */
  #hasFin = false;
  /** When a response was taken from its target last. */
  #cutAtMs = Number.NEGATIVE_INFINITY;
  /** The newest response that a target has said to be done; it may have died since. */
  promise: Promised | null = null;
  readonly #following = new Following(this.rules);
  readonly #late = new LateRanges(
    this.rules,
    (range) => range !== this.#following.range && this.#targets.get(range.owner - 1)?.implicit === true,
  );
  /** Called when a target that owes bytes is lost. `promise` is what it owes, or null when it owes more than that. */
  onLost: (promise: Promised | null) => void = () => {};
  /** Called when a target that owes nothing but the newest response would rather leave it to another node. */
  onDraining: (promise: Promised) => void = () => {};

  /** Null when the router's table is full, or the client has just reset the connection. */
  static create(engine: Engine, fd: number): AnchorFlow | null {
    const slot = engine.flows.allocate();
    if (slot < 0) return null;
    try {
      return new AnchorFlow(engine, fd, slot);
    } catch (error) {
      engine.flows.release(slot);
      return unlessSocketDied(error, null);
    }
  }

  private constructor(engine: Engine, fd: number, slot: number) {
    this.#engine = engine;
    this.#fd = fd;
    this.slot = slot;
    const capture = captureHalfPipe(fd);
    this.#capture = capture;
    this.#readSequence = (capture.receiveSequence - receiveQueueBytes(fd)) >>> 0;
    const acknowledged = (capture.writeSequence - sendQueueBytes(fd)) >>> 0;
    const edge = (acknowledged + capture.sendWindow) >>> 0;
    const inNext = capture.receiveSequence;
    engine.flows.resetObserved(slot, {
      ack: acknowledged,
      edge,
      sentNext: capture.writeSequence,
      inNext,
      inAck: inNext,
    });
    this.rules.clientScale = Math.max(capture.sendScale, 0);
    this.rules.engine = engine.index;
    ranges.beginOwn(this.rules, capture.writeSequence);
    engine.flowsBySlot.set(slot, this);
  }

  get clientText(): string {
    return formatEndpoint(this.#capture.client);
  }

  /** `bytes` were read from the socket. */
  consumed(bytes: number): void {
    this.#readSequence = (this.#readSequence + bytes) >>> 0;
  }

  /** What the client has acknowledged, in its sequence space. The router moves it on at any moment: read it once. */
  get acknowledged(): number {
    return this.#engine.flows.ack(this.slot);
  }

  /** The right edge of the client's window. */
  get edge(): number {
    return this.#engine.flows.edge(this.slot);
  }

  /** What the client allows beyond what it has acknowledged, in bytes. */
  get windowBytes(): number {
    return Math.max(0, distance(this.acknowledged, this.edge));
  }

  get segments(): number {
    return this.#engine.flows.segments(this.slot);
  }

  /** Sends a frame of this flow's conversations, and counts it. */
  send(link: Link, frame: Frame): boolean {
    this.#count(frame);
    if (frame.type === FrameType.CONFIRM && frame.epoch === this.epoch) this.confirmed = true;
    return link.send(frame);
  }

  #count(frame: Frame): void {
    this.#engine.counters.add('flow_messages');
    this.#engine.counters.add('flow_message_bytes', frameSize(frame));
  }

  #write(): void {
    this.#late.mark(this.acknowledged);
    this.#engine.flows.write(this.slot, this.rules);
    if (this.#installed) return;
    this.#installed = true;
    this.#engine.flows.install(this.#capture.client, this.#capture.public, this.slot);
  }

  /** Whether another half-pipe fits; makes room from what the client has acknowledged. */
  makeRoom(): boolean {
    const acknowledged = this.acknowledged;
    ranges.trim(this.rules, acknowledged);
    const unfinished = () => this.rules.ranges.filter((g) => g.owner !== OWNER_SELF).length;
    const limit = this.#engine.config.limits.halfPipes;
    for (const range of [...this.rules.ranges]) {
      if (ranges.hasRoom(this.rules) && unfinished() < limit) break;
      if (range.owner === OWNER_SELF || range.open || distance(range.end, acknowledged) < 0) continue;
      // The client has it all; the owner may not know yet. It learns it from us and drops what it still holds.
      const target = this.#targets.get(range.owner - 1);
      if (target === undefined) continue;
      ranges.collect(this.rules, range.owner, range.end);
      // With later bytes of its own still under way it goes on getting acknowledgements, which tell it as well.
      if (target.implicit || this.rules.ranges.some((g) => g.owner === range.owner)) continue;
      this.send(target.link, {
        type: FrameType.RESET,
        request: target.id,
        epoch: this.epoch,
        discard: false,
        onlyEpoch: true,
      });
    }
    // Without room the own socket goes on, by rules that the router must have.
    const room = ranges.hasRoom(this.rules) && unfinished() < limit;
    if (!room) this.#write();
    return room;
  }

  /**
   * Gives the out-half to `node` from here on: the router is told first, then the caller sends the frame made of
   * what is returned. The in-half stays. `next`: the target may take that request as well.
   */
  beginTarget(node: number, link: Link, next: Next | null): BegunTarget {
    const last = ranges.lastRange(this.rules)!;
    // The capture that made the flow is of this very moment; and while the own socket sends nothing, what an old one
    // says of it stays true: its window holds from what has been read, a number that no later one contradicts.
    if (this.epoch > 0 && last.open) this.#capture = captureHalfPipe(this.#fd, this.#capture);
    this.rules.ownNext = this.#capture.writeSequence;
    const start = last.open ? ranges.closeOwn(this.rules) : last.end;
    this.epoch = nextEpoch(this.epoch);
    this.confirmed = false;
    ranges.openTarget(this.rules, node + 1, start);
    const target = this.#targets.open(node, link);
    target.implicit = false;
    const begun = this.#describe(target.id, start);
    // What has come since: the target would take the next but one for the next.
    this.#following.begin(target, begun.halfPipe.acknowledge === next?.at ? next : null, this.epoch, true);
    this.#write();
    return begun;
  }

  #describe(id: number, start: number): BegunTarget {
    const now = monotonicMs();
    const halfPipe = halfPipeBlock(this.#capture, {
      start,
      edge: this.edge,
      acknowledge: max(this.#readSequence, this.#engine.flows.inAck(this.slot)),
      nowMs: now,
      stamp: this.rules.stamp,
      tsecr: this.#engine.flows.tsval(this.slot),
      congestionWindow: this.#congestion.window,
      srttUs: this.#congestion.srttUs,
    });
    return { id, epoch: this.epoch, halfPipe, start, sentAtMs: now >>> 0 };
  }

  /**
   * The clone that may have taken the request which begins with `head`, the next one of the connection; null: none,
   * and none will. From here on nothing more is sent on to it (rule follow).
   */
  takenBy(head: RequestHead): Kept | null {
    const kept = this.#following.takenBy(head, this.#engine.flows.followed(this.slot));
    if (kept === null) this.#unfollow();
    return kept;
  }

  /** The clone may send from here on, and had what it begins by before. */
  beginKept({ target }: Kept, next: Next | null): BegunKept {
    const last = ranges.lastRange(this.rules)!;
    const start = last.open ? ranges.closeOwn(this.rules) : last.end;
    this.epoch = nextEpoch(this.epoch);
    this.confirmed = false;
    ranges.openTarget(this.rules, target.node + 1, start, false);
    this.#following.begin(target, next, this.epoch, false);
    this.#write();
    return { id: target.id, epoch: this.epoch, start };
  }

  /** Whether the clone can still be asked. */
  isThere({ node, link, id }: Target): boolean {
    const target = this.#targets.get(node);
    return target?.link === link && target.id === id && !target.leaving && link.up;
  }

  /** It has not answered: what SETUP is to say. */
  describeKept({ id, start }: BegunKept): BegunTarget {
    ranges.advanceStamp(this.rules);
    const begun = this.#describe(id, start);
    ranges.advanceStamp(this.rules);
    this.#write();
    return begun;
  }

  /** What it has said already. */
  takeEarly(): Frame[] {
    return this.#following.takeEarly();
  }

  #unfollow(): void {
    if (this.#following.stop(this.#engine.loop.nowMs)) this.#write();
  }

  /** Where the next request begins, when nothing of it has come yet; else -1. */
  get nextRequest(): number {
    const { flows } = this.#engine;
    const next = this.#readSequence;
    const isQuiet = flows.inNext(this.slot) === next && max(next, flows.inAck(this.slot)) === next;
    return isQuiet ? next : -1;
  }

  /** The target's last byte is before `end`. */
  endTarget(end: number): void {
    // One that has not promised its response takes nothing after it.
    this.rules.flags = 0;
    this.#following.forget();
    ranges.endTarget(this.rules, end);
    this.#write();
  }

  /**
   * The target has said where its response ends, before it is sent, and says no more: the router tells when the
   * client has acknowledged `watch` (`current.acknowledged`), unless it has already. `keeps`: it stays after that.
   */
  promiseTarget(node: number, end: number, watch: number, keeps: boolean): void {
    const target = this.#targets.get(node);
    if (target !== undefined) {
      target.implicit = true;
      target.kept = keeps;
    }
    this.rules.watch = watch;
    this.rules.epoch = this.epoch;
    this.rules.flags = FLAG_WATCH | FLAG_WAKE | (this.rules.flags & FLAG_FOLLOW);
    ranges.endTarget(this.rules, end);
    this.#write();
  }

  /** The newest target range goes as if it had never been: nothing of it has reached the client. */
  cancelTarget(start: number): void {
    const last = ranges.lastRange(this.rules)!;
    last.open = true;
    this.endTarget(start);
    this.promise = null;
  }

  /**
   * Takes the newest response from its target: the client has everything before `at`. What the target sends beyond
   * it is the same as what another node sends there.
   */
  cutTarget(node: number, at: number): void {
    this.#cutAtMs = this.#engine.loop.nowMs;
    this.#unfollow();
    this.dropTarget(node);
    const last = ranges.lastRange(this.rules)!;
    last.open = true;
    ranges.endTarget(this.rules, at);
    ranges.collect(this.rules, node + 1, at);
    this.promise = null;
    this.#write();
  }

  /** The own socket sends from here on. Its idea of the client's window is as old as its last segment: renewed. */
  beginOwn(): void {
    const last = ranges.lastRange(this.rules)!;
    if (last.open && last.owner === OWNER_SELF) return;
    ranges.trim(this.rules, this.acknowledged);
    ranges.openOwn(this.rules, last.end);
    this.#write();
    if (this.#fd >= 0) this.#renewWindow();
  }

  /** The own socket, whose turn it is, learns what of the client's window is its own. */
  #renewWindow(): void {
    try {
      renewSendWindow(this.#fd, this.rules, () => this.edge);
    } catch (error) {
      unlessSocketDied(error, undefined);
    }
  }

  /** Has the own socket ask the client what it holds (a window probe). Only while the own range is open. */
  probe(): void {
    try {
      probe(this.#fd);
    } catch (error) {
      unlessSocketDied(error, undefined);
    }
  }

  frame(frame: Frame, link: Link): void {
    if (!('request' in frame)) return;
    const target = this.#targets.of(link, frame.request);
    if (target === undefined) return;
    this.#count(frame);
    if (frame.type === FrameType.RESET_OK) {
      this.#targets.close(target);
      return;
    }
    if (frame.type === FrameType.COLLECTED) {
      if (frame.congestionWindow > 0)
        this.#congestion = { window: frame.congestionWindow, srttUs: frame.srttUs };
      if (ranges.collect(this.rules, target.node + 1, frame.end)) this.#write();
      return;
    }
    if (frame.type === FrameType.DATA_DONE && frame.congestionWindow > 0) {
      this.#congestion = { window: frame.congestionWindow, srttUs: frame.srttUs };
    }
    if (!('epoch' in frame)) return;
    const current = this.current;
    if (this.#following.hears(frame, target, this.epoch)) return;
    if (current !== null && current.node === target.node && current.epoch === frame.epoch) {
      current.answer(frame);
    } else if (frame.type === FrameType.SETUP_OK && frame.confirmWanted) {
      // Its promise was taken, and it begins late. One that was given up is no target any more.
      this.send(target.link, { type: FrameType.CONFIRM, request: target.id, epoch: frame.epoch });
    } else if (frame.type === FrameType.ABORT && !target.leaving) {
      // It gave up bytes that it had promised; or it stops, and delivers them unless somebody else does.
      if (frame.reason !== AbortReason.DRAINING) this.#lost(target);
      else if (this.#owesNewest(target)) this.onDraining(this.promise!);
    }
  }

  linkDown(link: Link): void {
    for (const target of this.#targets.all) {
      if (target.link !== link) continue;
      this.#targets.close(target);
      if (this.#following.isTo(target)) this.#unfollow();
      if (!target.leaving) this.#lost(target);
    }
  }

  #lost(target: Target): void {
    if (this.current?.node === target.node) return this.current.lost();
    if (this.#owed(target).length > 0) this.onLost(this.#owesNewest(target) ? this.promise : null);
    else if (ranges.collect(this.rules, target.node + 1, this.acknowledged)) this.#write();
  }

  #owed(target: Target): ranges.Range[] {
    const acknowledged = this.acknowledged;
    return this.rules.ranges.filter(
      (g) => g.owner === target.node + 1 && (g.open || distance(g.end, acknowledged) < 0),
    );
  }

  /** Whether the newest response is all that a target owes. */
  #owesNewest(target: Target): boolean {
    const owed = this.#owed(target);
    return this.promise?.node === target.node && owed.length === 1 && owed[0] === this.rules.ranges.at(-1);
  }

  /** Tells a target to stop, and forgets its half-pipe. */
  dropTarget(node: number): void {
    const target = this.#targets.get(node);
    if (target === undefined) return;
    this.send(target.link, {
      type: FrameType.ABORT,
      request: target.id,
      epoch: this.epoch,
      reason: AbortReason.SUPERSEDED,
    });
    this.#targets.close(target);
    // What is sent in its place will be acknowledged: heard by one that is stopped, that would lift its lease.
    if (ranges.forget(this.rules, node + 1, this.acknowledged)) this.#write();
  }

  /**
   * The connection ends; its socket is closed by the caller right after. With `discard` the client is gone and
   * nothing more need arrive; else the socket's FIN gets its place after the last byte of the targets.
   */
  end(discard: boolean): void {
    this.current = null;
    this.onLost = () => {};
    this.onDraining = () => {};
    this.promise = null;
    this.#following.forget();
    const last = ranges.lastRange(this.rules)!;
    if (!last.open || last.owner === OWNER_SELF) {
      if (last.open) this.rules.ownNext = this.#writeSequence();
      else ranges.openOwn(this.rules, last.end);
    }
    // A FIN that has no place, behind a target that is still sending, is waited for by nobody.
    this.#hasFin = !discard && ranges.lastRange(this.rules)!.owner === OWNER_SELF;
    if (this.#hasFin) setOption(this.#fd, IPPROTO_TCP, TCP_LINGER2, FIN_WAIT_2_SECONDS);
    this.rules.flags = FLAG_CLOSING;
    this.#write();
    // A FIN beyond the client's window would be dropped, and come again only when it has timed out.
    if (this.#hasFin && !last.open) this.#renewWindow();
    this.#fd = -1;
    this.#reset(discard);
    const now = this.#engine.loop.nowMs;
    this.#linger = new Linger(this.#capture, this.#engine.sockets, this.segments, now);
    if (this.#targets.size > 0) this.#engine.closingFlows.add(this);
    else this.#engine.lingeringFlows.set(this, now);
  }

  #writeSequence(): number {
    try {
      return captureHalfPipe(this.#fd, this.#capture).writeSequence;
    } catch (error) {
      return unlessSocketDied(error, this.rules.ownNext);
    }
  }

  #reset(discard: boolean): void {
    this.#discarding = discard;
    this.#forgetImplicit();
    for (const target of this.#targets.all) {
      if (target.implicit && !target.kept && !discard) continue;
      target.leaving = true;
      const { epoch } = this;
      this.send(target.link, { type: FrameType.RESET, request: target.id, epoch, discard, onlyEpoch: false });
    }
  }

  /** Targets that let go by themselves are gone once all of theirs is acknowledged. */
  #forgetImplicit(): void {
    for (const target of this.#targets.all) {
      if (!target.implicit || target.kept || target.leaving || this.#owed(target).length > 0) continue;
      this.#targets.close(target);
    }
  }

  /** Called now and then while targets have not let go of the closed connection. Returns true when all have. */
  awaitTargets(nowMs: number): boolean {
    const linger = this.#linger!;
    // The client takes no more of it, and will say so to nobody again.
    const isOver = this.#engine.flows.wasReset(this.slot) || (linger.isOld(nowMs) && this.#isReplaced);
    if (isOver && !this.#discarding) this.#reset(true);
    this.#forgetImplicit();
    if (this.#targets.size > 0 && !linger.isLate(nowMs)) return false;
    this.#engine.lingeringFlows.set(this, nowMs);
    return true;
  }

  /** Gives the slot back when nothing of the closed connection is waited for any more; else looks again later. */
  linger(nowMs: number): void {
    const hasFin = () => this.#hasFin && !this.#discarding && !this.#isReplaced;
    if (this.#linger!.waits(nowMs, this.segments, hasFin)) this.#engine.lingeringFlows.set(this, nowMs);
    else this.discard();
  }

  /** The client uses the port anew (rule syn-ends-flow): no acknowledgement comes any more. */
  get #isReplaced(): boolean {
    const { client, public: pub } = this.#capture;
    return this.#engine.flows.installed(client, pub) !== this.slot;
  }

  /**
   * How the socket's sequence space lies in the client's, for a connection that is to move; the own socket is the
   * one that sends from here on. Null while others owe bytes, or bytes of theirs may be on the way: the client would
   * acknowledge what the moved socket has not sent.
   */
  ownSpace(): OwnSpace | null {
    if (this.current !== null || this.#engine.loop.nowMs - this.#cutAtMs < FLOW_LINGER_MS) return null;
    this.#unfollow();
    if (!this.#following.isOver(this.#engine.loop.nowMs, this.#engine.flows.inNext(this.slot))) return null;
    const { acknowledged } = this;
    if (this.rules.ranges.some((g) => owes(g, acknowledged))) return null;
    this.beginOwn();
    const last = ranges.lastRange(this.rules)!;
    const shift = distance(last.local, last.start) >>> 0;
    const { edge } = this;
    return { from: last.local, shift, stamp: last.stamp, acknowledged, edge };
  }

  /** The connection has moved as a whole: nothing of it is left for this flow, or for its targets. */
  moved(): void {
    this.current = null;
    this.onLost = () => {};
    this.onDraining = () => {};
    this.promise = null;
    this.#fd = -1;
    this.#reset(true);
    this.discard();
  }

  /** Gives everything back at once. */
  discard(): void {
    if (this.#released) return;
    this.#released = true;
    this.#targets.closeAll();
    const { client, public: pub } = this.#capture;
    if (this.#installed) this.#engine.flows.uninstall(client, pub, this.slot);
    this.#engine.flowsBySlot.delete(this.slot);
    this.#engine.closingFlows.delete(this);
    this.#engine.lingeringFlows.clear(this);
    this.#engine.flows.release(this.slot);
  }

  /** Keeps sequence distances small on connections that carry much. */
  tick(nowMs: number): void {
    this.current?.tick();
    const stopped = this.#following.tick(nowMs, this.current !== null);
    const trimmed = ranges.trim(this.rules, this.acknowledged);
    const dropped = this.#late.drop(this.acknowledged, nowMs);
    if (stopped || trimmed || dropped) this.#write();
  }

  status(): FlowStatus {
    const nodes = this.#engine.config.nodes;
    return {
      engine: this.#engine.index,
      slot: this.slot,
      role: 'anchor',
      client: this.clientText,
      public: formatEndpoint(this.#capture.public),
      nodes: this.#targets.nodes.map((node) => nodes[node].name),
      state: this.#linger !== null ? 'closing' : this.current === null ? 'idle' : 'away',
      acknowledged: this.acknowledged,
      ranges: this.rules.ranges.map((g) => ({
        node: nodes[g.owner === OWNER_SELF ? this.#engine.self : g.owner - 1].name,
        start: g.start,
        end: g.open ? null : g.end,
      })),
    };
  }
}
