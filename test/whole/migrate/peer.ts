/**
 * A node of the cluster that says what a test wants: `node peer.js JOB`, run in the namespace of a node whose process
 * is gone, before which the other one comes in the configuration (so that it dials). Prints what came back as JSON.
 */
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseAddress } from '../../../src/base/address.ts';
import { hardwareAddress } from '../../../src/kernel/linux/interface.ts';
import { monotonicMs } from '../../../src/kernel/linux/monotonic.ts';
import * as sockets from '../../../src/kernel/linux/socket.ts';
import { capture, silentClose } from '../../../src/kernel/linux/tcp-repair.ts';
import { encodeState } from '../../../src/kernel/tcp/codec.ts';
import { type ConnectionState, STATE_VERSION } from '../../../src/kernel/tcp/state.ts';
import {
  type Frame,
  FrameType,
  type Migrate,
  PROTOCOL_VERSION,
} from '../../../src/protocol/backplane/frames.ts';
import { Inbox } from '../../../src/protocol/backplane/inbox.ts';
import { clusterKey } from '../../../src/protocol/backplane/key.ts';
import { Outbox } from '../../../src/protocol/backplane/outbox.ts';
import { Session } from '../../../src/protocol/backplane/session.ts';

export interface PeerJob {
  readonly node: string;
  readonly address: string;
  readonly key: string;
  /** `states`: one MIGRATE after the other. `lost`: a client's connection, and then no word more. */
  readonly what: 'states' | 'lost';
  /** The public address of the other node, and of this one. */
  readonly theirs: string;
  readonly own: string;
}

/** What was answered to a MIGRATE: `ok`, `reject REASON`, or `closed` when the link ended. */
export type PeerReport = Record<string, string>;

const BACKPLANE_PORT = 7946;
const KEEPALIVE_MS = 300;
const ANSWER_MS = 3000;
const REQUEST_MS = 200;
/** More than half of what an initiator waits, and little for one that drains. */
const LATE_MS = 400;

const clockMs = () => monotonicMs() >>> 0;

/** A connection that nobody has. */
function state(own: string, change: Partial<ConnectionState> = {}): ConnectionState {
  return {
    version: STATE_VERSION,
    client: { address: parseAddress('10.77.0.200'), port: 1024 + Math.floor(Math.random() * 30_000) },
    public: { address: parseAddress(own), port: 80 },
    mss: 1460,
    options: { sack: true, timestamps: true, sendScale: 7, receiveScale: 7 },
    sendSequence: 1000,
    receiveSequence: 2000,
    sendQueue: Buffer.alloc(0),
    unsentQueue: Buffer.alloc(0),
    receiveQueue: Buffer.alloc(0),
    window: { sendWl1: 2000, sendWindow: 65_535, maxWindow: 65_535, receiveWindow: 65_535, receiveWup: 2000 },
    advertisedEdge: 2000 + 65_535,
    timestamp: 100,
    finReceived: false,
    finSent: false,
    congestion: { window: 10, srttUs: 0 },
    receiveBufferKib: 0,
    ...change,
  };
}

/** The link that the other node has dialled. */
class Peer {
  readonly #session: Session;
  readonly #outbox: Outbox;
  readonly #inbox: Inbox;
  readonly #socket: Socket;
  #next = 2;
  #answered: (answer: string) => void = () => {};
  up: Promise<void>;
  #isUp = () => {};

  constructor(socket: Socket, job: PeerJob) {
    this.#socket = socket;
    this.#session = new Session({ role: 'accept', key: clusterKey(job.key) });
    this.#outbox = new Outbox(this.#session);
    this.#inbox = new Inbox(this.#session, (frame) => this.#frame(frame));
    this.up = new Promise((done) => {
      this.#isUp = done;
    });
    let greeted = false;
    socket.on('data', (bytes) => {
      this.#inbox.receive(bytes);
      if (!greeted && this.#session.state === 'OPEN') {
        greeted = true;
        this.send({
          type: FrameType.HELLO,
          protocol: PROTOCOL_VERSION,
          node: job.node,
          engine: 0,
          engines: 1,
          mac: hardwareAddress('eth0')!,
          clockMs: clockMs(),
          bootId: Buffer.alloc(8, 1),
        });
      }
      this.flush();
    });
    socket.on('error', () => {});
    socket.on('close', () => this.#answered('closed'));
  }

  #frame(frame: Frame): void {
    if (frame.type === FrameType.HELLO) this.#isUp();
    if (frame.type === FrameType.MIGRATE_OK) this.#answered('ok');
    if (frame.type === FrameType.SETUP_REJECT) this.#answered(`reject ${frame.reason}`);
  }

  send(frame: Frame): void {
    this.#outbox.push(frame);
    this.flush();
  }

  flush(): void {
    this.#outbox.flush();
    if (this.#outbox.pendingBytes > 0) this.#socket.write(Buffer.from(this.#outbox.pending()));
    this.#outbox.consume(this.#outbox.pendingBytes);
  }

  stayAlive(): void {
    this.send({ type: FrameType.KEEPALIVE, sentAtMs: clockMs(), echoMs: 0, heldMs: 0 });
  }

  /** Sends a state and resolves to the answer. */
  async migrate(bytes: Buffer, change: Partial<Migrate> = {}): Promise<{ answer: string; request: number }> {
    const request = this.#next;
    this.#next += 2;
    const answer = new Promise<string>((done) => {
      this.#answered = done;
    });
    this.send({
      type: FrameType.MIGRATE,
      request,
      epoch: 1,
      serveFirst: true,
      draining: false,
      response: null,
      session: null,
      sentAtMs: clockMs(),
      stateBytes: bytes.length,
      bytes,
      ...change,
    });
    const text = await Promise.race([answer, delay(ANSWER_MS, 'no answer')]);
    return { answer: text, request };
  }

  abort(request: number): void {
    this.send({ type: FrameType.ABORT, request, epoch: 1, reason: 4 });
  }

  end(): void {
    this.#socket.destroy();
  }
}

async function states(peer: Peer, job: PeerJob): Promise<PeerReport> {
  const report: PeerReport = {};
  const good = encodeState(state(job.theirs));
  const changed = (at: number, byte: number) => {
    const bytes = Buffer.from(good);
    bytes[at] = byte;
    return bytes;
  };
  const cases: Array<[string, Buffer, Partial<Migrate>?]> = [
    ['good', good],
    ['late', good, { sentAtMs: (clockMs() - LATE_MS) >>> 0 }],
    ['late, in a drain', good, { sentAtMs: (clockMs() - LATE_MS) >>> 0, draining: true }],
    ['an unknown version', changed(4, 99)],
    ['a length that is wrong', changed(3, good[3] + 1)],
    ['reserved bits', changed(5, 0xff)],
    ['a window above its limit', changed(72, 0xff)],
    ['an edge behind the window', changed(56, 0x80)],
    ['an odd clock', changed(63, 1)],
    ['an address that is not the cluster’s', encodeState(state('10.77.0.99'))],
    [
      'another port',
      encodeState(state(job.theirs, { public: { address: parseAddress(job.theirs), port: 81 } })),
    ],
    ['no bytes of a state', Buffer.from('state')],
    [
      'a response that nobody has',
      good,
      {
        response: {
          continuation: { headBytes: 10, lengthBytes: 100, validator: 1n, offset: 20 },
          close: false,
          head: Buffer.from('GET /1024.bin HTTP/1.1\r\nHost: local.test\r\n\r\n'),
          cut: 0,
        },
      },
    ],
  ];
  for (const [name, bytes, change] of cases) {
    const { answer, request } = await peer.migrate(bytes, change);
    report[name] = answer;
    if (answer === 'ok') peer.abort(request);
  }
  return report;
}

/** A client's connection that this node has accepted goes to the other one, whose answer is the last that is heard. */
async function lost(peer: Peer, job: PeerJob): Promise<PeerReport> {
  const listener = sockets.listenOn({ address: parseAddress(job.own), port: 80 }, 8);
  process.stdout.write('listening\n');
  let fd = -1;
  while (fd < 0) {
    await delay(10);
    fd = sockets.acceptFrom(listener);
    peer.stayAlive();
  }
  // The request is there, and stays unread.
  await delay(REQUEST_MS);
  process.stdout.write('accepted\n');
  await once(process.stdin, 'data');
  process.stdin.destroy();
  const { answer } = await peer.migrate(encodeState(capture(fd, { freeze: true })));
  peer.end();
  silentClose(fd);
  return { answer };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const job = JSON.parse(process.argv[2]) as PeerJob;
  const server = createServer(async (socket) => {
    server.close();
    const peer = new Peer(socket, job);
    await peer.up;
    const alive = setInterval(() => peer.stayAlive(), KEEPALIVE_MS);
    const report = job.what === 'states' ? await states(peer, job) : await lost(peer, job);
    clearInterval(alive);
    process.stdout.write(`${JSON.stringify(report)}\n`);
    peer.end();
  });
  server.listen(BACKPLANE_PORT, job.address);
}
