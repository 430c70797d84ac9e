/** What the targets of a flow say, to whom it goes, and what it means that one of them is lost. */
import type { Clock } from '../../kernel/loop/ports.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import {
  AbortReason,
  type Collected,
  type DataDone,
  type Frame,
  FrameType,
} from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import type { AnchorStandby } from './anchor-standby.ts';
import type { FlowEntry } from './flow-entry.ts';
import type { FlowTargets, Target } from './flow-targets.ts';
import type { AnnouncedResponse, Handoff } from './handoff.ts';

/** The flow, as far as what is heard of it concerns it. */
export interface HeardFlow {
  readonly epoch: number;
  /** The handoff in progress. */
  readonly current: Handoff | null;
  /** The newest response that a target has said to be done; it may have died since. */
  announced: AnnouncedResponse | null;
  readonly acknowledged: number;
  send(link: Link, frame: Frame): boolean;
  onLost(announced: AnnouncedResponse | null): void;
  onDraining(announced: AnnouncedResponse): void;
}

/** What a flow is made of. */
interface FlowParts {
  readonly entry: FlowEntry;
  readonly targets: FlowTargets;
  readonly standby: AnchorStandby;
  readonly clock: Pick<Clock, 'nowMs'>;
  /** A frame says what the path to the client is like. */
  learn(frame: Collected | DataDone): void;
}

export class FlowHearing implements Conversation {
  readonly #flow: HeardFlow;
  readonly #entry: FlowEntry;
  readonly #targets: FlowTargets;
  readonly #standby: AnchorStandby;
  readonly #clock: Pick<Clock, 'nowMs'>;
  readonly #learn: (frame: Collected | DataDone) => void;

  constructor(flow: HeardFlow, { entry, targets, standby, clock, learn }: FlowParts) {
    this.#flow = flow;
    this.#entry = entry;
    this.#targets = targets;
    this.#standby = standby;
    this.#clock = clock;
    this.#learn = learn;
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
    // What it says crosses the word that it is to stop.
    if (target.dropped) return;
    if (frame.type === FrameType.COLLECTED) {
      this.#learn(frame);
      const { rules } = this.#entry;
      // What the client has acknowledged went through here first, so the end is one that is known to be reached.
      const isKnown = this.#entry.hasDelivered(target.node, frame.end);
      if (isKnown && ranges.collect(rules, target.node + 1, frame.end)) this.#entry.write();
      return;
    }
    if (frame.type === FrameType.DATA_DONE) this.#learn(frame);
    if (!('epoch' in frame)) return;
    const { current } = this.#flow;
    if (this.#standby.hears(frame, target, this.#flow.epoch)) return;
    if (current !== null && current.node === target.node && current.epoch === frame.epoch) {
      current.answer(frame);
    } else if (frame.type === FrameType.SETUP_OK && frame.confirmWanted) {
      // The target has announced its response, and asks whether it may still begin.
      this.#flow.send(target.link, { type: FrameType.CONFIRM, request: target.id, epoch: frame.epoch });
    } else if (frame.type === FrameType.ABORT) {
      // It gave up bytes that it had announced; or it stops, and delivers them unless somebody else does.
      if (frame.reason === AbortReason.FILE_CHANGED && this.#flow.announced !== null)
        this.#flow.announced = { ...this.#flow.announced, identity: null };
      if (frame.reason !== AbortReason.DRAINING) this.#gaveUp(target);
      else if (this.#owesNewest(target)) this.#flow.onDraining(this.#flow.announced!);
    }
  }

  linkDown(link: Link): void {
    for (const target of this.#targets.all) {
      if (target.link !== link) continue;
      this.#targets.close(target);
      if (this.#standby.isTo(target)) this.#standby.stop(this.#clock.nowMs);
      if (!target.dropped) this.#lost(target);
    }
  }

  /** What a target had begun it sends no more. A SETUP that crosses its word is news to it. */
  #gaveUp(target: Target): void {
    const { current } = this.#flow;
    const isAsked = current?.node === target.node && current.isAsked;
    const newest = ranges.lastRange(this.#entry.rules);
    const owesOlder = this.#entry.owedBy(target.node).some((range) => range !== newest);
    if (!isAsked || owesOlder) this.#lost(target);
  }

  #lost(target: Target): void {
    const { current } = this.#flow;
    if (current?.node === target.node) return current.lost();
    if (this.#entry.owedBy(target.node).length > 0)
      this.#flow.onLost(this.#owesNewest(target) ? this.#flow.announced : null);
    else if (ranges.collect(this.#entry.rules, target.node + 1, this.#flow.acknowledged)) this.#entry.write();
  }

  /** Whether the newest response is all that a target owes. */
  #owesNewest({ node }: Target): boolean {
    const owed = this.#entry.owedBy(node);
    return (
      this.#flow.announced?.node === node &&
      owed.length === 1 &&
      owed[0] === ranges.lastRange(this.#entry.rules)
    );
  }
}
