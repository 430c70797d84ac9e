/** Mechanisms relay and boost, at the target: the response goes back over the backplane, as fast as the anchor asks for it. */

import type { Count } from '../../base/counters.ts';
import type { Places } from '../../base/members.ts';
import { nowUs } from '../../base/time.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { AbortReason, type Frame, FrameType, type RelayData } from '../../protocol/backplane/frames.ts';
import type { Conversation, Link } from '../../protocol/backplane/link.ts';
import {
  REQUEST_BODY,
  RESPONSE,
  STREAM_PIECE_BYTES,
  StreamInput,
  StreamOutput,
} from '../../protocol/backplane/stream.ts';
import type { StreamSource, Streams } from '../../protocol/backplane/streams.ts';
import { BLOCKED, BROKEN, type ByteSink } from '../../serve/byte-sink.ts';
import type { CacheResult, Exchange } from '../../serve/exchange.ts';

const piece = allocate(STREAM_PIECE_BYTES);

/** What has the relayed requests, and what all of them share. */
export interface RelayOwner {
  readonly count: Count;
  readonly streams: Streams;
  /** The request has left its conversation. */
  over(relayed: RelayedRequest): void;
}

/** How it was answered. */
export interface Answered {
  /** 0: not known. */
  readonly status: number;
  readonly bytes: number;
  readonly bodyBytes: number;
  /** Microseconds from SETUP to the first byte; -1 where there was none. */
  readonly firstByteUs: number;
  readonly durationUs: number;
  /** Whether the whole response has gone to the anchor. */
  readonly complete: boolean;
  /** What a cache of this node had to do with it. */
  readonly cache: CacheResult | null;
}

export type Reporter = (answered: Answered) => void;

export class RelayedRequest implements Conversation, ByteSink, StreamSource {
  readonly places: Places = [];
  readonly #owner: RelayOwner;
  readonly link: Link;
  readonly #id: number;
  readonly #exchange: Exchange;
  readonly #receivedUs = nowUs();
  readonly #report: Reporter | null;
  /** The response, to the anchor. */
  readonly output = new StreamOutput(RESPONSE);
  /** The request's body, from the anchor; it is used when it comes. */
  readonly #body = new StreamInput(REQUEST_BODY);
  /** Bytes of the request body that are still to come; infinite where the head does not say. */
  #bodyLeft: number;
  #firstByteUs = -1;
  /** With the last bytes; else DATA_DONE says so. */
  #saidEnd = false;
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
    this.link = link;
    this.#id = id;
    this.#exchange = exchange;
    this.#bodyLeft = bodyBytes;
    this.#report = report;
    exchange.onProgress = () => this.drive();
  }

  send(bytes: Buffer, from: number, _more: boolean, last: boolean): number {
    const room = this.#roomBytes;
    const isEnd = last && from + room >= bytes.length;
    return room <= 0 ? BLOCKED : this.#data(bytes.subarray(from, from + room), isEnd);
  }

  sendFile(fd: number, offset: number, length: number, last: boolean): number {
    const wanted = Math.min(length, this.#roomBytes);
    if (wanted <= 0) return BLOCKED;
    const got = libc.pread(fd, piece.address, wanted, offset);
    return got <= 0 ? BROKEN : this.#data(piece.bytes.subarray(0, got), last && got === length);
  }

  flush(): number {
    return 0;
  }

  get #roomBytes(): number {
    return this.#owner.streams.asks(this) ? this.output.roomBytes : 0;
  }

  /** `isEnd`: the response ends with them. */
  #data(bytes: Buffer, isEnd: boolean): number {
    const { status, bodyBytes, close, failed } = this.#exchange;
    const end = isEnd && !failed ? { status, bodyBytes, close } : null;
    const frame = this.output.frame(this.#id, bytes, end !== null, end);
    if (this.link.send(frame)) {
      this.output.sent(frame);
      this.#saidEnd = end !== null;
      return bytes.length;
    }
    if (!this.link.up) return BROKEN;
    this.#owner.streams.waits(this);
    return BLOCKED;
  }

  /** Goes on, unless others come first; called when there is more to send, or more credit. */
  drive(): void {
    if (this.#over) return;
    this.#askForBody();
    if (!this.#owner.streams.isWaiting(this)) this.goOn();
  }

  goOn(): void {
    const exchange = this.#exchange;
    if (exchange.elsewhere && exchange.pump.sentBytes === 0) return this.#fail();
    const state = exchange.pump.run(this);
    if (this.#firstByteUs < 0 && exchange.pump.sentBytes > 0) this.#firstByteUs = nowUs() - this.#receivedUs;
    if (state === 'broken' || (exchange.failed && state !== 'blocked')) return this.#fail();
    if (state === 'waiting') exchange.feed?.resume();
    if (state === 'done') this.#finish();
  }

  #askForBody(): void {
    if (this.#exchange.feed?.wantsBody === false) return;
    const credit = this.#body.credit(this.#id);
    if (credit !== null) this.link.send(credit);
  }

  #finish(): void {
    const sent = this.#exchange.pump.sentBytes;
    if (!this.#saidEnd) this.#sayEnd(sent);
    this.#owner.count.add('served_bytes', sent);
    this.#leave(true);
  }

  /** It was not known of the last bytes that they are. */
  #sayEnd(sent: number): void {
    const exchange = this.#exchange;
    this.link.send({
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
  }

  /** Whether SETUP has no answer yet: what is said first answers it. */
  get owesAnswer(): boolean {
    return !this.#over && this.output.sentBytes === 0;
  }

  #fail(): void {
    const reason = this.#exchange.elsewhere ? AbortReason.UPSTREAM_FAILED : AbortReason.INTERNAL;
    this.link.send({ type: FrameType.ABORT, request: this.#id, epoch: 1, reason });
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
    this.#owner.streams.leaves(this);
    this.#owner.over(this);
    this.link.closeConversation(this.#id);
    this.#exchange.end();
  }

  frame(frame: Frame): void {
    if (frame.type === FrameType.RELAY_CREDIT) {
      if (!this.output.granted(frame))
        return this.link.protocolError('more of a relayed response asked for than was sent');
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
    if (this.#bodyLeft < 0 || (last && this.#bodyLeft > 0 && this.#bodyLeft !== Number.POSITIVE_INFINITY))
      return this.link.protocolError('a request body of another length');
    if (!this.#body.arrived(bytes.length))
      return this.link.protocolError('more of a request body than was asked for');
    if (last) this.#bodyLeft = 0;
    this.#body.used(bytes.length);
    this.#exchange.feed?.body(bytes, last);
    this.#askForBody();
  }

  linkDown(): void {
    this.#leave();
  }
}
