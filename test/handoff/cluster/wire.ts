/**
 * TCP between a client and the nodes, without a kernel: what sends, what the routers make of it by their rules, and a
 * network that loses, delays and reorders. Every byte that a client gets twice must be the same both times.
 */
import assert from 'node:assert/strict';
import { parseAddress } from '../../../src/base/address.ts';
import type { FourTuple } from '../../../src/handoff/flow/four-tuple.ts';
import { flowKeyText } from '../../../src/kernel/router/flow-key.ts';
import { FLAG_FOLLOW, OWNER_SELF } from '../../../src/kernel/router/layout.ts';
import { distance, type FlowRules, type Range } from '../../../src/kernel/router/ranges.ts';
import { BLOCKED, BROKEN, type ByteSink } from '../../../src/serve/byte-sink.ts';
import type { Random } from '../../../src/tools/lab/random.ts';
import type { ClientTls } from './tls.ts';

export const MSS = 1448;
/** Sequence numbers wrap in the middle of the first responses. */
export const START = 0xffff_f000;
export const CLIENT_START = 0xffff_fff0;
const NS_PER_MS = 1_000_000;
/** What a socket takes before the client has acknowledged any of it. */
const SEND_BUFFER_BYTES = 48 * 1024;
/** The most that a client is sent. */
const CLIENT_BYTES = 512 * 1024;

/** `bytes` with room for at least `length`: what is appended bit by bit is not copied as a whole each time. */
function grown(bytes: Buffer, length: number): Buffer {
  const larger = Buffer.allocUnsafe(2 * length);
  bytes.copy(larger);
  return larger;
}

/** A socket that sends: its bytes by their place in its own sequence space. */
export class Sender implements ByteSink {
  /** Its number of the first byte. */
  readonly start: number;
  #all: Buffer = Buffer.alloc(0);
  /** Where responses end: no segment holds bytes of two. */
  readonly #ends: number[] = [];
  written = 0;
  /** Behind what was sent at least once. */
  #next = 0;
  acknowledged = 0;
  /** Bytes beyond the acknowledged ones that the client allows, as far as the socket knows. */
  window: number;
  isClosed = false;

  constructor(start: number, window: number) {
    this.start = start;
    this.window = window;
  }

  get queued(): number {
    return this.written - this.acknowledged;
  }

  /** Bytes that were never sent. */
  get unsent(): number {
    return Math.min(this.written - this.#next, this.queued);
  }

  /** What the client has not acknowledged. */
  get queue(): Buffer {
    return this.#all.subarray(this.acknowledged, this.written);
  }

  /** As `bytes` were sent: a socket that goes on from another's state. */
  refill(bytes: Buffer): void {
    this.send(bytes, 0, false, true);
    this.#next = this.written;
  }

  send(bytes: Buffer, from: number, _more: boolean, last: boolean): number {
    if (this.isClosed) return BROKEN;
    const taken = Math.min(bytes.length - from, SEND_BUFFER_BYTES - this.queued);
    if (taken === 0) return BLOCKED;
    const end = this.written + taken;
    if (end > this.#all.length) this.#all = grown(this.#all, end);
    bytes.copy(this.#all, this.written, from, from + taken);
    this.written = end;
    if (last && from + taken === bytes.length) this.#ends.push(this.written);
    return taken;
  }

  sendFile(): number {
    assert.fail('responses are in memory');
  }

  flush(): number {
    return 0;
  }

  /**
   * What a kernel may send now: the next piece, the first that is not acknowledged again, or any; null: nothing.
   */
  piece(random: Random): { at: number; bytes: Buffer } | null {
    const edge = Math.min(this.written, this.acknowledged + this.window);
    if (edge <= this.acknowledged) return null;
    const chance = random.below(100);
    const isNext = chance < 60 && this.#next >= this.acknowledged && this.#next < edge;
    const again =
      chance < 85 ? this.acknowledged : this.acknowledged + random.below(edge - this.acknowledged);
    const at = isNext ? this.#next : again;
    const end = this.#ends.find((one) => one > at) ?? edge;
    const length = Math.min(end, edge, at + MSS) - at;
    this.#next = Math.max(this.#next, at + length);
    return { at, bytes: this.#all.subarray(at, at + length) };
  }

  /** The number in its space of a place in it. */
  number(at: number): number {
    return (this.start + at) >>> 0;
  }
}

/** The range of the own socket in which `number` of its space lies. */
function ownRange(rules: FlowRules, number: number): Range | undefined {
  return rules.ranges.findLast((range) => range.owner === OWNER_SELF && distance(range.local, number) >= 0);
}

/**
 * Rules no-range and lease: where a piece lies in the client's space; null: it must not leave. `acknowledged`: as the
 * node's router has seen it.
 */
export function toWire(
  rules: FlowRules,
  number: number,
  length: number,
  acknowledged: number,
  nowMs: number,
): number | null {
  const range = ownRange(rules, number);
  if (range === undefined) return null;
  const at = distance(range.local, number);
  if (!range.open && at + length > distance(range.start, range.end)) return null;
  const isLate = nowMs * NS_PER_MS >= rules.leaseNs;
  if (range.leased && isLate && distance(range.start, acknowledged) <= 0) return null;
  return (range.start + at) >>> 0;
}

/** Rule to-local: what an acknowledgement means for the own socket. */
export function toLocal(rules: FlowRules, acknowledged: number): number | null {
  const own = rules.ranges.filter(({ owner }) => owner === OWNER_SELF);
  const range = own.findLast(({ start }) => distance(start, acknowledged) >= 0);
  if (range === undefined) return own.length > 0 ? own[0].local : null;
  const bytes = distance(range.start, acknowledged);
  return (range.local + (range.open ? bytes : Math.min(bytes, distance(range.start, range.end)))) >>> 0;
}

/** Rule follow: a request that begins when the whole response before it is acknowledged; or, while its end is not known, some. */
export function follows({ flags, watch, ranges }: FlowRules, { bytes, ack }: Segment): boolean {
  const last = ranges.at(-1);
  if ((flags & FLAG_FOLLOW) === 0 || last === undefined || bytes.length === 0) return false;
  if (last.owner === OWNER_SELF) return false;
  return last.open ? distance(last.start, ack) > 0 : ack === watch;
}

/** Numbers of the client's space; `holdsLater`: it has bytes beyond a gap (SACK). */
export interface Acknowledgement {
  readonly ack: number;
  /** Right edge of its window. */
  readonly edge: number;
  readonly holdsLater: boolean;
}

/** Of a client: what it has, and what it says from a place in its own stream on. */
export interface Segment extends Acknowledgement {
  readonly client: Client;
  readonly at: number;
  readonly bytes: Buffer;
  /** With FIN, behind its bytes. */
  readonly isEnd: boolean;
  /** RST: the client has no such connection any more. */
  readonly isReset: boolean;
}

/** Rule follow: a client's segment that goes to a clone as well. */
export interface FollowedSegment extends Segment {
  /** The anchor's. */
  readonly epoch: number;
  readonly sentAtMs: number;
}

/** A client: what it has of the stream, and what it asks for. */
export class Client {
  readonly ends: FourTuple;
  /** Of its connection in routers' tables. */
  readonly key: string;
  /** All that it has said; whether that was all; how much of it was acknowledged, FIN included. */
  #said: Buffer = Buffer.alloc(0);
  hasEnded = false;
  heard = 0;
  /** Index of the node that has accepted the connection. */
  readonly anchor: number;
  readonly #bytes = Buffer.alloc(CLIENT_BYTES);
  readonly #has = new Uint8Array(CLIENT_BYTES + 1);
  /** Bytes from the first on without a gap. */
  have = 0;
  /** Behind the last byte that it has. */
  #behind = 0;
  /** The right edge of the window that it has told of. */
  #edge: number;
  readonly #window: number;
  isReset = false;
  /** It has ended the connection itself, by RST, and says so to whatever still comes of it. */
  hasLeft = false;
  /** Null: in the clear. */
  readonly tls: ClientTls | null;

  constructor(index: number, anchor: number, window: number, tls: ClientTls | null) {
    this.anchor = anchor;
    this.tls = tls;
    if (tls !== null) this.#said = tls.hello;
    this.#window = window;
    this.#edge = window;
    this.ends = {
      client: { address: parseAddress('10.0.0.9'), port: 40_000 + index },
      public: { address: parseAddress(`10.0.0.${anchor + 1}`), port: 80 },
    };
    this.key = flowKeyText(this.ends.client, this.ends.public);
  }

  say(text: string): void {
    this.#said = Buffer.concat([this.#said, this.tls?.seal(text) ?? Buffer.from(text)]);
  }

  /** Ends the connection, whatever it waits for. */
  leave(): void {
    this.hasLeft = true;
    this.isReset = true;
  }

  /** Has other keys from here on, over TLS. */
  updateKeys(): void {
    if (this.tls !== null) this.#said = Buffer.concat([this.#said, this.tls.update()]);
  }

  get owesBytes(): number {
    return this.#said.length - this.heard;
  }

  /** It has said something that was not acknowledged. */
  get owes(): boolean {
    return this.heard < this.#said.length + (this.hasEnded ? 1 : 0);
  }

  /** What it sends: what it has, and, `saying`, the first `most` bytes of what was not acknowledged. */
  segment(saying: boolean, most = MSS): Segment {
    const at = Math.min(this.heard, this.#said.length);
    const bytes = saying ? this.#said.subarray(at, at + most) : this.#said.subarray(at, at);
    const isEnd = saying && this.hasEnded && at + bytes.length === this.#said.length;
    const { ack, edge, holdsLater } = this.acknowledgement;
    return { ack, edge, holdsLater, client: this, at, bytes, isEnd, isReset: this.hasLeft };
  }

  /** A segment has come: `wire` is the number of its first byte. */
  take(wire: number, bytes: Buffer): void {
    const at = distance(START, wire);
    assert.ok(at >= 0, `bytes ${-at} before the connection’s first`);
    // What does not fit it drops, as TCP does; and everything once its connection was reset.
    if (this.isReset || at + bytes.length > this.#edge) return;
    const end = at + bytes.length;
    this.#compare(at, bytes);
    bytes.copy(this.#bytes, at);
    this.#has.fill(1, at, end);
    this.#behind = Math.max(this.#behind, end);
    if (at <= this.have && end > this.have) this.have = this.#has.indexOf(0, end);
    this.#edge = Math.max(this.#edge, Math.min(this.have + this.#window, CLIENT_BYTES));
  }

  /** What has come before is the same as it comes again. */
  #compare(at: number, bytes: Buffer): void {
    const knownEnd = Math.min(this.#behind, at + bytes.length);
    if (knownEnd <= at || bytes.compare(this.#bytes, at, knownEnd, 0, knownEnd - at) === 0) return;
    for (let i = at; i < knownEnd; i++)
      if (this.#has[i] === 1) assert.equal(this.#bytes[i], bytes[i - at], `byte ${i} was another one before`);
  }

  /** What it says with a segment. */
  get acknowledgement(): Acknowledgement {
    const holdsLater = this.#behind > this.have;
    return { ack: (START + this.have) >>> 0, edge: (START + this.#edge) >>> 0, holdsLater };
  }

  /** What it has of responses, without a gap. */
  get text(): Buffer {
    const stream = this.#bytes.subarray(0, this.have);
    return this.tls?.textOf(stream) ?? stream;
  }
}
