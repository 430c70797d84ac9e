/**
 * Mechanism anchor, at the anchor: the in-half stays, the out-half goes to the target for one response. DATA_DONE
 * says where it ended; the next request may then go anywhere at once, old bytes still in flight.
 *
 *   setup --SETUP_OK--> sending --DATA_DONE--> finished
 *     |--SETUP_REJECT--> again     `--lost, draining--> take-over
 *     `--time-out, lost--> take-over
 */
import { AbortReason, type Frame, FrameType, type Setup, SetupMechanism } from '../backplane/frames.ts';
import type { Connection } from '../engine/connection.ts';
import type { Engine } from '../engine/engine.ts';
import type { Link } from '../engine/link.ts';
import { nowUs } from '../engine/time.ts';
import type { Identity } from '../http/continuation.ts';
import { unlessSocketDied } from '../linux/errors.ts';
import { distance } from '../router/ranges.ts';
import type { Attempt, Handoff } from './attempt.ts';
import type { AnchorFlow } from './flow.ts';
import type { Handling, Request } from './handling.ts';
import { mayGoOn, TakeOver } from './take-over.ts';

/** A start further behind the last acknowledgement than this is moved up, so that distances stay below 2^31. */
const REBASE_BEHIND_BYTES = 2 ** 28;

export class AnchorHandling implements Handling, Handoff {
  readonly epoch: number;
  readonly node: number;
  readonly #engine: Engine;
  readonly #connection: Connection;
  readonly #flow: AnchorFlow;
  readonly #request: Request;
  readonly #link: Link;
  readonly #id: number;
  /** Where the response's byte `#offset` lies in the client's space; the target's start until it has sent much. */
  #start: number;
  #offset: number;
  #identity: Identity | null;
  /** The target stops, and waits for another node to go on. */
  #draining = false;
  readonly sentAtMs: number;
  #handoffUs = -1;
  #over = false;

  /** Starts the handoff. Null when SETUP could not be sent; the flow then is as before. */
  static start(
    engine: Engine,
    connection: Connection,
    flow: AnchorFlow,
    request: Request,
    node: number,
    link: Link,
  ): AnchorHandling | null {
    try {
      const handling = new AnchorHandling(engine, connection, flow, request, node, link);
      return handling.#over ? null : handling;
    } catch (error) {
      return unlessSocketDied(error, null);
    }
  }

  private constructor(
    engine: Engine,
    connection: Connection,
    flow: AnchorFlow,
    request: Request,
    node: number,
    link: Link,
  ) {
    this.#engine = engine;
    this.#connection = connection;
    this.#flow = flow;
    this.#request = request;
    this.#link = link;
    this.node = node;
    this.sentAtMs = engine.loop.nowMs;
    const begun = flow.beginTarget(node, link);
    this.#id = begun.id;
    this.epoch = begun.epoch;
    this.#start = begun.start;
    this.#offset = request.continuation?.offset ?? 0;
    this.#identity = request.continuation;
    const setup: Setup = {
      type: FrameType.SETUP,
      request: begun.id,
      epoch: begun.epoch,
      mechanism: SetupMechanism.ANCHOR,
      http10: request.head.minor === 0,
      close: request.close,
      bodyFollows: false,
      sentAtMs: begun.sentAtMs,
      halfPipe: begun.halfPipe,
      continuation: request.continuation,
      head: request.headBytes,
      body: request.body,
    };
    if (!flow.send(link, setup)) {
      this.#over = true;
      flow.cancelTarget(begun.start);
      return;
    }
    engine.counters.add('setups_sent');
    flow.current = this;
    engine.setupDeadlines.set(this, engine.loop.nowMs);
  }

  answer(frame: Frame): void {
    switch (frame.type) {
      case FrameType.SETUP_OK:
        this.#accepted();
        this.#identity ??= frame.identity;
        if (frame.confirmWanted) {
          this.#flow.send(this.#link, { type: FrameType.CONFIRM, request: this.#id, epoch: this.epoch });
        }
        return;
      case FrameType.SETUP_REJECT:
        this.#engine.counters.add('handoffs_rejected');
        this.#leave();
        this.#flow.cancelTarget(this.#start);
        return this.#connection.again(this.node);
      case FrameType.DATA_DONE:
        this.#accepted();
        this.#leave();
        this.#identity ??= frame.identity;
        this.#flow.endTarget(frame.end);
        this.#flow.promise = { ...this.#attempt, end: frame.end, request: this.#request };
        return this.#connection.finished({
          node: this.node,
          mechanism: 'anchor',
          status: frame.status,
          bytes: frame.bytes,
          bodyBytes: frame.bodyBytes,
          close: frame.close,
          firstByteUs: this.#handoffUs + frame.firstByteUs,
          handoffUs: this.#handoffUs,
        });
      case FrameType.ABORT:
        if (frame.reason === AbortReason.DRAINING) {
          this.#draining = true;
          return this.#relieve();
        }
        // The client takes nothing: another node would fare no better.
        if (frame.reason === AbortReason.TIMED_OUT) this.#identity = null;
        return this.lost();
      default:
        return;
    }
  }

  #accepted(): void {
    if (this.#handoffUs < 0) this.#handoffUs = nowUs() - this.#request.startUs;
    this.#engine.setupDeadlines.clear(this);
  }

  #leave(): void {
    this.#over = true;
    this.#engine.setupDeadlines.clear(this);
    if (this.#flow.current === this) this.#flow.current = null;
  }

  /** The target did not answer in time. */
  timedOut(): void {
    this.#engine.counters.add('handoffs_timed_out');
    this.#giveUp();
  }

  lost(): void {
    if (this.#over) return;
    this.#engine.counters.add('handoffs_lost');
    this.#giveUp();
  }

  get #attempt(): Attempt {
    return {
      node: this.node,
      start: this.#start,
      offset: this.#offset,
      end: null,
      identity: this.#identity,
      sentAtMs: this.sentAtMs,
    };
  }

  /** Whether the target has begun is known only to the client: the take-over asks it. */
  #giveUp(): void {
    this.#leave();
    this.#flow.dropTarget(this.node);
    this.#connection.takeOver(new TakeOver(this.#engine, this.#flow, this.#connection, this.#attempt));
  }

  /** Takes the response from a target that stops, once another node can go on with it; until then it sends on. */
  #relieve(): void {
    if (mayGoOn(this.#flow.acknowledged, this.#attempt) && this.#connection.servedWithout(this.node))
      this.#giveUp();
  }

  tick(): void {
    const beyond = distance(this.#start, this.#flow.acknowledged);
    if (beyond >= REBASE_BEHIND_BYTES) {
      this.#start = (this.#start + beyond) >>> 0;
      this.#offset += beyond;
    }
    if (this.#draining) this.#relieve();
  }

  takeBack(): void {
    if (mayGoOn(this.#flow.acknowledged, this.#attempt)) this.#giveUp();
  }

  body(): void {
    throw new Error('a request whose body follows is not handed off with anchor');
  }

  get wantsBody(): boolean {
    return true;
  }

  writable(): void {
    // The client's socket has nothing to send while the out-half is away.
  }

  cancel(): void {
    this.#leave();
  }
}
