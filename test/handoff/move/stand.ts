/** Whole moves without a kernel: sockets, links and what the connections come to are models. */
import assert from 'node:assert/strict';
import { parseAddress } from '../../../src/base/address.ts';
import { Counters } from '../../../src/base/counters.ts';
import type { FourTuple } from '../../../src/handoff/flow/four-tuple.ts';
import type { Guest } from '../../../src/handoff/move/guests.ts';
import type { Movable, MovingResponse } from '../../../src/handoff/move/movable.ts';
import type { ArrivedConnection, MoveKernel, MovePorts } from '../../../src/handoff/move/move-ports.ts';
import { Moves } from '../../../src/handoff/move/moves.ts';
import { SystemError } from '../../../src/kernel/linux/errors.ts';
import { encodeState } from '../../../src/kernel/tcp/codec.ts';
import { type ConnectionState, STATE_VERSION } from '../../../src/kernel/tcp/state.ts';
import { FrameType, type Migrate, RejectReason } from '../../../src/protocol/backplane/frames.ts';
import type { TlsSession } from '../../../src/protocol/tls/session.ts';
import type { Exchange } from '../../../src/serve/exchange.ts';
import { LinkModel } from '../anchor/stand.ts';
import { TableModel } from '../table.ts';

export const SELF = 0;
export const B = 1;
export const SETUP_MS = 500;
export const PEER_MS = 2000;
export const FD = 7;
export const ID = 3;
/** Descriptors of restored sockets begin here. */
const RESTORED_FD = 100;
const EADDRNOTAVAIL = 99;

export const ENDS: FourTuple = {
  client: { address: parseAddress('10.0.0.9'), port: 40_000 },
  public: { address: parseAddress('10.0.0.1'), port: 80 },
};

/** An established connection that has sent and received nothing. */
export const STATE: ConnectionState = {
  version: STATE_VERSION,
  ...ENDS,
  mss: 1448,
  options: { sack: true, timestamps: true, sendScale: 7, receiveScale: 7, ecn: false },
  sendSequence: 1000,
  receiveSequence: 2000,
  sendQueue: Buffer.alloc(0),
  unsentQueue: Buffer.alloc(0),
  receiveQueue: Buffer.alloc(0),
  window: { sendWl1: 2000, sendWindow: 65_535, maxWindow: 65_535, receiveWindow: 65_535, receiveWup: 2000 },
  advertisedEdge: 67_535,
  timestamp: 5000,
  finReceived: false,
  finSent: false,
  congestion: { window: 10, srttUs: 1000 },
  receiveBufferKib: 0,
} as ConnectionState;

/** A client's connection here. */
export class ConnectionModel implements Movable {
  readonly fd = FD;
  readonly flow = null;
  guest: Guest | null = null;
  readonly key = 'key';
  readonly unread = Buffer.from('GET / HTTP/1.1\r\n');
  movingResponse: MovingResponse | null = null;
  session: TlsSession | null = null;
  readonly shown = {};
  readonly became: string[] = [];

  moved(): void {
    this.became.push('moved');
  }

  resumed(): void {
    this.became.push('resumed');
  }

  broken(): void {
    this.became.push('broken');
  }
}

/** Its sockets by descriptor: what each is just now. */
class KernelModel implements MoveKernel {
  readonly sockets = new Map<number, 'open' | 'frozen' | 'silent'>([[FD, 'open']]);
  /** Bytes that the client has not acknowledged. */
  queued = 0;
  /** What a frozen socket has. */
  state: ConnectionState = STATE;
  isTaken = false;
  probes = 0;
  #nextFd = RESTORED_FD;

  ends(): FourTuple {
    return ENDS;
  }

  queuedBytes(): number {
    return this.queued;
  }

  unsentBytes(): number {
    return 0;
  }

  unreadBytes(): number {
    return 0;
  }

  #change(fd: number, from: string, to: 'open' | 'frozen' | 'silent'): void {
    assert.equal(this.sockets.get(fd), from);
    this.sockets.set(fd, to);
  }

  freeze(fd: number): ConnectionState {
    this.#change(fd, 'open', 'frozen');
    return this.state;
  }

  thaw(fd: number): void {
    this.#change(fd, 'frozen', 'open');
  }

  restore(): number {
    if (this.isTaken) throw new SystemError('bind', EADDRNOTAVAIL);
    this.sockets.set(this.#nextFd, 'silent');
    return this.#nextFd++;
  }

  release(fd: number): void {
    this.#change(fd, 'silent', 'open');
  }

  probe(fd: number): void {
    assert.equal(this.sockets.get(fd), 'silent');
    this.probes++;
  }

  closeSilently(fd: number): void {
    assert.ok(this.sockets.delete(fd), `descriptor ${fd} is no socket`);
  }
}

export class MoveStand {
  readonly clock = { nowMs: 1_000_000, exactMs: () => this.clock.nowMs };
  readonly counters = new Counters();
  readonly table = new TableModel();
  readonly kernel = new KernelModel();
  readonly link = new LinkModel(B);
  readonly connection = new ConnectionModel();
  /** Who owns the public address. */
  home = SELF;
  stopping = false;
  accepts = true;
  hasRoom = true;
  hasRouteRoom = true;
  /** What the rest of a response that comes with its connection is answered with. */
  serves: Exchange | RejectReason = RejectReason.NOT_SERVED;
  readonly adopted: ArrivedConnection[] = [];
  /** What was done about routes and what comes meanwhile, in order. */
  readonly done: string[] = [];
  readonly moves = new Moves(this.#ports());

  #ports(): MovePorts {
    const note = (what: string) => this.done.push(what);
    const guest = (epoch: number) => ({ ends: ENDS, key: 'key', home: this.home, epoch }) as Guest;
    return {
      clock: this.clock,
      count: this.counters,
      config: {
        nodes: ['a', 'b', 'c'].map((name) => ({ name })),
        limits: { stallSeconds: 60 },
        timeouts: { setupMs: SETUP_MS, peerMs: PEER_MS },
      } as unknown as MovePorts['config'],
      index: 0,
      self: SELF,
      kernel: this.kernel,
      table: this.table,
      sites: { serve: () => this.serves },
      guests: {
        arrive: (_ends, epoch) => {
          note(`guest of epoch ${epoch}${this.table.free < 4 ? ', still arriving' : ''}`);
          return guest(epoch);
        },
        movedOn: (_ends, _guest, { node }) => note(`moved on to ${node}`),
      },
      forwards: { stop: () => note('nothing is forwarded') },
      homeRoutes: {
        divert: (_ends, node) => {
          if (this.hasRouteRoom) note(`route to ${node}`);
          return this.hasRouteRoom;
        },
      },
      parked: {
        park: () => note('parked') > 0,
        release: () => note('released'),
        giveBack: () => note('given back'),
      },
      connections: { hasRoom: () => this.hasRoom, adopt: (_fd, arrived) => this.adopted.push(arrived) },
      log: () => {},
      accepts: () => this.accepts,
      isStopping: () => this.stopping,
      homeOf: () => this.home,
      canServe: () => true,
      claim: ({ client, public: pub }, slot) => this.table.claim(client, pub, slot),
      linkFor: () => this.link.link,
      linkOf: () => (this.link.up ? this.link.link : undefined),
    };
  }

  /** Gives the connection to node b. */
  give(mechanism: 'migrate' | 'drain' = 'migrate'): boolean {
    return this.moves.start(this.connection, { node: B, mechanism }) !== null;
  }

  /** MIGRATE comes from node b, with the whole state or the first `bytes` of it. */
  migrate(changes: Partial<Migrate> = {}, bytes = Number.POSITIVE_INFINITY): this {
    const state = encodeState(STATE);
    this.moves.take(this.link.link, {
      type: FrameType.MIGRATE,
      request: ID,
      epoch: 1,
      serveFirst: true,
      draining: false,
      response: null,
      session: null,
      sentAtMs: this.clock.nowMs,
      stateBytes: state.length,
      bytes: state.subarray(0, bytes),
      ...changes,
    });
    return this;
  }

  /** Node b says what a target says of the newest move that was sent to it. */
  hear(type: typeof FrameType.MIGRATE_OK | typeof FrameType.SETUP_REJECT): this {
    const { request, epoch } = this.link.last(FrameType.MIGRATE);
    if (type === FrameType.MIGRATE_OK) this.link.hear({ type, request, epoch });
    else this.link.hear({ type, request, epoch, reason: RejectReason.FULL });
    return this;
  }

  confirm(): this {
    this.link.hear({ type: FrameType.CONFIRM, request: ID, epoch: 1 });
    return this;
  }

  /** Time passes, in turns of 10 ms. */
  pass(ms: number): this {
    for (const endMs = this.clock.nowMs + ms; this.clock.nowMs < endMs; ) {
      this.clock.nowMs += 10;
      this.moves.turn(this.clock.nowMs);
    }
    return this;
  }

  /** Nothing of any move is left. */
  assertOver(): void {
    assert.equal(this.moves.incoming, 0);
    assert.equal(this.link.up ? this.link.conversations.size : 0, 0);
    assert.equal(this.table.free, 4, 'no slot is taken');
    assert.ok(this.moves.waitMs > 10);
    assert.ok([...this.kernel.sockets.values()].every((state) => state === 'open'));
  }
}
