/** The links of a cluster in one process: how they come and go, and what of it each end finds out when. */
import type { Random } from '../../../src/tools/lab/random.ts';
import { LinkEnd } from './link.ts';
import type { Node } from './node.ts';
import { NAMES } from './site.ts';

/** Until a node that goes on has read what came before its links were closed, at most. */
const AWAKE_MS = 20;
/** Until a link that broke is there again, beside what it takes the ends to find out. */
const AGAIN_MS = 500;
/** An error comes at once, silence is noticed late. */
const ERROR_MS = 50;

export interface BackplaneHost {
  readonly random: Random;
  readonly nodes: readonly Node[];
  readonly peerMs: number;
  /** Indices of nodes that are stopped. */
  readonly stopped: ReadonlySet<number>;
  isHeldUp(node: Node): boolean;
  happen(afterMs: number, happen: () => void): void;
}

export class Backplane {
  readonly #host: BackplaneHost;
  /** By the node that has them: ends of links. */
  readonly #ends: LinkEnd[][] = NAMES.map(() => []);
  /** All of them. */
  all: LinkEnd[] = [];

  constructor(host: BackplaneHost) {
    this.#host = host;
  }

  get #nodes(): readonly Node[] {
    return this.#host.nodes;
  }

  #happen(afterMs: number, happen: () => void): void {
    this.#host.happen(afterMs, happen);
  }

  connect(a: number, b: number): void {
    const { stopped } = this.#host;
    const [one, other] = [this.#nodes[a], this.#nodes[b]];
    if (!one.isAlive || !other.isAlive) return;
    if (stopped.has(a) || stopped.has(b)) return this.connectSoon(a, b);
    const [here, there] = [this.#ends[a][b], this.#ends[b][a]];
    if (here?.up && here.peer === there && there.peer === here) return;
    // Who has not found out yet that the one before is gone does now.
    if (here?.up) this.#lost(here, a);
    if (there?.up) this.#lost(there, b);
    const [dialler, accepted] = [
      new LinkEnd(b, true, one.clock, other.clock),
      new LinkEnd(a, false, other.clock, one.clock),
    ];
    dialler.peer = accepted;
    accepted.peer = dialler;
    this.#ends[a][b] = dialler;
    this.#ends[b][a] = accepted;
    this.all = this.#ends.flat();
    one.linkUp(dialler);
    other.linkUp(accepted);
  }

  connectSoon(a: number, b: number): void {
    this.#happen(this.#host.random.below(AGAIN_MS), () => this.connect(Math.min(a, b), Math.max(a, b)));
  }

  linkTo(node: number, other: number): LinkEnd | null {
    const end = this.#ends[node][other];
    return end?.up ? end : null;
  }

  /** Its node can reach nobody. */
  isolate(index: number): void {
    for (const other of this.#nodes.keys()) {
      this.linkTo(index, other)?.down();
      this.linkTo(other, index)?.down();
      this.#nodes[index].nodeDown(other);
      this.#nodes[other].nodeDown(index);
    }
  }

  /** Nothing comes through any more; the two ends find out one after the other, and connect again. False: it is cut. */
  cut(a: number, b: number): boolean {
    const { random, peerMs } = this.#host;
    const ends = [this.#ends[a][b], this.#ends[b][a]];
    if (ends.some((end) => end === undefined || !end.up || end.peer === null)) return false;
    for (const end of ends) end.cut();
    for (const [end, node] of [
      [ends[0], a],
      [ends[1], b],
    ] as const)
      this.#happen(random.below(random.below(2) === 0 ? ERROR_MS : peerMs), () => this.#lost(end, node));
    this.#happen(peerMs + random.below(AGAIN_MS), () => this.connect(a, b));
    return true;
  }

  #lost(end: LinkEnd, node: number): void {
    if (!this.#nodes[node].isAlive) return end.conversations.clear();
    if (!end.up) return;
    if (this.#host.stopped.has(node)) return this.#happen(AWAKE_MS, () => this.#lost(end, node));
    end.down();
    this.#nodes[node].nodeDown(end.node);
  }

  /** A node's process is gone; returns how many links that breaks. */
  killed(index: number): number {
    let cuts = 0;
    for (const other of this.#nodes.keys()) {
      if (other === index) continue;
      if (this.cut(index, other)) cuts++;
      // Given up before, while it was stopped: what waits there for it nobody reads any more.
      this.#ends[other][index]?.cut();
    }
    return cuts;
  }

  /** A node's process has ended: what it has sent is read before its end is found. */
  ended(index: number): void {
    for (const end of this.#ends[index]) {
      if (end === undefined || !end.up) continue;
      const { peer } = end;
      end.conversations.clear();
      end.close();
      if (peer !== null) this.#happen(0, () => this.#endHeard(end, peer));
    }
  }

  #endHeard(end: LinkEnd, peer: LinkEnd): void {
    if (!peer.up) return;
    if (end.hasFrames) return this.#happen(AWAKE_MS, () => this.#endHeard(end, peer));
    this.#lost(peer, end.node);
  }

  /** Some of what a process that has ended has sent is still on its way. */
  isHeardOf(index: number): boolean {
    return this.#ends[index].some((end) => end?.hasFrames);
  }

  /** A next process of the node has begun: what was said to the one before is answered by a reset. */
  restarted(index: number): void {
    for (const end of this.#ends[index]) {
      end?.conversations.clear();
      end?.down();
    }
    this.#ends[index].length = 0;
    for (const other of this.#nodes.keys()) {
      if (other === index) continue;
      const there = this.#ends[other][index];
      if (there?.up) this.#lost(there, other);
      this.connectSoon(index, other);
    }
    this.all = this.#ends.flat();
  }

  /** A node is stopped for longer than the others wait for it. */
  stopped(index: number, stopMs: number): void {
    const { random, peerMs } = this.#host;
    for (const other of this.#nodes.keys()) {
      const [there, here] = [this.linkTo(other, index), this.linkTo(index, other)];
      if (there === null || here === null) continue;
      this.#happen(peerMs - random.below(100), () => this.#giveUp(there, other));
      this.#happen(stopMs, () => this.#wakes(there, here, index));
    }
  }

  #giveUp(end: LinkEnd, node: number): void {
    const { stopped } = this.#host;
    // Who goes on in time is heard.
    if (!end.up || !this.#nodes[node].isAlive || !stopped.has(end.node)) return;
    if (this.#host.isHeldUp(this.#nodes[node])) return this.#happen(AWAKE_MS, () => this.#giveUp(end, node));
    end.close();
    this.#nodes[node].nodeDown(end.node);
  }

  /** `there`: the peer's end of the link. */
  #wakes(there: LinkEnd, here: LinkEnd, node: number): void {
    if (!here.up || there.up || !this.#nodes[node].isAlive) return;
    if (there.hasFrames || this.#host.isHeldUp(this.#nodes[node]))
      return this.#happen(AWAKE_MS, () => this.#wakes(there, here, node));
    here.down();
    this.#nodes[node].nodeDown(here.node);
    this.connectSoon(node, here.node);
  }

  /** Nodes that do not stand still say that they live, and hear it of others. */
  signsOfLife(): void {
    const acts = (node: Node) => node.isAlive && !this.#host.isHeldUp(node);
    for (const end of this.all)
      if (end.peer !== null && acts(this.#nodes[end.node]) && acts(this.#nodes[end.peer.node])) end.hear();
  }

  /** Ends with their nodes, by index. */
  *ends(): Generator<[number, LinkEnd]> {
    for (const [index, ends] of this.#ends.entries()) for (const end of ends) if (end?.up) yield [index, end];
  }
}
