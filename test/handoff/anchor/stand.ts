/** The anchor's side without a kernel: a client's socket, links to targets and the request in progress are models. */
import assert from 'node:assert/strict';
import { parseAddress } from '../../../src/base/address.ts';
import { Counters } from '../../../src/base/counters.ts';
import type { AnchorFlow } from '../../../src/handoff/anchor/flow.ts';
import { AnchorFlows } from '../../../src/handoff/anchor/flows.ts';
import { Handoffs } from '../../../src/handoff/anchor/handoffs.ts';
import type { SocketKernel } from '../../../src/handoff/anchor/own-socket.ts';
import type {
  AgainReason,
  Delivery,
  DeliveryOwner,
  DeliveryResult,
} from '../../../src/handoff/request/delivery.ts';
import type { HalfPipeCapture } from '../../../src/kernel/linux/half-pipe-capture.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import type { Frame, FrameType, Setup } from '../../../src/protocol/backplane/frames.ts';
import { Streams } from '../../../src/protocol/backplane/streams.ts';
import type { Continuation } from '../../../src/protocol/http/continuation.ts';
import type { LentHalf } from '../../../src/protocol/tls/traffic.ts';
import type { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { type ByteSink, SocketSink } from '../../../src/serve/byte-sink.ts';
import type { Request } from '../../../src/serve/request.ts';
import { parsed } from '../../protocol/http/support.ts';
import { Conversations } from '../conversations.ts';
import { TableModel } from '../table.ts';

export const SETUP_MS = 500;
export const PEER_MS = 3000;
/** Sequence numbers wrap in the middle of the responses. */
export const START = 0xffff_ff00;
export const CLIENT_START = 0xffff_fff0;
export const FD = 7;

/** What an accepted socket is like that has sent nothing. */
export function capture(changes: Partial<HalfPipeCapture> = {}): HalfPipeCapture {
  return {
    client: { address: parseAddress('10.0.0.9'), port: 40000 },
    public: { address: parseAddress('10.0.0.1'), port: 80 },
    mss: 1448,
    pathMtu: 1500,
    countStart: START,
    writeSequence: START,
    acknowledged: START,
    receiveSequence: CLIENT_START,
    sendWindow: 65535,
    maxWindow: 65535,
    receiveWindow: 65535,
    tsval: 1000,
    clockOffset: 0,
    srttUs: 0,
    congestionWindow: 10,
    sack: true,
    timestamps: true,
    sendScale: 7,
    receiveScale: 7,
    ...changes,
  };
}

function withOwnKey(frame: Setup, seal: LentHalf): Setup {
  return { ...frame, seal: { ...seal, key: Buffer.from(seal.key), iv: Buffer.from(seal.iv) } };
}

/** A link to a node: keeps what is sent, and delivers what the node says. */
export class LinkModel extends Conversations {
  readonly node: number;
  readonly sent: Frame[] = [];
  up = true;
  /** The link takes no frames: too much is queued. */
  full = false;
  queuedBytes = 0;
  /** The node has given no sign of life for a while. */
  isSilent = false;
  /** What the node has sent that no peer sends. */
  readonly errors: string[] = [];
  /** How late what comes is. */
  lateMs = 0;
  readonly clock = { excessMs: () => this.lateMs, excessOf16Ms: () => this.lateMs };

  constructor(node: number) {
    super(true);
    this.node = node;
  }

  protocolError(what: string): void {
    this.errors.push(what);
    this.down();
  }

  send(frame: Frame): boolean {
    if (!this.up || this.full) return false;
    // A key is wiped as soon as it is sent.
    this.sent.push('seal' in frame && frame.seal !== null ? withOwnKey(frame, frame.seal) : frame);
    return true;
  }

  /** The node says this to whoever has the conversation. */
  hear(frame: Frame): void {
    assert('request' in frame);
    this.conversations.get(frame.request)?.frame(frame, this.link);
  }

  down(): void {
    this.up = false;
    for (const conversation of [...this.conversations.values()]) conversation.linkDown(this.link);
  }

  /** The newest frame of a type that was sent. */
  last<T extends FrameType>(type: T): Extract<Frame, { type: T }> {
    const frame = this.sent.findLast((sent) => sent.type === type);
    assert(frame !== undefined, `no frame of type ${type}`);
    return frame as Extract<Frame, { type: T }>;
  }

  count(type: FrameType): number {
    return this.sent.filter((sent) => sent.type === type).length;
  }
}

/** The request in progress: keeps how it ended. */
export class HostModel implements DeliveryOwner {
  readonly ends: string[] = [];
  outcome: DeliveryResult | null = null;
  continuation: Continuation | null = null;
  successor: Delivery | null = null;
  quiet = true;
  hasMore = false;
  /** There is another node to ask. */
  others = true;

  readonly wayOut = {
    half: null as WriteHalf | null,
    mayLend: () => true,
    out: (): ByteSink => new SocketSink(FD, 'anyone'),
  };

  finished(outcome: DeliveryResult): void {
    this.outcome = outcome;
    this.ends.push('finished');
  }

  /** Why it is to be served again. */
  why: AgainReason | null = null;

  again(node: number, why: AgainReason): void {
    this.why = why;
    this.ends.push(`again without ${node}`);
  }

  againWithout(node: number): void {
    this.ends.push(`again, upstream of ${node} failed`);
  }

  later(): void {
    this.ends.push('later');
  }

  goOn(node: number, continuation: Continuation): void {
    this.continuation = continuation;
    this.ends.push(`goes on without ${node} at ${continuation.offset}`);
  }

  broken(reason: string): void {
    this.ends.push(`broken: ${reason}`);
  }

  settled(): void {
    this.ends.push('settled');
  }

  takeOver(takeOver: Delivery): void {
    this.successor = takeOver;
    this.ends.push('take-over');
  }

  servedWithout(): boolean {
    return this.others;
  }

  mayAskWithout(): boolean {
    return this.others;
  }

  answeredWithout(): boolean {
    return this.others;
  }

  sent(): void {}
  bodyWanted(): void {}
}

export class AnchorStand {
  readonly clock = { nowMs: 1_000_000, exactMs: () => this.clock.nowMs };
  readonly counters = new Counters();
  readonly table = new TableModel();
  /** State of the closed socket in the kernel. */
  socketState: number = TcpState.CLOSE;
  captured = capture();
  captures = 0;
  /** Why the kernel's socket cannot be captured. */
  failure: Error | null = null;
  /** How often the kernel was told to leave acknowledgements to others. */
  delays = 0;
  probes = 0;
  /** The numbers of resets for connections that are closed. */
  readonly resets: number[] = [];
  /** How often the own socket was told of the client's window. */
  windows = 0;
  readonly flows: AnchorFlows;
  readonly handoffs: Handoffs;
  readonly streams = new Streams({ later: { defer: () => {} } });
  readonly host = new HostModel();

  constructor(halfPipes = 4) {
    const { clock, counters: count, table } = this;
    const kernel: SocketKernel = {
      capture: () => {
        this.captures++;
        if (this.failure !== null) throw this.failure;
        return this.captured;
      },
      unreadBytes: () => 0,
      probe: () => {
        this.probes++;
      },
      setSendWindow: (_fd, windowOf) => {
        windowOf(0);
        this.windows++;
      },
      delayAcknowledgements: () => {
        this.delays++;
      },
      limitFinWait: () => {},
      reset: (_ends, sequence) => {
        this.resets.push(sequence);
      },
    };
    const sockets = { of: () => this.socketState };
    this.flows = new AnchorFlows({ clock, count, table, sockets, engine: 0, halfPipes, kernel });
    this.handoffs = new Handoffs({ clock, count, setupMs: SETUP_MS, peerMs: PEER_MS });
  }

  flow(): AnchorFlow {
    const flow = this.flows.create(FD);
    assert(flow !== null);
    return flow;
  }

  /** Time passes, in turns of 10 ms. */
  pass(ms: number): void {
    for (const endMs = this.clock.nowMs + ms; this.clock.nowMs < endMs; ) {
      this.clock.nowMs += 10;
      this.handoffs.turn(this.clock.nowMs);
      this.flows.turn(this.clock.nowMs);
      if (this.clock.nowMs % 100 === 0) this.flows.round(this.clock.nowMs);
    }
  }
}

/** A GET that has been read. */
export function request(changes: Partial<Request> = {}): Request {
  const text = 'GET /1k.bin HTTP/1.1\r\nHost: a\r\n\r\n';
  return {
    head: parsed(text),
    headBytes: Buffer.from(text),
    body: Buffer.alloc(0),
    bodyFollows: false,
    startUs: 0,
    close: false,
    continuation: null,
    client: { clientAddress: parseAddress('10.0.0.9'), isSecure: false },
    site: 7,
    upstreamFailed: false,
    estimates: null,
    ...changes,
  };
}
