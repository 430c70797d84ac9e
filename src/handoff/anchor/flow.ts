/**
 * A flow at its anchor: a client's connection of which other nodes have sent, or are sending, parts of the out-half.
 * It says who sends which part, to the router and to the targets. Its entry in the router, the own socket, the
 * conversations with targets and what they say, and what happens once the connection is closed have their own files.
 */

import * as ranges from '../../kernel/router/ranges.ts';
import { distance } from '../../kernel/router/ranges.ts';
import { max } from '../../kernel/tcp/sequence.ts';
import { type Frame, FrameType } from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import type { RequestHead } from '../../protocol/http/request.ts';
import { FLOW_LINGER_MS } from '../flow/agreed.ts';
import type { StatusParts } from '../flow/flow-status.ts';
import type { OwnSpace } from '../flow/own-space.ts';
import { AnchorStandby } from './anchor-standby.ts';
import { FlowEntry } from './flow-entry.ts';
import { FlowHearing, type HeardFlow } from './flow-hearing.ts';
import type { FlowOwner } from './flow-owner.ts';
import { FlowTargets, type Target } from './flow-targets.ts';
import { FlowTurns } from './flow-turns.ts';
import type {
  AnnouncedResponse,
  Handoff,
  HandoffStart,
  NextRequest,
  Standby,
  StandbyStart,
} from './handoff.ts';
import { type OwnSocket, whileOpen } from './own-socket.ts';

export class AnchorFlow implements Conversation, HeardFlow {
  readonly #owner: FlowOwner;
  readonly #entry: FlowEntry;
  readonly #targets: FlowTargets;
  readonly #standby: AnchorStandby;
  readonly #hearing: FlowHearing;
  readonly #turns: FlowTurns;
  /** Null once it is closed, or has moved. */
  #socket: OwnSocket | null;
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

  /** The flow of a client's connection: its own socket, and its slot in the router's table. */
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
    this.#hearing = new FlowHearing(this, {
      entry: this.#entry,
      targets: this.#targets,
      standby: this.#standby,
      clock: owner.clock,
      learn: (frame) => this.#socket?.hear(frame),
    });
    rules.clientScale = Math.max(captured.sendScale, 0);
    rules.inScale = Math.max(captured.receiveScale, 0);
    rules.engine = owner.engine;
    this.#turns = new FlowTurns(this.#entry, captured.writeSequence);
  }

  #letsGoItself(range: ranges.Range): boolean {
    return range !== this.#standby.range && this.#targets.get(range.owner - 1)?.implicit === true;
  }

  /** Counts the handoffs. */
  get epoch(): number {
    return this.#turns.epoch;
  }

  /** `bytes` were read from the socket. */
  consumed(bytes: number): void {
    whileOpen(this.#socket).consumed(bytes);
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

  /** How many segments the client has sent, and whether it has bytes beyond what it has acknowledged. */
  get heard(): Pick<FlowEntry, 'segments' | 'holdsLater'> {
    return this.#entry;
  }

  /** Index of the node that was given the newest response; -1: the anchor itself. */
  get lastSender(): number {
    return this.#turns.lastSender;
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

  /** Whether a half-pipe fits, at `node` or (null) at a clone that has the request; makes room from what is acknowledged. */
  makeRoom(node: number | null): boolean {
    return this.#targets.makeRoom(node, this.#entry, this.#owner.halfPipes, this.epoch);
  }

  /**
   * Gives the out-half to `node` from here on: the router is told first, then the caller sends the frame made of
   * what is returned. The in-half stays. `next`: the target may take that request as well.
   */
  beginTarget(node: number, link: Link, next: NextRequest | null): HandoffStart {
    const socket = whileOpen(this.#socket);
    if (this.#turns.isOpen) socket.renew();
    // Most connections that are new end with this response.
    if (this.epoch > 0) socket.leaveAcknowledging(this.#owner.clock.nowMs);
    this.#entry.rules.ownNext = socket.captured.writeSequence;
    this.confirmed = false;
    const start = this.#turns.toTarget(node, true);
    const target = this.#targets.open(node, link);
    target.implicit = false;
    const begun = this.#describe(target.id, start);
    // When bytes of the client have come since, the clone would take the next request but one for the next.
    this.#standby.begin(target, begun.halfPipe.acknowledge === next?.at ? next : null, this.epoch, true);
    this.#entry.write();
    return begun;
  }

  #describe(id: number, start: number): HandoffStart {
    const now = this.#owner.clock.exactMs();
    const halfPipe = whileOpen(this.#socket).halfPipe(this.#entry, start, now);
    return { id, epoch: this.epoch, halfPipe, start, sentAtMs: now >>> 0 };
  }

  /** The clone that may have taken the request which begins with `head`; null: none, and none will. */
  takenBy(head: RequestHead): Standby | null {
    return this.#standby.takenBy(head, this.#owner.clock.nowMs);
  }

  /** The clone may send from here on, and had what it begins by before. */
  beginStandby({ target }: Standby, next: NextRequest | null): StandbyStart {
    this.confirmed = false;
    const start = this.#turns.toTarget(target.node, false);
    this.#standby.begin(target, next, this.epoch, false);
    this.#entry.write();
    return { id: target.id, epoch: this.epoch, start };
  }

  /** Whether the clone can still be asked. */
  isThere(target: Target): boolean {
    return this.#targets.isThere(target);
  }

  /** What SETUP is to say to a clone that has not answered. */
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
    const next = whileOpen(this.#socket).readSequence;
    const isQuiet = inNext === next && max(next, inAck) === next;
    return isQuiet ? next : -1;
  }

  /** The target's last byte is before `end`. */
  endTarget(end: number): void {
    this.#standby.forget();
    this.#turns.endAt(end);
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
    this.#turns.announce(end, watch);
  }

  /** The newest target range goes as if it had never been. `lost`: its node, which may not know, and hears no more. */
  cancelTarget(start: number, lost: number | null = null): void {
    this.#standby.forget();
    if (lost === null) this.#turns.cancel(start);
    else this.#turns.cut(lost, start);
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
    this.#turns.cut(node, at);
    this.announced = null;
  }

  /** The own socket sends from here on. Its idea of the client's window is as old as its last segment: renewed. */
  beginOwn(): void {
    this.#socket?.begins();
    if (this.#turns.isOwn) return;
    this.#turns.toOwn();
    this.#socket?.renewWindow(this.#entry);
  }

  /** Whoever goes on begins behind what the client has of a target that was cut off: so many bytes further. */
  catchUp(): number {
    return this.#turns.catchUp();
  }

  /** Has the own socket ask the client what it holds (a window probe). Only while the own range is open. */
  probe(): void {
    whileOpen(this.#socket).probe();
  }

  frame(frame: Frame, link: Link): void {
    this.#hearing.frame(frame, link);
  }

  linkDown(link: Link): void {
    this.#hearing.linkDown(link);
  }

  /** Tells a target to stop, and forgets its half-pipe. */
  dropTarget(node: number): void {
    const target = this.#targets.get(node);
    if (target === undefined) return;
    this.#targets.drop(target, this.epoch);
    // What is sent in its place will be acknowledged: heard by one that is stopped, that would lift its lease.
    if (ranges.forget(this.#entry.rules, node + 1, this.acknowledged)) this.#entry.write();
  }

  /**
   * The connection ends; its socket is closed by the caller right after. With `discard` the client is gone and
   * nothing more need arrive; else the socket's FIN gets its place after the last byte of the targets.
   */
  end(discard: boolean): void {
    const entry = this.#entry;
    const socket = whileOpen(this.#socket);
    this.#letGo();
    this.#standby.forget();
    const place = this.#turns.close((known) => socket.writeSequence(known));
    // A FIN that has no place, behind a target that is still sending, is waited for by nobody.
    const hasFin = place !== 'none' && !discard;
    if (hasFin) socket.limitFinWait();
    entry.write();
    // A FIN beyond the client's window would be dropped, and come again only when it has timed out.
    if (place === 'begins' && hasFin && !socket.maySendFin(entry, this.#turns.start))
      socket.renewWindow(entry);
    const { epoch } = this;
    this.#targets.reset(entry, epoch, discard);
    this.onLost = this.#owner.closed({ entry, targets: this.#targets, epoch, hasFin, discard });
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
    this.beginOwn();
    return this.#turns.ownSpace();
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
