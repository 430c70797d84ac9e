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
    // One that has given up and lives has no more to say.
    flow.dropTarget(announced.node);
    holder.takeAnnounced(flow, announced);
  };
  // A target stops that has handed it to its kernel. When another cannot go on it goes on itself.
  flow.onDraining = (announced) => {
    if (!holder.isResting || !hasHead(flow.acknowledged, announced)) return;
    if (!holder.servedWithout(announced.node)) return;
    flow.dropTarget(announced.node);
    holder.takeAnnounced(flow, announced);
  };
}
