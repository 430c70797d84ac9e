/** A node without kernel and network: clients' connections, an anchor's and a target's side, as an engine wires them. */
import assert from 'node:assert/strict';
import type { ClusterConfig } from '../../../src/base/config/config.ts';
import { Counters } from '../../../src/base/counters.ts';
import { Connections } from '../../../src/client/connections.ts';
import { type ClientSockets, EMPTY, FAILED } from '../../../src/client/sockets.ts';
import { AnchorFlows } from '../../../src/handoff/anchor/flows.ts';
import { Handoffs } from '../../../src/handoff/anchor/handoffs.ts';
import type { SocketKernel } from '../../../src/handoff/anchor/own-socket.ts';
import { Dispatcher } from '../../../src/handoff/mechanism/dispatcher.ts';
import type { DeliveryResult } from '../../../src/handoff/request/delivery.ts';
import type { HalfPipeKernel } from '../../../src/handoff/target/half-pipe-ports.ts';
import { HalfPipes } from '../../../src/handoff/target/half-pipes.ts';
import { RelayedRequests } from '../../../src/handoff/target/relayed-requests.ts';
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../../src/kernel/linux/epoll.ts';
import { TcpState } from '../../../src/kernel/linux/repair-options.ts';
import type { Source } from '../../../src/kernel/loop/loop.ts';
import { distance, type FlowRules } from '../../../src/kernel/router/ranges.ts';
import { takeInbound } from '../../../src/node/engine/inbound.ts';
import type { Setup } from '../../../src/protocol/backplane/frames.ts';
import { HeadCache } from '../../../src/protocol/http/head-cache.ts';
import { DEFAULT_HEAD_LIMITS } from '../../../src/protocol/http/request.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import type { Random } from '../../../src/tools/lab/random.ts';
import { parsed } from '../../protocol/http/support.ts';
import { capture } from '../anchor/stand.ts';
import { TableModel } from '../table.ts';
import type { LinkEnd } from './link.ts';
import { answer, askedBy, NAMES, type SlowResponse, siteOf } from './site.ts';
import { type Acknowledgement, CLIENT_START, type Client, Sender, START, toLocal, toWire } from './wire.ts';

export const SETUP_MS = 400;
export const PEER_MS = 600;
const SLOTS = 32;
const ROUND_MS = 100;
/** Longer than a lease. */
const MAX_BEGIN_MS = 600;
const FIRST_FD = 1000;
const NS_PER_MS = 1_000_000;
const LIMITS = {
  connections: 16,
  headSeconds: 10,
  idleSeconds: 60,
  stallSeconds: 30,
  bodyBytes: 200_000,
  halfPipes: 4,
  flows: 16,
};

/** What all nodes have. */
export interface World {
  readonly random: Random;
  readonly clock: { nowMs: number; readonly wallMs: number; exactMs(): number };
  /** The nodes that a node can ask, itself included. */
  reachable(node: number): number[];
  linkTo(node: number, other: number): LinkEnd | null;
  /** A client is asked what it has. */
  probe(client: Client): void;
  /** What the client has acknowledged goes on to a target. */
  forward(node: number, client: Client, ack: number, edge: number): void;
  reset(client: Client): void;
  /** Bytes that all clients have. */
  have(): number;
}

/** A socket of a connection that a client has opened. */
interface Accepted {
  readonly client: Client;
  readonly sender: Sender;
  arrived: Buffer;
  /** Bytes of the client so far. */
  total: number;
  hasEnded: boolean;
}

/** A response that is out, as its connection was told. */
export interface Result extends DeliveryResult {
  /** Bytes that the clients had by then. */
  readonly have: number;
}

export class Node {
  readonly index: number;
  readonly #world: World;
  readonly table = new TableModel(SLOTS);
  readonly counters = new Counters();
  isAlive = true;
  isStopping = false;
  /** Of the clients' requests here, in order. */
  readonly results: Result[] = [];
  readonly #accepted = new Map<number, Accepted>();
  /** Half-pipes' sockets. */
  readonly #pipeSockets = new Map<number, { readonly sender: Sender; readonly port: number }>();
  /** Sockets that are closed here and still owe something, with when the client last took some of it. */
  readonly #orphans = new Map<Accepted, number>();
  readonly #watched = new Map<number, Source>();
  readonly slow = new Set<SlowResponse>();
  readonly flows: AnchorFlows;
  readonly handoffs: Handoffs;
  readonly pipes: HalfPipes;
  readonly relayed: RelayedRequests;
  readonly connections: Connections;
  #deferred: Array<() => void> = [];
  #nextFd = FIRST_FD;
  #roundAtMs = 0;

  constructor(index: number, world: World) {
    this.index = index;
    this.#world = world;
    const { table, counters: count } = this;
    const { clock } = world;
    const later = { defer: (task: () => void) => void this.#deferred.push(task) };
    const watch = {
      add: (fd: number, _events: number, source: Source) => void this.#watched.set(fd, source),
      forget: (fd: number) => void this.#watched.delete(fd),
      give: (fd: number, source: Source) => void this.#watched.set(fd, source),
    };
    const isStopping = () => this.isStopping;
    const sockets = { of: () => TcpState.CLOSE };
    const common = { clock, count, later, watch, table, isStopping, log: () => {} };
    const heads = new HeadCache(DEFAULT_HEAD_LIMITS);
    const take = (response: SlowResponse) => {
      response.beginsAtMs = clock.nowMs + world.random.below(MAX_BEGIN_MS);
      this.slow.add(response);
    };
    const find = () => siteOf(world.reachable(index));
    const sites = {
      heads,
      find,
      parsed: (head: Buffer) => parsed(head.toString('latin1')),
      serve: ({ head, close, continuation }: Pick<Setup, 'head' | 'close' | 'continuation'>) =>
        answer(index, askedBy(parsed(head.toString('latin1')).path), close, continuation, take),
    };
    const repeatableChoices = { of: () => null };
    this.flows = new AnchorFlows({
      ...common,
      sockets,
      engine: 0,
      halfPipes: LIMITS.halfPipes,
      kernel: this.#socketKernel(),
    });
    this.handoffs = new Handoffs({ clock, count, setupMs: SETUP_MS, peerMs: PEER_MS });
    this.pipes = new HalfPipes({
      ...common,
      kernel: this.#pipeKernel(),
      sites: sites as never,
      repeatableChoices,
      engine: 0,
      self: index,
      most: LIMITS.flows,
      stallSeconds: LIMITS.stallSeconds,
      canServe: () => true,
    });
    this.relayed = new RelayedRequests({
      ...common,
      sites: sites as never,
      most: LIMITS.connections,
      boosted: () => {},
    });
    const config = {
      limits: LIMITS,
      nodes: NAMES.map((name) => ({ name })),
      sites: [find().config],
    } as unknown as ClusterConfig;
    const dispatcher = new Dispatcher({
      ...common,
      config,
      self: index,
      handoffs: this.handoffs,
      sites: {
        exchange: (_site, { head, close, continuation }) =>
          answer(index, askedBy(head.path), close, continuation, take),
        candidatesFor: () => find().candidates,
        failure: () => new Exchange(),
      },
      repeatableChoices,
      policies: { of: () => ({ choose: ({ path }) => this.#choose(path) }) },
      sizeOf: () => null,
      loadOf: () => ({ cpuPermille: 0 }),
      linkOf: (node) => world.linkTo(index, node)?.link,
      mayMoveTo: () => false,
      nextTaker: () => null,
      isLeaving: isStopping,
      boosted: null,
    });
    this.connections = new Connections({
      ...common,
      config,
      sockets: this.#clientSockets(),
      sites: {
        heads,
        find,
        parsed: (head) => parsed(head.toString('latin1')),
        extraFields: () => '',
        failure: () => assert.fail('no upstream fails'),
        answered: () => {},
        failed: () => {},
      },
      dispatcher,
      flows: this.flows,
      handoffs: this.handoffs,
      guests: { size: 0, revive: () => null, ended: () => {}, close: () => {} },
      access: {
        answered: (_reported, result) => this.results.push({ ...result, have: world.have() }),
        cut: () => {},
        refused: () => {},
      },
      boosted: null,
      tls: null,
      startMove: () => null,
      isClosing: () => false,
    });
  }

  /** As the request says; another that can be reached when that one cannot, or was asked. */
  #choose(path: string): { node: number; mechanism: never } {
    const { node, mechanism } = askedBy(path);
    const up = this.#world.reachable(this.index);
    return { node: up.includes(node) ? node : up[0], mechanism: mechanism as never };
  }

  #own(fd: number): Accepted {
    const accepted = this.#accepted.get(fd);
    assert(accepted !== undefined, `descriptor ${fd} is no client’s`);
    return accepted;
  }

  /** Whether the connection is open. */
  has(fd: number): boolean {
    return this.#accepted.has(fd);
  }

  #clientSockets(): ClientSockets {
    return {
      receive: (fd, { bytes }) => {
        const accepted = this.#accepted.get(fd);
        if (accepted === undefined) return FAILED;
        if (accepted.arrived.length === 0) return accepted.hasEnded ? 0 : EMPTY;
        const got = accepted.arrived.copy(bytes);
        accepted.arrived = accepted.arrived.subarray(got);
        return got;
      },
      unreadBytes: (fd) => this.#own(fd).arrived.length,
      queuedBytes: (fd) => this.#own(fd).sender.queued,
      out: (fd) => this.#own(fd).sender,
      ends: (fd) => this.#own(fd).client.ends,
      shut: () => {},
      close: (fd) => {
        const accepted = this.#own(fd);
        if (accepted.sender.queued > 0) this.#orphans.set(accepted, this.#world.clock.nowMs);
        this.#accepted.delete(fd);
      },
      abort: (fd) => {
        this.#world.reset(this.#own(fd).client);
        this.#accepted.delete(fd);
      },
      limitSilence: () => {},
      turnAway: () => assert.fail('there is room for every client'),
    };
  }

  #socketKernel(): SocketKernel {
    return {
      capture: (fd) => {
        const { client, sender, total } = this.#own(fd);
        return capture({
          ...client.ends,
          countStart: START,
          writeSequence: sender.number(sender.written),
          acknowledged: sender.number(sender.acknowledged),
          receiveSequence: (CLIENT_START + total) >>> 0,
          sendWindow: sender.window,
        });
      },
      unreadBytes: (fd) => this.#own(fd).arrived.length,
      probe: (fd) => this.#world.probe(this.#own(fd).client),
      setSendWindow: (fd, windowOf) => {
        const { sender } = this.#own(fd);
        sender.window = windowOf(sender.queued);
      },
      delayAcknowledgements: () => {},
      limitFinWait: () => {},
    };
  }

  #pipeKernel(): HalfPipeKernel {
    const of = (fd: number): Sender => {
      const socket = this.#pipeSockets.get(fd);
      assert(socket !== undefined, `descriptor ${fd} is no half-pipe’s`);
      return socket.sender;
    };
    const end = (fd: number): void => {
      of(fd).isClosed = true;
      this.#pipeSockets.delete(fd);
    };
    return {
      restore: (seed, spare) => {
        const fd = spare >= 0 ? spare : this.#nextFd++;
        const sender = new Sender(seed.sequence, seed.sendWindow);
        this.#pipeSockets.set(fd, { sender, port: seed.client.port });
        return { fd, clockOffset: 0, limitsTimeout: false, wasSpare: spare >= 0 };
      },
      limitStall: () => {},
      setSendWindow: (fd, windowOf) => {
        of(fd).window = windowOf(of(fd).queued);
      },
      queuedBytes: (fd) => of(fd).queued,
      info: () => ({
        state: () => TcpState.ESTABLISHED,
        pathMtu: () => 1500,
        congestionWindow: () => 10,
        srttUs: () => 0,
      }),
      takeError: () => 0,
      out: of,
      closeSilently: end,
      empty: end,
      close: () => {},
    };
  }

  /** A client has connected. */
  accept(client: Client): number {
    const fd = this.#nextFd++;
    const { edge, ack } = client.acknowledgement;
    const sender = new Sender(START, distance(ack, edge));
    this.#accepted.set(fd, { client, sender, arrived: Buffer.alloc(0), total: 0, hasEnded: false });
    this.connections.accept(fd, client.ends.client, false);
    this.settle();
    return fd;
  }

  /** Bytes of a client, or its end. */
  hear(fd: number, bytes: string, isEnd: boolean): void {
    const accepted = this.#accepted.get(fd);
    if (accepted === undefined) return;
    accepted.arrived = Buffer.concat([accepted.arrived, Buffer.from(bytes)]);
    accepted.total += bytes.length;
    if (isEnd) accepted.hasEnded = true;
    const seen = this.table.seen.get(this.#slotOf(accepted.client));
    if (seen !== undefined) {
      seen.inNext = (CLIENT_START + accepted.total) >>> 0;
      seen.inAck = seen.inNext;
    }
    this.#watched.get(fd)?.ready(EPOLLIN | (isEnd ? EPOLLRDHUP : 0));
    this.settle();
  }

  #slotOf({ ends }: Client): number {
    return this.table.installed(ends.client, ends.public);
  }

  #rulesOf(client: Client): FlowRules | undefined {
    return this.table.rules.get(this.#slotOf(client));
  }

  /** Where what a socket of a connection has sent lies in its client's space; null: its router lets nothing out. */
  #egress(client: Client, isPipe: boolean, sender: Sender, at: number, length: number): number | null {
    const rules = this.#rulesOf(client);
    if (rules === undefined) return isPipe ? null : sender.number(at);
    const { ack } = this.table.seen.get(this.#slotOf(client))!;
    return toWire(rules, sender.number(at), length, ack, this.#world.clock.nowMs);
  }

  /** Everybody here who owes a client something. */
  sendersTo(client: Client): Array<{ sender: Sender; wireOf(at: number, length: number): number | null }> {
    if (!this.isAlive) return [];
    const own = [...this.#accepted.values(), ...this.#orphans.keys()].filter((one) => one.client === client);
    const pipes = [...this.#pipeSockets.values()].filter(({ port }) => port === client.ends.client.port);
    const wireOf = (isPipe: boolean, sender: Sender) => (at: number, length: number) =>
      this.#egress(client, isPipe, sender, at, length);
    return [
      ...own.map(({ sender }) => ({ sender, wireOf: wireOf(false, sender) })),
      ...pipes.map(({ sender }) => ({ sender, wireOf: wireOf(true, sender) })),
    ];
  }

  /** A segment of a client comes to the anchor: it acknowledges up to `ack`, and allows up to `edge`. */
  acknowledged(client: Client, { ack, edge, holdsLater }: Acknowledgement): void {
    const rules = this.#rulesOf(client);
    if (rules !== undefined) this.#forward(client, rules, ack, edge);
    this.#see(client, ack, edge, holdsLater);
    for (const [fd, accepted] of this.#accepted)
      if (accepted.client === client) this.#tell(fd, accepted.sender, client, ack, edge);
    for (const orphan of [...this.#orphans.keys()].filter((one) => one.client === client)) {
      const before = orphan.sender.queued;
      this.#tell(-1, orphan.sender, client, ack, edge);
      if (orphan.sender.queued < before) this.#orphans.set(orphan, this.#world.clock.nowMs);
      if (orphan.sender.queued === 0) this.#orphans.delete(orphan);
    }
    this.settle();
  }

  #forward(client: Client, rules: FlowRules, ack: number, edge: number): void {
    const saysNew = distance(this.table.seen.get(this.#slotOf(client))!.ack, ack) > 0;
    const targets = rules.ranges.filter(({ owner, late }) => owner > 0 && (late !== true || !saysNew));
    for (const owner of new Set(targets.map((range) => range.owner)))
      this.#world.forward(owner - 1, client, ack, edge);
  }

  /** A copy of it comes to a target. */
  copied(client: Client, ack: number, edge: number): void {
    if (!this.isAlive || this.#rulesOf(client) === undefined) return;
    this.#see(client, ack, edge, false);
    for (const [fd, { sender, port }] of [...this.#pipeSockets])
      if (port === client.ends.client.port) this.#tell(fd, sender, client, ack, edge);
    this.settle();
  }

  #see(client: Client, ack: number, edge: number, holdsLater: boolean): void {
    const seen = this.table.seen.get(this.#slotOf(client));
    if (seen === undefined || this.#slotOf(client) < 0) return;
    seen.segments++;
    if (distance(seen.ack, ack) >= 0) seen.holdsLater = holdsLater || (seen.holdsLater && seen.ack === ack);
    if (distance(seen.ack, ack) > 0) seen.ack = ack;
    if (distance(seen.edge, edge) > 0) seen.edge = edge;
  }

  /** A socket hears of an acknowledgement, in its own space. */
  #tell(fd: number, sender: Sender, client: Client, ack: number, edge: number): void {
    const rules = this.#rulesOf(client);
    const number = rules === undefined ? ack : toLocal(rules, ack);
    if (number === null) return;
    const at = Math.min(distance(sender.start, number), sender.written);
    if (at < sender.acknowledged) return;
    const isFree = at > sender.acknowledged;
    sender.acknowledged = at;
    // The window is the client's, counted from what it has acknowledged, whoever has sent that.
    sender.window = Math.max(0, distance(ack, edge));
    if (isFree) this.#watched.get(fd)?.ready(EPOLLOUT);
  }

  /** A frame of another node. */
  take(from: LinkEnd): void {
    const frame = from.next();
    const here = from.peer;
    if (frame === null || here === null) return;
    const opens = frame.type === 1 || !('request' in frame);
    const conversation = opens || !('request' in frame) ? null : here.conversationOf(frame.request);
    if (conversation !== null) conversation.frame(frame, here.link);
    else takeInbound(this.#inbound(), here.link, frame);
    this.settle();
  }

  #inbound(): Parameters<typeof takeInbound>[0] {
    const { relayed, pipes: halfPipes } = this;
    return { relayed, halfPipes } as unknown as Parameters<typeof takeInbound>[0];
  }

  /** Runs what was put off: the links have been flushed. */
  settle(): void {
    while (this.#deferred.length > 0) for (const task of this.#deferred.splice(0)) task();
  }

  /** A turn of the engine's loop. */
  turn(): void {
    if (!this.isAlive) return;
    const { nowMs } = this.#world.clock;
    this.handoffs.turn(nowMs);
    this.relayed.turn();
    this.pipes.turn();
    this.settle();
    if (nowMs - this.#roundAtMs < ROUND_MS) return;
    this.#roundAtMs = nowMs;
    // TCP_USER_TIMEOUT: the kernel gives up.
    for (const [orphan, atMs] of this.#orphans)
      if (nowMs - atMs > LIMITS.stallSeconds * 1000) this.#orphans.delete(orphan);
    this.connections.round(nowMs);
    this.flows.round(nowMs);
    this.pipes.round(nowMs);
    this.settle();
  }

  /** For whoever looks into a failure. */
  toString(): string {
    const rules = [...this.table.rules].map(([slot, { ranges, leaseNs, watch, flags }]) =>
      JSON.stringify({
        slot,
        ranges,
        leaseMs: leaseNs / NS_PER_MS,
        watch,
        flags,
        seen: this.table.seen.get(slot),
      }),
    );
    const sockets = [...this.#pipeSockets.values(), ...this.#accepted.values(), ...this.#orphans.keys()].map(
      ({ sender }) => {
        const { start, written, acknowledged, window } = sender;
        return JSON.stringify({ start, written, acknowledged, window });
      },
    );
    const status = [...this.flows.status(9), ...this.pipes.status(9)].map(
      ({ role, state, nodes }) => `${role} ${state} ${nodes}`,
    );
    return [`node ${this.index}${this.isAlive ? '' : ' (dead)'}:`, ...status, ...rules, ...sockets].join(
      '\n  ',
    );
  }

  /** Nothing of any connection is left. */
  assertEmpty(): void {
    const name = `node ${this.index}`;
    assert.equal(this.connections.size, 0, `${name}: connections`);
    assert.equal(this.flows.size, 0, `${name}: flows`);
    assert.equal(this.pipes.size, 0, `${name}: half-pipes`);
    assert.equal(this.relayed.size, 0, `${name}: relayed requests`);
    assert.equal(this.table.free, SLOTS, `${name}: slots of the router’s table`);
    assert.equal(this.#accepted.size + this.#orphans.size, 0, `${name}: clients’ sockets`);
    assert.equal(this.#pipeSockets.size, 0, `${name}: half-pipes’ sockets`);
  }
}
