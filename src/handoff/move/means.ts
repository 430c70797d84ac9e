/** What an engine lends to the moves of its connections. Types only. */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Count } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { Deadlines } from '../../kernel/loop/deadlines.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { MovedResponse } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Sites } from '../../serve/sites.ts';
import type { StatusOrigin } from '../flow/flow-status.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import type { FlowTable } from '../flow/table.ts';
import type { Guest, Guests } from './guests.ts';
import type { HomeRoutes } from './home-routes.ts';
import type { ParkedSegments } from './parked.ts';

/** What every move needs to know. */
interface MoveMeans extends StatusOrigin {
  readonly loop: Clock;
  readonly counters: Count;
  readonly config: ClusterConfig;
  readonly guests: Guests;
  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number;
  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined;
}

/** How a connection that has come from another node begins. */
export interface ArrivedConnection {
  readonly guest: Guest;
  /** Its first request is answered here, whatever the policy says. */
  readonly serveFirst: boolean;
  /** The largest edge of the window that the client has been shown; absent: by this socket alone. */
  readonly advertisedEdge?: number;
  /** It comes in the middle of a response; the exchange has what is left of it. */
  readonly response?: ArrivedResponse | null;
}

/** What is left of a response in whose middle a connection has come from another node. */
export type ArrivedResponse = MovedResponse & { readonly exchange: Exchange };

/** At the node that a connection comes to. */
export interface IncomingMeans<Arriving> extends MoveMeans {
  readonly log: Log;
  readonly flows: FlowTable;
  readonly sites: Pick<Sites, 'serve'>;
  readonly connections: { readonly hasRoom: boolean; adopt(fd: number, arrived: ArrivedConnection): void };
  /** Whether other nodes may send connections here. */
  readonly accepts: boolean;
  readonly arrivals: Set<Arriving>;
  /** Bytes of their states. */
  arrivalBytes: number;
  readonly setupDeadlines: { readonly durationMs: number };
  readonly leavingDeadlines: { readonly durationMs: number };
  /** Whether a connection can be one that this cluster serves. */
  canServe(ends: FourTuple): boolean;
  /** Lets segments of a connection reach the slot. False: they reach another's, whose entry must stay. */
  claimFlow(ends: FourTuple, slot: number): boolean;
}

/** At the node that gives a connection away. */
export interface OutgoingMeans<Moving extends object> extends MoveMeans {
  readonly homeRoutes: HomeRoutes;
  readonly parked: Pick<ParkedSegments, 'park' | 'release' | 'giveBack'>;
  /** Connections that are to move, and wait for their last acknowledgements. */
  readonly migrations: Set<Moving>;
  /** Connections that are frozen here and sent to another node. */
  readonly underWay: Set<Moving>;
  /** Bytes of their states. */
  underWayBytes: number;
  readonly setupDeadlines: Pick<Deadlines<never>, 'durationMs'> & Waiting<Moving>;
  readonly leavingDeadlines: Waiting<Moving>;
  /** This node goes away. */
  readonly stopping: boolean;
  /** The link by which whatever there is of a connection goes to a node; undefined when it is not up. */
  linkOf(node: number, connection: { readonly key: string | null }): Link | undefined;
}

interface Waiting<Moving> {
  set(item: Moving, nowMs: number): void;
  clear(item: Moving): void;
}
