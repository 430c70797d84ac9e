/**
 * The anchor's own socket, as its flow sees it: what the kernel said of it last, and what of that a target is to know.
 * The connection reads, writes and closes it.
 */

import assert from 'node:assert';
import { unlessSocketDied } from '../../kernel/linux/errors.ts';
import type { HalfPipeCapture } from '../../kernel/linux/half-pipe-capture.ts';
import type { Observed } from '../../kernel/router/flows.ts';
import { distance, max } from '../../kernel/tcp/sequence.ts';
import type { HalfPipe } from '../../protocol/backplane/frames.ts';
import type { PathReport } from '../flow/agreed.ts';
import type { FourTuple } from '../flow/four-tuple.ts';
import { renewSendWindow } from '../flow/send-window.ts';
import type { FlowEntry } from './flow-entry.ts';
import { halfPipeBlock } from './half-pipe-block.ts';
import { FIN_WAIT_2_SECONDS } from './linger.ts';

/** What is done to a connection's socket. Everything but `unreadBytes` throws SystemError when the connection is dead. */
export interface SocketKernel {
  /** The out-half; `before`: as it was captured last. */
  capture(fd: number, before?: HalfPipeCapture): HalfPipeCapture;
  /** What has come from the client and was not read. */
  unreadBytes(fd: number): number;
  /** Asks the client what it holds (a window probe). */
  probe(fd: number): void;
  /** Sets the send window, counted from the first unacknowledged byte; `windowOf` gets the bytes that are queued. */
  setSendWindow(fd: number, windowOf: (queued: number) => number): void;
  /** Acknowledges what comes with what is sent, or later: not each segment at once. */
  delayAcknowledgements(fd: number): void;
  /** Before the socket is closed: how long the kernel waits for the client's FIN. */
  limitFinWait(fd: number, seconds: number): void;
  /** Sends a reset for a connection whose socket is closed. Rule ended gives it the number that the client expects. */
  reset(ends: FourTuple, sequence: number): void;
}

/** The least that a kernel waits before it acknowledges by itself (TCP_DELACK_MIN). */
const ACKNOWLEDGEMENT_DUE_MS = 40;

/** A flow's, which has it until it ends. */
export function whileOpen(socket: OwnSocket | null): OwnSocket {
  assert(socket !== null, 'a flow that has ended has no socket');
  return socket;
}

export class OwnSocket {
  readonly #fd: number;
  readonly #kernel: SocketKernel;
  #capture: HalfPipeCapture;
  /** What the last sender that has said knows of the path. */
  #path: PathReport = { congestionWindow: 0, srttUs: 0 };
  #readSequence: number;
  /** When acknowledgements were last left to a target. */
  #leftAtMs = Number.NEGATIVE_INFINITY;
  /** The socket may have sent something since it was captured. */
  #mayHaveSent = false;

  /** Captures the out-half. Throws SystemError when the client has just reset the connection. */
  constructor(fd: number, kernel: SocketKernel) {
    this.#fd = fd;
    this.#kernel = kernel;
    this.#capture = kernel.capture(fd);
    this.#readSequence = (this.#capture.receiveSequence - kernel.unreadBytes(fd)) >>> 0;
  }

  /** The state that was captured last. */
  get captured(): HalfPipeCapture {
    return this.#capture;
  }

  /** The client's number after the last byte that was read. */
  get readSequence(): number {
    return this.#readSequence;
  }

  consumed(bytes: number): void {
    this.#readSequence = (this.#readSequence + bytes) >>> 0;
  }

  /** What a router would have seen of the connection until it was captured. */
  get seen(): Observed {
    const { writeSequence, acknowledged: ack, receiveSequence, sendWindow, ...capture } = this.#capture;
    const edge = (ack + sendWindow) >>> 0;
    const { maxWindow, receiveWindow: inMaxWindow } = capture;
    const inHalf = { inNext: receiveSequence, inAck: receiveSequence, inMaxWindow };
    return { ack, edge, sentNext: writeSequence, maxWindow, window: sendWindow, ...inHalf };
  }

  /** The connection is about to write to the socket. */
  begins(): void {
    this.#mayHaveSent = true;
  }

  /**
   * Captures it again, unless nothing was sent: while the own socket is silent, what an old capture says of it stays
   * true. Its window holds from what has been read, a number that no later one contradicts.
   */
  renew(): void {
    if (!this.#mayHaveSent) return;
    this.#capture = this.#kernel.capture(this.#fd, this.#capture);
    this.#mayHaveSent = false;
  }

  /** The number that the next byte written gets, in the own space; `known` when the connection is dead. */
  writeSequence(known: number): number {
    try {
      this.renew();
      return this.#capture.writeSequence;
    } catch (error) {
      return unlessSocketDied(error, known);
    }
  }

  /** What the path is like, as the last sender saw it. */
  hear({ congestionWindow, srttUs }: PathReport): void {
    if (congestionWindow > 0) this.#path = { congestionWindow, srttUs };
  }

  /** What a target needs that starts at `start`, in the client's space. */
  halfPipe({ edge, inAck, rules, tsval, pathMtu }: FlowEntry, start: number, nowMs: number): HalfPipe {
    const acknowledge = max(this.#readSequence, inAck);
    const { stamp } = rules;
    const { congestionWindow, srttUs } = this.#path;
    const present = {
      start,
      edge,
      acknowledge,
      nowMs,
      stamp,
      tsecr: tsval,
      pathMtu,
      congestionWindow,
      srttUs,
    };
    return halfPipeBlock(this.#capture, present);
  }

  /** The socket, whose turn it is, learns what of the client's window is its own. */
  renewWindow(entry: FlowEntry): void {
    try {
      const setWindow = this.#kernel.setSendWindow;
      renewSendWindow(this.#fd, entry.rules, () => entry.edge, setWindow);
    } catch (error) {
      unlessSocketDied(error, undefined);
    }
  }

  /** Whether the kernel, which has nothing else to send, knows of room for a FIN where the client has some: at `place`. */
  maySendFin(entry: FlowEntry, place: number): boolean {
    const { acknowledged, writeSequence } = this.#capture;
    const isEmpty = !this.#mayHaveSent && acknowledged === writeSequence;
    return isEmpty && entry.windowTold > 0 && distance(place, entry.edge) > 0;
  }

  /** Asks the client what it holds (a window probe). Only while the own range is open. */
  probe(): void {
    try {
      this.#kernel.probe(this.#fd);
    } catch (error) {
      unlessSocketDied(error, undefined);
    }
  }

  /**
   * A target answers, and acknowledges the request with its response: the kernel here, which sees a socket that only
   * receives, is told that this is a conversation. It forgets that whenever an acknowledgement was due and nothing was
   * sent.
   */
  leaveAcknowledging(nowMs: number): void {
    const isKnown = nowMs - this.#leftAtMs < ACKNOWLEDGEMENT_DUE_MS;
    this.#leftAtMs = nowMs;
    if (isKnown) return;
    try {
      this.#kernel.delayAcknowledgements(this.#fd);
    } catch (error) {
      unlessSocketDied(error, undefined);
    }
  }

  /** Before it is closed: how long the kernel waits for the client's FIN. */
  limitFinWait(): void {
    this.#kernel.limitFinWait(this.#fd, FIN_WAIT_2_SECONDS);
  }
}
