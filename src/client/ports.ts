/**
 * What the clients' connections of an engine need of its parts, and a request in progress of its connection: a few
 * functions of each. Types only.
 */
import type { ClusterConfig } from '../base/config/config.ts';
import type { Count } from '../base/counters.ts';
import type { Choice } from '../cluster/policy/policy.ts';
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import type { AnchorFlows } from '../handoff/anchor/flows.ts';
import type { Handoffs } from '../handoff/anchor/handoffs.ts';
import type { Dispatcher } from '../handoff/mechanism/dispatcher.ts';
import type { Guests } from '../handoff/move/guests.ts';
import type { Movable } from '../handoff/move/movable.ts';
import type { WayOut } from '../handoff/request/way-out.ts';
import type { Memory } from '../kernel/linux/memory.ts';
import type { Clock, Watch } from '../kernel/loop/ports.ts';
import type { ErrorStatus } from '../protocol/http/error-response.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { TlsAcceptor } from '../protocol/tls/handshake.ts';
import type { Client } from '../serve/request.ts';
import type { Sites } from '../serve/sites.ts';
import type { AccessRecords, Described } from './access-records.ts';
import type { BoostedClients } from './boosted-clients.ts';
import type { ConnectionDeadlines } from './connection-deadlines.ts';
import type { ConnectionState } from './connection-state.ts';
import type { Move } from './moving.ts';
import type { ClientSockets } from './sockets.ts';

export interface ClientPorts {
  /** `wallMs`: the time of day. */
  readonly clock: Pick<Clock, 'nowMs'> & { readonly wallMs: number };
  readonly watch: Watch;
  readonly count: Count;
  readonly config: Pick<ClusterConfig, 'limits' | 'listen' | 'nodes'>;
  readonly sockets: ClientSockets;
  readonly sites: Pick<
    Sites,
    'heads' | 'find' | 'parsed' | 'extraFields' | 'failure' | 'answered' | 'failed'
  >;
  readonly dispatcher: Pick<Dispatcher, 'choose' | 'mayMove' | 'dispatch' | 'answer' | 'answered'>;
  readonly flows: Pick<AnchorFlows, 'create'>;
  readonly handoffs: Pick<Handoffs, 'takeOver'>;
  readonly guests: Pick<Guests, 'size' | 'revive' | 'ended' | 'close'>;
  /** Null: no site is served over TLS. */
  readonly tls: Pick<TlsAcceptor, 'begin'> | null;
  readonly access: Pick<AccessRecords, 'answered' | 'cut' | 'refused'>;
  /** At a booster, its clients; null elsewhere. */
  readonly boosted: Pick<BoostedClients, 'admit' | 'answered' | 'closed' | 'useLimits'> | null;
  log(level: 'info' | 'warn', message: string, fields: Record<string, unknown>): void;
  /** Begins to give a connection to another node. Null: it cannot go now, and is as before. */
  startMove(connection: Movable, to: Choice): Move | null;
  /** Connections end with their next response: this node stops, and no other takes them. */
  isClosing(): boolean;
}

/** What has the connections of an engine. */
export interface ConnectionOwner {
  readonly ports: ClientPorts;
  readonly deadlines: ConnectionDeadlines;
  /** What is read goes there: it is gone with the next read, of whatever connection. */
  readonly receiveBuffer: Memory;
  /** An answer of the engine's own, after which the connection ends. */
  refusal(status: ErrorStatus, client: Described, head: RequestHead | null): Buffer;
  /** A connection has ended, or lives at another node; its socket is closed right after. */
  closed(connection: { readonly fd: number }): void;
}

/** The connection that the request came on. */
export interface RequestConnection {
  readonly client: Client & Described;
  readonly fd: number;
  readonly channel: WayOut;
  readonly state: ConnectionState;
  readonly key: string | null;
  flow: AnchorFlow | null;
  /** Not null: the connection has come from another node. */
  readonly guest: object | null;
  readonly hasMore: boolean;
  readonly quiet: boolean;
  /** A response is in progress that no request here has just asked for. */
  occupied(): void;
  /** The client can do what only it can; `moved`: it has just taken some of the response. */
  watchClient(moved: boolean): void;
  bodyWanted(): void;
  /** The request in progress has its response. `close`: the connection ends with it. */
  answered(close: boolean): void;
  /** Has `askLater` called, soon. */
  asksLater(): void;
  broken(reason: string): void;
}

export type RequestPorts = Pick<
  ClientPorts,
  | 'clock'
  | 'count'
  | 'config'
  | 'sites'
  | 'dispatcher'
  | 'flows'
  | 'handoffs'
  | 'access'
  | 'boosted'
  | 'isClosing'
>;
