/**
 * A cluster in one process: three nodes, clients of the first or of several, one clock that moves when somebody moves it,
 * and chance, from a seed, which decides who acts next: a frame or a segment arrives, gets lost or waits, a socket sends, a
 * node has a turn, a client asks, a link is cut, a node is killed; and whatever else the course's troubles are. What is
 * in the network for long enough has arrived by then: the lease counts on that (src/handoff/flow/lease.ts).
 */
import assert from 'node:assert/strict';
import type { CloneConfig } from '../../../src/base/config/config.ts';
import { Random } from '../../../src/tools/lab/random.ts';
import { Backplane, type BackplaneHost } from './backplane.ts';
import type { Course } from './course.ts';
import type { LinkEnd } from './link.ts';
import { type EngineClock, Node, PEER_MS, type World } from './node.ts';
import { Session } from './session.ts';
import { NAMES, pathOf, requestOf } from './site.ts';
import { ClientTls, RecordWatch } from './tls.ts';
import { Client, type FollowedSegment, type Segment } from './wire.ts';

/** Who has accepted the clients. */
const ANCHOR = 0;
/** A target. */
export const B = 1;
/** A segment is not under way for longer: what a lease's margin is for. */
const NETWORK_MS = 40;
/** Nobody waits for so long, whatever happens. */
const LIMIT_MS = 120_000;
/** Until everything of a closed connection is forgotten. */
const FORGOTTEN_MS = 75_000;
/** The same when nodes have not heard that a client has left: it is idle, and takes nothing of their last words. */
const LEFT_FORGOTTEN_MS = 180_000;
/** Something may still happen at any moment for so long. */
const BUSY_MS = 10_000;
const LOSS_PERCENT = 8;
/** A piece of a request. */
const MAX_SAID_BYTES = 200;
/** Who owes more sends an upload, in larger ones. */
const MANY_BYTES = 1000;
const LARGE_BYTES = 16_384;
/** Links break for so long: a route waits longer for an owner that cannot be reached. */
const CUTS_MS = 3000;
const PAUSES_PER_MILLION = 2000;
/** No router stops what its node's half-pipes send for want of a sign of life (rule alive): after 5 s it would. */
const MAX_STOP_MS = 3000;
/** Longer than a lease lasts, and than an anchor waits for an answer. */
const MAX_PAUSE_MS = 500;
/** A loop that stands still. */
const MIN_STALL_MS = 300;
const MAX_STALL_MS = 1500;
/** What a link in one direction adds, and for how long. */
const MIN_SLOW_MS = 200;
const MAX_SLOW_MS = 700;
const SLOW_FOR_MS = 3000;
/** Until a node is started again. */
const MIN_RESTART_MS = 100;
const MAX_RESTART_MS = 3000;
/** Clients come within so long, try again, and give up. */
const ARRIVALS_MS = 4000;
const AGAIN_MS = 200;
const GIVE_UP_MS = 20_000;
/** Until the others know that a node stops. */
const NEWS_MS = 20;
/** Clocks begin anywhere, and are wrong by so much. */
const ZEROS_MS = 10_000_000;
const MOST_WRONG_PPM = 200;

/** What is on its way between a client and a node. */
interface Packet {
  readonly client: Client;
  readonly sentAtMs: number;
  arrive(): void;
}

export class Cluster implements World, BackplaneHost {
  readonly random: Random;
  /** What passes for everybody, since the cluster began. */
  readonly clock = { nowMs: 1_000_000 };
  readonly #clocks: EngineClock[];
  readonly nodes: Node[];
  readonly sessions: Session[] = [];
  readonly #course: Course;
  readonly #packets: Packet[] = [];
  readonly #links: Backplane;
  /** What happens at a time: a node finds out, a link comes up. */
  readonly #later: Array<{ readonly atMs: number; happen(): void }> = [];
  #hasKilled = false;
  /** Until when. */
  readonly #heldUp = new Map<Node | LinkEnd, number>();
  /** Indices of nodes that are stopped. */
  readonly stopped = new Set<number>();
  readonly #startedMs = this.clock.nowMs;
  readonly #left = new Set<Client>();
  readonly #darkUntilMs = new Map<Node, number>();
  /** When the others have heard that a node stops, by its index. */
  readonly #leavingAtMs = new Map<number, number>();
  faults = 0;
  /** Why nodes have reset connections. */
  readonly aborts: string[] = [];
  /** Connections that a drain has broken, since nobody took them in time. */
  brokenByDrains = 0;
  /** Over TLS: records that more than one node has sealed, or one more than once. */
  recordsAgain = 0;

  get canMove(): boolean {
    return this.#course.canMove;
  }

  get clone(): CloneConfig {
    return this.#course.clone ?? { pre: false, keep: false };
  }

  get rekeys(): boolean {
    return this.#course.tls?.rekeys ?? false;
  }

  get peerMs(): number {
    return this.#course.peerMs ?? PEER_MS;
  }

  constructor(course: Course) {
    this.#course = course;
    this.random = new Random(course.seed);
    const { tls, troubles = {}, anchors = [ANCHOR] } = course;
    this.#clocks = NAMES.map(() => this.#newClock(troubles.skews === true));
    this.#links = new Backplane(this);
    this.nodes = NAMES.map((_, index) => new Node(index, this));
    for (const a of this.nodes.keys()) for (let b = a + 1; b < NAMES.length; b++) this.#links.connect(a, b);
    for (let i = 0; i < course.clients; i++) {
      const window = 4096 * (1 + this.random.below(16));
      const anchor = anchors[i % anchors.length];
      const client = new Client(i, anchor, window, tls ? new ClientTls(tls.suite, this.random) : null);
      const mayClose = (troubles.drainsPerMillion ?? 0) > 0 && course.cutsPerMillion > 0;
      const session = new Session(client, course.requestsOf(this.random, i), mayClose);
      this.sessions.push(session);
      if (troubles.arrivals) this.happen(this.random.below(ARRIVALS_MS), () => this.#connects(session));
      else this.#connects(session);
    }
  }

  #newClock(isSkewed: boolean): EngineClock {
    const world = this.clock;
    const zeroMs = isSkewed ? this.random.below(ZEROS_MS) : 0;
    const rate = isSkewed ? 1 + (this.random.below(2 * MOST_WRONG_PPM) - MOST_WRONG_PPM) / 1e6 : 1;
    return {
      get nowMs() {
        return Math.floor(world.nowMs * rate) + zeroMs;
      },
      wallMs: 0,
      exactMs() {
        return this.nowMs;
      },
    };
  }

  clockOf(node: number): EngineClock {
    return this.#clocks[node];
  }

  /** Once somebody accepts there. */
  #connects(session: Session): void {
    const node = this.nodes[session.client.anchor];
    if (node.isAlive && node.isListening && !this.isHeldUp(node)) {
      session.isConnected = true;
      node.accept(session.client);
    } else if (this.clock.nowMs > this.#startedMs + GIVE_UP_MS) session.isTurnedAway = true;
    else this.happen(AGAIN_MS, () => this.#connects(session));
  }

  linkTo(node: number, other: number): LinkEnd | null {
    return this.#links.linkTo(node, other);
  }

  reachable(node: number): number[] {
    const accepts = (other: number) => this.clock.nowMs < (this.#leavingAtMs.get(other) ?? Infinity);
    const isUp = (other: number) => this.linkTo(node, other) !== null && accepts(other);
    return [...NAMES.keys()].filter((other) => other === node || isUp(other));
  }

  probe(client: Client): void {
    this.#send(client, () => this.#acknowledge(client));
  }

  tell(client: Client, arrive: () => void): void {
    this.#send(client, arrive);
  }

  divert(node: number, from: number, segment: Segment): void {
    this.#send(segment.client, () => this.nodes[node].ingress(segment, from));
  }

  /** It has not left the node. */
  replay(node: Node, segment: Segment): void {
    const arrive = () => node.ingress(segment, null);
    this.#packets.push({ client: segment.client, sentAtMs: this.clock.nowMs, arrive });
  }

  stray(client: Client): void {
    const session = this.sessions.find((one) => one.client === client);
    session?.look(this.clock.nowMs);
    if (session !== undefined && !session.isOver) this.reset(client);
  }

  clientAt(port: number): Client {
    const session = this.sessions.find(({ client }) => client.ends.client.port === port);
    assert.ok(session !== undefined, `no client has port ${port}`);
    return session.client;
  }

  forward(node: number, client: Client, ack: number, edge: number): void {
    this.#send(client, () => this.nodes[node].copied(client, ack, edge));
  }

  follow(node: number, segment: FollowedSegment): void {
    this.#send(segment.client, () => this.nodes[node].followed(segment));
  }

  have(): number {
    return this.sessions.reduce((sum, { client }) => sum + client.have, 0);
  }

  aborted(reason: string): void {
    this.aborts.push(`${this.clock.nowMs - this.#startedMs} ms, ${reason}`);
  }

  reset(client: Client): void {
    client.isReset = true;
  }

  #send(client: Client, arrive: () => void): void {
    if (this.random.below(100) < LOSS_PERCENT) return;
    this.#packets.push({ client, sentAtMs: this.clock.nowMs, arrive });
  }

  #acknowledge(client: Client): void {
    this.#say(client.segment(false));
  }

  /** One whose connection was reset says nothing more, but for one that has reset it. */
  #say(segment: Segment): void {
    if (segment.client.isReset && !segment.isReset) return;
    this.#send(segment.client, () => this.nodes[segment.client.anchor].ingress(segment, null));
  }

  /** A client says again what was not acknowledged. */
  #repeat(): void {
    const { client, isConnected } = this.#pick(this.sessions);
    if (!client.owes || !isConnected) return;
    const most = client.owesBytes > MANY_BYTES ? LARGE_BYTES : MAX_SAID_BYTES;
    this.#say(client.segment(true, 1 + this.random.below(most)));
  }

  /** A socket that owes a client something sends a piece of it. */
  #transmit(): void {
    const { client } = this.#pick(this.sessions);
    const node = this.#pick(this.nodes);
    const senders = node.sendersTo(client);
    if (senders.length === 0 || (this.#darkUntilMs.get(node) ?? 0) > this.clock.nowMs) return;
    const { sender, wireOf } = this.#pick(senders);
    const piece = sender.piece(this.random);
    const wire = piece === null ? null : wireOf(piece.at, piece.bytes.length);
    if (piece === null || wire === null) return;
    this.#send(client, () => {
      client.take(wire, piece.bytes);
      this.#acknowledge(client);
    });
  }

  #arrive(): void {
    if (this.#packets.length === 0) return;
    const [packet] = this.#packets.splice(this.random.below(this.#packets.length), 1);
    packet.arrive();
  }

  #frame(): void {
    let ends = 0;
    for (const end of this.#links.all) if (end.isDue) ends++;
    if (ends === 0) return;
    let before = this.random.below(ends);
    const end = this.#links.all.find(({ isDue }) => isDue && before-- === 0)!;
    if (!this.#isHeldUp(end) && !this.isHeldUp(this.nodes[end.node])) this.nodes[end.node].take(end);
  }

  #ask(): void {
    const { pipelines = false, halfCloses = false } = this.#course.troubles ?? {};
    const session = this.#pick(this.sessions);
    const { client, requests, asked } = session;
    const isPipelined = this.random.below(pipelines ? 2 : 8) === 0;
    if (!session.isConnected) return;
    if (client.isReset || asked === requests.length || (asked > session.answered && !isPipelined)) return;
    if (session.isLast || session.isClosed) return;
    if (asked === session.answered) session.sinceMs = this.clock.nowMs;
    const count = pipelines ? 1 + this.random.below(requests.length - asked) : 1;
    for (let i = 0; i < count && !session.isLast; i++) this.#sayNext(session);
    if (halfCloses && (session.asked === requests.length || session.isLast)) client.hasEnded = true;
    this.#say(client.segment(true));
  }

  #sayNext(session: Session): void {
    const { client, requests, asked } = session;
    session.asked++;
    const connection = Session.closes(requests[asked]) ? 'Connection: close\r\n' : '';
    if (client.tls !== null && this.random.below(8) === 0) client.updateKeys();
    client.say(requestOf(requests[asked], connection));
  }

  /** More of a response that comes bit by bit. */
  #feed(): void {
    const node = this.#pick(this.nodes);
    if (this.isHeldUp(node)) return;
    for (const response of node.slow) {
      if (!node.isAlive || response.isOver) node.slow.delete(response);
      else if (node.clock.nowMs >= response.beginsAtMs) response.more(1 + this.random.below(8192));
    }
    node.settle();
  }

  #pass(ms: number): void {
    this.clock.nowMs += ms;
    this.#links.signsOfLife();
    while (this.#packets.some(({ sentAtMs }) => this.clock.nowMs - sentAtMs > NETWORK_MS)) this.#arrive();
    for (const due of this.#later.filter(({ atMs }) => atMs <= this.clock.nowMs)) {
      this.#later.splice(this.#later.indexOf(due), 1);
      due.happen();
    }
  }

  /**
   * A node whose process does nothing, while its kernel and its router go on; a link on which nothing arrives; a node of
   * which nothing reaches clients.
   */
  #holdUp(): void {
    if (this.random.below(3) === 0) {
      this.#darkUntilMs.set(this.#pick(this.nodes), this.clock.nowMs + this.random.below(MAX_PAUSE_MS));
      return;
    }
    const what = this.random.below(2) === 0 ? this.#pick(this.nodes) : this.#pick(this.#links.all);
    this.#heldUp.set(what, this.clock.nowMs + this.random.below(MAX_PAUSE_MS));
  }

  isHeldUp(node: Node): boolean {
    return this.#isHeldUp(node);
  }

  #isHeldUp(what: Node | LinkEnd): boolean {
    return (this.#heldUp.get(what) ?? 0) > this.clock.nowMs;
  }

  happen(afterMs: number, happen: () => void): void {
    this.#later.push({ atMs: this.clock.nowMs + afterMs, happen });
  }

  /** Its node can reach nobody. */
  isolate(index: number): void {
    this.#links.isolate(index);
  }

  #cut(a: number, b: number): void {
    if (this.#links.cut(a, b)) this.faults++;
  }

  /** Its process is gone, and its router lets nothing out for it any more. */
  #kill(index: number): void {
    const { restarts = false } = this.#course.troubles ?? {};
    const isLate = this.clock.nowMs >= this.#startedMs + CUTS_MS;
    if (restarts ? isLate || this.nodes.some(({ isAlive }) => !isAlive) : this.#hasKilled) return;
    this.#hasKilled = true;
    this.faults += this.#links.killed(index);
    this.nodes[index].die();
    this.faults++;
    if (restarts) this.#restartSoon(index);
  }

  #restartSoon(index: number): void {
    this.happen(MIN_RESTART_MS + this.random.below(MAX_RESTART_MS - MIN_RESTART_MS), () =>
      this.#restart(index),
    );
  }

  /** A next process begins at the machine. */
  #restart(index: number): void {
    // That is all there by the time that a process has started.
    if (this.#links.isHeardOf(index)) return this.#restartSoon(index);
    this.stopped.delete(index);
    this.#leavingAtMs.delete(index);
    const node = new Node(index, this, this.nodes[index].takeRemains());
    this.nodes[index] = node;
    this.#links.restarted(index);
    node.homeRoutes.inherit();
  }

  /** One node at a time, while there are others to take its connections. */
  #drain(index: number): void {
    if (this.nodes.some(({ isAlive, isStopping }) => !isAlive || isStopping)) return;
    if (this.isHeldUp(this.nodes[index]) || this.reachable(index).length === 1) return;
    this.faults++;
    this.#leavingAtMs.set(index, this.clock.nowMs + this.random.below(NEWS_MS));
    this.nodes[index].drain();
  }

  drained({ index }: Node, broken: number): void {
    this.brokenByDrains += broken;
    this.#links.ended(index);
    if (this.#course.troubles?.restarts) this.#restartSoon(index);
  }

  /**
   * Its process does nothing for a while: the others close their links to it. When it goes on it reads what they had said
   * before, as if it were news, and then finds its links closed.
   */
  #stop(index: number): void {
    const node = this.nodes[index];
    if (!node.isAlive || this.isHeldUp(node)) return;
    this.faults++;
    const stopMs = this.random.below(MAX_STOP_MS);
    this.#heldUp.set(node, this.clock.nowMs + stopMs);
    this.stopped.add(index);
    this.happen(stopMs, () => this.stopped.delete(index));
    if (stopMs > this.peerMs) this.#links.stopped(index, stopMs);
  }

  /** Its loop stands still, and goes on before the others give it up. */
  #stall(node: Node): void {
    if (!node.isAlive || this.isHeldUp(node)) return;
    this.faults++;
    const stallMs = MIN_STALL_MS + this.random.below(MAX_STALL_MS - MIN_STALL_MS);
    this.#heldUp.set(node, this.clock.nowMs + stallMs);
  }

  /** What is sent from there waits for longer than an anchor for an answer. */
  #slow(end: LinkEnd | undefined): void {
    if (end === undefined) return;
    this.faults++;
    end.delayMs = MIN_SLOW_MS + this.random.below(MAX_SLOW_MS - MIN_SLOW_MS);
    this.happen(this.random.below(SLOW_FOR_MS), () => {
      end.delayMs = 0;
    });
  }

  /** A client ends its connection. */
  #leave({ client, isConnected }: Session): void {
    if (!isConnected || client.isReset) return;
    this.faults++;
    client.leave();
    this.#say(client.segment(false));
  }

  /** What is among the course's troubles. */
  #trouble(): void {
    const { troubles } = this.#course;
    if (troubles === undefined || this.clock.nowMs >= this.#startedMs + CUTS_MS) return;
    const {
      slowsPerMillion = 0,
      stallsPerMillion = 0,
      drainsPerMillion = 0,
      leavesPerMillion = 0,
    } = troubles;
    let chance = this.random.below(1_000_000);
    const isNow = (perMillion: number) => {
      chance -= perMillion;
      return chance < 0 && chance >= -perMillion;
    };
    if (isNow(slowsPerMillion)) this.#slow(this.#pick(this.#links.all));
    else if (isNow(stallsPerMillion)) this.#stall(this.#pick(this.nodes));
    else if (isNow(drainsPerMillion)) this.#drain(this.random.below(this.nodes.length));
    else if (isNow(leavesPerMillion)) this.#leave(this.#pick(this.sessions));
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.random.below(from.length)];
  }

  #turn(node: Node): void {
    if (!this.isHeldUp(node)) node.turn();
  }

  /** Two that have a link: the anchor and another, or, of several anchors, any. */
  #pair(): [number, number] {
    const one = ANCHOR + (this.#course.anchors === undefined ? 0 : this.random.below(2));
    return [one, one + 1 + this.random.below(2 - one)];
  }

  #step(): void {
    const { cutsPerMillion, killsPerMillion, stopsPerMillion = 0, hasPauses, troubles } = this.#course;
    const chance = this.random.below(1_000_000);
    const mayCut = this.clock.nowMs < this.#startedMs + CUTS_MS;
    this.#trouble();
    if (mayCut && chance < cutsPerMillion) return this.#cut(...this.#pair());
    if (chance >= cutsPerMillion && chance < cutsPerMillion + killsPerMillion)
      return this.#kill(troubles?.restarts ? this.random.below(3) : 1 + this.random.below(2));
    if (mayCut && chance >= 500_000 && chance < 500_000 + stopsPerMillion)
      return this.#stop(this.random.below(this.nodes.length));
    if (hasPauses && chance > 1_000_000 - PAUSES_PER_MILLION) return this.#holdUp();
    const what = this.random.below(100);
    if (what < 30) this.#transmit();
    else if (what < 60) this.#arrive();
    else if (what < 75) this.#frame();
    else if (what < 83) this.#turn(this.#pick(this.nodes));
    else if (what < 86) this.#ask();
    else if (what < 89) this.#repeat();
    else if (what < 93) this.#feed();
    else this.#pass(1 + this.random.below(4));
  }

  run(): void {
    const clients = this.sessions.flatMap(({ client }) => client.tls ?? []);
    const watch = clients.length > 0 ? new RecordWatch(clients) : null;
    try {
      this.#run();
    } finally {
      this.recordsAgain = watch?.again ?? 0;
      watch?.end();
      for (const client of clients) client.end();
    }
  }

  /** Until every client has what it asked for, or its connection was reset; then, until nothing is left of any. */
  #run(): void {
    const { prepare, killsWhen } = this.#course;
    const endMs = this.clock.nowMs + LIMIT_MS;
    prepare?.(this);
    while (this.sessions.some((session) => !session.isOver && !this.#isCutOff(session))) {
      this.#step();
      for (const session of this.sessions) session.look(this.clock.nowMs);
      if (killsWhen?.(this)) this.#kill(B);
      if (this.clock.nowMs >= endMs) assert.fail(this.#stuck());
    }
    for (const { client } of this.sessions) client.hasEnded = !client.isReset;
    this.#course.release?.(this);
    this.#forget();
  }

  left(client: Client): void {
    this.#left.add(client);
  }

  /**
   * A client that has said everything, and whose connection was on its way from a node that was killed and has not
   * arrived, gets no more.
   */
  #isCutOff({ client }: Session): boolean {
    const mayBe = this.#hasKilled && this.#left.has(client) && !client.owes;
    if (!mayBe || this.nodes.some((node) => node.has(client))) return false;
    return this.nodes.every((node) => node.sendersTo(client).every(({ sender }) => sender.queued === 0));
  }

  #stuck(): string {
    const sessions = this.sessions.map(({ asked, answered, requests, client }) => {
      const next = requests[answered];
      return `${answered} of ${asked} asked (${requests.length}), ${client.have} bytes, next ${next && pathOf(next)}`;
    });
    const nodes = this.nodes.map((node) => `${node}`);
    return [`nothing more happens at ${this.clock.nowMs}`, ...sessions, ...nodes].join('\n');
  }

  #forget(): void {
    for (let i = 0; i < 3000; i++) this.#step();
    const startMs = this.clock.nowMs;
    const hasLeft = this.sessions.some(({ client }) => client.hasLeft);
    const forMs = hasLeft ? LEFT_FORGOTTEN_MS : FORGOTTEN_MS;
    while (this.clock.nowMs < startMs + forMs) {
      for (let i = 0; i < 20; i++) this.#arrive();
      for (let i = 0; i < 20; i++) this.#frame();
      this.#transmit();
      this.#repeat();
      this.#feed();
      for (const node of this.nodes) this.#turn(node);
      this.#pass(this.clock.nowMs < startMs + BUSY_MS ? 50 : 500);
    }
    for (const node of this.nodes) if (node.isAlive) node.assertEmpty();
    for (const [index, end] of this.#links.ends())
      if (this.nodes[index].isAlive) assert.equal(end.conversations.size, 0, 'conversations');
  }
}
