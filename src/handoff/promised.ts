/**
 * Handoffs whose target says where its response ends before it sends it, and then says no more: clone and split.
 * What the anchor still has to know it reads from the client's acknowledgements.
 *
 *   setup --promise--> promised --the client has acknowledged `watch`--> finished
 *     |                   `--lost--> take-over
 *     |--no promise (length unknown)--> sending --DATA_DONE--> finished        (as mechanism anchor)
 *     |--SETUP_REJECT--> again
 *     `--time-out, lost--> take-over
 */
import {
  AbortReason,
  type Frame,
  FrameType,
  frameSize,
  type PromisedResponse,
  type Setup,
  type SetupMechanism,
} from '../backplane/frames.ts';
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

/**
 * A connection that ends with the response may end while this much is still unacknowledged: the target's kernel has
 * it by then.
 */
const CLOSE_AHEAD_BYTES = 64 * 1024;

/** What sets the mechanisms apart at the anchor. */
export interface Form {
  readonly name: 'clone' | 'split';
  readonly mechanism: SetupMechanism;
  /** One request a connection: the response carries `Connection: close`. */
  readonly closes: boolean;
  /** The next pipelined request is handed off as soon as the end of this one's response is known. */
  readonly ahead: boolean;
}

export class PromisedHandling implements Handling, Handoff {
  readonly epoch: number;
  readonly node: number;
  readonly sentAtMs: number;
  readonly #engine: Engine;
  readonly #connection: Connection;
  readonly #flow: AnchorFlow;
  readonly #request: Request;
  readonly #link: Link;
  readonly #form: Form;
  readonly #id: number;
  readonly #start: number;
  #promise: PromisedResponse | null = null;
  #identity: Identity | null;
  /** The target stops, and waits for another node to go on. */
  #draining = false;
  #end = 0;
  #watch = 0;
  /** The target does not know the length: it will say DATA_DONE. */
  #explicit = false;
  #handoffUs = -1;
  #firstByteUs = -1;
  #messages = { count: 0, bytes: 0 };
  #over = false;

  /** Starts the handoff. Null when SETUP could not be sent; the flow then is as before. */
  static start(
    engine: Engine,
    connection: Connection,
    flow: AnchorFlow,
    request: Request,
    node: number,
    link: Link,
    form: Form,
  ): PromisedHandling | null {
    try {
      const handling = new PromisedHandling(engine, connection, flow, request, node, link, form);
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
    form: Form,
  ) {
    this.#engine = engine;
    this.#connection = connection;
    this.#flow = flow;
    this.#request = request;
    this.#link = link;
    this.#form = form;
    this.node = node;
    this.sentAtMs = engine.loop.nowMs;
    const begun = flow.beginTarget(node, link);
    this.#id = begun.id;
    this.epoch = begun.epoch;
    this.#start = begun.start;
    this.#identity = request.continuation;
    const setup: Setup = {
      type: FrameType.SETUP,
      request: begun.id,
      epoch: begun.epoch,
      mechanism: form.mechanism,
      http10: request.head.minor === 0,
      close: request.close || form.closes,
      bodyFollows: false,
      sentAtMs: begun.sentAtMs,
      halfPipe: begun.halfPipe,
      continuation: request.continuation,
      head: request.headBytes,
      body: request.body,
    };
    this.#count(setup);
    if (!flow.send(link, setup)) {
      this.#over = true;
      flow.cancelTarget(begun.start);
      return;
    }
    engine.counters.add('setups_sent');
    flow.current = this;
    engine.setupDeadlines.set(this, engine.loop.nowMs);
  }

  #count(frame: Frame): void {
    this.#messages.count++;
    this.#messages.bytes += frameSize(frame);
  }

  answer(frame: Frame): void {
    this.#count(frame);
    switch (frame.type) {
      case FrameType.SETUP_OK: {
        this.#accepted();
        this.#identity ??= frame.identity;
        if (frame.promise !== null) this.#promised(frame.promise);
        else if (this.#promise === null) this.#explicit = true;
        if (!frame.confirmWanted) return;
        const confirm = { type: FrameType.CONFIRM, request: this.#id, epoch: this.epoch } as const;
        this.#count(confirm);
        this.#flow.send(this.#link, confirm);
        return;
      }
      case FrameType.SETUP_REJECT:
        this.#engine.counters.add('handoffs_rejected');
        this.#leave();
        this.#flow.cancelTarget(this.#start);
        return this.#connection.again(this.node);
      case FrameType.DATA_DONE: {
        this.#accepted();
        this.#firstByteUs = this.#handoffUs + frame.firstByteUs;
        this.#identity ??= frame.identity;
        const { status, close, bytes, bodyBytes } = frame;
        if (!this.#explicit) return this.#promised({ status, close, bytes, bodyBytes });
        this.#promise = { status, close, bytes, bodyBytes };
        this.#end = frame.end;
        this.#flow.endTarget(frame.end);
        return this.#finish();
      }
      case FrameType.ABORT:
        if (frame.reason === AbortReason.DRAINING) {
          this.#draining = true;
          return this.tick();
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

  /** Rule watch is in force before the observation is looked at: one of the two shows the acknowledgement. */
  #promised(promise: PromisedResponse): void {
    if (this.#promise !== null) return;
    this.#promise = promise;
    this.#end = (this.#start + promise.bytes) >>> 0;
    const closing = promise.close || this.#request.close || this.#form.closes;
    // The FIN follows what is promised, inside the client's window, and not before the target has begun.
    const ahead = Math.min(CLOSE_AHEAD_BYTES, promise.bytes - 1, this.#flow.windowBytes);
    this.#watch = closing ? (this.#end - ahead) >>> 0 : this.#end;
    this.#flow.promiseTarget(this.node, this.#end, this.#watch);
    this.#engine.promised.add(this);
    this.acknowledged();
  }

  /** The router's event, and every tick: has the client acknowledged what is waited for? */
  acknowledged(): void {
    if (this.#over || this.#promise === null) return;
    if (distance(this.#watch, this.#flow.acknowledged) >= 0) this.#finish();
    else this.more();
  }

  /** Pre-cloning: where the next response starts is known, so its clone can be set up now, if there is room for it. */
  more(): void {
    if (this.#over || this.#promise === null || !this.#form.ahead || !this.#connection.hasMore) return;
    if (!this.#promise.close && !this.#request.close && this.#flow.makeRoom()) this.#finish();
  }

  #finish(): void {
    const { status, close, bytes, bodyBytes } = this.#promise!;
    this.#leave();
    this.#flow.promise = { ...this.#attempt, end: this.#end, request: this.#request };
    this.#connection.finished({
      node: this.node,
      mechanism: this.#form.name,
      status,
      bytes,
      bodyBytes,
      close: close || this.#form.closes,
      firstByteUs: this.#firstByteUs,
      handoffUs: this.#handoffUs,
      messages: this.#messages,
    });
  }

  #leave(): void {
    this.#over = true;
    this.#engine.setupDeadlines.clear(this);
    this.#engine.promised.delete(this);
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

  /** Whether the target has begun is known only to the client: the take-over asks it. */
  #giveUp(): void {
    this.#leave();
    this.#flow.dropTarget(this.node);
    this.#connection.takeOver(new TakeOver(this.#engine, this.#flow, this.#connection, this.#attempt));
  }

  get #attempt(): Attempt {
    return {
      node: this.node,
      start: this.#start,
      offset: this.#request.continuation?.offset ?? 0,
      end: this.#promise === null ? null : this.#end,
      identity: this.#identity,
      sentAtMs: this.sentAtMs,
    };
  }

  /** Takes the response from a target that stops, once another node can go on with it; until then it sends on. */
  tick(): void {
    if (!this.#draining || !mayGoOn(this.#flow.acknowledged, this.#attempt)) return;
    if (this.#connection.servedWithout(this.node)) this.#giveUp();
  }

  takeBack(): void {
    if (mayGoOn(this.#flow.acknowledged, this.#attempt)) this.#giveUp();
  }

  body(): void {
    throw new Error('a request whose body follows is not handed off');
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
