/** Clients' connections without a kernel: sockets, what answers, and where connections move to are models. */
import assert from 'node:assert/strict';
import { parseAddress } from '../../src/base/address.ts';
import type { ClusterConfig, SiteConfig } from '../../src/base/config/config.ts';
import { Counters } from '../../src/base/counters.ts';
import { AccessRecords } from '../../src/client/access-records.ts';
import type { Connection } from '../../src/client/connection.ts';
import { Connections } from '../../src/client/connections.ts';
import type { Move } from '../../src/client/moving.ts';
import type { ClientPorts } from '../../src/client/ports.ts';
import { type ClientSockets, EMPTY, FAILED } from '../../src/client/sockets.ts';
import { Outages } from '../../src/cluster/outages.ts';
import type { Choice } from '../../src/cluster/policy/policy.ts';
import type { FourTuple } from '../../src/handoff/flow/four-tuple.ts';
import type { RequestInProgress } from '../../src/handoff/mechanism/mechanism.ts';
import { moves } from '../../src/handoff/mechanism/moves.ts';
import type { Guest } from '../../src/handoff/move/guests.ts';
import type { Movable } from '../../src/handoff/move/movable.ts';
import type { ArrivedConnection } from '../../src/handoff/move/move-ports.ts';
import type { Delivery, DeliveryOwner, DeliveryResult, SoFar } from '../../src/handoff/request/delivery.ts';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../src/kernel/linux/epoll.ts';
import type { Memory } from '../../src/kernel/linux/memory.ts';
import type { Source } from '../../src/kernel/loop/loop.ts';
import type { Continuation } from '../../src/protocol/http/continuation.ts';
import { HeadCache } from '../../src/protocol/http/head-cache.ts';
import { DEFAULT_HEAD_LIMITS } from '../../src/protocol/http/request.ts';
import type { TlsAcceptor } from '../../src/protocol/tls/handshake.ts';
import { BLOCKED, BROKEN } from '../../src/serve/byte-sink.ts';
import { Exchange } from '../../src/serve/exchange.ts';
import type { Request } from '../../src/serve/request.ts';
import type { Site } from '../../src/serve/sites.ts';
import { AnchorStand } from '../handoff/anchor/stand.ts';
import { parsed } from '../protocol/http/support.ts';

export const HERE = 0;
export const B = 1;
export const C = 2;

export const LIMITS = {
  connections: 8,
  headSeconds: 10,
  idleSeconds: 60,
  stallSeconds: 30,
  handshakes: 4,
  bodyBytes: 200_000,
};

const FIRST_FD = 10;

const OUTCOME: DeliveryResult = {
  node: HERE,
  mechanism: 'local',
  status: 200,
  bytes: 100,
  bodyBytes: 60,
  close: false,
  firstByteUs: 1,
  handoffUs: -1,
};

/** A client, and the socket of its connection here. */
export class ClientModel {
  readonly fd: number;
  readonly ends: FourTuple;
  readonly #watched: () => Source | undefined;
  /** What has arrived and was not read. */
  arrived = Buffer.alloc(0);
  hasEnded = false;
  hasReset = false;
  /** Bytes that the socket takes before it is full. */
  room = Number.POSITIVE_INFINITY;
  said = '';
  /** Bytes that were sent and that it has not taken. */
  queuedBytes = 0;
  /** How often it was sent something that waits for what follows, and something that does not. */
  readonly calls = { waiting: 0, pushing: 0 };
  /** FIN went with what waited for it. */
  hasFinished = false;
  /** What was done to the socket, in order: shut, close, abort, and who has it instead: moved, guest. */
  readonly done: string[] = [];

  constructor(fd: number, watched: () => Source | undefined) {
    this.fd = fd;
    this.#watched = watched;
    this.ends = {
      client: { address: parseAddress('10.0.0.9'), port: 40000 + fd },
      public: { address: parseAddress('10.0.0.1'), port: 80 },
    };
  }

  /** Bytes come, and the loop says so if the socket is watched yet. */
  sends(bytes: string | Buffer): this {
    this.arrived = Buffer.concat([this.arrived, Buffer.from(bytes)]);
    this.#watched()?.ready(EPOLLIN);
    return this;
  }

  /** `bytes` are the last, and come with FIN in one event. */
  closes(bytes = ''): this {
    this.arrived = Buffer.concat([this.arrived, Buffer.from(bytes)]);
    this.hasEnded = true;
    this.#watched()?.ready(EPOLLIN | EPOLLRDHUP);
    return this;
  }

  resets(): this {
    this.hasReset = true;
    this.#watched()?.ready(EPOLLIN | EPOLLERR | EPOLLHUP);
    return this;
  }

  /** Acknowledges: the socket takes `bytes` more. */
  takes(bytes = Number.POSITIVE_INFINITY): this {
    this.room += bytes;
    this.#watched()?.ready(EPOLLOUT);
    return this;
  }

  /** The socket is closed, or somebody else's. */
  get isOver(): boolean {
    return this.done.some((what) => what !== 'shut');
  }
}

/** What is at work on a request: keeps what it is told, and ends when the test says so. */
export class DeliveryModel implements Delivery {
  readonly host: RequestInProgress;
  readonly request: Request;
  readonly tried: readonly number[];
  readonly told: string[] = [];
  readonly pieces: Buffer[] = [];
  hasBodyEnded = false;
  wantsBody = true;
  progress: Continuation | null = null;
  readonly soFar: SoFar = { node: HERE, mechanism: 'local', status: 200, bytes: 10 };
  /** It has nothing to tell: its request is another's, or it is to wait. */
  isOver = false;

  constructor(host: RequestInProgress, request: Request, tried: readonly number[]) {
    this.host = host;
    this.request = request;
    this.tried = tried;
  }

  /** The whole body, however it came. */
  get bodyBytes(): Buffer {
    return this.request.bodyFollows ? Buffer.concat(this.pieces) : this.request.body;
  }

  start(): void {
    this.told.push('start');
  }

  body(bytes: Buffer, last: boolean): void {
    assert.ok(!this.hasBodyEnded, 'nothing follows the last piece');
    this.pieces.push(Buffer.from(bytes));
    this.hasBodyEnded = last;
  }

  writable(): void {
    this.told.push('writable');
  }

  more(): void {
    this.told.push('more');
  }

  cancel(): void {
    this.told.push('cancel');
    this.isOver = true;
  }

  pause(): void {
    this.told.push('pause');
    this.isOver = true;
  }

  resume(): void {
    this.told.push('resume');
    this.isOver = false;
  }

  takeBack(): void {
    this.told.push('takeBack');
  }

  finish(changes: Partial<DeliveryResult> = {}): void {
    this.isOver = true;
    this.host.finished({ ...OUTCOME, ...changes });
  }
}

/** A connection on its way to another node. */
export class MoveModel implements Move {
  readonly connection: Movable;
  readonly to: Choice;
  /** What the other node gets in front of the receive queue. */
  readonly unread: string;
  isCancelled = false;

  constructor(connection: Movable, to: Choice) {
    this.connection = connection;
    this.to = to;
    this.unread = connection.unread.toString();
  }

  cancel(): void {
    this.isCancelled = true;
  }
}

export function site(changes: { upstream?: boolean; bodyBytes?: number } = {}): Site {
  const content = Object.fromEntries(
    ['a', 'b', 'c'].map((name) => [name, changes.upstream ? { kind: 'upstream' } : { kind: 'files' }]),
  );
  const config = { name: 'site', mechanism: 'anchor', content, bodyBytes: changes.bodyBytes };
  return {
    config: config as unknown as SiteConfig,
    digest: 7,
    content: {} as never,
    upstream: null,
    cache: null,
    candidates: [HERE, B, C].map((index) => ({ index, name: 'abc'[index], load: {} as never })),
    outages: new Outages(),
  };
}

/** A line of the access log. */
export type Recorded = Readonly<Record<string, unknown>>;

export class ClientStand {
  readonly clock = { nowMs: 1_000_000, wallMs: Date.UTC(2026, 0, 1) };
  readonly counters = new Counters();
  readonly anchor = new AnchorStand();
  readonly access: AccessRecords;
  readonly log: string[] = [];
  /** What the newest request was given to be answered by. */
  chosen: Choice | null = null;
  /** What is learnt of responses' sizes. */
  readonly sizes: string[] = [];
  readonly clients = new Map<number, ClientModel>();
  /** Everything that was asked to answer, in order. */
  readonly deliveries: DeliveryModel[] = [];
  readonly moves: MoveModel[] = [];
  /** Guests whose connections have ended, by what became of them. */
  readonly guestsEnded: string[] = [];
  site: Site | null = site();
  /** What the policy says. */
  choice: Choice = { node: HERE, mechanism: 'local' };
  /** Connections can be given to other nodes now. */
  canMove = true;
  isClosing = false;
  /** The engine has a socket ready that was a guest's. */
  revived: Guest | null = null;
  /** No body that follows is taken until a test says so. */
  bodiesWait = false;
  /** What becomes of a request at once; null: its delivery waits for the test. */
  answersAtOnce: Partial<DeliveryResult> | null = null;
  readonly connections: Connections;
  readonly #records: Recorded[] = [];
  readonly #watched = new Map<number, Source>();
  #nextFd = FIRST_FD;

  /** `tls`: what makes handshakes, where a test needs that. */
  constructor(changes: Partial<typeof LIMITS> = {}, tls: TlsAcceptor | null = null, tlsRekey = false) {
    const limits = { ...LIMITS, ...changes };
    const nodes = ['a', 'b', 'c'].map((name) => ({ name, boost: { boosters: [] } }));
    const config = {
      limits,
      nodes,
      listen: { tlsRekey },
      observe: { accessLog: '-', accessFields: [] },
    } as unknown as ClusterConfig;
    this.access = new AccessRecords(config, 'a', this.counters, ({ batch }) => {
      const lines = Buffer.from(batch.bytes).toString().trim().split('\n');
      for (const line of lines) if (line !== '') this.#records.push(JSON.parse(line));
    });
    const heads = new HeadCache(DEFAULT_HEAD_LIMITS);
    const ports: ClientPorts = {
      clock: this.clock,
      watch: {
        add: (fd, _events, source) => this.#watched.set(fd, source),
        give: (fd, source) => this.#watched.set(fd, source),
        forget: (fd) => this.#watched.delete(fd),
      },
      count: this.counters,
      config,
      sockets: this.#sockets(),
      sites: {
        heads,
        find: () => this.site,
        parsed: (bytes) => parsed(bytes.toString()),
        extraFields: () => '',
        failure: () => new Exchange(),
        answered: (_site, node, status) => this.log.push(`answered ${node} ${status}`),
        failed: (_site, node) => this.log.push(`failed ${node}`),
      },
      dispatcher: {
        choose: (_head, _site, stays) => (stays ? { node: HERE, mechanism: 'local' } : this.choice),
        mayMove: ({ mechanism }) => moves(mechanism),
        dispatch: (host, _site, tried, chosen) => {
          this.chosen = chosen;
          return this.#handle(host, host.request, tried);
        },
        answer: (host, request) => this.#answer(host, request),
        answered: (_site, { path }, bodyBytes) => this.sizes.push(`${path} ${bodyBytes}`),
      },
      flows: { create: (fd) => this.anchor.flows.create(fd) },
      handoffs: this.anchor.handoffs,
      guests: {
        get size() {
          return 1;
        },
        revive: () => this.revived,
        ended: ({ key }) => this.guestsEnded.push(`${key} ended`),
        close: ({ key }, fd) => {
          this.guestsEnded.push(`${key} closes`);
          this.client(fd).done.push('guest');
        },
      },
      tls,
      access: this.access,
      boosted: null,
      log: (_level, message, { reason }) => this.log.push(`${message}: ${reason}`),
      startMove: (connection, to) => this.#startMove(connection, to),
      isClosing: () => this.isClosing,
    };
    this.connections = new Connections(ports);
  }

  #sockets(): ClientSockets {
    return {
      receive: (fd, { bytes }: Memory) => {
        const client = this.client(fd);
        assert.ok(!client.isOver, 'a closed socket is not read');
        if (client.hasReset) return FAILED;
        if (client.arrived.length === 0) return client.hasEnded ? 0 : EMPTY;
        const got = client.arrived.copy(bytes);
        client.arrived = client.arrived.subarray(got);
        return got;
      },
      unreadBytes: (fd) => this.client(fd).arrived.length,
      queuedBytes: (fd) => this.client(fd).queuedBytes,
      out: (fd, behind) => ({
        send: (bytes, from, more, last) => {
          const client = this.client(fd);
          client.calls[more || (last && behind === 'end') ? 'waiting' : 'pushing']++;
          assert.ok(!client.isOver, 'nothing is sent on a closed socket');
          if (client.hasReset) return BROKEN;
          const taken = Math.min(client.room, bytes.length - from);
          if (taken === 0) return BLOCKED;
          client.room -= taken;
          client.said += bytes.toString('latin1', from, from + taken);
          return taken;
        },
        sendFile: () => assert.fail('a connection says no file'),
        flush: () => 0,
      }),
      ends: (fd) => (this.client(fd).hasReset ? null : this.client(fd).ends),
      shut: (fd) => this.client(fd).done.push('shut'),
      close: (fd) => this.#over(fd, 'close'),
      finish: (fd) => {
        this.client(fd).hasFinished = true;
        this.#over(fd, 'close');
      },
      abort: (fd) => this.#over(fd, 'abort'),
      limitSilence: (fd, limitMs) => this.log.push(`${fd} ${limitMs}`),
      turnAway: (fd, answer) => {
        this.client(fd).said += answer.toString('latin1');
        this.#over(fd, 'close');
      },
    };
  }

  #over(fd: number, how: string): void {
    const client = this.client(fd);
    assert.ok(!client.isOver, 'a socket is closed once');
    assert.ok(!this.#watched.has(fd), 'and not watched by then');
    client.done.push(how);
  }

  #handle(host: RequestInProgress, request: Request, tried: readonly number[]): DeliveryModel {
    const delivery = new DeliveryModel(host, request, tried);
    delivery.wantsBody = !this.bodiesWait;
    this.deliveries.push(delivery);
    if (this.answersAtOnce === null) return delivery;
    const outcome = this.answersAtOnce;
    delivery.start = () => delivery.finish(outcome);
    return delivery;
  }

  /** By an exchange of this node's: as far as the connection is concerned, another delivery. */
  #answer(host: DeliveryOwner, request: Request) {
    const delivery = this.#handle(host as RequestInProgress, request, []);
    delivery.told.push('answer');
    return delivery as never;
  }

  #startMove(connection: Movable, to: Choice): MoveModel | null {
    if (!this.canMove) return null;
    const move = new MoveModel(connection, to);
    this.moves.push(move);
    return move;
  }

  client(fd: number): ClientModel {
    const client = this.clients.get(fd);
    assert(client !== undefined, 'a client’s socket');
    return client;
  }

  /** The first client. */
  get only(): ClientModel {
    return this.client(FIRST_FD);
  }

  /** A client that has not been accepted yet. */
  knocks(): ClientModel {
    const fd = this.#nextFd++;
    const client = new ClientModel(fd, () => this.#watched.get(fd));
    this.clients.set(fd, client);
    return client;
  }

  /** A client whose connection is accepted; `bytes` have come by then. */
  connects(bytes = '', isSecure = false): ClientModel {
    const client = this.knocks().sends(bytes);
    this.connections.accept(client.fd, client.ends.client, isSecure);
    return client;
  }

  /** A client whose connection comes from another node. */
  arrives(changes: Partial<ArrivedConnection> = {}): ClientModel {
    const client = this.knocks();
    this.connections.adopt(client.fd, { guest: guest(), serveFirst: false, ...changes });
    return client;
  }

  connection(client: ClientModel): Connection {
    const connection = this.connections.all.find(({ fd }) => fd === client.fd);
    assert(connection !== undefined, 'the connection is there');
    return connection;
  }

  /** Its state; closed when it is gone, and then nothing of it is left. */
  stateOf(client: ClientModel): string {
    const connection = this.connections.all.find(({ fd }) => fd === client.fd);
    return connection?.state ?? 'closed';
  }

  /** What answers now. */
  get delivery(): DeliveryModel {
    const delivery = this.deliveries.at(-1);
    assert(delivery !== undefined, 'a request is in progress');
    return delivery;
  }

  get move(): MoveModel {
    const move = this.moves.at(-1);
    assert(move !== undefined, 'a connection moves');
    return move;
  }

  /** What was recorded of requests since. */
  records(): Recorded[] {
    this.access.flush();
    return this.#records.splice(0);
  }

  /** Time passes, in rounds of 100 ms. */
  pass(ms: number): void {
    for (const endMs = this.clock.nowMs + ms; this.clock.nowMs < endMs; ) {
      this.clock.nowMs += Math.min(100, endMs - this.clock.nowMs);
      this.connections.turn(this.clock.nowMs);
      this.connections.round(this.clock.nowMs);
    }
  }
}

export function guest(key = 'guest'): Guest {
  const ends = { client: { address: parseAddress('10.0.0.9'), port: 40000 } };
  return { key, epoch: 3, ends } as Guest;
}

export function get(path = '/', fields = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: site\r\n${fields}\r\n`;
}

export function post(bodyBytes: number, fields = ''): string {
  return `POST /form HTTP/1.1\r\nHost: site\r\nContent-Length: ${bodyBytes}\r\n${fields}\r\n`;
}
