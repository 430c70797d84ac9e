/** The conversations of a flow with its targets: one for each node, over one link. */

import type { Count } from '../../base/counters.ts';
import { OWNER_SELF } from '../../kernel/router/layout.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import { AbortReason, type Frame, FrameType, frameSize } from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import type { FlowEntry } from './flow-entry.ts';

/** A node that holds, or held, a half-pipe of the flow. */
export interface Target {
  readonly node: number;
  readonly link: Link;
  readonly id: number;
  /** RESET is sent and not answered. */
  leaving: boolean;
  /**
   * The target was told to stop and may not have heard: it may still send what it has begun. It is asked nothing more.
   */
  dropped: boolean;
  /**
   * The target has said where its bytes end and lets go by itself when they are acknowledged: no COLLECTED, no RESET.
   */
  implicit: boolean;
  /** The target stays for the next request all the same, until RESET. */
  standby: boolean;
}

export class FlowTargets {
  readonly #owner: Conversation;
  readonly #count: Count;
  /** At most one for each node; nearly always there is but one. */
  #targets: Target[] = [];

  /** `owner`: gets the frames of all of them. */
  constructor(owner: Conversation, count: Count) {
    this.#owner = owner;
    this.#count = count;
  }

  get size(): number {
    return this.#targets.length;
  }

  get nodes(): number[] {
    return this.#targets.map(({ node }) => node);
  }

  /** A copy: targets may go while they are gone through. */
  get all(): Target[] {
    return [...this.#targets];
  }

  get(node: number): Target | undefined {
    return this.#targets.find((target) => target.node === node);
  }

  /** Whether a target can still be asked. */
  isThere({ node, link, id }: Target): boolean {
    const target = this.get(node);
    return target?.link === link && target.id === id && !target.leaving && link.up;
  }

  /** Whether a node's half-pipe stays for another response: a clone's goes by itself. */
  keepsHalfPipe(node: number): boolean {
    const target = this.get(node);
    return target !== undefined && !target.leaving && (target.standby || !target.implicit);
  }

  of(link: Link, id: number): Target | undefined {
    return this.#targets.find((target) => target.link === link && target.id === id);
  }

  /** The conversation with a node, a new one if there is none that goes on. */
  open(node: number, link: Link): Target {
    const known = this.get(node);
    if (known !== undefined && known.link === link && !known.leaving) return known;
    const target = {
      node,
      link,
      id: link.openConversation(this.#owner),
      leaving: false,
      dropped: false,
      implicit: false,
      standby: false,
    };
    this.#targets = this.#targets.filter((one) => one !== known);
    this.#targets.push(target);
    return target;
  }

  /** Ends a conversation; the node may have a newer one. */
  close(target: Target): void {
    target.link.closeConversation(target.id);
    this.#targets = this.#targets.filter((one) => one !== target);
  }

  closeAll(): void {
    for (const target of this.all) this.close(target);
  }

  /** Sends a frame of one of these conversations. False: the link takes none. */
  send(link: Link, frame: Frame): boolean {
    this.count(frame);
    return link.send(frame);
  }

  /** Frames of both directions count. */
  count(frame: Frame): void {
    this.#count.add('flow_messages');
    this.#count.add('flow_message_bytes', frameSize(frame));
  }

  /** Tells a target to stop at once; RESET_OK says that it has heard, and ends the conversation. */
  drop(target: Target, epoch: number): void {
    if (target.dropped) return;
    const { link, id } = target;
    target.dropped = true;
    target.leaving = true;
    this.send(link, { type: FrameType.ABORT, request: id, epoch, reason: AbortReason.SUPERSEDED });
    this.send(link, { type: FrameType.RESET, request: id, epoch, discard: true, onlyEpoch: false });
  }

  /** Everything of this epoch is acknowledged: a target that does not know drops what it still holds. */
  collected({ link, id }: Target, epoch: number): void {
    this.send(link, { type: FrameType.RESET, request: id, epoch, discard: false, onlyEpoch: true });
  }

  /** Asks all to let go (RESET_OK), once what they owe is out or, with `discard`, at once. */
  reset(entry: FlowEntry, epoch: number, discard: boolean): void {
    this.forgetImplicit(entry);
    for (const target of this.all) {
      if (target.dropped) {
        this.close(target);
        continue;
      }
      if (target.implicit && !target.standby && !discard) continue;
      target.leaving = true;
      const { link, id } = target;
      this.send(link, { type: FrameType.RESET, request: id, epoch, discard, onlyEpoch: false });
    }
  }

  /** Forgets a target that lets go by itself, once all of its bytes are acknowledged. */
  forgetImplicit(entry: FlowEntry): void {
    for (const target of this.all) {
      if (!target.implicit || target.standby || target.leaving) continue;
      if (entry.owedBy(target.node).length === 0) this.close(target);
    }
  }

  /**
   * Whether another half-pipe fits, of `most`, at `node`; makes room from what the client has acknowledged. A node that
   * may still have a response which was given up would hear of acknowledgements that lift the lease of that. Null: at a
   * clone that has the request already, and is not asked.
   */
  makeRoom(node: number | null, entry: FlowEntry, most: number, epoch: number): boolean {
    if (node !== null && this.get(node)?.dropped) return false;
    const { rules, acknowledged } = entry;
    ranges.trim(rules, acknowledged);
    if (hasRoom(rules, most)) return true;
    for (const range of [...rules.ranges]) {
      if (hasRoom(rules, most)) break;
      if (range.owner === OWNER_SELF || range.open || ranges.distance(range.end, acknowledged) < 0) continue;
      // The client has it all; the owner may not know yet. It learns it from us and drops what it still holds.
      const target = this.get(range.owner - 1);
      if (target === undefined) continue;
      ranges.collect(rules, range.owner, range.end);
      // A target that owes later bytes goes on getting acknowledgements, and learns it from those.
      if (target.implicit || rules.ranges.some((g) => g.owner === range.owner)) continue;
      this.collected(target, epoch);
    }
    // Without room the own socket answers, and the router must know which ranges have gone.
    const room = hasRoom(rules, most);
    if (!room) entry.write();
    return room;
  }
}

function hasRoom(rules: ranges.FlowRules, most: number): boolean {
  let unfinished = 0;
  for (const { owner } of rules.ranges) if (owner !== OWNER_SELF) unfinished++;
  return ranges.hasRoom(rules) && unfinished < most;
}
