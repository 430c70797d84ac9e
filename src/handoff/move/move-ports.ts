/** What the moves of connections need of an engine and of the kernel. Types only. */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Count } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { CaptureOptions } from '../../kernel/linux/tcp-repair.ts';
import type { Timed } from '../../kernel/loop/deadlines.ts';
import type { Clock } from '../../kernel/loop/ports.ts';
import type { ConnectionState } from '../../kernel/tcp/state.ts';
import type { MovedResponse } from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { TlsSession } from '../../protocol/tls/session.ts';
import type { Exchange } from '../../serve/exchange.ts';
import type { Sites } from '../../serve/sites.ts';
import type { StatusOrigin } from '../flow/flow-status.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import type { FlowTable } from '../flow/table.ts';
import type { Forwards } from './forwards.ts';
import type { Guest, Guests } from './guests.ts';
import type { HomeRoutes } from './home-routes.ts';
import type { ParkedSegments } from './parked.ts';

/** What moves do to sockets. Every function throws SystemError. */
export interface MoveKernel {
  /** The ends of an accepted socket; null when the client has just reset the connection. */
  ends(fd: number): FourTuple | null;
  /** Bytes that the client has not acknowledged; those of them that were never sent; those that nobody has read. */
  queuedBytes(fd: number): number;
  unsentBytes(fd: number): number;
  unreadBytes(fd: number): number;
  /** Reads the whole state, and leaves the socket in repair, deaf. Throws StateError as well: then it is as it was. */
  freeze(fd: number, options: CaptureOptions): ConnectionState;
  /** Undoes `freeze`. */
  thaw(fd: number): void;
  /** A socket of that state, which sends nothing of its own. */
  restore(state: ConnectionState): number;
  /** What was never sent is sent now. */
  release(fd: number, state: ConnectionState): void;
  /** Has the client say something. */
  probe(fd: number): void;
  /** Closes a socket without FIN or RST: the connection lives on elsewhere. */
  closeSilently(fd: number): void;
}

/** How a connection that has come from another node begins. */
export interface ArrivedConnection {
  readonly guest: Guest;
  /** The connection's first request is answered here, whatever the policy says. */
  readonly serveFirst: boolean;
  /** The largest edge of the window that the client has been shown; absent: by this socket alone. */
  readonly advertisedEdge?: number;
  /** The TLS session; what takes the secrets over wipes them. Absent or null: the connection is in the clear. */
  readonly session?: TlsSession | null;
  /** The connection comes in the middle of a response; the exchange has what is left of it. */
  readonly response?: ArrivedResponse | null;
}

/** What is left of a response in whose middle a connection has come from another node. */
export type ArrivedResponse = MovedResponse & { readonly exchange: Exchange };

export interface MovePorts extends StatusOrigin {
  readonly clock: Clock;
  readonly count: Count;
  readonly config: Pick<ClusterConfig, 'nodes' | 'limits' | 'timeouts'>;
  readonly kernel: MoveKernel;
  readonly table: FlowTable;
  readonly sites: Pick<Sites, 'serve'>;
  readonly guests: Pick<Guests, 'arrive' | 'movedOn'>;
  readonly forwards: Pick<Forwards, 'stop'>;
  readonly homeRoutes: Pick<HomeRoutes, 'divert'>;
  readonly parked: Pick<ParkedSegments, 'park' | 'release' | 'giveBack'>;
  readonly connections: { hasRoom(): boolean; adopt(fd: number, arrived: ArrivedConnection): void };
  readonly log: Log;
  /** Whether other nodes may send connections here. */
  accepts(): boolean;
  /** Whether this node goes away. */
  isStopping(): boolean;
  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number;
  /** Whether a connection can be one that this cluster serves. */
  canServe(ends: FourTuple): boolean;
  /** Lets segments of a connection reach the slot. False: they reach another's, whose entry must stay. */
  claim(ends: FourTuple, slot: number): boolean;
  /** The link to the engine of a node that gets whatever comes there of a connection; undefined when it is not up. */
  linkFor(node: number, key: string): Link | undefined;
  /** As `linkFor`, for a connection whose key is asked of the kernel only where it matters. */
  linkOf(node: number, connection: { readonly key: string | null }): Link | undefined;
}

/** A connection on its way to another node, as its owner knows it. */
export interface Outgoing extends Timed {
  readonly isDraining: boolean;
  /** Bytes of its state. */
  readonly stateBytes: number;
}

/** What has the moves of an engine, as an outgoing move sees it. */
export interface OutgoingOwner<Move extends Outgoing> {
  readonly ports: MovePorts;
  /** The move waits for the connection's last acknowledgements. */
  waits(move: Move): void;
  /** The connection is frozen here, and its state is sent to another node. */
  asked(move: Move): void;
  /** The target's answer is late, and is waited for. */
  waitsOn(move: Move): void;
  /** The connection has moved, stays, or has ended. */
  over(move: Move): void;
}

/** What has the moves of an engine, as an incoming move sees it. */
export interface IncomingOwner<Move> {
  readonly ports: MovePorts;
  /** How long the initiator of a move waits for the answer. */
  patienceMs(isDraining: boolean): number;
  /** The connection is here for good, or is another's. */
  left(move: Move, stateBytes: number): void;
}
