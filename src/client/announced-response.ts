/** What becomes of a response that a target has announced, when its request is done and the target is lost or stops. */
import type { Count } from '../base/counters.ts';
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import type { AnnouncedResponse } from '../handoff/anchor/handoff.ts';
import { hasHead } from '../handoff/anchor/owed-records.ts';

/** What is asked of the connection. */
export interface AnnouncedHolder {
  /** No request has been read since. */
  readonly isResting: boolean;
  servedWithout(node: number): boolean;
  /** The response is in progress again. */
  takeAnnounced(flow: AnchorFlow, announced: AnnouncedResponse): void;
  broken(reason: string): void;
}

export function watchAnnounced(flow: AnchorFlow, holder: AnnouncedHolder, count: Count): void {
  // A target died that owes bytes. Only the newest response can still be taken over.
  flow.onLost = (announced) => {
    count.add('handoffs_lost');
    if (announced === null || !holder.isResting) return holder.broken('a target died');
    // A target that has given up and whose node lives is told that it is not waited for.
    flow.dropTarget(announced.node);
    holder.takeAnnounced(flow, announced);
  };
  // The target's node stops, and its kernel has the whole response: when no other node can go on, that one delivers it.
  flow.onDraining = (announced) => {
    if (!holder.isResting || !hasHead(flow.acknowledged, announced)) return;
    if (!holder.servedWithout(announced.node)) return;
    flow.dropTarget(announced.node);
    holder.takeAnnounced(flow, announced);
  };
}
