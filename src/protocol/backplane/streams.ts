/**
 * The streams of an engine that have bytes to send, and whose turn it is on which link. What waits on a link is what a
 * stream that begins comes behind, so no more is put there than LINK_BACKLOG_BYTES (by one that begins: LINK_BUSY_BYTES).
 * The rest waits at its source, and streams go on in turn, a piece each. Who has sent goes behind all others; who finds
 * its link full keeps its place. So of two streams of a link that both have something to send, and credit, neither gets
 * ahead of the other by more than a piece and what is read at once. A stream without credit (its reader is slow) has no
 * place, and delays nobody.
 *
 *     asks -> sends at once, when nobody waits or it begins
 *       `--> waits -> goOn (a piece) -> asks ...
 *
 * Does no input or output: sources say how much waits on their links, and make and send frames themselves.
 */
import { type Member, Members } from '../../base/members.ts';
import { IDLE_MS, TICK_MS } from '../../kernel/loop/loop.ts';
import type { Later, Ticking } from '../../kernel/loop/ports.ts';
import type { StreamOutput } from './stream.ts';

/** A link with more waiting takes no piece of a stream. */
export const LINK_BUSY_BYTES = 1024 * 1024;

/** Nor, with more than this, any but a response's first piece. */
export const LINK_BACKLOG_BYTES = 128 * 1024;

/** The end of a stream that has bytes to send. */
export interface StreamSource extends Member {
  /** How much waits there. */
  readonly link: { readonly queuedBytes: number };
  readonly output: StreamOutput;
  /** The source's turn: it sends a piece, and waits again if it has more. */
  goOn(): void;
}

function isFull({ link, output }: StreamSource): boolean {
  return link.queuedBytes > (output.isFirst ? LINK_BUSY_BYTES : LINK_BACKLOG_BYTES);
}

export class Streams implements Ticking {
  readonly #later: Later;
  /** The sources that have credit and more to send, in the order of their turns. */
  readonly #waiting = new Members<StreamSource>();
  /** A round is put off until links are flushed. */
  #isDeferred = false;

  constructor({ later }: { readonly later: Later }) {
    this.#later = later;
  }

  /** Whether it may send now, as much as its `output` has room for; else it goes on in its turn, if it has credit. */
  asks(source: StreamSource): boolean {
    const { output } = source;
    if (!output.hasCredit || this.#waiting.has(source)) return false;
    if (!isFull(source)) {
      if (output.roomBytes > 0) return true;
      if (this.#waiting.size === 0 || output.isFirst) {
        output.beginTurn();
        return true;
      }
    }
    this.waits(source);
    return false;
  }

  /** Puts a source behind the others that wait for their turn. */
  waits(source: StreamSource): void {
    this.#waiting.add(source);
  }

  isWaiting(source: StreamSource): boolean {
    return this.#waiting.has(source);
  }

  /** The source has ended: it gets no more turns. */
  leaves(source: StreamSource): void {
    this.#waiting.delete(source);
  }

  /** A piece of each, in turn, while links take some; and again when they are flushed. */
  turn(): void {
    let hasSent = false;
    while (this.#round()) hasSent = true;
    if (!hasSent || this.#waiting.size === 0 || this.#isDeferred) return;
    this.#isDeferred = true;
    this.#later.defer(() => {
      this.#isDeferred = false;
      this.turn();
    });
  }

  /** Returns whether another round may send more. */
  #round(): boolean {
    let goesOn = false;
    for (const source of this.#waiting.all) {
      const { output } = source;
      // A source before it may have ended this one, or filled its link.
      if (!this.#waiting.has(source) || isFull(source)) continue;
      this.#waiting.delete(source);
      if (!output.takeTurn()) {
        this.#waiting.add(source);
        goesOn = true;
        continue;
      }
      const before = output.sentBytes;
      source.goOn();
      if (output.sentBytes > before) goesOn = true;
    }
    return goesOn;
  }

  get waitMs(): number {
    return this.#waiting.size > 0 ? TICK_MS : IDLE_MS;
  }

  round(): void {
    // Everything here has its time in every turn.
  }
}
