/**
 * Frames as a hostile node of the cluster sends them: well-formed, with wild fields, in wild order, at every kind of
 * conversation. Most of them are such that the other end has to deal with them; what no node sends ends the link.
 */

import fc from 'fast-check';
import { parseAddress } from '../../../src/base/address.ts';
import { siteDigest } from '../../../src/cluster/view.ts';
import { AEAD_KEY_BYTES } from '../../../src/kernel/linux/aead.ts';
import { monotonicMs } from '../../../src/kernel/linux/monotonic.ts';
import { encodeState } from '../../../src/kernel/tcp/codec.ts';
import { STATE_VERSION } from '../../../src/kernel/tcp/state.ts';
import { maySend } from '../../../src/protocol/backplane/conversation.ts';
import {
  type Frame,
  FrameType,
  type HalfPipe,
  isCarried,
  type Setup,
  SetupMechanism,
} from '../../../src/protocol/backplane/frames.ts';
import type { Role } from '../../../src/protocol/backplane/session.ts';
import type { TlsSession } from '../../../src/protocol/tls/session.ts';
import { SUITES } from '../../../src/protocol/tls/suites.ts';
import type { LentHalf } from '../../../src/protocol/tls/traffic.ts';
import { Random } from '../../../src/tools/lab/random.ts';
import { frame as anyFrame } from '../../protocol/backplane/generators.ts';

/** What a hostile node knows of the cluster. */
export interface World {
  readonly client: string;
  /** Those that its connections have. */
  readonly ports: { readonly first: number; readonly count: number };
  readonly publics: readonly string[];
  /** Addresses of nodes: no client has one. */
  readonly nodes: readonly string[];
  readonly hosts: readonly string[];
  readonly paths: readonly string[];
  /** Connections of clients that take nothing move as well: to end them takes a minute. */
  readonly shutWindows: boolean;
}

/** A conversation that one of the two ends has opened. */
interface Conversation {
  readonly request: number;
  epoch: number;
  /** SETUP of the other end, as far as it matters: where an answer begins. */
  readonly start: number;
  readonly kind: 'relay' | 'half-pipe' | 'move';
  readonly pipe: HalfPipe | null;
  reset: boolean;
}

const SAMPLES = 2000;
const MAX_CONVERSATIONS = 40;
/** What half of the frames are about, so that they meet each other. */
const FEW_PORTS = 50;
const NOTHING = Buffer.alloc(0);
/** What a piece of a relayed response says of its end. */
const RELAYED_ENDS = [
  { last: false, end: null },
  { last: false, end: null },
  { last: true, end: { status: 204, bodyBytes: 2 ** 40, close: false } },
  { last: true, end: { status: 999, bodyBytes: 0, close: true } },
] as const;
/** One frame in so many is what no node sends. */
const WILD_EVERY = 400;

export class HostileFrames {
  readonly #random: Random;
  readonly #samples: readonly Frame[];
  readonly #role: Role;
  readonly #world: World;
  readonly #own: Conversation[] = [];
  readonly #theirs: Conversation[] = [];
  readonly #wildClock: boolean;
  #next: number;

  constructor(role: Role, world: World, seed: number) {
    this.#role = role;
    this.#world = world;
    this.#random = new Random(seed);
    this.#samples = samples(seed % 8);
    this.#next = role === 'dial' ? 1 : 2;
    this.#wildClock = seed % 10 === 0;
  }

  /** What the other end has said. */
  heard(frame: Frame): void {
    if (frame.type === FrameType.SETUP || frame.type === FrameType.MIGRATE) {
      const pipe = frame.type === FrameType.SETUP ? frame.halfPipe : null;
      const kind = frame.type === FrameType.MIGRATE ? 'move' : pipe === null ? 'relay' : 'half-pipe';
      const { request, epoch } = frame;
      const known = pipe === null ? null : { ...pipe };
      keep(this.#theirs, { request, epoch, start: pipe?.sequence ?? 0, kind, pipe: known, reset: false });
    } else if (frame.type === FrameType.RESET) {
      const conversation = this.#theirs.find(({ request }) => request === frame.request);
      if (conversation !== undefined) conversation.reset = true;
    }
  }

  /** What is said next. */
  next(): Frame {
    const dice = this.#random.below(100);
    if (this.#random.below(WILD_EVERY) === 0) return this.#anything();
    if (dice < 12) return this.#setup();
    if (dice < 15) return this.#migrate();
    if (dice < 45) return this.#answer() ?? this.#patched();
    return this.#patched();
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)];
  }

  #u32(): number {
    return this.#pick([
      0,
      1,
      2,
      3,
      0x7fffffff,
      0x80000000,
      0xffffffff,
      Math.floor(this.#random.next() * 2 ** 32),
    ]);
  }

  #anything(): Frame {
    const frame = this.#pick(this.#samples);
    if (!('request' in frame)) return frame;
    const known = [...this.#own, ...this.#theirs];
    return { ...frame, request: known.length > 0 ? this.#pick(known).request : this.#u32() };
  }

  #ends(): Pick<HalfPipe, 'clientAddress' | 'clientPort' | 'publicAddress' | 'publicPort' | 'family'> {
    const { client, publics, nodes } = this.#world;
    const clients =
      this.#random.below(20) === 0 ? [...nodes, ...publics, '127.0.0.1', '224.0.0.1', '0.0.0.0'] : [client];
    const targets = this.#random.below(20) === 0 ? [...nodes, '192.0.2.1'] : publics;
    return {
      clientAddress: parseAddress(this.#pick(clients)),
      clientPort: this.#port(),
      publicAddress: parseAddress(this.#pick(targets)),
      publicPort: this.#random.below(50) === 0 ? 22 : 80,
      family: 4,
    };
  }

  #port(): number {
    const { ports } = this.#world;
    if (this.#random.below(2) === 0) return 1 + this.#random.below(FEW_PORTS);
    return ports.first + this.#random.below(ports.count);
  }

  #session(): TlsSession {
    const suite = this.#pick(SUITES);
    const secret = () => Buffer.alloc(suite.secretBytes, this.#u32());
    return {
      suite,
      resumed: false,
      clientSecret: secret(),
      serverSecret: secret(),
      clientRecord: this.#pick([0, this.#u32(), Number.MAX_SAFE_INTEGER]),
      serverRecord: this.#pick([0, 1, 2 ** 23, 2 ** 24]),
      behind: Buffer.alloc(this.#pick([0, 1, 5, 16_644]), this.#u32()),
      held: Buffer.alloc(this.#pick([0, 1, 15_360]), 0x47),
    };
  }

  #seal(): LentHalf {
    const suite = this.#pick(SUITES);
    const keyBytes = AEAD_KEY_BYTES[suite.aead];
    const number = this.#pick([0, 1, 2 ** 24, Number.MAX_SAFE_INTEGER, this.#u32()]);
    const cut = this.#pick([0, 0, 1, 300, 16_383 + suite.overheadBytes]);
    return {
      suite,
      number,
      cut,
      iv: Buffer.alloc(12, this.#u32()),
      key: Buffer.alloc(keyBytes, this.#u32()),
    };
  }

  #block(): HalfPipe {
    const scaled = this.#random.below(4) > 0;
    const window = this.#pick([0, 1, 1460, 65_535, 2 ** 20, 2 ** 30]);
    return {
      ...this.#ends(),
      sack: this.#random.below(2) === 0,
      timestamps: this.#random.below(2) === 0,
      ecn: this.#random.below(2) === 0,
      mss: this.#pick([1, 87, 88, 536, 1448, 1460, 32_768, 65_535]),
      sendScale: scaled ? this.#random.below(15) : 255,
      receiveScale: scaled ? this.#random.below(15) : 255,
      sequence: this.#u32(),
      acknowledge: this.#u32(),
      receiveWindow: this.#pick([0, 1, 65_535, 2 ** 30]),
      sendWindow: this.#random.below(2) === 0 ? window : 0,
      maxWindow: window,
      tsval: this.#u32(),
      tsecr: this.#u32(),
      congestionWindow: this.#pick([0, 1, 10, 2 ** 20]),
      srttUs: this.#pick([0, 1, 1000, 10_000_000]),
    };
  }

  #head(host = this.#pick(this.#world.hosts)): Buffer {
    const method = this.#pick(['GET', 'GET', 'GET', 'HEAD', 'POST', 'BREW']);
    const version = this.#pick(['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/9']);
    const fields = this.#pick([
      '',
      'Connection: close\r\n',
      'Range: bytes=5-\r\n',
      'Content-Length: 10\r\n',
      'X: y',
    ]);
    return Buffer.from(
      `${method} ${this.#pick(this.#world.paths)} ${version}\r\nHost: ${host}\r\n${fields}\r\n`,
    );
  }

  get #sentAtMs(): number {
    return this.#wildClock ? this.#u32() : monotonicMs() >>> 0;
  }

  /** A new conversation, or a further request in one that there is. */
  #setup(): Frame {
    const known = this.#random.below(3) === 0 && this.#own.length > 0 ? this.#pick(this.#own) : null;
    const mechanism = this.#pick([1, 2, 2, 3, 3, 4, 5] as SetupMechanism[]);
    const relays = isCarried(mechanism);
    const halfPipe = relays ? null : { ...this.#block(), ...(known?.pipe && tupleOf(known.pipe)) };
    const fits =
      known !== null && (known.kind === 'half-pipe') === !relays && known.kind !== 'move' && !relays;
    const reuses = known !== null && (fits || this.#random.below(WILD_EVERY) === 0);
    const request = reuses ? known.request : this.#number();
    const host = this.#pick(this.#world.hosts);
    const bodyFollows = relays && this.#random.below(3) === 0;
    const seal = relays || this.#random.below(6) > 0 ? null : this.#seal();
    const setup: Setup = {
      type: FrameType.SETUP,
      request,
      epoch: this.#pick([1, 2, 3, (known?.epoch ?? 0) + 1, this.#u32()]),
      mechanism,
      http10: this.#random.below(8) === 0,
      close: this.#random.below(8) === 0,
      bodyFollows,
      sentAtMs: this.#sentAtMs,
      halfPipe,
      client: relays ? parseAddress(this.#world.client) : null,
      secure: relays && this.#random.below(4) === 0,
      continuation:
        this.#random.below(10) === 0
          ? { headBytes: 100, lengthBytes: 1124, validator: 5n, offset: 600 }
          : null,
      keep:
        seal === null && mechanism === SetupMechanism.CLONE && this.#random.below(2) === 0
          ? this.#u32()
          : null,
      seal,
      estimates:
        this.#random.below(4) === 0 ? { relay: this.#random.below(65_535), anchor: null, clone: 1 } : null,
      site:
        this.#random.below(20) === 0
          ? this.#u32()
          : siteDigest({ name: host.replace('.test', ''), hosts: [host] }),
      head: this.#head(host),
      body: bodyFollows || this.#random.below(4) > 0 ? NOTHING : Buffer.alloc(this.#random.below(2000), 0x61),
    };
    if (reuses) known.epoch = setup.epoch;
    else
      keep(this.#own, {
        request,
        epoch: setup.epoch,
        start: 0,
        kind: relays ? 'relay' : 'half-pipe',
        pipe: halfPipe,
        reset: false,
      });
    return setup;
  }

  #migrate(): Frame {
    const { clientAddress, clientPort, publicAddress, publicPort } = this.#ends();
    const timestamps = this.#random.below(2) === 0;
    const state = encodeState({
      version: STATE_VERSION,
      client: { address: clientAddress, port: clientPort },
      public: { address: publicAddress, port: publicPort },
      mss: this.#pick([88, 536, 1460, 65_535]),
      options: { sack: this.#random.below(2) === 0, timestamps, sendScale: 7, receiveScale: 7 },
      sendSequence: this.#u32(),
      receiveSequence: 2000,
      sendQueue: Buffer.alloc(this.#pick([0, 10, 3000])),
      unsentQueue: Buffer.alloc(this.#pick([0, 10, 3000])),
      receiveQueue: this.#random.below(2) === 0 ? this.#head() : NOTHING,
      window: {
        sendWl1: 2000,
        sendWindow: this.#world.shutWindows ? this.#pick([0, 65_535]) : 65_535,
        maxWindow: 65_535,
        receiveWindow: 65_535,
        receiveWup: 2000,
      },
      advertisedEdge: 2000 + 65_535,
      timestamp: 2 * this.#random.below(2 ** 30),
      finReceived: this.#random.below(4) === 0,
      finSent: this.#random.below(4) === 0,
      receiveBufferKib: this.#pick([0, 64, 65_535]),
      congestion: { window: this.#pick([0, 10, 2 ** 20]), srttUs: this.#pick([0, 1000, 10_000_000]) },
    });
    const places = this.#world.shutWindows ? 104 : 48;
    for (let i = this.#random.below(3); i > 0; i--)
      state[this.#random.below(places)] ^= 1 << this.#random.below(8);
    const request = this.#number();
    keep(this.#own, { request, epoch: 1, start: 0, kind: 'move', pipe: null, reset: false });
    const cut = this.#random.below(4) === 0;
    const session = this.#random.below(4) > 0 ? null : this.#session();
    return {
      type: FrameType.MIGRATE,
      request,
      epoch: this.#u32() || 1,
      serveFirst: this.#random.below(2) === 0,
      draining: this.#random.below(2) === 0,
      session,
      response:
        this.#random.below(6) > 0
          ? null
          : {
              continuation: { headBytes: 10, lengthBytes: 100, validator: 1n, offset: 20 },
              close: false,
              head: this.#head(),
              cut: session === null ? 0 : this.#pick([0, 1, 101, 16_412]),
            },
      sentAtMs: this.#sentAtMs,
      stateBytes: cut ? state.length + 100 : state.length,
      bytes: state,
    };
  }

  #number(): number {
    const request = this.#next;
    this.#next += 2;
    return request;
  }

  /** What a target may say of a request of the other end. */
  #answer(): Frame | null {
    if (this.#theirs.length === 0) return null;
    const { request, epoch, start, kind, reset } = this.#pick(this.#theirs);
    if (reset) return { type: FrameType.RESET_OK, request };
    if (kind === 'move')
      return this.#random.below(2) === 0
        ? { type: FrameType.MIGRATE_OK, request, epoch }
        : { type: FrameType.SETUP_REJECT, request, epoch, reason: 1 };
    const bytes = this.#pick([1, 100, 1124, 70_000, 2 ** 30]);
    const identity = this.#random.below(2) === 0 ? null : { headBytes: 10, lengthBytes: 5000, validator: 3n };
    switch (this.#random.below(6)) {
      case 0:
        return {
          type: FrameType.SETUP_OK,
          request,
          epoch,
          confirmWanted: true,
          identity,
          announcement: null,
        };
      case 1: {
        const announcement = { status: 200, close: this.#random.below(2) === 0, bytes, bodyBytes: 0 };
        const isClone = this.#random.below(WILD_EVERY) === 0;
        return {
          type: FrameType.SETUP_OK,
          request,
          epoch,
          confirmWanted: false,
          identity,
          announcement: isClone ? announcement : null,
        };
      }
      case 2: {
        const path = { congestionWindow: this.#pick([0, 1, 2 ** 20]), srttUs: this.#pick([0, 10_000_000]) };
        const end = kind === 'relay' ? 0 : (start + bytes) >>> 0;
        const records = this.#random.below(8) === 0 ? this.#u32() : 0;
        const fields = {
          status: 200,
          close: false,
          bytes,
          bodyBytes: 0,
          firstByteUs: this.#u32(),
          records,
          identity,
        };
        return { type: FrameType.DATA_DONE, request, epoch, end, ...path, ...fields };
      }
      case 3:
        return {
          type: FrameType.COLLECTED,
          request,
          epoch,
          end: this.#u32(),
          congestionWindow: 1,
          srttUs: 1,
        };
      case 4:
        return { type: FrameType.ABORT, request, epoch, reason: this.#pick([1, 2, 3, 4, 5, 6, 7] as const) };
      default:
        if (kind !== 'relay')
          return { type: FrameType.SETUP_REJECT, request, epoch, reason: this.#pick([1, 2, 9, 8] as const) };
        return {
          type: FrameType.RELAY_DATA,
          request,
          ...this.#pick(RELAYED_ENDS),
          requestBody: false,
          bytes: Buffer.alloc(this.#random.below(400)),
        };
    }
  }

  /** Any frame, at a conversation in which it has a place, or at one that there is not. */
  #patched(): Frame {
    const frame = this.#pick(this.#samples);
    switch (frame.type) {
      case FrameType.VIEW:
        // With a wild one nothing is handed over any more.
        return this.#random.below(50) === 0 ? frame : this.#setup();
      case FrameType.HELLO:
      case FrameType.SETUP:
      case FrameType.MIGRATE:
      case FrameType.DATA_DONE:
      case FrameType.RESET_OK:
      case FrameType.RELAY_CREDIT:
        return this.#setup();
      case FrameType.KEEPALIVE:
        return { ...frame, sentAtMs: this.#sentAtMs };
      case FrameType.ROUTE:
      case FrameType.CLEANUP:
      case FrameType.CLEANUP_OK:
        return { ...frame, flow: this.#ends(), epoch: this.#pick([1, 2, 0x80000000, frame.epoch]) };
      case FrameType.CATALOGUE:
      case FrameType.CACHED:
        return { ...frame, site: this.#pick(['catalogue', 'cached', frame.site]) };
      case FrameType.LOAD:
        // Now and then: each change has the other end think about everything.
        return this.#random.below(20) === 0 ? frame : { ...frame, accepting: true };
      default:
    }
    if (!('request' in frame)) return frame;
    const known = [...this.#own, ...this.#theirs].filter(({ request }) =>
      maySend(this.#role, { ...frame, request }),
    );
    if (known.length === 0 || this.#random.below(10) === 0) {
      const request = this.#number();
      return maySend(this.#role, { ...frame, request }) ? { ...frame, request } : this.#setup();
    }
    const { request, epoch } = this.#pick(known);
    const patched = { ...frame, request };
    if (patched.type === FrameType.RELAY_DATA) return { ...patched, bytes: patched.bytes.subarray(0, 5) };
    return 'epoch' in patched
      ? { ...patched, epoch: this.#random.below(3) > 0 ? epoch : this.#u32() }
      : patched;
  }
}

function tupleOf({ clientAddress, clientPort, publicAddress, publicPort }: HalfPipe): Partial<HalfPipe> {
  return { clientAddress, clientPort, publicAddress, publicPort };
}

function keep(list: Conversation[], conversation: Conversation): void {
  list.push(conversation);
  if (list.length > MAX_CONVERSATIONS) list.shift();
}

const sampled = new Map<number, readonly Frame[]>();

function samples(seed: number): readonly Frame[] {
  const known = sampled.get(seed);
  if (known !== undefined) return known;
  const made = fc.sample(anyFrame, { seed, numRuns: SAMPLES });
  sampled.set(seed, made);
  return made;
}
