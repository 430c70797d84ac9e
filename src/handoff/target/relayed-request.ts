/** Mechanisms relay and boost, at the target: the response goes back over the backplane, as fast as the anchor asks for it. */

import type { Count } from '../../base/counters.ts';
import type { Member, Places } from '../../base/members.ts';
import { nowUs } from '../../base/time.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { AbortReason, type Frame, FrameType, type RelayData } from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import { BLOCKED, BROKEN, type ByteSink } from '../../serve/byte-sink.ts';
import type { CacheResult, Exchange } from '../../serve/exchange.ts';
import {
  LINK_BUSY_BYTES,
  RELAY_BACKLOG_BYTES,
  RELAY_PIECE_BYTES,
  RELAY_WINDOW_BYTES,
} from '../flow/agreed.ts';

/** An anchor reads as much at once as a client has sent, and passes that on. */
const MAX_BODY_UNASKED_BYTES = 2 * RELAY_WINDOW_BYTES;

const piece = allocate(RELAY_PIECE_BYTES);

/** Who has the relayed requests, and what all of them share. */
export interface RelayOwner {
  readonly count: Count;
  /** There is more that may be sent, and others come first, or the link is busy: `goOn` is to be called. */
  waits(relayed: RelayedRequest): void;
  /** It does. */
  isWaiting(relayed: RelayedRequest): boolean;
  /** It has left its conversation. */
  over(relayed: RelayedRequest): void;
}

/** How it was answered. */
export interface Answered {
  /** 0: not known. */
  readonly status: number;
  readonly bytes: number;
  readonly bodyBytes: number;
  /** From SETUP on; -1 where there was no first byte. */
  readonly firstByteUs: number;
  readonly durationUs: number;
  /** All of it has gone to the anchor. */
  readonly complete: boolean;
  /** What a cache of this node had to do with it. */
  readonly cache: CacheResult | null;
}

export type Reporter = (answered: Answered) => void;

export class RelayedRequest implements Conversation, ByteSink, Member {
  readonly places: Places = [];
  readonly #owner: RelayOwner;
  readonly #link: Link;
  readonly #id: number;
  readonly #exchange: Exchange;
  readonly #receivedUs = nowUs();
  readonly #report: Reporter | null;
  #credit = RELAY_WINDOW_BYTES;
  /** Bytes that it may send before it is another's turn. */
  #share = 0;
  /** Bytes of the request body that are still to come; infinite where the head does not say. */
  #bodyLeft: number;
  /** Body bytes taken and not yet asked for again. */
  #bodyOwed = 0;
  #firstByteUs = -1;
  #over = false;

  /**
   * `bodyBytes`: of the request body that are to come; infinite where the head does not say. `report`: is told once,
   * at the end.
   */
  constructor(
    owner: RelayOwner,
    link: Link,
    id: number,
    exchange: Exchange,
    bodyBytes: number,
    report: Reporter | null,
  ) {
    this.#owner = owner;
    this.#link = link;
    this.#id = id;
    this.#exchange = exchange;
    this.#bodyLeft = bodyBytes;
    this.#report = report;
    exchange.onProgress = () => this.drive();
  }

  send(bytes: Buffer, from: number): number {
    const length = Math.min(bytes.length - from, this.#share, this.#credit);
    if (length <= 0 || this.#linkIsBusy) return BLOCKED;
    return this.#data(bytes.subarray(from, from + length));
  }

  sendFile(fd: number, offset: number, length: number): number {
    const wanted = Math.min(length, this.#share, this.#credit);
    if (wanted <= 0 || this.#linkIsBusy) return BLOCKED;
    const got = libc.pread(fd, piece.address, wanted, offset);
    return got <= 0 ? BROKEN : this.#data(piece.bytes.subarray(0, got));
  }

  flush(): number {
    return 0;
  }

  get #linkIsBusy(): boolean {
    const hasBegun = this.#exchange.pump.sentBytes > 0;
    return this.#link.queuedBytes > (hasBegun ? RELAY_BACKLOG_BYTES : LINK_BUSY_BYTES);
  }

  #data(bytes: Buffer): number {
    const frame = {
      type: FrameType.RELAY_DATA,
      request: this.#id,
      last: false,
      requestBody: false,
      bytes,
    } as const;
    if (!this.#link.send(frame)) return this.#link.up ? BLOCKED : BROKEN;
    this.#credit -= bytes.length;
    this.#share -= bytes.length;
    return bytes.length;
  }

  /** Goes on, unless others come first; called when there is more to send, or more credit. */
  drive(): void {
    if (this.#over) return;
    this.#askForBody();
    if (!this.#owner.isWaiting(this)) this.goOn();
  }

  /** It is its turn: sends a piece. Returns whether anything has gone. */
  goOn(): boolean {
    const { pump } = this.#exchange;
    const before = pump.sentBytes;
    this.#share = RELAY_PIECE_BYTES;
    this.#goOn();
    return pump.sentBytes > before;
  }

  #goOn(): void {
    const exchange = this.#exchange;
    if (exchange.elsewhere && exchange.pump.sentBytes === 0) return this.#fail();
    const state = exchange.pump.run(this);
    if (this.#firstByteUs < 0 && exchange.pump.sentBytes > 0) this.#firstByteUs = nowUs() - this.#receivedUs;
    if (state === 'broken' || (exchange.failed && state !== 'blocked')) return this.#fail();
    if (state === 'waiting') exchange.feed?.resume();
    if (state === 'blocked' && this.#credit > 0) this.#owner.waits(this);
    if (state === 'done') this.#finish();
  }

  #askForBody(): void {
    if (this.#bodyOwed === 0 || this.#exchange.feed?.wantsBody === false) return;
    this.#link.send({ type: FrameType.RELAY_CREDIT, request: this.#id, credit: this.#bodyOwed });
    this.#bodyOwed = 0;
  }

  #finish(): void {
    const exchange = this.#exchange;
    const sent = exchange.pump.sentBytes;
    this.#link.send({
      type: FrameType.DATA_DONE,
      request: this.#id,
      epoch: 1,
      end: 0,
      status: exchange.status,
      close: exchange.close,
      bytes: sent,
      bodyBytes: exchange.bodyBytes,
      congestionWindow: 0,
      srttUs: 0,
      firstByteUs: Math.max(0, this.#firstByteUs),
      records: 0,
      identity: null,
    });
    this.#owner.count.add('served_bytes', sent);
    this.#leave(true);
  }

  #fail(): void {
    const reason = this.#exchange.elsewhere ? AbortReason.UPSTREAM_FAILED : AbortReason.INTERNAL;
    this.#link.send({ type: FrameType.ABORT, request: this.#id, epoch: 1, reason });
    this.#leave();
  }

  #leave(complete = false): void {
    const { status, bodyBytes, pump, cache } = this.#exchange;
    this.#report?.({
      status,
      bytes: pump.sentBytes,
      bodyBytes,
      firstByteUs: this.#firstByteUs,
      durationUs: nowUs() - this.#receivedUs,
      complete,
      cache,
    });
    this.#over = true;
    this.#owner.over(this);
    this.#link.closeConversation(this.#id);
    this.#exchange.end();
  }

  frame(frame: Frame): void {
    if (frame.type === FrameType.RELAY_CREDIT) {
      this.#credit += frame.credit;
      if (this.#credit > RELAY_WINDOW_BYTES)
        return this.#link.protocolError('more of a relayed response asked for than was sent');
      this.drive();
      this.#exchange.feed?.resume();
    } else if (frame.type === FrameType.RELAY_DATA) {
      this.#takeBody(frame);
    } else if (frame.type === FrameType.ABORT) {
      this.#leave();
    }
  }

  /** What an upstream would take for the next request must not get there: the body has the length that its head says. */
  #takeBody({ bytes, last }: RelayData): void {
    this.#bodyLeft -= bytes.length;
    this.#bodyOwed += bytes.length;
    if (this.#bodyLeft < 0 || (last && this.#bodyLeft > 0 && this.#bodyLeft !== Number.POSITIVE_INFINITY))
      return this.#link.protocolError('a request body of another length');
    if (this.#bodyOwed > MAX_BODY_UNASKED_BYTES)
      return this.#link.protocolError('more of a request body than was asked for');
    if (last) this.#bodyLeft = 0;
    this.#exchange.feed?.body(bytes, last);
    this.#askForBody();
  }

  linkDown(): void {
    this.#leave();
  }
}
