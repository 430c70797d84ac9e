/** The router's flow table in user space: what the anchor or a target has written, and what a test lets the router see. */
import assert from 'node:assert/strict';
import type { Endpoint } from '../../src/base/address.ts';
import type { FourTuple } from '../../src/handoff/flow/four-tuple.ts';
import type { FlowTable } from '../../src/handoff/flow/table.ts';
import { flowKeyText } from '../../src/kernel/router/flow-key.ts';
import type { Observed } from '../../src/kernel/router/flows.ts';
import type { FlowRules } from '../../src/kernel/router/ranges.ts';

interface Seen {
  ack: number;
  edge: number;
  inAck: number;
  inNext: number;
  followed: number;
  pathMtu: number;
  segments: number;
  tsval: number;
  window: number;
  wasReset: boolean;
  /** The client has bytes beyond what it has acknowledged. */
  holdsLater: boolean;
}

export class TableModel implements FlowTable {
  readonly #free: number[];
  readonly #taken: number[] = [];
  readonly seen = new Map<number, Seen>();
  readonly rules = new Map<number, FlowRules>();
  readonly #ends = new Map<number, FourTuple>();
  readonly #installed = new Map<string, number>();

  constructor(slots = 4) {
    this.#free = Array.from({ length: slots }, (_, slot) => slots - 1 - slot);
  }

  get free(): number {
    return this.#free.length;
  }

  allocate(): number {
    return this.#free.pop() ?? -1;
  }

  /** Other connections have so many slots. */
  take(slots: number): void {
    this.#taken.push(...this.#free.splice(-slots));
  }

  /** They have ended. */
  giveBack(): void {
    this.#free.push(...this.#taken.splice(0));
  }

  release(slot: number): void {
    assert(!this.#free.includes(slot), `slot ${slot} is free already`);
    assert(!this.isInstalled(slot), `slot ${slot} is still reached`);
    this.#free.push(slot);
  }

  #of(slot: number): Seen {
    const seen = this.seen.get(slot);
    assert(seen !== undefined, `slot ${slot} has no observations`);
    return seen;
  }

  resetObserved(slot: number, { ack, edge, inNext = 0, inAck = 0, window = 0 }: Observed): void {
    const rest = { pathMtu: 0, segments: 0, tsval: 0, wasReset: false, holdsLater: false };
    this.seen.set(slot, { ack, edge, inAck, inNext, followed: inNext, window, ...rest });
  }

  ack(slot: number): number {
    return this.#of(slot).ack;
  }

  edge(slot: number): number {
    return this.#of(slot).edge;
  }

  inAck(slot: number): number {
    return this.#of(slot).inAck;
  }

  pathMtu(slot: number): number {
    return this.#of(slot).pathMtu;
  }

  segments(slot: number): number {
    return this.#of(slot).segments;
  }

  inNext(slot: number): number {
    return this.#of(slot).inNext;
  }

  followed(slot: number): number {
    return this.#of(slot).followed;
  }

  holdsLater(slot: number): boolean {
    return this.#of(slot).holdsLater;
  }

  wasReset(slot: number): boolean {
    return this.#of(slot).wasReset;
  }

  tsval(slot: number): number {
    return this.#of(slot).tsval;
  }

  write(slot: number, rules: FlowRules): void {
    this.rules.set(slot, { ...rules, ranges: rules.ranges.map((range) => ({ ...range })) });
  }

  install(client: Endpoint, pub: Endpoint, slot: number): void {
    assert(this.rules.has(slot), `slot ${slot} has no rules yet`);
    this.#ends.set(slot, { client, public: pub });
    this.#installed.set(flowKeyText(client, pub), slot);
  }

  /** `install`, unless the connection's segments reach another slot. */
  claim(client: Endpoint, pub: Endpoint, slot: number): boolean {
    const taken = this.installed(client, pub);
    this.#ends.set(slot, { client, public: pub });
    if (taken >= 0 && taken !== slot) return false;
    this.install(client, pub, slot);
    return true;
  }

  installed(client: Endpoint, pub: Endpoint): number {
    return this.slotOf(flowKeyText(client, pub));
  }

  /** The slot that the segments of a connection with this key (flowKeyText) reach; -1: none. */
  slotOf(key: string): number {
    return this.#installed.get(key) ?? -1;
  }

  /** A target's sockets are told in every case. */
  window(slot: number): number {
    return this.#of(slot).window;
  }

  isInstalled(slot: number): boolean {
    const ends = this.#ends.get(slot);
    return ends !== undefined && this.#installed.get(flowKeyText(ends.client, ends.public)) === slot;
  }

  uninstall(slot: number): void {
    const { client, public: pub } = this.tupleOf(slot);
    if (this.isInstalled(slot)) this.#installed.delete(flowKeyText(client, pub));
  }

  tupleOf(slot: number): FourTuple {
    const ends = this.#ends.get(slot);
    assert(ends !== undefined, `slot ${slot} was never installed`);
    return ends;
  }

  /** The client acknowledges up to `ack`, and allows `window` bytes beyond. `holdsLater`: it has some of those. */
  acknowledge(slot: number, ack: number, window = 65535, holdsLater = false): void {
    const seen = this.#of(slot);
    Object.assign(seen, { ack, edge: (ack + window) >>> 0, segments: seen.segments + 1, holdsLater });
  }
}
