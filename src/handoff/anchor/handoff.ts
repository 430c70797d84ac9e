/** What is known of a response that another node was given to send, and who waits for it. */

import type { RepeatableChoice } from '../../cluster/policy/repeatable-choice.ts';
import type { Frame, HalfPipe } from '../../protocol/backplane/frames.ts';
import type { Identity } from '../../protocol/http/continuation.ts';
import type { Request } from '../../serve/request.ts';
import type { DeliveryResult } from '../request/delivery.ts';
import type { Target } from './flow-targets.ts';
import type { LentRecords } from './lent-records.ts';

/** A response that a target was given to send, and what is known of it. */
export interface OwedResponse {
  readonly node: number;
  /** Where byte `offset` of what is on the wire of the response lies in the client's space: the target started there or before. */
  readonly start: number;
  /** Not 0 when the response goes on from another node's, or has become long. */
  readonly offset: number;
  /** Where the response ends in the client's sequence space; null while the target has not said so. */
  readonly end: number | null;
  readonly identity: Identity | null;
  /** The connection is TLS; null: it is not, and bytes on the wire are bytes of the response. */
  readonly records: LentRecords | null;
  readonly sentAtMs: number;
  readonly mechanism: DeliveryResult['mechanism'];
  /** 0 while the target has not said so. */
  readonly status: number;
}

/** A response that a target has announced. */
export interface AnnouncedResponse extends OwedResponse {
  readonly request: Request;
  readonly end: number;
}

/** What SETUP says of a handoff. */
export interface HandoffStart {
  readonly id: number;
  readonly epoch: number;
  readonly halfPipe: HalfPipe;
  /** Where the target starts, in the client's sequence space. */
  readonly start: number;
  /** The very moment that `halfPipe.tsval` is of. */
  readonly sentAtMs: number;
}

/** The request after this one, when the target may take it without being asked (clone's option `keep`). */
export interface NextRequest {
  /** Where it begins: the client's number. */
  readonly at: number;
  readonly choice: RepeatableChoice;
}

/** A clone to which the next request goes as well, and which may have taken it. */
export interface Standby extends NextRequest {
  readonly target: Target;
}

/** How a handoff begins that the clone may have begun itself. */
export type StandbyStart = Pick<HandoffStart, 'id' | 'epoch' | 'start'>;

/** The handoff in progress on a flow. */
export interface Handoff {
  readonly epoch: number;
  readonly node: number;
  /** What the response is is known. */
  readonly isIdentified: boolean;
  /** The target was sent SETUP: that is answered, whatever it has given up before. */
  readonly isAsked: boolean;
  answer(frame: Frame): void;
  /** The target's link died, or the target gave up. */
  lost(): void;
  tick(): void;
  /** The client has acknowledged the byte that the router watches. */
  acknowledged?(): void;
}
