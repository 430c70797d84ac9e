/** What a mechanism is: the columns of the table (table.ts), and how it begins to answer a request at the anchor. */
import type { MechanismRow } from '../../base/config/config.ts';
import type { Count } from '../../base/counters.ts';
import type { RepeatableChoice } from '../../cluster/policy/repeatable-choice.ts';
import type { Later } from '../../kernel/loop/ports.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Streams } from '../../protocol/backplane/streams.ts';
import type { Request } from '../../serve/request.ts';
import type { Site, Sites } from '../../serve/sites.ts';
import type { AnchorFlow } from '../anchor/flow.ts';
import type { Standby } from '../anchor/handoff.ts';
import type { Handoffs } from '../anchor/handoffs.ts';
import type { Delivery, DeliveryOwner } from '../request/delivery.ts';

/** What a client's connection remembers for mechanism auto. */
export interface Standing {
  /** Requests answered on it, here. */
  answered: number;
  /** What those since the last change between relay and half-pipes have cost too much, in microseconds. */
  overpaidUs: number;
}

/** The request in progress on a connection, as mechanisms see it. */
export interface RequestInProgress extends DeliveryOwner {
  /** The client's socket. */
  readonly fd: number;
  readonly request: Request;
  /** The request, kept for longer than the buffer that it was read into. */
  retain(): Request;
  /** Null: nobody else has sent on the connection yet. */
  readonly flow: AnchorFlow | null;
  /** Makes the connection one whose out-half other nodes may send. Null when the router's table is full. */
  ensureFlow(): AnchorFlow | null;
  /** The connection was accepted by another node. */
  readonly hasCome: boolean;
  /** What the connection is known by on every node; null when the client has just reset it. */
  readonly key: string | null;
  /** The clone that may have taken the request, once. */
  takeStandby(): Standby | null;
  /** Whether as many nodes have failed the request as may be tried. */
  readonly fullyTried: boolean;
  /** What the connection remembers for mechanism auto. */
  readonly standing: Standing;
}

/** What an engine lends to the mechanisms. */
export interface Means {
  readonly count: Count;
  readonly later: Later;
  /** Index of this node. */
  readonly self: number;
  readonly handoffs: Handoffs;
  readonly streams: Streams;
  readonly sites: Pick<Sites, 'exchange' | 'candidatesFor' | 'failure' | 'isTold'>;
  readonly repeatableChoices: { of(site: Site): RepeatableChoice | null };
  /**
   * Whether the next response of a connection may be another node's, which is so as soon as one site of the cluster
   * hands requests off: then every response ends its segment.
   */
  readonly sharesConnections: boolean;
}

/** A request that is to be answered. */
export interface Dispatch {
  readonly means: Means;
  readonly host: RequestInProgress;
  /** Null: no site has this host. */
  readonly site: Site | null;
  /** What was asked for, by the policy: other rows are tried when it cannot be had. */
  readonly mechanism: MechanismRow;
  /** The node that the policy names. */
  readonly node: number;
  /** The link to that node; null: it is this one, or cannot be reached. */
  readonly link: Link | null;
  /** Whether this node can answer for the site. */
  readonly isServedHere: boolean;
}

export interface Mechanism {
  /** Which node hears the client. */
  readonly inHalf: 'anchor' | 'owner' | 'booster';
  /** Which node speaks to the client. */
  readonly outHalf: 'anchor' | 'target' | 'owner' | 'booster';
  /** How the node with the in-half learns that the response is out. */
  readonly endBy: 'own socket' | 'DATA_DONE' | 'announcement, then acknowledgement';
  /** Which node ends the connection. */
  readonly closes: 'anchor' | 'anchor, with the response' | 'owner' | 'booster';
  /** When the next request is taken up. */
  readonly next: 'at once' | 'when acknowledged' | 'never' | 'at the owner';
  /** What is tried when it cannot be had. */
  readonly otherwise: MechanismRow | null;
  /** Begins to answer, at the anchor. Null: it cannot be had. */
  begin(dispatch: Dispatch): Delivery | null;
}
