/** Links between nodes as pipes: frames go through them as bytes, in order, until they are cut. */
import assert from 'node:assert/strict';
import { decodeFrame, encodeFrame, type Frame, frameSize } from '../../../src/protocol/backplane/frames.ts';
import type { Link } from '../../../src/protocol/backplane/link.ts';
import { Conversations } from '../conversations.ts';

/** One end. */
export class LinkEnd extends Conversations {
  /** Index of the peer. */
  readonly node: number;
  readonly #queue: Buffer[] = [];
  up = true;
  queuedBytes = 0;
  readonly clock: Link['clock'];
  /** Who takes what comes. */
  peer: LinkEnd | null = null;

  constructor(node: number, isDialler: boolean) {
    super(isDialler);
    this.node = node;
    // All nodes have one clock: how late a frame is nobody has to find out.
    this.clock = {
      excessMs: (sentMs: number, nowMs: number) => nowMs - sentMs,
      excessOf16Ms: (sentMs: number, nowMs: number) => (nowMs - sentMs) & 0xffff,
    } as unknown as Link['clock'];
  }

  protocolError(what: string): void {
    assert.fail(`what no node sends: ${what}`);
  }

  send(frame: Frame): boolean {
    if (!this.up) return false;
    const bytes = Buffer.alloc(frameSize(frame));
    encodeFrame(frame, bytes, 0);
    this.#queue.push(bytes);
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
    const bytes = this.#queue.shift();
    if (bytes === undefined) return null;
    this.queuedBytes -= bytes.length;
    return decodeFrame(bytes);
  }

  get hasFrames(): boolean {
    return this.#queue.length > 0 && this.peer !== null;
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
