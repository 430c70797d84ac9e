/**
 * Handoffs whose target says where its response ends before it sends it, and then says no more: clone and split.
 * What the anchor still has to know it reads from the client's acknowledgements.
 *
 *   away --promise--> promised --the client has acknowledged `watch`--> finished
 *     `--no promise (length unknown)--> sending --DATA_DONE--> finished        (as mechanism anchor)
 */
import {
  type DataDone,
  type Frame,
  FrameType,
  frameSize,
  type PromisedResponse,
  type SetupMechanism,
  type SetupOk,
} from '../backplane/frames.ts';
import { distance } from '../router/ranges.ts';
import { AwayHandling, type Given } from './away.ts';

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

export class PromisedHandling extends AwayHandling {
  readonly #form: Form;
  #promise: PromisedResponse | null = null;
  #watch = 0;
  /** The target does not know the length: it will say DATA_DONE. */
  #explicit = false;
  #firstByteUs = -1;
  readonly #messages = { count: 0, bytes: 0 };

  /** Starts the handoff. Null when SETUP could not be sent; the flow then is as before. */
  static start(given: Given, form: Form): PromisedHandling | null {
    return AwayHandling.begin(() => new PromisedHandling(given, form));
  }

  private constructor(given: Given, form: Form) {
    super(given, form.mechanism, form.closes);
    this.#form = form;
  }

  #count(frame: Frame): void {
    this.#messages.count++;
    this.#messages.bytes += frameSize(frame);
  }

  protected override send(frame: Frame): boolean {
    this.#count(frame);
    return super.send(frame);
  }

  override answer(frame: Frame): void {
    this.#count(frame);
    super.answer(frame);
  }

  protected heard(frame: SetupOk | DataDone): void {
    if (frame.type === FrameType.SETUP_OK) {
      if (frame.promise !== null) this.#promised(frame.promise);
      else if (this.#promise === null) this.#explicit = true;
      return;
    }
    this.#firstByteUs = this.handoffUs + frame.firstByteUs;
    const { status, close, bytes, bodyBytes } = frame;
    if (!this.#explicit) return this.#promised({ status, close, bytes, bodyBytes });
    this.#promise = { status, close, bytes, bodyBytes };
    this.end = frame.end;
    this.flow.endTarget(frame.end);
    this.#finish(this.#promise, frame.end);
  }

  /** Rule watch is in force before the observation is looked at: one of the two shows the acknowledgement. */
  #promised(promise: PromisedResponse): void {
    if (this.#promise !== null) return;
    const end = (this.from + promise.bytes) >>> 0;
    this.#promise = promise;
    this.end = end;
    const closing = promise.close || this.request.close || this.#form.closes;
    // The FIN follows what is promised, inside the client's window, and not before the target has begun.
    const ahead = Math.min(CLOSE_AHEAD_BYTES, promise.bytes - 1, this.flow.windowBytes);
    this.#watch = closing ? (end - ahead) >>> 0 : end;
    this.flow.promiseTarget(this.node, end, this.#watch);
    this.engine.promised.add(this);
    this.acknowledged();
  }

  /** The router's event, and every tick: has the client acknowledged what is waited for? */
  acknowledged(): void {
    if (this.over || this.#promise === null) return;
    if (distance(this.#watch, this.flow.acknowledged) >= 0) this.#finish(this.#promise, this.end!);
    else this.more();
  }

  /** Pre-cloning: where the next response starts is known, so its clone can be set up now, if there is room for it. */
  more(): void {
    if (this.over || this.#promise === null || !this.#form.ahead || !this.connection.hasMore) return;
    if (!this.#promise.close && !this.request.close && this.flow.makeRoom())
      this.#finish(this.#promise, this.end!);
  }

  #finish({ status, close, bytes, bodyBytes }: PromisedResponse, end: number): void {
    this.leave();
    this.flow.promise = { ...this.attempt, end, request: this.request };
    this.connection.finished({
      node: this.node,
      mechanism: this.#form.name,
      status,
      bytes,
      bodyBytes,
      close: close || this.#form.closes,
      firstByteUs: this.#firstByteUs,
      handoffUs: this.handoffUs,
      messages: this.#messages,
    });
  }

  protected override leave(): void {
    super.leave();
    this.engine.promised.delete(this);
  }
}
