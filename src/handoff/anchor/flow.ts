/**
 * A flow at its anchor: a client's connection of which other nodes have sent, or are sending, parts of the out-half.
 * It says who sends which part, to the router and to the targets, and hears of them. Its entry in the router, the own
 * socket, the conversations with targets, and what happens once the connection is closed have their own files.
 */

import { formatEndpoint } from '../../base/address.ts';
import type { Count } from '../../base/counters.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import { FLAG_CLOSING, FLAG_FOLLOW, FLAG_WAKE, FLAG_WATCH, OWNER_SELF } from '../../kernel/router/layout.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import { distance } from '../../kernel/router/ranges.ts';
import { max } from '../../kernel/tcp/sequence.ts';
import { AbortReason, type Frame, FrameType } from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { FLOW_LINGER_MS } from '../flow/agreed.ts';
import { nextEpoch } from '../flow/epoch.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { OwnSpace } from '../flow/own-space.ts';
import type { FlowTable } from '../flow/table.ts';
import { AnchorStandby } from './anchor-standby.ts';
import type { Closed } from './flow-closing.ts';
import { FlowEntry } from './flow-entry.ts';
import { FlowTargets, type Target } from './flow-targets.ts';
import type {
  AnnouncedResponse,
  Handoff,
  HandoffStart,
  NextRequest,
  Standby,
  StandbyStart,
} from './handoff.ts';
import type { OwnSocket } from './own-socket.ts';

/** Who has the flows, and what all of them share. */
export interface FlowOwner {
  readonly clock: Clock;
  readonly count: Count;
  readonly table: FlowTable;
  /** Index of the engine: the router tells it what the flows wait for. */
  readonly engine: number;
  /** limits.halfPipes */
  readonly halfPipes: number;
  /** The connection is closed: what is left of the flow. */
  closed(closed: Closed): void;
  /** Nothing is left of the flow. */
  gone(slot: number): void;
}

export class AnchorFlow implements Conversation {
  readonly #owner: FlowOwner;
  readonly #entry: FlowEntry;
  readonly #targets: FlowTargets;
  readonly #standby: AnchorStandby;
  /** Null once it is closed, or has moved. */
  #socket: OwnSocket | null;
  epoch = 0;
  /** The newest target was told that it may send whenever it likes: the lease says nothing about it any more. */
  confirmed = false;
  current: Handoff | null = null;
  /** When a response was taken from its target last. */
  #cutAtMs = Number.NEGATIVE_INFINITY;
  /** The newest response that a target has said to be done; it may have died since. */
  announced: AnnouncedResponse | null = null;
  /** Called when a target that owes bytes is lost. `announced` is what it owes, or null when it owes more than that. */
  onLost: (announced: AnnouncedResponse | null) => void = () => {};
  /** Called when a target that owes nothing but the newest response would rather leave it to another node. */
  onDraining: (announced: AnnouncedResponse) => void = () => {};

  /** Of the connection that `socket` is of, in `slot` of the router's table. */
  constructor(owner: FlowOwner, socket: OwnSocket, slot: number) {
    const { captured } = socket;
    this.#owner = owner;
    this.#socket = socket;
    this.#targets = new FlowTargets(this, owner.count);
    this.#entry = new FlowEntry(owner.table, slot, captured, socket.seen, (range) =>
      this.#letsGoItself(range),
    );
    const { rules } = this.#entry;
    this.#standby = new AnchorStandby(this.#entry);
    rules.clientScale = Math.max(captured.sendScale, 0);
    rules.inScale = Math.max(captured.receiveScale, 0);
    rules.engine = owner.engine;
    ranges.beginOwn(rules, captured.writeSequence);
  }

  #letsGoItself(range: ranges.Range): boolean {
    return range !== this.#standby.range && this.#targets.get(range.owner - 1)?.implicit === true;
  }

  get clientText(): string {
    return formatEndpoint(this.#entry.ends.client);
  }

  /** `bytes` were read from the socket. */
  consumed(bytes: number): void {
    this.#socket!.consumed(bytes);
  }

  /** What the client has acknowledged, in its sequence space. The router moves it on at any moment: read it once. */
  get acknowledged(): number {
    return this.#entry.acknowledged;
  }

  /** The right edge of the client's window. */
  get edge(): number {
    return this.#entry.edge;
  }

  /** What the client allows beyond what it has acknowledged, in bytes. */
  get windowBytes(): number {
    return Math.max(0, distance(this.acknowledged, this.edge));
  }

  get segments(): number {
    return this.#entry.segments;
  }

  /** Index of the node that was given the newest response; -1: the anchor itself. */
  get lastSender(): number {
    return ranges.lastRange(this.#entry.rules)!.owner - 1;
  }

  /** Whether a node has a half-pipe of this flow that its next response can use. */
  hasHalfPipeAt(node: number): boolean {
    return this.#targets.keepsHalfPipe(node);
  }

  /** Sends a frame of this flow's conversations, and counts it. */
  send(link: Link, frame: Frame): boolean {
    if (frame.type === FrameType.CONFIRM && frame.epoch === this.epoch) this.confirmed = true;
    return this.#targets.send(link, frame);
  }

  /** Whether another half-pipe fits; makes room from what the client has acknowledged. */
  makeRoom(): boolean {
    const { acknowledged } = this;
    const { rules } = this.#entry;
    ranges.trim(rules, acknowledged);
    if (this.#hasRoom) return true;
    for (const range of [...rules.ranges]) {
      if (this.#hasRoom) break;
      if (range.owner === OWNER_SELF || range.open || distance(range.end, acknowledged) < 0) continue;
      // The client has it all; the owner may not know yet. It learns it from us and drops what it still holds.
      const target = this.#targets.get(range.owner - 1);
      if (target === undefined) continue;
      ranges.collect(rules, range.owner, range.end);
      // With later bytes of its own still under way it goes on getting acknowledgements, which tell it as well.
      if (target.implicit || rules.ranges.some((g) => g.owner === range.owner)) continue;
      this.#targets.collected(target, this.epoch);
    }
    // Without room the own socket goes on, by rules that the router must have.
    const room = this.#hasRoom;
    if (!room) this.#entry.write();
    return room;
  }

  get #hasRoom(): boolean {
    const { rules } = this.#entry;
    let unfinished = 0;
    for (const { owner } of rules.ranges) if (owner !== OWNER_SELF) unfinished++;
    return ranges.hasRoom(rules) && unfinished < this.#owner.halfPipes;
  }

  /**
   * Gives the out-half to `node` from here on: the router is told first, then the caller sends the frame made of
   * what is returned. The in-half stays. `next`: the target may take that request as well.
   */
  beginTarget(node: number, link: Link, next: NextRequest | null): HandoffStart {
    const { rules } = this.#entry;
    const socket = this.#socket!;
    const last = ranges.lastRange(rules)!;
    if (last.open) socket.renew();
    // Most connections that are new end with this response.
    if (this.epoch > 0) socket.leaveAcknowledging(this.#owner.clock.nowMs);
    rules.ownNext = socket.captured.writeSequence;
    const start = this.#nextTurn();
    ranges.openTarget(rules, node + 1, start);
    const target = this.#targets.open(node, link);
    target.implicit = false;
    const begun = this.#describe(target.id, start);
    // What has come since: the target would take the next but one for the next.
    this.#standby.begin(target, begun.halfPipe.acknowledge === next?.at ? next : null, this.epoch, true);
    this.#entry.write();
    return begun;
  }

  /** Nobody sends: the next range starts where this says. */
  #nextTurn(): number {
    const { rules } = this.#entry;
    const last = ranges.lastRange(rules)!;
    this.epoch = nextEpoch(this.epoch);
    this.confirmed = false;
    return last.open ? ranges.closeOwn(rules) : last.end;
  }

  #describe(id: number, start: number): HandoffStart {
    const now = this.#owner.clock.exactMs();
    const halfPipe = this.#socket!.halfPipe(this.#entry, start, now);
    return { id, epoch: this.epoch, halfPipe, start, sentAtMs: now >>> 0 };
  }

  /** The clone that may have taken the request which begins with `head`; null: none, and none will. */
  takenBy(head: RequestHead): Standby | null {
    return this.#standby.takenBy(head, this.#owner.clock.nowMs);
  }

  /** The clone may send from here on, and had what it begins by before. */
  beginStandby({ target }: Standby, next: NextRequest | null): StandbyStart {
    const start = this.#nextTurn();
    ranges.openTarget(this.#entry.rules, target.node + 1, start, false);
    this.#standby.begin(target, next, this.epoch, false);
    this.#entry.write();
    return { id: target.id, epoch: this.epoch, start };
  }

  /** Whether the clone can still be asked. */
  isThere(target: Target): boolean {
    return this.#targets.isThere(target);
  }

  /** It has not answered: what SETUP is to say. */
  describeStandby({ id, start }: StandbyStart): HandoffStart {
    const { rules } = this.#entry;
    ranges.advanceStamp(rules);
    const begun = this.#describe(id, start);
    ranges.advanceStamp(rules);
    this.#entry.write();
    return begun;
  }

  /** What it has said already. */
  takeEarly(): Frame[] {
    return this.#standby.takeEarly();
  }

  /** Where the next request begins, when nothing of it has come yet; else -1. */
  get nextRequest(): number {
    const { inNext, inAck } = this.#entry;
    const next = this.#socket!.readSequence;
    const isQuiet = inNext === next && max(next, inAck) === next;
    return isQuiet ? next : -1;
  }

  /** The target's last byte is before `end`. */
  endTarget(end: number): void {
    // One that has not announced its response takes nothing after it.
    this.#entry.rules.flags = 0;
    this.#standby.forget();
    ranges.endTarget(this.#entry.rules, end);
    this.#entry.write();
  }

  /**
   * The target has said where its response ends, before it is sent, and says no more: the router tells when the
   * client has acknowledged `watch` (`current.acknowledged`), unless it has already. `keeps`: it stays after that.
   */
  announceEnd(node: number, end: number, watch: number, keeps: boolean): void {
    const target = this.#targets.get(node);
    if (target !== undefined) {
      target.implicit = true;
      target.standby = keeps;
    }
    const { rules } = this.#entry;
    rules.watch = watch;
    rules.epoch = this.epoch;
    rules.flags = FLAG_WATCH | FLAG_WAKE | (rules.flags & FLAG_FOLLOW);
    ranges.endTarget(rules, end);
    this.#entry.write();
  }

  /** The newest target range goes as if it had never been: nothing of it has reached the client. */
  cancelTarget(start: number): void {
    ranges.lastRange(this.#entry.rules)!.open = true;
    this.endTarget(start);
    this.announced = null;
  }

  /**
   * Takes the newest response from its target: the client has everything before `at`. What the target sends beyond
   * it is the same as what another node sends there.
   */
  cutTarget(node: number, at: number): void {
    this.#cutAtMs = this.#owner.clock.nowMs;
    this.#standby.stop(this.#cutAtMs);
    this.dropTarget(node);
    const { rules } = this.#entry;
    ranges.lastRange(rules)!.open = true;
    ranges.endTarget(rules, at);
    ranges.collect(rules, node + 1, at);
    this.announced = null;
    this.#entry.write();
  }

  /** The own socket sends from here on. Its idea of the client's window is as old as its last segment: renewed. */
  beginOwn(): void {
    const { rules } = this.#entry;
    const last = ranges.lastRange(rules)!;
    this.#socket?.begins();
    if (last.open && last.owner === OWNER_SELF) return;
    this.#entry.trim();
    ranges.openOwn(rules, last.end);
    this.#entry.write();
    this.#socket?.renewWindow(this.#entry);
  }

  /**
   * Nobody sends, but for a target that was cut off and does not know: what the client has of it meanwhile is right.
   * Whoever goes on begins behind it. Returns how many bytes that is further.
   */
  catchUp(): number {
    const { rules } = this.#entry;
    const { acknowledged } = this;
    const further = distance(ranges.nextWire(rules), acknowledged);
    if (further <= 0) return 0;
    ranges.closeOwn(rules);
    ranges.openOwn(rules, acknowledged);
    this.#entry.write();
    return further;
  }

  /** Has the own socket ask the client what it holds (a window probe). Only while the own range is open. */
  probe(): void {
    this.#socket!.probe();
  }

  frame(frame: Frame, link: Link): void {
    if (!('request' in frame)) return;
    const target = this.#targets.of(link, frame.request);
    if (target === undefined) return;
    this.#targets.count(frame);
    if (frame.type === FrameType.RESET_OK) {
      if (!target.leaving) return link.protocolError('RESET_OK without RESET');
      this.#targets.close(target);
      return;
    }
    if (frame.type === FrameType.COLLECTED) {
      this.#socket?.hear(frame);
      const { rules } = this.#entry;
      // What the client has acknowledged went through here first, so the end is one that is known to be reached.
      const isKnown = this.#entry.hasDelivered(target.node, frame.end);
      if (isKnown && ranges.collect(rules, target.node + 1, frame.end)) this.#entry.write();
      return;
    }
    if (frame.type === FrameType.DATA_DONE) this.#socket?.hear(frame);
    if (!('epoch' in frame)) return;
    const current = this.current;
    if (this.#standby.hears(frame, target, this.epoch)) return;
    if (current !== null && current.node === target.node && current.epoch === frame.epoch) {
      current.answer(frame);
    } else if (frame.type === FrameType.SETUP_OK && frame.confirmWanted) {
      // Its announcement was taken, and it begins late. One that was given up is no target any more.
      this.send(target.link, { type: FrameType.CONFIRM, request: target.id, epoch: frame.epoch });
    } else if (frame.type === FrameType.ABORT && !target.leaving) {
      // It gave up bytes that it had announced; or it stops, and delivers them unless somebody else does.
      if (frame.reason === AbortReason.FILE_CHANGED && this.announced !== null)
        this.announced = { ...this.announced, identity: null };
      if (frame.reason !== AbortReason.DRAINING) this.#lost(target);
      else if (this.#owesNewest(target)) this.onDraining(this.announced!);
    }
  }

  linkDown(link: Link): void {
    for (const target of this.#targets.all) {
      if (target.link !== link) continue;
      this.#targets.close(target);
      if (this.#standby.isTo(target)) this.#standby.stop(this.#owner.clock.nowMs);
      if (!target.leaving) this.#lost(target);
    }
  }

  #lost(target: Target): void {
    if (this.current?.node === target.node) return this.current.lost();
    if (this.#entry.owedBy(target.node).length > 0)
      this.onLost(this.#owesNewest(target) ? this.announced : null);
    else if (ranges.collect(this.#entry.rules, target.node + 1, this.acknowledged)) this.#entry.write();
  }

  /** Whether the newest response is all that a target owes. */
  #owesNewest({ node }: Target): boolean {
    const owed = this.#entry.owedBy(node);
    return (
      this.announced?.node === node && owed.length === 1 && owed[0] === ranges.lastRange(this.#entry.rules)
    );
  }

  /** Tells a target to stop, and forgets its half-pipe. */
  dropTarget(node: number): void {
    const target = this.#targets.get(node);
    if (target === undefined) return;
    this.#targets.abort(target, this.epoch);
    // What is sent in its place will be acknowledged: heard by one that is stopped, that would lift its lease.
    if (ranges.forget(this.#entry.rules, node + 1, this.acknowledged)) this.#entry.write();
  }

  /**
   * The connection ends; its socket is closed by the caller right after. With `discard` the client is gone and
   * nothing more need arrive; else the socket's FIN gets its place after the last byte of the targets.
   */
  end(discard: boolean): void {
    const entry = this.#entry;
    const { rules } = entry;
    const socket = this.#socket!;
    this.#letGo();
    this.#standby.forget();
    const last = ranges.lastRange(rules)!;
    if (!last.open) ranges.openOwn(rules, last.end);
    else if (last.owner === OWNER_SELF) rules.ownNext = socket.writeSequence(rules.ownNext);
    // A FIN that has no place, behind a target that is still sending, is waited for by nobody.
    const hasFin = !discard && ranges.lastRange(rules)!.owner === OWNER_SELF;
    if (hasFin) socket.limitFinWait();
    rules.flags = FLAG_CLOSING;
    entry.write();
    // A FIN beyond the client's window would be dropped, and come again only when it has timed out.
    if (hasFin && !last.open && !socket.maySendFin(entry, last.end)) socket.renewWindow(entry);
    const { epoch } = this;
    this.#targets.reset(entry, epoch, discard);
    this.#owner.closed({ entry, targets: this.#targets, epoch, hasFin, discard });
  }

  /** Whoever waits for a response of this flow is told nothing any more, and the own socket is not its any more. */
  #letGo(): void {
    this.current = null;
    this.onLost = () => {};
    this.onDraining = () => {};
    this.announced = null;
    this.#socket = null;
  }

  /**
   * How the socket's sequence space lies in the client's, for a connection that is to move; the own socket is the
   * one that sends from here on. Null while others owe bytes, or bytes of theirs may be on the way: the client would
   * acknowledge what the moved socket has not sent.
   */
  ownSpace(): OwnSpace | null {
    if (this.current !== null || this.#owner.clock.nowMs - this.#cutAtMs < FLOW_LINGER_MS) return null;
    this.#standby.stop(this.#owner.clock.nowMs);
    if (!this.#standby.isOver(this.#owner.clock.nowMs) || this.#entry.isOwed) return null;
    const { acknowledged } = this;
    this.beginOwn();
    const last = ranges.lastRange(this.#entry.rules)!;
    const shift = distance(last.local, last.start) >>> 0;
    const { edge } = this;
    return { from: last.local, shift, stamp: last.stamp, acknowledged, edge };
  }

  /** The connection has moved as a whole: nothing of it is left for this flow, or for its targets. */
  moved(): void {
    this.#letGo();
    this.#targets.reset(this.#entry, this.epoch, true);
    this.discard();
  }

  /** Gives everything back at once. */
  discard(): void {
    this.#targets.closeAll();
    this.#owner.gone(this.#entry.slot);
    this.#entry.release();
  }

  /** Keeps sequence distances small on connections that carry much. */
  tick(nowMs: number): void {
    this.current?.tick();
    this.#standby.tick(nowMs, this.current !== null);
    const trimmed = this.#entry.trim();
    const dropped = this.#entry.dropLate(nowMs);
    if (trimmed || dropped) this.#entry.write();
  }

  status(): StatusParts {
    const state = this.current === null ? 'idle' : 'away';
    const { ends } = this.#entry;
    const { nodes } = this.#targets;
    const identified =
      this.current?.isIdentified ?? (this.announced !== null && this.announced.identity !== null);
    return { role: 'anchor', state, identified, entry: this.#entry, ends, nodes };
  }
}
