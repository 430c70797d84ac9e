/** What a request in progress and the mechanism that handles it know of each other. */
import type { MechanismRow } from '../../base/config/config.ts';
import type { Continuation } from '../../protocol/http/continuation.ts';
import type { CacheResult } from '../../serve/exchange.ts';
import type { WayOut } from './way-out.ts';

/** Why a connection is broken when that is the client's doing: nothing to warn of. */
export const CLIENT_GONE = 'the client is gone';

/** How a response got to its client. */
export interface DeliveryResult {
  readonly node: number;
  readonly mechanism: Exclude<MechanismRow, 'drain'>;
  readonly status: number;
  readonly bytes: number;
  readonly bodyBytes: number;
  readonly close: boolean;
  readonly firstByteUs: number;
  readonly handoffUs: number;
  /** What a cache of this node had to do with it; absent where another node answered. */
  readonly cache?: CacheResult | null;
  /** Frames about this request between the nodes, and their bytes; absent where it is not counted. */
  readonly messages?: { readonly count: number; readonly bytes: number } | undefined;
}

/** What there is of a response, when its connection ends in the middle of it. */
export interface SoFar {
  readonly node: number;
  readonly mechanism: DeliveryResult['mechanism'];
  /** 0: not known. */
  readonly status: number;
  /**
   * Bytes that the client has, or that the own kernel was given for it; those that another node sent before included.
   */
  readonly bytes: number;
}

/** A mechanism at work on one request, until one of the first five of DeliveryOwner is called, or it is cancelled. */
export interface Delivery {
  /** Begins, when it does not begin by being made; may finish before it returns. */
  start?(): void;
  /** A piece of a body that follows. */
  body(bytes: Buffer, last: boolean): void;
  /** False: no further body is read until `bodyWanted`. */
  readonly wantsBody: boolean;
  /** The client's socket takes bytes again. */
  writable(): void;
  /** The client has sent more while this request is in progress. */
  more?(): void;
  /** The client is gone: nothing is to be answered. */
  cancel(): void;
  readonly soFar: SoFar;
  /** How much of what response was handed to the own socket, when another node could go on with it; else null. */
  readonly progress?: Continuation | null;
  /** Hands nothing more to the socket, until `resume`. */
  pause?(): void;
  resume?(): void;
  /** The node goes away: the response is taken back from the node that sends it, when that is possible. */
  takeBack?(): void;
}

/**
 * Why a node has not answered. `refused`: it has not begun. `late`: it has not begun, as it was asked too late for a
 * mechanism that has to begin soon. `upstream failed`: the server behind it has not begun, or doing it once more does no
 * harm. `lost`: nobody knows how far it has come.
 */
export type AgainReason = 'refused' | 'late' | 'upstream failed' | 'lost';

/** The request in progress, as a mechanism sees it: exactly one of the first five ends a delivery. */
export interface DeliveryOwner {
  /** The response is out, or its bytes are accounted for. */
  finished(result: DeliveryResult): void;
  /** Nothing of a response has reached the client: serve the request again, without `node`. */
  again(node: number, why: AgainReason): void;
  /** The node that is to go on does not know yet whether it has the same file: it is asked again soon. */
  later(): void;
  /** The client has so much of the response, and `node` has failed: another node, or this one, goes on with it. */
  goOn(node: number, continuation: Continuation): void;
  /** The client has a part of the response, and nobody can go on with it: the connection ends. */
  broken(reason: string): void;
  readonly wayOut: WayOut;
  /** `bytes` of a response went out. `blocked`: the client has to take some before more does. */
  sent(bytes: number, blocked: boolean): void;
  /** `wantsBody` may have become true. */
  bodyWanted(): void;
  /** When this request was complete, nothing of the client's next one had been read. */
  readonly quiet: boolean;
  /** The client has sent more than this request. */
  readonly hasMore: boolean;
  /** Whether there is a node other than `node` to ask for what is being requested. */
  servedWithout(node: number): boolean;
  /** Whether there is one that has not been asked. */
  mayAskWithout(node: number): boolean;
  /** Whether another node, or this one, has the content, and may be asked when `node` says nothing. */
  answeredWithout(node: number): boolean;
  /** The delivery gives way to another one, which finds out what the client has. */
  takeOver(takeOver: Delivery): void;
  /** A take-over has found that the response has arrived after all, one that is recorded already. */
  settled(): void;
}
