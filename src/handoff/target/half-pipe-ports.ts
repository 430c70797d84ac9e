/** What half-pipes and their sockets need: the kernel, the router's table, and who has them. Types only. */
import type { Endpoint } from '../../base/address.ts';
import type { Count } from '../../base/counters.ts';
import type { RepeatableChoice } from '../../cluster/policy/repeatable-choice.ts';
import type { HalfPipeSeed } from '../../kernel/linux/half-pipe.ts';
import type { Clock, Later, Watch } from '../../kernel/loop/ports.ts';
import type { ByteSink } from '../../serve/byte-sink.ts';
import type { Site, Sites } from '../../serve/sites.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import type { FlowTable } from '../flow/table.ts';

export interface RestoredSocket {
  readonly fd: number;
  /** The socket's TSval is (monotonicMs() + clockOffset) >>> 0. */
  readonly clockOffset: number;
  /** The socket's retransmission time-outs are limited, and stay so: no other connection can use it. */
  readonly limitsTimeout: boolean;
  /** The socket was made of the spare one, whose options it keeps. */
  readonly wasSpare: boolean;
}

/** TCP_INFO, as far as it is used. */
export interface SocketInfo {
  /** TcpState */
  state(): number;
  pathMtu(): number;
  congestionWindow(): number;
  srttUs(): number;
}

/** What is asked of the kernel for spare sockets. */
export interface SpareKernel {
  /** Ends its connection without a word, and leaves the socket bound. Throws SystemError. */
  empty(fd: number): void;
  /** Closes one that has no connection. */
  close(fd: number): void;
}

export interface HalfPipeKernel extends SpareKernel {
  /** An established socket that sends from the seed's `sequence` on. `spare`: -1: none. Throws SystemError. */
  restore(seed: HalfPipeSeed, spare: number): RestoredSocket;
  /** A client that acknowledges nothing for so long has its connection given up. */
  limitStall(fd: number, limitMs: number): void;
  /** `windowOf` gets the bytes that are queued. Throws SystemError when the socket has died. */
  setSendWindow(fd: number, windowOf: (queuedBytes: number) => number): void;
  /** Bytes that are not sent, or not acknowledged. */
  queuedBytes(fd: number): number;
  /** Valid until it is asked again. */
  info(fd: number): SocketInfo;
  /** The error that waits, as an errno, which then waits no more; 0: none. */
  takeError(fd: number): number;
  out(fd: number): ByteSink;
  /** Closes it, and its connection hears nothing of that. */
  closeSilently(fd: number): void;
}

/** The router's flow table, as a target uses it. */
export interface TargetTable extends FlowTable {
  /** `install`, unless the connection's segments reach another slot: then false. */
  claim(client: Endpoint, pub: Endpoint, slot: number): boolean;
  /** The slot that the connection's segments reach; -1: none. */
  installed(client: Endpoint, pub: Endpoint): number;
}

/** What has the sockets, and what all of them share. */
export interface SocketOwner {
  readonly ports: {
    readonly clock: Clock;
    readonly count: Count;
    readonly watch: Watch;
    readonly table: TargetTable;
    readonly kernel: HalfPipeKernel;
    /** Index of the engine. */
    readonly engine: number;
    /** limits.stallSeconds */
    readonly stallSeconds: number;
    log(level: 'warn', message: string, fields: Record<string, unknown>): void;
  };
  /** Bound sockets that nobody uses: one for a public endpoint, or -1. */
  readonly spares: { take(pub: Endpoint): number; keep(fd: number, pub: Endpoint): void };
  /** Lets segments of a connection reach the slot. False: they reach something else, which stays. */
  claim(ends: FourTuple, slot: number): boolean;
}

/** What the next request is judged and answered by. */
export interface NextPorts {
  readonly clock: Clock;
  readonly sites: Pick<Sites, 'serve' | 'find' | 'heads'>;
  readonly repeatableChoices: { of(site: Site): RepeatableChoice | null };
  /** Index of this node. */
  readonly self: number;
  isStopping(): boolean;
}

/** What has sent something that is not known to be acknowledged. */
export interface Collectable {
  /** The half-pipe's slot in the router's table. */
  readonly slot: number;
  collect(): void;
}

/** What has the half-pipes, and what all of them share. */
export interface HalfPipeOwner {
  readonly ports: NextPorts & { readonly count: Count; readonly later: Later };
  /** `collect` is to be called in every turn. */
  uncollected(pipe: Collectable): void;
  /** Nothing more is waited for. */
  collected(pipe: Collectable): void;
  /** The half-pipe in this slot sends nothing more; the slot is about to be given back. */
  closed(slot: number): void;
}
