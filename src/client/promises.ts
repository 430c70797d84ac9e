/** What becomes of a response that a target has promised, when its request is done and the target is lost or stops. */
import type { Count } from '../base/counters.ts';
import type { Promised } from '../handoff/anchor/attempt.ts';
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import { mayGoOn } from '../handoff/anchor/take-over.ts';

/** What is asked of the connection. */
export interface PromiseHolder {
  /** No request has been read since. */
  readonly isResting: boolean;
  servedWithout(node: number): boolean;
  /** The response is in progress again. */
  takePromise(flow: AnchorFlow, promise: Promised): void;
  broken(reason: string): void;
}

export function watchPromises(flow: AnchorFlow, holder: PromiseHolder, count: Count): void {
  // A target died that owes bytes. Only the newest response can still be taken over.
  flow.onLost = (promise) => {
    count.add('handoffs_lost');
    if (promise === null || !holder.isResting) return holder.broken('a target died');
    // One that has given up and lives has no more to say.
    flow.dropTarget(promise.node);
    holder.takePromise(flow, promise);
  };
  // A target stops that has handed it to its kernel. When another cannot go on it goes on itself.
  flow.onDraining = (promise) => {
    if (!holder.isResting || !mayGoOn(flow.acknowledged, promise)) return;
    if (!holder.servedWithout(promise.node)) return;
    flow.dropTarget(promise.node);
    holder.takePromise(flow, promise);
  };
}
