/**
 * The router loaded but attached to nothing, in a network of its own: programs run on hand-made frames
 * (BPF_PROG_TEST_RUN), with lo as the interface.
 */
import assert from 'node:assert';
import { type Endpoint, parseAddress } from '../../../src/base/address.ts';
import { mapMemory } from '../../../src/kernel/linux/bpf.ts';
import { lastErrno, SystemError } from '../../../src/kernel/linux/errors.ts';
import * as libc from '../../../src/kernel/linux/libc.ts';
import { allocate } from '../../../src/kernel/linux/memory.ts';
import { RingBuffer } from '../../../src/kernel/linux/ring-buffer.ts';
import type { Observed } from '../../../src/kernel/router/flows.ts';
import {
  CONTROL_BYTES,
  OBSERVED_WORDS,
  RING_BYTES,
  ROLE_ANCHOR,
  type RouterCounter,
} from '../../../src/kernel/router/layout.ts';
import type { FlowRules, Range } from '../../../src/kernel/router/ranges.ts';
import { Router } from '../../../src/kernel/router/router.ts';
import { type FollowedBytes, RouterEngine } from '../../../src/kernel/router/router-engine.ts';
import { add } from '../../../src/kernel/tcp/sequence.ts';
import { ACK, build, CLIENT_MAC, CWR, RST, read, type Segment } from './frames.ts';
import { Wire } from './wire.ts';

export const UNSPEC = -1;
export const SHOT = 2;
export const REDIRECT = 7;

/** Of a copy for a target. */
export const COPY_HOPS = 1;
/** The anchor of a target's rules that do not say: frames have its MAC address as source. */
const COPIES_FROM = 0;
/** The number of a segment that a test does not choose, and where the in-half stands where it does not say. */
export const IN_HALF = 0xffff_fff0;
/** Of the client and of the own socket, where a test does not say. */
const MAX_WINDOW = 2 ** 20;
const FLOWS = 64;
const BPF_PROG_TEST_RUN = 10;
/** The frame has CHECKSUM_COMPLETE, and the kernel fails the run with EBADMSG when that is wrong afterwards. */
const BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 4;
const EINVAL = 22;
/** struct __sk_buff up to and with `mark`; other fields are 0. */
const CONTEXT_BYTES = 192;
const CONTEXT_MARK = 8;
/** What the router itself sends passes egress by it. */
export const ROUTER_MARK = 0x62617472;
const MAX_FRAME_BYTES = 4096;

/** Addresses of one family: a client, a public address of this node, one of another node, the node itself. */
export interface Family {
  readonly name: string;
  readonly client: string;
  readonly own: string;
  readonly foreign: string;
  readonly node: string;
}

export const FAMILIES: readonly Family[] = [
  { name: 'IPv4', client: '198.51.100.7', own: '192.0.2.80', foreign: '192.0.2.81', node: '192.0.2.1' },
  {
    name: 'IPv6',
    client: '2001:db8:1::7',
    own: '2001:db8::80',
    foreign: '2001:db8::81',
    node: '2001:db8::1',
  },
];
export const CLIENT_PORT = 51_234;
export const PUBLIC_PORT = 80;
export const TLS_PORT = 443;
/** Where flows begin: far from a boundary, and so that the first ranges cross 2^31 and 2^32. */
export const BASES = [1_000_000, 2 ** 31 - 500, 2 ** 32 - 100, 2 ** 32 - 500, 2 ** 32 - 1000, 0];

export type Counts = Partial<Record<RouterCounter, number>>;

export interface Result {
  verdict: number;
  frame: Buffer;
  /** Read with all checksums verified. */
  segment: Segment;
  /** What the run added to the counters. */
  counts: Counts;
}

function endpoint(address: string, port: number): Endpoint {
  return { address: parseAddress(address), port };
}

export class Stand {
  readonly router: Router;
  readonly engine: RouterEngine;
  readonly #ring: RingBuffer;
  readonly #alive: BigUint64Array;
  readonly #observed: Uint32Array;
  /** SO_MARK of the socket that a frame run on egress comes from. */
  mark = 0;
  /** The frame's mark when the last run was over. */
  markAfter = 0;
  /** What the programs have sent by themselves. */
  readonly wire = new Wire();
  readonly #unmap: Array<() => void>;
  /** What the kernel reads and writes in a run: memory that is reachable as long as it does. */
  readonly #memory = {
    input: allocate(MAX_FRAME_BYTES),
    output: allocate(MAX_FRAME_BYTES),
    attributes: allocate(80),
    context: allocate(CONTEXT_BYTES),
  };
  /** Whether this kernel checks CHECKSUM_COMPLETE in test runs (Linux 6.17). */
  #complete = true;

  /** `peers`: MAC addresses of the owners from 1 on. */
  constructor(peers: readonly Buffer[] = []) {
    const publics = FAMILIES.flatMap(({ own, foreign }) => [
      { address: own, own: true },
      { address: foreign, own: false },
    ]);
    this.router = new Router({
      interface: 'lo',
      address: FAMILIES[0].node,
      publics,
      port: PUBLIC_PORT,
      tlsPort: TLS_PORT,
      engines: 1,
      flows: FLOWS,
      nodes: [],
    });
    this.engine = new RouterEngine(this.router.handles, 0);
    this.#ring = new RingBuffer(this.engine.eventsFd, RING_BYTES);
    const control = mapMemory(this.router.handles.control, CONTROL_BYTES);
    const observed = mapMemory(this.router.handles.observed, FLOWS * OBSERVED_WORDS * 4);
    this.#alive = new BigUint64Array(control.view, 0, 1);
    this.#observed = new Uint32Array(observed.view);
    this.#unmap = [control.unmap, observed.unmap];
    for (const [i, mac] of peers.entries()) this.engine.setPeer(i + 1, mac);
    this.engine.setPeer(COPIES_FROM, CLIENT_MAC);
  }

  /** The rules hold, or no longer do. */
  setAlive(alive: boolean): void {
    if (alive) this.engine.stayAlive();
    else this.#alive[0] = 1n;
  }

  /**
   * Puts the only flow in force: client to the public address. Returns its slot. What `observed` does not say is so that
   * the segments of a test's client are acceptable.
   */
  install(client: string, pub: string, rules: FlowRules, observed: Observed): number {
    const from = endpoint(client, CLIENT_PORT);
    const to = endpoint(pub, PUBLIC_PORT);
    const { flows } = this.engine;
    const before = flows.installed(from, to);
    if (before >= 0) flows.uninstall(before);
    const slot = before >= 0 ? before : flows.allocate();
    const taken = { inAck: IN_HALF, maxWindow: MAX_WINDOW, inMaxWindow: MAX_WINDOW };
    flows.resetObserved(slot, rules.role === ROLE_ANCHOR ? { ...taken, ...observed } : observed);
    flows.write(slot, rules);
    flows.install(from, to, slot);
    return slot;
  }

  uninstall(client: string, pub: string): void {
    const from = endpoint(client, CLIENT_PORT);
    const to = endpoint(pub, PUBLIC_PORT);
    const slot = this.engine.flows.installed(from, to);
    if (slot < 0) return;
    this.engine.flows.uninstall(slot);
    this.engine.flows.release(slot);
  }

  /** Has the connection's segments diverted; 0: no longer. */
  route(client: string, pub: string, owner: number): void {
    const from = endpoint(client, CLIENT_PORT);
    const to = endpoint(pub, PUBLIC_PORT);
    const { routes } = this.engine;
    if (owner === 0) routes.delete(from, to);
    else assert.ok(routes.set(from, to, owner));
    assert.equal(routes.owner(from, to), owner);
  }

  installed(client: string, pub: string): number {
    return this.engine.flows.installed(endpoint(client, CLIENT_PORT), endpoint(pub, PUBLIC_PORT));
  }

  observed(slot: number, word: number): number {
    return this.#observed[slot * OBSERVED_WORDS + word];
  }

  /** A time that was observed, in units of 2^20 ns, is so many ms longer ago. */
  passed(slot: number, word: number, ms: number): void {
    this.#observed[slot * OBSERVED_WORDS + word] -= Math.floor((ms * 1e6) / 2 ** 20);
  }

  /** Events since the last call, as [slot, epoch, ack, edge]. */
  events(): number[][] {
    const out: number[][] = [];
    this.#ring.drain((data, at) =>
      out.push([0, 4, 8, 12].map((offset) => data.getUint32(at + offset, true))),
    );
    return out;
  }

  #testRun(program: number, frame: Buffer, flags: number): { verdict: number; frame: Buffer } | number {
    const { input, output, attributes, context } = this.#memory;
    frame.copy(input.bytes);
    attributes.bytes.fill(0);
    attributes.bytes.writeUInt32LE(program, 0);
    attributes.bytes.writeUInt32LE(frame.length, 8);
    attributes.bytes.writeUInt32LE(output.bytes.length, 12);
    attributes.bytes.writeBigUInt64LE(BigInt(input.address), 16);
    attributes.bytes.writeBigUInt64LE(BigInt(output.address), 24);
    attributes.bytes.writeUInt32LE(flags, 64);
    context.bytes.writeUInt32LE(this.mark, CONTEXT_MARK);
    attributes.bytes.writeUInt32LE(CONTEXT_BYTES, 40);
    attributes.bytes.writeUInt32LE(CONTEXT_BYTES, 44);
    attributes.bytes.writeBigUInt64LE(BigInt(context.address), 48);
    attributes.bytes.writeBigUInt64LE(BigInt(context.address), 56);
    if (libc.bpf(BPF_PROG_TEST_RUN, attributes.address, 80) < 0) return lastErrno();
    this.markAfter = context.bytes.readUInt32LE(CONTEXT_MARK);
    context.bytes.fill(0);
    return {
      verdict: attributes.bytes.readInt32LE(4),
      frame: Buffer.from(output.bytes.subarray(0, attributes.bytes.readUInt32LE(12))),
    };
  }

  /**
   * Runs a program on a frame; what it adds to the counters comes with the result. `trims`: the program will cut the
   * frame, with which the kernel gives CHECKSUM_COMPLETE up (__skb_trim_rcsum), so it is not asked for.
   */
  runFrame(name: 'baton_ingress' | 'baton_egress', frame: Buffer, trims = false): Omit<Result, 'segment'> {
    const before = this.router.counters();
    const program = this.router.programFd(name);
    let result: { verdict: number; frame: Buffer } | number = EINVAL;
    if (this.#complete && !trims) result = this.#testRun(program, frame, BPF_F_TEST_SKB_CHECKSUM_COMPLETE);
    if (result === EINVAL) {
      if (!trims) this.#complete = false;
      result = this.#testRun(program, frame, 0);
    }
    if (typeof result === 'number') throw new SystemError('bpf(PROG_TEST_RUN)', result, name);
    const counts: Counts = {};
    for (const [counter, value] of Object.entries(this.router.counters()) as Array<[RouterCounter, number]>)
      if (value !== before[counter]) counts[counter] = value - before[counter];
    return { ...result, counts };
  }

  run(name: 'baton_ingress' | 'baton_egress', segment: Segment, trims = false): Result {
    const result = this.runFrame(name, build(segment), trims);
    return { ...result, segment: read(result.frame, segment) };
  }

  /** A copy at a target, marked as rule follow does, on ingress. */
  runMarked(segment: Segment, { epoch, sentMs }: { epoch: number; sentMs: number }): Result {
    const frame = build(segment);
    const tcp = frame.subarray(14 + (segment.source.includes(':') ? 40 : 20));
    const was = Buffer.from(tcp.subarray(12, 20));
    tcp[12] |= (epoch & 7) << 1;
    tcp.writeUInt16BE(sentMs, 18);
    // RFC 1624, for the two words that have changed.
    let sum = ~was.readUInt16BE(4) & 0xffff;
    for (const at of [0, 6]) sum += (~was.readUInt16BE(at) & 0xffff) + tcp.readUInt16BE(12 + at);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    tcp.writeUInt16BE(~sum & 0xffff, 16);
    const result = this.runFrame('baton_ingress', frame, true);
    return { ...result, segment: read(result.frame, segment) };
  }

  /** What came of next requests since the last call. */
  followed(): Array<FollowedBytes & { slot: number }> {
    const out: Array<FollowedBytes & { slot: number }> = [];
    this.engine.drainEvents(
      () => {},
      (slot, piece) => out.push({ slot, ...piece, bytes: Buffer.from(piece.bytes) }),
    );
    return out;
  }

  close(): void {
    this.wire.close();
    this.#ring.close();
    for (const unmap of this.#unmap) unmap();
    this.engine.close();
    this.router.close();
  }
}

/** A range of nothing at 0, changed by `parts`. */
export function range(parts: Partial<Range>): Range {
  return { start: 0, end: 0, local: 0, stamp: 0, owner: 0, open: false, leased: false, ...parts };
}

/** A pure acknowledgement of the client, changed by `parts`. */
export function fromClient(family: Family, pub: string, parts: Partial<Segment>): Segment {
  return {
    source: family.client,
    destination: pub,
    sourcePort: CLIENT_PORT,
    destinationPort: PUBLIC_PORT,
    seq: IN_HALF,
    ack: 0,
    flags: ACK,
    window: 4096,
    hops: 64,
    payload: Buffer.alloc(0),
    ...parts,
  };
}

/** The same as an anchor sends it on to a target here (rule copy). */
export function copyToTarget(family: Family, pub: string, parts: Partial<Segment>): Segment {
  return fromClient(family, pub, { ...parts, hops: COPY_HOPS });
}

/** A pure acknowledgement to the client, changed by `parts`. */
export function toClient(family: Family, pub: string, parts: Partial<Segment>): Segment {
  return {
    ...fromClient(family, pub, {}),
    source: pub,
    destination: family.client,
    sourcePort: PUBLIC_PORT,
    destinationPort: CLIENT_PORT,
    ...parts,
  };
}

/**
 * The result is the segment sent with only `parts` changed, the verdict and the counters as stated; and rule
 * prediction's bit.
 */
export function assertResult(
  result: Result,
  sent: Segment,
  expected: { verdict: number; counts: Counts; parts?: Partial<Segment> },
): void {
  assert.equal(result.verdict, expected.verdict, 'verdict');
  assert.deepEqual(result.counts, expected.counts, 'counters');
  const segment = { ...sent, ...expected.parts };
  const flags = expected.counts.translated_in === 1 && segment.payload.length === 0 ? CWR : 0;
  assert.deepEqual(result.segment, { ...segment, flags: segment.flags | flags }, 'segment');
}

/**
 * What the kernel sends has become a reset with the number that the client is known to expect, and before it the client
 * is asked, by a keepalive, what it does expect (rule ended).
 */
export function assertReset(stand: Stand, sent: Segment, expected: number): void {
  stand.wire.take(0);
  const { verdict, counts, segment } = stand.run('baton_egress', sent, true);
  const { timestamps: _, ...plain } = sent;
  const bare = { ...plain, window: 0, payload: Buffer.alloc(0) };
  assert.deepEqual([verdict, counts], [UNSPEC, { ended: 1 }]);
  assert.deepEqual(segment, { ...bare, seq: expected, ack: 0, flags: RST });
  const asked = stand.wire.take(1).map((frame) => read(frame, sent));
  assert.deepEqual(asked, [{ ...bare, seq: add(expected, -1), flags: ACK }]);
}
