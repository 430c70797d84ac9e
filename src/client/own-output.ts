/**
 * What a connection says by itself, beside the responses to its requests: the interim answer to `Expect`, and the
 * refusal that it ends with. The socket may have no room for it, since what was answered before is still on its way:
 * then it waits here until the socket takes bytes again.
 */
import type { AnchorFlow } from '../handoff/anchor/flow.ts';
import { BLOCKED, BROKEN, type ByteSink } from '../serve/byte-sink.ts';

const NOTHING = Buffer.alloc(0);

/** The own socket sends next, before a connection says something by itself; false: another node's response is not over. */
export function claimsOut(flow: AnchorFlow | null, isHandled: boolean): boolean {
  if (flow !== null && isHandled) return false;
  flow?.beginOwn();
  return true;
}

export class OwnOutput {
  /** Most connections say nothing. */
  readonly #open: () => ByteSink;
  #out: ByteSink | null = null;
  #waiting: Buffer = NOTHING;
  /** Something of it is out, or on its way, and the rest has to follow. */
  #begun = false;

  /** `open`: gives the socket, when there is something to say. */
  constructor(open: () => ByteSink) {
    this.#open = open;
  }

  /** Something waits for the socket. */
  get waits(): boolean {
    return this.#begun || this.#waiting.length > 0;
  }

  /** Says it, behind what waits. False: the socket has failed. */
  say(bytes: Buffer): boolean {
    this.#waiting = this.#waiting.length > 0 ? Buffer.concat([this.#waiting, bytes]) : bytes;
    return this.flush();
  }

  /** The socket takes bytes again. False: it has failed. */
  flush(): boolean {
    if (!this.waits) return true;
    this.#out ??= this.#open();
    while (this.#waiting.length > 0) {
      const sent = this.#out.send(this.#waiting, 0, false, true);
      if (sent === BROKEN) return false;
      if (sent === BLOCKED) return true;
      this.#waiting = this.#waiting.subarray(sent);
      this.#begun = true;
    }
    const left = this.#out.flush();
    this.#begun = left < 0;
    return left !== BROKEN;
  }

  /** What waits is not needed any more. False: a part of it is out, and the rest has to follow. */
  withdraw(): boolean {
    if (this.#begun) return false;
    this.#waiting = NOTHING;
    return true;
  }
}
