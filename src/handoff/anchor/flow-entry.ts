/** A flow's entry in the router, at its anchor: the rules it goes by, and what has been seen of the connection. */
import type { Observed } from '../../kernel/router/flows.ts';
import { OWNER_SELF, ROLE_ANCHOR } from '../../kernel/router/layout.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import { distance } from '../../kernel/router/ranges.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import type { FlowTable } from '../flow/table.ts';
import { LateRanges } from './late-ranges.ts';

export class FlowEntry {
  readonly slot: number;
  /** What `write` puts in force. */
  readonly rules = ranges.emptyRules(ROLE_ANCHOR);
  readonly ends: FourTuple;
  readonly #table: FlowTable;
  readonly #late: LateRanges;
  #installed = false;

  /**
   * Takes over `slot`, which no segment reaches before the rules are written for the first time. `letsGoItself`:
   * whether a target's range, all acknowledged, is waited for no more.
   */
  constructor(
    table: FlowTable,
    slot: number,
    ends: FourTuple,
    seen: Observed,
    letsGoItself: (range: ranges.Range) => boolean,
  ) {
    this.#table = table;
    this.slot = slot;
    this.ends = ends;
    this.#late = new LateRanges(this.rules, letsGoItself);
    table.resetObserved(slot, seen);
  }

  /** What the client has acknowledged, in its sequence space. The router moves it on at any moment: read it once. */
  get acknowledged(): number {
    return this.#table.ack(this.slot);
  }

  /** The right edge of the client's window. */
  get edge(): number {
    return this.#table.edge(this.slot);
  }

  /** Whether the client has said that it has bytes beyond what it has acknowledged. */
  get holdsLater(): boolean {
    return this.#table.holdsLater(this.slot);
  }

  /** What the own socket was last told that it may send, in bytes. */
  get windowTold(): number {
    return this.#table.window(this.slot);
  }

  /** Segments of the client so far. */
  get segments(): number {
    return this.#table.segments(this.slot);
  }

  /** The client's number after the last byte that has come from it. */
  get inNext(): number {
    return this.#table.inNext(this.slot);
  }

  /** What the own socket has acknowledged to the client. */
  get inAck(): number {
    return this.#table.inAck(this.slot);
  }

  /** The client's number after the last byte that was sent on to a clone (rule follow). */
  get followed(): number {
    return this.#table.followed(this.slot);
  }

  /** The smallest MTU that a router on the path to the client has told of; 0: none has. */
  get pathMtu(): number {
    return this.#table.pathMtu(this.slot);
  }

  /** The client's newest timestamp; 0 when none was seen. */
  get tsval(): number {
    return this.#table.tsval(this.slot);
  }

  /** Whether the client has reset the connection since it is closing. */
  get wasReset(): boolean {
    return this.#table.wasReset(this.slot);
  }

  /** Whether the client uses the port anew (rule syn-ends-flow): no acknowledgement comes any more. */
  get isReplaced(): boolean {
    return !this.#table.isInstalled(this.slot);
  }

  /** What a node still owes the client. */
  owedBy(node: number): ranges.Range[] {
    const { acknowledged } = this;
    return this.rules.ranges.filter((g) => g.owner === node + 1 && owes(g, acknowledged));
  }

  /** Whether bytes of a node end at `end`, and the client has acknowledged them all. */
  hasDelivered(node: number, end: number): boolean {
    const { acknowledged } = this;
    const isHere = (g: ranges.Range) => g.owner === node + 1 && !g.open && g.end === end;
    return this.rules.ranges.some((g) => isHere(g) && !owes(g, acknowledged));
  }

  /** Whether any other node owes the client anything. */
  get isOwed(): boolean {
    const { acknowledged } = this;
    return this.rules.ranges.some((g) => g.owner !== OWNER_SELF && owes(g, acknowledged));
  }

  /** Drops what the client has acknowledged. Returns whether the rules have changed. */
  trim(): boolean {
    return ranges.trim(this.rules, this.acknowledged);
  }

  /** Drops late ranges whose time is over. Returns whether the rules have changed. */
  dropLate(nowMs: number): boolean {
    return this.#late.drop(this.acknowledged, nowMs);
  }

  /** Puts the rules in force. */
  write(): void {
    this.#late.mark(this.acknowledged);
    this.#table.write(this.slot, this.rules);
    if (this.#installed) return;
    this.#installed = true;
    this.#table.install(this.ends.client, this.ends.public, this.slot);
  }

  /** Gives the slot back. */
  release(): void {
    if (this.#installed) this.#table.uninstall(this.slot);
    this.#table.release(this.slot);
  }
}

/** A range that is not all acknowledged. */
function owes(range: ranges.Range, acknowledged: number): boolean {
  return range.open || distance(range.end, acknowledged) < 0;
}
