/**
 * A response on its way into a half-pipe, and what the anchor is told of it.
 *
 *           end is told
 *   anchor  DATA_DONE (64 KiB or less: first)
 *   clone   SETUP_OK, first
 *   split   DATA_DONE, first
 *
 * What is told first is an announcement: the bytes follow whatever the anchor does. A response whose length is not known is
 * served as with anchor, whatever the mechanism.
 */

import { nowUs } from '../../base/time.ts';
import { advanceOwn, lastRange } from '../../kernel/router/ranges.ts';
import {
  AbortReason,
  type DataDone,
  FrameType,
  MAX_ANNOUNCED_BYTES,
  SetupMechanism,
  type SetupOk,
} from '../../protocol/backplane/frames.ts';
import type { Identity } from '../../protocol/http/continuation.ts';
import type { PumpState } from '../../serve/byte-sink.ts';
import type { Exchange } from '../../serve/exchange.ts';
import { KEEP_IDLE_MS } from '../flow/agreed.ts';
import { leaseIsOver } from '../flow/lease.ts';
import type { HalfPipeSocket } from './half-pipe-socket.ts';
import type { ResponseSeal } from './response-seal.ts';

/** Responses up to this size are announced (DATA_DONE) before their bytes are handed to the kernel. */
const ANNOUNCED_BYTES = 64 * 1024;
/**
 * An announcement says what the response is when it is larger than this. What is smaller leaves in one burst (RFC 6928), and
 * a hash of it would be a cost that counts.
 */
const IDENTIFIED_BYTES = 16 * 1024;
/** A half-pipe that goes by itself is worth keeping for a client that asks again at once. */
const NEXT_MS = 1000;

export interface ToSend {
  readonly exchange: Exchange;
  /** The connection is TLS; null: it goes out in the clear. */
  readonly seal: ResponseSeal | null;
}

export class HalfPipeResponse {
  readonly #socket: HalfPipeSocket;
  readonly #mechanism: SetupMechanism;
  readonly exchange: Exchange;
  readonly #seal: ResponseSeal | null;
  /** The anchor learns from the client's acknowledgements that the response is out: nothing is said after it. */
  readonly implicit: boolean;
  /** Whether the response's end is told before it is sent. */
  readonly announced: boolean;
  /** SETUP_OK has asked for CONFIRM, which has not come: without it nothing begins after the lease. */
  #waitsConfirm = false;
  /** The anchor has been told, or will be. */
  #identified = true;
  #startUs = 0;
  #firstByteUs = -1;

  constructor(socket: HalfPipeSocket, mechanism: SetupMechanism, { exchange, seal }: ToSend) {
    const { lengthBytes } = exchange;
    const complete = exchange.complete && !exchange.elsewhere;
    this.#socket = socket;
    this.#mechanism = mechanism;
    this.exchange = exchange;
    this.#seal = seal;
    this.implicit = mechanism !== SetupMechanism.ANCHOR && complete && lengthBytes <= MAX_ANNOUNCED_BYTES;
    this.announced = this.implicit || (complete && lengthBytes <= ANNOUNCED_BYTES);
  }

  /**
   * How long the half-pipe waits for the flow's next request when all is acknowledged: one that the anchor lets go of
   * (RESET) as long as it takes. `isStandby`: it may take that request without being asked.
   */
  restMs(isStandby: boolean): number {
    if (!this.implicit) return Number.POSITIVE_INFINITY;
    if (isStandby) return KEEP_IDLE_MS;
    return this.exchange.close || this.#mechanism === SetupMechanism.SPLIT ? 0 : NEXT_MS;
  }

  /** What it takes of the client's sequence space; -1: not known. */
  get wireBytes(): number {
    return this.#seal === null ? this.exchange.lengthBytes : this.#seal.wireBytes;
  }

  /** What the response is; null where another node could not send the same bytes. */
  #identity(): Identity | null {
    return this.#seal?.isMeasured === false ? null : this.exchange.identity();
  }

  /** The answer to SETUP: it has to be out before the first byte is. The rules are in force. */
  answer(request: number): SetupOk | DataDone {
    this.#startUs = nowUs();
    const { exchange, announced } = this;
    const { status, close, lengthBytes, bodyBytes } = exchange;
    const isSmall = announced && lengthBytes <= IDENTIFIED_BYTES;
    const identity = isSmall ? null : this.#identity();
    this.#identified = isSmall || identity !== null;
    if (announced && this.#mechanism !== SetupMechanism.CLONE) return this.done(request, lengthBytes);
    this.#waitsConfirm = !exchange.complete;
    return {
      type: FrameType.SETUP_OK,
      request,
      epoch: this.#socket.rules.epoch,
      confirmWanted: this.#waitsConfirm,
      identity,
      announcement: announced ? { status, close, bytes: lengthBytes, bodyBytes } : null,
    };
  }

  /** Where the response of `bytes` ends, as the newest range has it. */
  done(request: number, bytes: number): DataDone {
    const { exchange } = this;
    const { rules } = this.#socket;
    const { congestionWindow, srttUs } = this.#socket.report(bytes);
    return {
      type: FrameType.DATA_DONE,
      request,
      epoch: rules.epoch,
      end: lastRange(rules)!.end,
      status: exchange.status,
      close: exchange.close,
      bytes,
      bodyBytes: exchange.bodyBytes,
      congestionWindow,
      srttUs,
      firstByteUs: this.#firstByteUs < 0 ? nowUs() - this.#startUs : this.#firstByteUs,
      records: this.#seal?.records ?? 0,
      identity: this.announced && bytes > IDENTIFIED_BYTES ? this.#identity() : null,
    };
  }

  /** What the response is, once, when that was not known at its beginning. */
  newlyIdentified(): Identity | null {
    if (this.#identified || this.exchange.isIdentityPending) return null;
    this.#identified = true;
    return this.#identity();
  }

  /** Why it is broken. */
  get failure(): AbortReason {
    return this.exchange.pump.fileChanged ? AbortReason.FILE_CHANGED : AbortReason.HALF_PIPE_FAILED;
  }

  /** The anchor's word is there. */
  confirmed(): void {
    this.#waitsConfirm = false;
  }

  /** Hands over what there is and the socket takes. `waiting`: for more of the response, or for the anchor's word. */
  run(): PumpState {
    const { exchange } = this;
    const { pump } = exchange;
    const { rules } = this.#socket;
    if (this.#waitsConfirm && pump.queuedBytes > 0) {
      // Inside the lease it needs no confirmation to begin; the router stops it otherwise.
      if (leaseIsOver(rules, this.#socket.exactMs())) return 'waiting';
      this.#waitsConfirm = false;
    }
    const { out } = this.#socket;
    const sealed = this.#seal?.out(out) ?? null;
    const before = sealed?.wireBytes ?? pump.sentBytes;
    const state = pump.run(sealed ?? out);
    const sent = (sealed?.wireBytes ?? pump.sentBytes) - before;
    if (sent > 0) {
      if (this.#firstByteUs < 0) this.#firstByteUs = nowUs() - this.#startUs;
      advanceOwn(rules, sent);
    }
    if (exchange.failed && state !== 'blocked') return 'broken';
    if (state === 'waiting') this.resume();
    return state;
  }

  /** The response is out, or given up. Idempotent. */
  end(): void {
    this.exchange.end();
    this.#seal?.end();
  }

  /** The socket has room for more of the response. */
  resume(): void {
    this.exchange.feed?.resume();
  }
}
