/**
 * Handoffs whose target says where its response ends before it sends it, and then says no more: clone and split.
 * What the anchor still has to know it reads from the client's acknowledgements.
 *
 *   setup ---announcement-----> announced --the client has acknowledged `watch`--> finished
 *   standby --announcement----> announced      the clone has the request; SETUP is sent when it does not answer
 *     `--no announcement (length unknown)--> sending --DATA_DONE--> finished        (as mechanism anchor)
 */

import type { RepeatableChoice } from '../../cluster/policy/repeatable-choice.ts';
import { distance } from '../../kernel/router/ranges.ts';
import {
  type Announcement,
  type DataDone,
  type Frame,
  FrameType,
  frameSize,
  MAX_ANNOUNCED_BYTES,
  RejectReason,
  type SetupOk,
} from '../../protocol/backplane/frames.ts';
import type { NextRequest, Standby } from './handoff.ts';
import { HandoffDelivery, type HandoffForm, type HandoffGiven } from './handoff-delivery.ts';
import { recordsOf } from './lent-records.ts';

/**
 * A connection that ends with the response may end while this much is still unacknowledged: the target's kernel has
 * it by then.
 */
const CLOSE_AHEAD_BYTES = 64 * 1024;

/** What sets the mechanisms apart at the anchor. */
export interface Form extends HandoffForm {
  /** The next pipelined request is handed off as soon as the end of this one's response is known. */
  readonly ahead: boolean;
  /** The target may take the connection's next request as well, if that is for it; null: it may not. */
  readonly next: RepeatableChoice | null;
}

/** A clone that has the request without SETUP says so within this time; else SETUP is sent. */
const STANDBY_ANSWER_MS = 30;

/**
 * The next request, if the clone may take it; null when some of it has come here already, which the clone would never get,
 * and over TLS, which the clone could not read.
 */
function nextOf(
  { request, host, flow, half }: HandoffGiven,
  { next }: Form,
  standby: Standby | null,
): NextRequest | null {
  // The clone was told once, by SETUP, by what choice it finds requests to be its own: a changed choice it does not know.
  const same = standby === null || standby.choice.digest === next?.digest;
  if (
    next === null ||
    half !== null ||
    !same ||
    request.close ||
    request.continuation !== null ||
    !host.quiet
  )
    return null;
  const at = flow.nextRequest;
  return at < 0 ? null : { at, choice: next };
}

export class AnnouncedDelivery extends HandoffDelivery {
  declare protected readonly form: Form;
  #announcement: Announcement | null = null;
  #watch = 0;
  /** The target does not know the length: it will say DATA_DONE. */
  #explicit = false;
  protected readonly messages = { count: 0, bytes: 0 };
  readonly #standby: Standby | null;

  /** Starts the handoff. Null when SETUP could not be sent; the flow then is as before. */
  static start(given: HandoffGiven, form: Form): AnnouncedDelivery | null {
    return HandoffDelivery.begin(() => new AnnouncedDelivery(given, form));
  }

  /** For a request that the clone may have taken: it is told nothing unless it does not answer. */
  static startStandby(given: HandoffGiven, form: Form, standby: Standby): AnnouncedDelivery {
    const delivery = new AnnouncedDelivery(given, form, standby);
    given.flow.current = delivery;
    given.handoffs.watch(delivery);
    given.handoffs.asked(delivery, given.handoffs.clock.nowMs);
    return delivery;
  }

  private constructor(given: HandoffGiven, form: Form, standby: Standby | null = null) {
    super(given, form, standby, nextOf(given, form, standby));
    this.#standby = standby;
  }

  start(): void {
    if (this.#standby === null) return;
    const early = this.flow.takeEarly();
    for (const frame of early) this.answer(frame);
    if (!this.over && !this.flow.isThere(this.#standby.target)) this.lost();
  }

  /** The clone has not taken the request, or its SETUP_OK is on its way: then it ignores this SETUP. */
  #askStandby(): void {
    if (this.isAsked || this.over) return;
    const begun = this.flow.describeStandby(this.begun);
    this.response.sentAtMs = this.handoffs.clock.exactMs();
    if (!this.ask(begun)) this.lost();
  }

  #count(frame: Frame): void {
    this.messages.count++;
    this.messages.bytes += frameSize(frame);
  }

  protected override send(frame: Frame): boolean {
    this.#count(frame);
    return super.send(frame);
  }

  override answer(frame: Frame): void {
    this.#count(frame);
    if (frame.type === FrameType.SETUP_REJECT) {
      // The refusal crossed its SETUP_OK: a request that the clone has accepted it answers.
      if (this.#announcement !== null || this.#explicit) return;
      if (frame.reason === RejectReason.NOT_KEPT) return this.#askStandby();
    }
    super.answer(frame);
  }

  protected override objectionTo(frame: SetupOk | DataDone): string | null {
    if (frame.type === FrameType.SETUP_OK) {
      const { announcement } = frame;
      if (announcement === null) return null;
      if (this.#explicit) return 'an announcement after an answer without one';
      const records = recordsOf(announcement);
      return this.records?.isTooMany(records) ? `an announcement of ${records} records` : null;
    }
    if (!this.#explicit && (frame.bytes < 1 || frame.bytes > MAX_ANNOUNCED_BYTES))
      return `an announcement of ${frame.bytes} bytes`;
    if (!this.#explicit && this.records !== null && frame.records !== recordsOf(frame))
      return `an announcement of ${frame.records} records`;
    return super.objectionTo(frame);
  }

  protected heard(frame: SetupOk | DataDone): void {
    if (frame.type === FrameType.SETUP_OK) {
      if (frame.announcement !== null) this.#announced(frame.announcement);
      else if (this.#announcement === null) this.#explicit = true;
      return;
    }
    if (this.#explicit) return this.sent(frame);
    this.firstByteUs = this.handoffUs + frame.firstByteUs;
    this.#announced(frame);
  }

  /**
   * The router is told to watch before its observation is read: the acknowledgement shows in the one or in the other,
   * whenever it comes.
   */
  #announced({ status, close, bytes, bodyBytes }: Announcement): void {
    if (this.#announcement !== null) return;
    const announcement = { status, close, bytes, bodyBytes };
    this.response.status = status;
    const records = recordsOf(announcement);
    const end = this.response.endOf(announcement.bytes, records);
    this.records?.announce(records);
    this.#announcement = announcement;
    this.response.end = end;
    const closing = announcement.close || this.request.close || this.form.closes;
    // The FIN follows what is announced, inside the client's window, and not before the target has begun.
    const ahead = Math.min(CLOSE_AHEAD_BYTES, announcement.bytes - 1, this.flow.windowBytes);
    this.#watch = closing ? (end - ahead) >>> 0 : end;
    this.flow.announceEnd(this.node, end, this.#watch, this.#standby !== null || this.next !== null);
    this.handoffs.watch(this);
    this.acknowledged();
  }

  /** The router's event, and every tick: has the client acknowledged what is waited for? */
  acknowledged(): void {
    if (this.over) return;
    if (this.#announcement === null) {
      const waits = this.#standby !== null && !this.isAsked;
      if (waits && this.handoffs.clock.nowMs - this.response.sentAtMs > STANDBY_ANSWER_MS) this.#askStandby();
      return;
    }
    if (distance(this.#watch, this.flow.acknowledged) >= 0) this.finish(this.#announcement);
    else this.more();
  }

  /** Pre-cloning: where the next response starts is known, so its clone can be set up now, if there is room for it. */
  more(): void {
    if (this.over || this.#announcement === null || !this.form.ahead || !this.host.hasMore) return;
    if (!this.#announcement.close && !this.request.close && this.flow.makeRoom(this.node))
      this.finish(this.#announcement);
  }

  protected override leave(): void {
    super.leave();
    this.handoffs.unwatch(this);
  }
}
