/**
 * A cluster in one process: three nodes, clients of the first, one clock that moves when somebody moves it, and chance,
 * from a seed, which decides who acts next: a frame or a segment arrives, gets lost or waits, a socket sends, a node has a
 * turn, a client asks, a link is cut, a node is killed. What is in the network for long enough has arrived by then: the
 * lease counts on that (src/handoff/flow/lease.ts).
 */
import assert from 'node:assert/strict';
import type { CloneConfig } from '../../../src/base/config/config.ts';
import type { Suite } from '../../../src/protocol/tls/suites.ts';
import { Random } from '../../../src/tools/lab/random.ts';
import { LinkEnd } from './link.ts';
import { Node, PEER_MS, type World } from './node.ts';
import { type Asked, NAMES, pathOf, responsesTo } from './site.ts';
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
/** Something may still happen at any moment for so long. */
const BUSY_MS = 10_000;
const LOSS_PERCENT = 8;
/** A piece of a request. */
const MAX_SAID_BYTES = 200;
/** Links break for so long: a route waits longer for an owner that cannot be reached. */
const CUTS_MS = 3000;
const PAUSES_PER_MILLION = 2000;
/** No router stops what its node's half-pipes send for want of a sign of life (rule alive): after 5 s it would. */
const MAX_STOP_MS = 3000;
/** Until a node that goes on has read what came before its links were closed, at most. */
const AWAKE_MS = 20;
/** Longer than a lease lasts, and than an anchor waits for an answer. */
const MAX_PAUSE_MS = 500;

/** What is on its way between a client and a node. */
interface Packet {
  readonly client: Client;
  readonly sentAtMs: number;
  arrive(): void;
}

/** A client's connection, and what is asked on it. */
class Session {
  readonly client: Client;
  readonly requests: readonly Asked[];
  /** Requests that were sent. */
  asked = 0;
  /** Responses that are there as a whole. */
  answered = 0;
  /** When the first one that is not answered was sent, or may be. */
  sinceMs = 0;
  /** The longest that one has waited for. */
  slowestMs = 0;
  /** What may come next, and where that begins. */
  #expected: Buffer[];
  #at = 0;
  #lookedAt = 0;

  constructor(client: Client, requests: readonly Asked[]) {
    this.client = client;
    this.requests = requests;
    this.#expected = responsesTo(requests[0], Session.closes(requests[0]));
  }

  /** The connection ends with the response. */
  static closes({ mechanism }: Asked): boolean {
    return mechanism === 'split';
  }

  /** Looks at what has come: each response whole, in order, begun by one of the nodes; the last one may be cut off. */
  look(nowMs: number): void {
    if (this.client.have === this.#lookedAt) return;
    this.#lookedAt = this.client.have;
    const { text } = this.client;
    while (text.length > this.#at) {
      const got = text.subarray(this.#at);
      const whole = this.#expected.find(
        (one) => got.length >= one.length && got.compare(one, 0, one.length, 0, one.length) === 0,
      );
      if (whole === undefined) {
        const isBeginning = this.#expected.some(
          (one) => got.length <= one.length && got.compare(one, 0, got.length) === 0,
        );
        assert.ok(
          isBeginning,
          `response ${this.answered} is nobody’s: ${JSON.stringify(got.toString('latin1', 0, 200))}`,
        );
        return;
      }
      this.#at += whole.length;
      this.answered++;
      this.slowestMs = Math.max(this.slowestMs, nowMs - this.sinceMs);
      this.sinceMs = nowMs;
      const next = this.requests.at(this.answered);
      this.#expected = next === undefined ? [] : responsesTo(next, Session.closes(next));
      assert.ok(this.answered <= this.asked, 'nothing is answered that was not asked');
    }
  }

  /** The newest request that was sent ends the connection. */
  get isLast(): boolean {
    return this.asked > 0 && Session.closes(this.requests[this.asked - 1]);
  }

  get isOver(): boolean {
    return this.client.isReset || this.answered === this.requests.length;
  }
}

export interface Course {
  readonly seed: number;
  readonly clients: number;
  readonly requestsOf: (random: Random, client: number) => Asked[];
  /** Nodes, and frames on links, may be held up for some hundred milliseconds. */
  readonly hasPauses: boolean;
  /** Connections move to other nodes. */
  readonly canMove: boolean;
  /** Options of mechanism clone; none. */
  readonly clone?: CloneConfig;
  /** The clients speak TLS. `rekeys`: listen.tlsRekey. */
  readonly tls?: { readonly suite: Suite; readonly rekeys: boolean };
  /** How often, of a million steps, a link is cut; a node, never the first, is killed at most once. */
  readonly cutsPerMillion: number;
  readonly killsPerMillion: number;
  /** How often a node is stopped, for longer than the others wait for it; none. */
  readonly stopsPerMillion?: number;
  /** Node b is killed as soon as that is so. */
  readonly killsWhen?: (cluster: Cluster) => boolean;
  /** What is done before anybody acts. */
  readonly prepare?: (cluster: Cluster) => void;
  /** What is undone when all are answered. */
  readonly release?: (cluster: Cluster) => void;
}

export class Cluster implements World {
  readonly random: Random;
  readonly clock = { nowMs: 1_000_000, wallMs: 0, exactMs: () => this.clock.nowMs };
  readonly nodes: readonly Node[];
  readonly sessions: Session[] = [];
  readonly #course: Course;
  readonly #packets: Packet[] = [];
  /** By the node that has them: ends of links. */
  readonly #ends: LinkEnd[][] = NAMES.map(() => []);
  /** All of them. */
  #allEnds: LinkEnd[] = [];
  /** What happens at a time: a node finds out, a link comes up. */
  readonly #later: Array<{ readonly atMs: number; happen(): void }> = [];
  #hasKilled = false;
  /** Until when. */
  readonly #heldUp = new Map<Node | LinkEnd, number>();
  /** Indices of nodes that are stopped. */
  readonly #stopped = new Set<number>();
  readonly #startedMs = this.clock.nowMs;
  readonly #left = new Set<Client>();
  readonly #darkUntilMs = new Map<Node, number>();
  faults = 0;
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

  constructor(course: Course) {
    this.#course = course;
    this.random = new Random(course.seed);
    const { tls } = course;
    this.nodes = NAMES.map((_, index) => new Node(index, this));
    for (const a of this.nodes.keys()) for (let b = a + 1; b < NAMES.length; b++) this.#connect(a, b);
    for (let i = 0; i < course.clients; i++) {
      const window = 4096 * (1 + this.random.below(16));
      const client = new Client(i, ANCHOR, window, tls ? new ClientTls(tls.suite, this.random) : null);
      this.sessions.push(new Session(client, course.requestsOf(this.random, i)));
      this.nodes[ANCHOR].accept(client);
    }
  }

  #connect(a: number, b: number): void {
    if (!this.nodes[a].isAlive || !this.nodes[b].isAlive) return;
    if (this.#stopped.has(a) || this.#stopped.has(b)) return this.#connectSoon(a, b);
    const [here, there] = [this.#ends[a][b], this.#ends[b][a]];
    if (here?.up && here.peer === there && there.peer === here) return;
    // Who has not found out yet that the one before is gone does now.
    if (here?.up) this.#lost(here, a);
    if (there?.up) this.#lost(there, b);
    const [one, other] = [new LinkEnd(b, true), new LinkEnd(a, false)];
    one.peer = other;
    other.peer = one;
    this.#ends[a][b] = one;
    this.#ends[b][a] = other;
    this.#allEnds = this.#ends.flat();
    this.nodes[a].linkUp(one);
    this.nodes[b].linkUp(other);
  }

  linkTo(node: number, other: number): LinkEnd | null {
    const end = this.#ends[node][other];
    return end?.up ? end : null;
  }

  reachable(node: number): number[] {
    return [...NAMES.keys()].filter((other) => other === node || this.linkTo(node, other) !== null);
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

  /** One whose connection was reset says nothing more. */
  #say(segment: Segment): void {
    if (segment.client.isReset) return;
    this.#send(segment.client, () => this.nodes[segment.client.anchor].ingress(segment, null));
  }

  /** A client says again what was not acknowledged. */
  #repeat(): void {
    const { client } = this.#pick(this.sessions);
    if (client.owes) this.#say(client.segment(true, 1 + this.random.below(MAX_SAID_BYTES)));
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
    for (const end of this.#allEnds) if (end.hasFrames) ends++;
    if (ends === 0) return;
    let before = this.random.below(ends);
    const end = this.#allEnds.find(({ hasFrames }) => hasFrames && before-- === 0)!;
    if (!this.#isHeldUp(end) && !this.isHeldUp(this.nodes[end.node])) this.nodes[end.node].take(end);
  }

  #ask(): void {
    const session = this.#pick(this.sessions);
    const { client, requests, asked } = session;
    const isPipelined = this.random.below(8) === 0;
    if (client.isReset || asked === requests.length || (asked > session.answered && !isPipelined)) return;
    if (session.isLast) return;
    if (asked === session.answered) session.sinceMs = this.clock.nowMs;
    session.asked++;
    const connection = Session.closes(requests[asked]) ? 'Connection: close\r\n' : '';
    if (client.tls !== null && this.random.below(8) === 0) client.updateKeys();
    const text = `GET ${pathOf(requests[asked])} HTTP/1.1\r\nHost: site\r\n${connection}\r\n`;
    client.say(text);
    this.#say(client.segment(true));
  }

  /** More of a response that comes bit by bit. */
  #feed(): void {
    const node = this.#pick(this.nodes);
    if (this.isHeldUp(node)) return;
    for (const response of node.slow) {
      if (!node.isAlive || response.isOver) node.slow.delete(response);
      else if (this.clock.nowMs >= response.beginsAtMs) response.more(1 + this.random.below(8192));
    }
    node.settle();
  }

  #pass(ms: number): void {
    this.clock.nowMs += ms;
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
    const what = this.random.below(2) === 0 ? this.#pick(this.nodes) : this.#pick(this.#allEnds);
    this.#heldUp.set(what, this.clock.nowMs + this.random.below(MAX_PAUSE_MS));
  }

  isHeldUp(node: Node): boolean {
    return this.#isHeldUp(node);
  }

  #isHeldUp(what: Node | LinkEnd): boolean {
    return (this.#heldUp.get(what) ?? 0) > this.clock.nowMs;
  }

  #happen(afterMs: number, happen: () => void): void {
    this.#later.push({ atMs: this.clock.nowMs + afterMs, happen });
  }

  /** Its node can reach nobody. */
  isolate(index: number): void {
    for (const other of this.nodes.keys()) {
      this.linkTo(index, other)?.down();
      this.linkTo(other, index)?.down();
      this.nodes[index].nodeDown(other);
      this.nodes[other].nodeDown(index);
    }
  }

  /** Nothing comes through any more; the two ends find out one after the other, and connect again. */
  #cut(a: number, b: number): void {
    const ends = [this.#ends[a][b], this.#ends[b][a]];
    if (ends.some((end) => end === undefined || !end.up || end.peer === null)) return;
    this.faults++;
    for (const end of ends) end.cut();
    for (const [end, node] of [
      [ends[0], a],
      [ends[1], b],
    ] as const) {
      // An error comes at once, silence is noticed late.
      this.#happen(this.random.below(this.random.below(2) === 0 ? 50 : PEER_MS), () => this.#lost(end, node));
    }
    this.#happen(PEER_MS + this.random.below(500), () => this.#connect(a, b));
  }

  #lost(end: LinkEnd, node: number): void {
    if (!this.nodes[node].isAlive) return end.conversations.clear();
    if (this.#stopped.has(node)) return this.#happen(AWAKE_MS, () => this.#lost(end, node));
    end.down();
    this.nodes[node].nodeDown(end.node);
  }

  /** Its process is gone, and its router lets nothing out for it any more. */
  #kill(index: number): void {
    if (this.#hasKilled) return;
    this.#hasKilled = true;
    for (const other of this.nodes.keys()) {
      if (other === index) continue;
      this.#cut(index, other);
      // Given up before, while it was stopped: what waits there for it nobody reads any more.
      this.#ends[other][index]?.cut();
    }
    this.nodes[index].die();
    this.faults++;
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
    this.#stopped.add(index);
    this.#happen(stopMs, () => this.#stopped.delete(index));
    if (stopMs <= PEER_MS) return;
    for (const other of this.nodes.keys()) {
      const [there, here] = [this.linkTo(other, index), this.linkTo(index, other)];
      if (there === null || here === null) continue;
      this.#happen(PEER_MS - this.random.below(100), () => this.#giveUp(there, other));
      this.#happen(stopMs, () => this.#wakes(there, here, index));
    }
  }

  #giveUp(end: LinkEnd, node: number): void {
    // Who goes on in time is heard.
    if (!end.up || !this.nodes[node].isAlive || !this.#stopped.has(end.node)) return;
    if (this.isHeldUp(this.nodes[node])) return this.#happen(AWAKE_MS, () => this.#giveUp(end, node));
    end.close();
    this.nodes[node].nodeDown(end.node);
  }

  /** `there`: the peer's end of the link. */
  #wakes(there: LinkEnd, here: LinkEnd, node: number): void {
    if (!here.up || there.up || !this.nodes[node].isAlive) return;
    if (there.hasFrames || this.isHeldUp(this.nodes[node]))
      return this.#happen(AWAKE_MS, () => this.#wakes(there, here, node));
    here.down();
    this.nodes[node].nodeDown(here.node);
    this.#connectSoon(node, here.node);
  }

  #connectSoon(a: number, b: number): void {
    this.#happen(this.random.below(500), () => this.#connect(Math.min(a, b), Math.max(a, b)));
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.random.below(from.length)];
  }

  #turn(node: Node): void {
    if (!this.isHeldUp(node)) node.turn();
  }

  #step(): void {
    const { cutsPerMillion, killsPerMillion, stopsPerMillion = 0, hasPauses } = this.#course;
    const chance = this.random.below(1_000_000);
    const mayCut = this.clock.nowMs < this.#startedMs + CUTS_MS;
    if (mayCut && chance < cutsPerMillion) return this.#cut(ANCHOR, 1 + this.random.below(2));
    if (chance >= cutsPerMillion && chance < cutsPerMillion + killsPerMillion)
      return this.#kill(1 + this.random.below(2));
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
   * Mechanism split closes the anchor's socket when the response is nearly out, and counts on the target for the rest. When
   * that is killed by then, the client gets no more. Nor does one who has said everything, and whose connection was on
   * its way from a node that was killed, and has not arrived.
   */
  #isCutOff({ isLast, client }: Session): boolean {
    const mayBe = this.#hasKilled && (isLast || (this.#left.has(client) && !client.owes));
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
    while (this.clock.nowMs < startMs + FORGOTTEN_MS) {
      for (let i = 0; i < 20; i++) this.#arrive();
      for (let i = 0; i < 20; i++) this.#frame();
      this.#transmit();
      this.#repeat();
      for (const node of this.nodes) this.#turn(node);
      this.#pass(this.clock.nowMs < startMs + BUSY_MS ? 50 : 500);
    }
    for (const node of this.nodes) if (node.isAlive) node.assertEmpty();
    for (const [index, ends] of this.#ends.entries())
      for (const end of ends)
        if (end?.up && this.nodes[index].isAlive) assert.equal(end.conversations.size, 0, 'conversations');
  }
}
