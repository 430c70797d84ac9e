/**
 * The flows of one engine in the router's maps. Rules are written whole into the copy that no program reads, then
 * one word switches over: a program sees the rules before or after, never between.
 */
import type { Endpoint } from '../../base/address.ts';
import { KernelMap, mapMemory } from '../linux/bpf.ts';
import { readFlowKey, writeFlowKey } from './flow-key.ts';
import * as layout from './layout.ts';
import type { FlowRules } from './ranges.ts';

/** What the programs saw of a flow; numbers are u32. */
export interface Observed {
  /** The client's highest acknowledgement. */
  ack: number;
  /** The highest right edge of its window. */
  edge: number;
  /** The own socket's number after the last byte seen leaving. */
  sentNext: number;
  /** At an anchor: the client's number after the last byte that has come from it; absent: none seen yet. */
  inNext?: number;
  /** What the anchor has acknowledged to the client; absent: not known. */
  inAck?: number;
  /** At an anchor: the largest window that the client has told, in bytes. */
  maxWindow?: number;
  /** At an anchor: the largest that the own socket has told the client, in bytes. */
  inMaxWindow?: number;
  /** At an anchor: what the own socket may send, as it was told last, in bytes; absent: it will be told. */
  window?: number;
}

export interface FlowMaps {
  readonly slots: number;
  readonly flows: number;
  readonly observed: number;
  readonly ended: number;
}

/** Slots [first, first + count) of the router's flow table. */
export class Flows {
  readonly #slots: KernelMap;
  /** Connections that are over here: their router answers their clients with resets (rule ended). */
  readonly #ended: KernelMap;
  readonly #words: Uint32Array;
  readonly #signed: Int32Array;
  readonly #observed: Uint32Array;
  readonly #free: number[] = [];
  readonly #first: number;
  /** Which connection each slot is for, or was: one key after the other. */
  readonly #keys: Buffer;
  readonly #unmap: Array<() => void>;
  readonly capacity: number;

  constructor(maps: FlowMaps, totalFlows: number, first: number, count: number) {
    this.capacity = count;
    this.#first = first;
    this.#keys = Buffer.alloc(count * layout.KEY_BYTES);
    this.#slots = new KernelMap(maps.slots, layout.KEY_BYTES, 4);
    this.#ended = new KernelMap(maps.ended, layout.KEY_BYTES, 4);
    const flows = mapMemory(maps.flows, totalFlows * layout.FLOW_WORDS * 4);
    const observed = mapMemory(maps.observed, totalFlows * layout.OBSERVED_WORDS * 4);
    this.#words = new Uint32Array(flows.view);
    this.#signed = new Int32Array(flows.view);
    this.#observed = new Uint32Array(observed.view);
    this.#unmap = [flows.unmap, observed.unmap];
    for (let slot = first + count - 1; slot >= first; slot--) this.#free.push(slot);
  }

  /** How many slots are in use. */
  get used(): number {
    return this.capacity - this.#free.length;
  }

  /** Takes a slot; -1 when the table is full (the caller then serves without a handoff). */
  allocate(): number {
    return this.#free.pop() ?? -1;
  }

  release(slot: number): void {
    this.#free.push(slot);
  }

  /** Sets what the programs will add to. Only while no segment can reach the slot. */
  resetObserved(slot: number, observed: Observed): void {
    const at = slot * layout.OBSERVED_WORDS;
    this.#observed[at + layout.OBSERVED_ACK] = observed.ack;
    this.#observed[at + layout.OBSERVED_EDGE] = observed.edge;
    this.#observed[at + layout.OBSERVED_SENT_NEXT] = observed.sentNext;
    this.#observed[at + layout.OBSERVED_WATCHED] = 0;
    this.#observed[at + layout.OBSERVED_SEGMENTS] = 0;
    this.#observed[at + layout.OBSERVED_TSVAL] = 0;
    this.#observed[at + layout.OBSERVED_IN_NEXT] = observed.inNext ?? 0;
    this.#observed[at + layout.OBSERVED_WINDOW] = observed.window ?? 0;
    // 0 says that it is not known; the number before it is as good.
    this.#observed[at + layout.OBSERVED_IN_ACK] = observed.inAck === 0 ? 0xffff_ffff : (observed.inAck ?? 0);
    this.#observed[at + layout.OBSERVED_FOLLOWED] = observed.inNext ?? 0;
    this.#observed[at + layout.OBSERVED_MAX_WINDOW] = observed.maxWindow ?? 0;
    this.#observed[at + layout.OBSERVED_IN_MAX_WINDOW] = observed.inMaxWindow ?? 0;
    this.#observed[at + layout.OBSERVED_ENDED] = 0;
    // Never acknowledged again.
    this.#observed[at + layout.OBSERVED_SAID_FIN] = observed.ack - 1;
    this.#observed[at + layout.OBSERVED_PATH_MTU] = 0;
    // Nothing beyond it.
    this.#observed[at + layout.OBSERVED_HELD_ACK] = observed.ack;
    this.#observed[at + layout.OBSERVED_HELD_END] = observed.ack;
  }

  ack(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_ACK];
  }

  edge(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_EDGE];
  }

  /** Whether the client has said, with its highest acknowledgement, that it has bytes beyond it. */
  holdsLater(slot: number): boolean {
    const at = slot * layout.OBSERVED_WORDS;
    const ack = this.#observed[at + layout.OBSERVED_HELD_ACK];
    return ack === this.ack(slot) && this.#observed[at + layout.OBSERVED_HELD_END] !== ack;
  }

  /** What the own socket has acknowledged to the client, as seen leaving. */
  inAck(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_IN_ACK];
  }

  segments(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_SEGMENTS];
  }

  /** What the own socket was last told that it may send, in bytes. */
  window(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_WINDOW];
  }

  /** At an anchor: the client's number after the last byte that has come from it. */
  inNext(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_IN_NEXT];
  }

  /** At an anchor: the client's number after the last byte that rule follow has sent on. */
  followed(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_FOLLOWED];
  }

  /** At an anchor: the smallest MTU that a router on the path has told of; 0: none has. */
  pathMtu(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_PATH_MTU];
  }

  /** At an anchor: whether the client has reset the connection since it is closing. */
  wasReset(slot: number): boolean {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_WATCHED] === layout.WATCHED_RESET;
  }

  /** The client's newest timestamp; 0 when none was seen. */
  tsval(slot: number): number {
    return this.#observed[slot * layout.OBSERVED_WORDS + layout.OBSERVED_TSVAL];
  }

  /** Puts the rules of a slot in force. */
  write(slot: number, rules: FlowRules): void {
    const flow = slot * layout.FLOW_WORDS;
    const copy = 1 - (this.#words[flow] & 1);
    const at = flow + 2 + copy * layout.RULES_WORDS;
    const words = this.#words;
    words[at] = rules.role | (rules.ranges.length << 8) | (rules.clientScale << 16) | (rules.flags << 24);
    words[at + 1] = rules.ownNext;
    words[at + 2] = rules.inLocal;
    words[at + 3] = rules.inWire;
    words[at + 4] = rules.inWindow | (rules.engine << 16);
    words[at + 5] = rules.inTsecr;
    words[at + 6] = rules.congestionWindow;
    words[at + 7] = rules.watch;
    words[at + 8] = rules.epoch;
    words[at + 9] = rules.stamp;
    words[at + 10] = rules.leaseNs >>> 0;
    words[at + 11] = Math.floor(rules.leaseNs / 2 ** 32);
    words[at + 12] = rules.inScale | (rules.anchor << 8);
    let to = at + layout.RULES_RANGES;
    for (const range of rules.ranges) {
      words[to] = range.start;
      words[to + 1] = range.end;
      words[to + 2] = range.local;
      words[to + 3] = range.stamp;
      words[to + 4] =
        range.owner | (range.open ? 0x100 : 0) | (range.leased ? 0x10000 : 0) | (range.late ? 0x1000000 : 0);
      to += layout.RANGE_WORDS;
    }
    Atomics.store(this.#signed, flow, copy);
  }

  #keyOf(slot: number): Buffer {
    const at = (slot - this.#first) * layout.KEY_BYTES;
    return this.#keys.subarray(at, at + layout.KEY_BYTES);
  }

  /** Which connection the slot is for. */
  #assign(client: Endpoint, pub: Endpoint, slot: number): void {
    const key = this.#keyOf(slot);
    writeFlowKey(key, client, pub);
    this.#slots.key.bytes.set(key);
    this.#slots.value.bytes.writeUInt32LE(slot, 0);
  }

  #lookup(): number {
    return this.#slots.lookup() ? this.#slots.value.bytes.readUInt32LE(0) : -1;
  }

  /** Lets segments of the connection reach the slot. Its rules and observations are set before. */
  install(client: Endpoint, pub: Endpoint, slot: number): void {
    this.#assign(client, pub, slot);
    this.#slots.update();
  }

  /**
   * `install`, unless the connection's segments reach another slot: then false. It comes from another node, so one with
   * the same ends that was reset here before is another one.
   */
  claim(client: Endpoint, pub: Endpoint, slot: number): boolean {
    this.#assign(client, pub, slot);
    this.#ended.key.bytes.set(this.#slots.key.bytes);
    this.#ended.delete();
    return this.#slots.insert() || this.#lookup() === slot;
  }

  /** The slot that the connection's segments reach now; -1 when none. */
  installed(client: Endpoint, pub: Endpoint): number {
    writeFlowKey(this.#slots.key.bytes, client, pub);
    return this.#lookup();
  }

  /** Whether the segments of the connection that the slot is for still reach it. */
  isInstalled(slot: number): boolean {
    this.#slots.key.bytes.set(this.#keyOf(slot));
    return this.#lookup() === slot;
  }

  /** The two ends of the connection that the slot is for. */
  tupleOf(slot: number): { client: Endpoint; public: Endpoint } {
    return readFlowKey(this.#keyOf(slot));
  }

  /** Takes the entry of the slot's connection away, if it still leads to the slot. */
  uninstall(slot: number): void {
    if (this.isInstalled(slot)) this.#slots.delete();
  }

  close(): void {
    for (const unmap of this.#unmap) unmap();
  }
}
