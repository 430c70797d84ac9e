/** The router's flow table, as far as the handoff's two sides use it (kernel/router/flows.ts implements it). */
import type { Endpoint } from '../../base/address.ts';
import type { Observed } from '../../kernel/router/flows.ts';
import type { FlowRules } from '../../kernel/router/ranges.ts';
import type { FourTuple } from './four-tuple.ts';

/** A flow's slot, the rules that the router goes by, and what it has seen of the flow; numbers are u32. */
export interface FlowTable {
  /** Takes a slot; -1 when the table is full. */
  allocate(): number;
  release(slot: number): void;
  /** Sets what the router will add to. Only while no segment can reach the slot. */
  resetObserved(slot: number, observed: Observed): void;
  /** The client's highest acknowledgement, and the right edge of its window, in its sequence space. */
  ack(slot: number): number;
  edge(slot: number): number;
  /** Whether the client has said, with its highest acknowledgement, that it has bytes beyond it. */
  holdsLater(slot: number): boolean;
  /** What the anchor's socket has acknowledged to the client. */
  inAck(slot: number): number;
  /** The smallest MTU that a router on the path to the client has told of; 0: none has. */
  pathMtu(slot: number): number;
  /** What the own socket was last told that it may send, in bytes. */
  window(slot: number): number;
  /** Segments of the client so far. */
  segments(slot: number): number;
  /** The client's number after the last byte that has come from it, and that rule follow has sent on. */
  inNext(slot: number): number;
  followed(slot: number): number;
  /** Whether the client has reset the connection since it is closing. */
  wasReset(slot: number): boolean;
  /** The client's newest timestamp; 0 when none was seen. */
  tsval(slot: number): number;
  /** Puts the rules of a slot in force. */
  write(slot: number, rules: FlowRules): void;
  /** Lets segments of the connection reach the slot. Its rules and observations are set before. */
  install(client: Endpoint, pub: Endpoint, slot: number): void;
  isInstalled(slot: number): boolean;
  uninstall(slot: number): void;
  tupleOf(slot: number): FourTuple;
}
