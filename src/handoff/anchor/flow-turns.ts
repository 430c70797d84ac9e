/**
 * Whose turn it is in the out-half of a flow, as the router is told before anybody acts by it.
 *
 *   own --toTarget--> a target's, end unknown --endAt, announce--> end known --toTarget, toOwn--> ...
 *                       |--cancel--> as if it had never been
 *                       `--cut--> what it sends from there on is another's to send
 */
import assert from 'node:assert';
import { FLAG_CLOSING, FLAG_FOLLOW, FLAG_WAKE, FLAG_WATCH, OWNER_SELF } from '../../kernel/router/layout.ts';
import * as ranges from '../../kernel/router/ranges.ts';
import { distance } from '../../kernel/router/ranges.ts';
import { nextEpoch } from '../flow/epoch.ts';
import type { OwnSpace } from '../flow/own-space.ts';
import type { FlowEntry } from './flow-entry.ts';

export class FlowTurns {
  readonly #entry: FlowEntry;
  /** Counts the handoffs. */
  epoch = 0;

  /** Begins with the own socket, whose next byte is `sequence`. */
  constructor(entry: FlowEntry, sequence: number) {
    this.#entry = entry;
    ranges.beginOwn(entry.rules, sequence);
  }

  get #last(): ranges.Range {
    const last = ranges.lastRange(this.#entry.rules);
    assert(last !== undefined, 'the out-half is always somebody’s');
    return last;
  }

  /** Index of the node that was given the newest response; -1: the anchor itself. */
  get lastSender(): number {
    return this.#last.owner - 1;
  }

  /** Where the newest range begins. */
  get start(): number {
    return this.#last.start;
  }

  /** The own socket may send, or a target whose end is unknown. */
  get isOpen(): boolean {
    return this.#last.open;
  }

  /** The own socket may send. */
  get isOwn(): boolean {
    return this.#last.open && this.#last.owner === OWNER_SELF;
  }

  /**
   * A node sends from here on; returns where that is. `changes`: another one than before. The caller writes the entry.
   */
  toTarget(node: number, changes: boolean): number {
    const { rules } = this.#entry;
    this.epoch = nextEpoch(this.epoch);
    const start = this.#last.open ? ranges.closeOwn(rules) : this.#last.end;
    ranges.openTarget(rules, node + 1, start, changes);
    return start;
  }

  /** The target's last byte is before `end`. One that has not announced its response takes nothing after it. */
  endAt(end: number): void {
    this.#entry.rules.flags = 0;
    ranges.endTarget(this.#entry.rules, end);
    this.#entry.write();
  }

  /** The target's last byte is before `end`; the router tells when the client has acknowledged `watch`. */
  announce(end: number, watch: number): void {
    const { rules } = this.#entry;
    rules.watch = watch;
    rules.epoch = this.epoch;
    rules.flags = FLAG_WATCH | FLAG_WAKE | (rules.flags & FLAG_FOLLOW);
    ranges.endTarget(rules, end);
    this.#entry.write();
  }

  /** The newest target range, which began at `start`, goes: nothing of it has reached the client. */
  cancel(start: number): void {
    this.#last.open = true;
    this.endAt(start);
  }

  /** The client has everything of the newest target range before `at`, and gets the rest from another node. */
  cut(node: number, at: number): void {
    const { rules } = this.#entry;
    this.#last.open = true;
    // Nothing is waited for where that node's response was to end.
    rules.flags = 0;
    ranges.endTarget(rules, at);
    ranges.collect(rules, node + 1, at);
    this.#entry.write();
  }

  /** The own socket sends from here on. Only when it does not already. */
  toOwn(): void {
    assert(!this.isOwn, 'the own socket does not send already');
    const { end } = this.#last;
    this.#entry.trim();
    ranges.openOwn(this.#entry.rules, end);
    this.#entry.write();
  }

  /**
   * Nobody sends, but for a target that was cut off and does not know: what the client has of it meanwhile is right.
   * Whoever goes on begins behind it. Returns how many bytes that is further.
   */
  catchUp(): number {
    const { rules, acknowledged } = this.#entry;
    const further = distance(ranges.nextWire(rules), acknowledged);
    if (further <= 0) return 0;
    ranges.closeOwn(rules);
    ranges.openOwn(rules, acknowledged);
    this.#entry.write();
    return further;
  }

  /**
   * The socket is about to be closed; its FIN gets its place behind everything else: in an own range that goes on, or
   * that begins for it. `none`: behind a target that is still sending it has no place. `ownNext`: where the socket
   * stands, given where it was known to. The caller writes the entry.
   */
  close(ownNext: (known: number) => number): 'goes on' | 'begins' | 'none' {
    const { rules } = this.#entry;
    const last = this.#last;
    if (!last.open) ranges.openOwn(rules, last.end);
    else if (this.isOwn) rules.ownNext = ownNext(rules.ownNext);
    rules.flags = FLAG_CLOSING;
    if (this.#last.owner !== OWNER_SELF) return 'none';
    return this.#last === last ? 'goes on' : 'begins';
  }

  /** How the socket's sequence space lies in the client's, while it is the own socket that sends. */
  ownSpace(): OwnSpace {
    assert(this.isOwn, 'the own socket sends');
    const { acknowledged, edge } = this.#entry;
    const { local, start, stamp } = this.#last;
    return { from: local, shift: distance(local, start) >>> 0, stamp, acknowledged, edge };
  }
}
