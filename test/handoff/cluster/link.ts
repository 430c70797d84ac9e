/** Links between nodes as pipes: frames go through them as bytes, in order, until they are cut. */
import assert from 'node:assert/strict';
import { decodeFrame, encodeFrame, type Frame, frameSize } from '../../../src/protocol/backplane/frames.ts';
import type { Link } from '../../../src/protocol/backplane/link.ts';
import { Conversations } from '../conversations.ts';

/** A node's: its zero is its own, and it may go a little too fast. */
export interface NodeClock {
  readonly nowMs: number;
}

/** As protocol/backplane/link.ts has it. */
const SILENT_MS = 1250;

/** A frame, and when it comes at the earliest, by the clock of its sender. */
interface Sent {
  readonly bytes: Buffer;
  readonly dueMs: number;
}

/** One end. */
export class LinkEnd extends Conversations {
  /** Index of the peer. */
  readonly node: number;
  readonly #own: NodeClock;
  readonly #queue: Sent[] = [];
  #lastDueMs = 0;
  /** What is sent from here comes so much later. */
  delayMs = 0;
  up = true;
  queuedBytes = 0;
  readonly clock: Link['clock'];
  /** Who takes what comes. */
  peer: LinkEnd | null = null;
  /** When the peer gave a sign of life last. */
  #heardAtMs: number;

  constructor(node: number, isDialler: boolean, own: NodeClock, peers: NodeClock) {
    super(isDialler);
    this.node = node;
    this.#own = own;
    this.#heardAtMs = own.nowMs;
    // As a filter finds it that has seen enough of the link: how old what has just come is, by the clock it was sent by.
    const ageMs = (sentMs: number) => Math.floor(peers.nowMs) - sentMs;
    const ageOf16Ms = (sentMs: number) => ageMs(sentMs) & 0xffff;
    this.clock = {
      excessMs: (sentMs: number) => Math.max(0, ageMs(sentMs) | 0),
      excessOf16Ms: (sentMs: number) => (ageOf16Ms(sentMs) >= 0x8000 ? 0 : ageOf16Ms(sentMs)),
    } as unknown as Link['clock'];
  }

  protocolError(what: string): void {
    assert.fail(`what no node sends: ${what}`);
  }

  send(frame: Frame): boolean {
    if (!this.up) return false;
    const bytes = Buffer.alloc(frameSize(frame));
    encodeFrame(frame, bytes, 0);
    this.#lastDueMs = Math.max(this.#lastDueMs, this.#own.nowMs + this.delayMs);
    this.#queue.push({ bytes, dueMs: this.#lastDueMs });
    this.queuedBytes += bytes.length;
    return true;
  }

  /** The peer gets nothing more. */
  cut(): void {
    this.#queue.length = 0;
    this.queuedBytes = 0;
    this.peer = null;
  }

  /** The oldest frame that has not come; null: there is none, or it does not come any more. */
  next(): Frame | null {
    if (this.peer === null) this.cut();
    const sent = this.#queue.shift();
    if (sent === undefined) return null;
    const { bytes } = sent;
    this.queuedBytes -= bytes.length;
    return decodeFrame(bytes);
  }

  get hasFrames(): boolean {
    return this.#queue.length > 0 && this.peer !== null;
  }

  /** Two signs of life are missing. */
  get isSilent(): boolean {
    return this.#own.nowMs - this.#heardAtMs > SILENT_MS;
  }

  /** A sign of life has come. */
  hear(): void {
    this.#heardAtMs = this.#own.nowMs;
  }

  /** The oldest frame may come now. */
  get isDue(): boolean {
    return this.hasFrames && this.#queue[0].dueMs <= this.#own.nowMs;
  }

  /** Its node gives the peer up: what was sent before still comes there, and nothing more comes from there. */
  close(): void {
    this.peer?.cut();
    this.#over();
  }

  /** The node finds out that the link is gone. */
  down(): void {
    this.cut();
    this.#over();
  }

  #over(): void {
    this.up = false;
    const conversations = new Set(this.conversations.values());
    this.conversations.clear();
    for (const conversation of conversations) conversation.linkDown(this.link);
  }
}
