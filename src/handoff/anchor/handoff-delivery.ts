/**
 * What anchor, clone and split have in common at the anchor: the out-half of a connection is away, at a target, for
 * one response. Here is how it begins, how it fails and what its end is; the mechanisms say how they learn of that.
 *
 *   setup --SETUP_OK--> accepted --(the mechanism's)--> finished
 *     |--SETUP_REJECT--> again        `--lost, draining, taken back--> take-over
 *     `--time-out, lost--> take-over
 *
 * A standby has the request without SETUP: standby --SETUP_OK--> accepted, or --not kept, no answer--> setup.
 */

import assert from 'node:assert';
import { nowUs } from '../../base/time.ts';
import { unlessSocketDied } from '../../kernel/linux/errors.ts';
import type { Places } from '../../kernel/loop/deadlines.ts';
import { distance } from '../../kernel/router/ranges.ts';
import {
  AbortReason,
  type Announcement,
  type DataDone,
  type Frame,
  FrameType,
  RejectReason,
  type SetupMechanism,
  type SetupOk,
} from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import { wipeKeys } from '../../protocol/tls/traffic.ts';
import type { WriteHalf } from '../../protocol/tls/write-half.ts';
import type { Request } from '../../serve/request.ts';
import type { Delivery, DeliveryOwner, DeliveryResult, SoFar } from '../request/delivery.ts';
import type { AnchorFlow } from './flow.ts';
import type { Handoff, HandoffStart, NextRequest, Standby, StandbyStart } from './handoff.ts';
import type { Handoffs } from './handoffs.ts';
import type { LentRecords } from './lent-records.ts';
import { hasHead } from './owed-records.ts';
import { soFarOf } from './take-over.ts';
import { TargetResponse } from './target-response.ts';

/** A request of a connection that is one of a flow, and the target it is to go to. */
export interface HandoffGiven {
  readonly handoffs: Handoffs;
  readonly host: DeliveryOwner;
  readonly flow: AnchorFlow;
  readonly request: Request;
  readonly node: number;
  readonly link: Link;
  /** What the target is to seal with; null: the connection is not TLS. */
  readonly half: WriteHalf | null;
}

/** What a mechanism has targets do. */
export interface HandoffForm {
  readonly name: 'anchor' | 'clone' | 'split';
  readonly mechanism: SetupMechanism;
  /** The client's connection ends with this response, which carries `Connection: close`. */
  readonly closes: boolean;
}

export abstract class HandoffDelivery implements Delivery, Handoff {
  readonly places: Places = [];
  readonly epoch: number;
  readonly node: number;
  protected readonly response: TargetResponse;
  protected readonly handoffs: Handoffs;
  protected readonly host: DeliveryOwner;
  protected readonly flow: AnchorFlow;
  protected readonly request: Request;
  readonly #link: Link;
  protected readonly form: HandoffForm;
  protected readonly begun: HandoffStart | StandbyStart;
  protected readonly next: NextRequest | null;
  /** SETUP has been sent. */
  isAsked = false;
  /** The right edge of the client's window when the target was told of it, and it left no room for a segment. */
  #shutAt: number | null = null;
  /** The target stops, and waits for another node to go on. */
  #draining = false;
  protected handoffUs = -1;
  protected firstByteUs = -1;
  protected over = false;

  /**
   * `standby`: the target may have taken the request already. `next`: it may take the one after it.
   */
  protected constructor(
    given: HandoffGiven,
    form: HandoffForm,
    standby: Standby | null = null,
    next: NextRequest | null = null,
  ) {
    const { handoffs, host, flow, request, node, link } = given;
    this.handoffs = handoffs;
    this.host = host;
    this.flow = flow;
    this.request = request;
    this.node = node;
    this.#link = link;
    this.form = form;
    this.next = next;
    this.begun = standby === null ? flow.beginTarget(node, link, next) : flow.beginStandby(standby, next);
    // The lease is reckoned from here: what has the target begin, SETUP or a copy of the request, bears no later time.
    this.response = new TargetResponse(form.name, given, this.begun.start, handoffs.clock.exactMs());
    this.epoch = this.begun.epoch;
  }

  /** Makes a delivery and sends its SETUP. Null when that could not be; the flow then is as before. */
  protected static begin<T extends HandoffDelivery>(make: () => T): T | null {
    try {
      const delivery = make();
      return delivery.#begin() ? delivery : null;
    } catch (error) {
      return unlessSocketDied(error, null);
    }
  }

  #begin(): boolean {
    const { begun } = this;
    assert('halfPipe' in begun, 'a standby is not asked');
    if (!this.ask(begun)) {
      this.over = true;
      this.flow.cancelTarget(this.response.start);
      return false;
    }
    this.flow.current = this;
    return true;
  }

  /** Sends SETUP. False: it could not be sent. */
  protected ask(begun: HandoffStart): boolean {
    const { request } = this;
    const seal = this.records?.lend(this.node) ?? null;
    const sent = this.send({
      type: FrameType.SETUP,
      request: begun.id,
      epoch: begun.epoch,
      mechanism: this.form.mechanism,
      http10: request.head.minor === 0,
      close: request.close || this.form.closes,
      bodyFollows: false,
      sentAtMs: begun.sentAtMs,
      halfPipe: begun.halfPipe,
      client: null,
      secure: false,
      continuation: request.continuation,
      seal,
      estimates: request.estimates,
      keep: begun.halfPipe.acknowledge === this.next?.at ? this.next.choice.digest : null,
      site: request.site,
      head: request.headBytes,
      body: request.body,
    });
    if (seal !== null) wipeKeys(seal);
    if (!sent) this.records?.takeBackUnused();
    if (!sent) return false;
    this.isAsked = true;
    const { sequence, sendWindow, mss } = begun.halfPipe;
    if (sendWindow < mss) this.#shutAt = (sequence + sendWindow) >>> 0;
    this.handoffs.count.add('setups_sent');
    this.handoffs.asked(this, this.response.sentAtMs);
    return true;
  }

  /** Null: the connection is not TLS. */
  protected get records(): LentRecords | null {
    return this.response.records;
  }

  protected send(frame: Frame): boolean {
    return this.flow.send(this.#link, frame);
  }

  /** The target has accepted, or is done. */
  protected abstract heard(frame: SetupOk | DataDone): void;

  /** Why no target says this; null: it may. */
  protected objectionTo(frame: SetupOk | DataDone): string | null {
    if (frame.type === FrameType.SETUP_OK) return null;
    const { end, bytes, records } = frame;
    if (this.records?.isTooMany(records) ?? records > 0) return `DATA_DONE with ${records} records`;
    return end === this.response.endOf(bytes, records)
      ? null
      : 'DATA_DONE with an end that is not where its bytes end';
  }

  answer(frame: Frame): void {
    if (this.over) return;
    switch (frame.type) {
      case FrameType.SETUP_OK:
      case FrameType.DATA_DONE: {
        const objection = this.objectionTo(frame);
        if (objection !== null) return this.#link.protocolError(objection);
        if (this.handoffUs < 0) this.handoffUs = nowUs() - this.request.startUs;
        this.handoffs.answered(this);
        this.#tellWindow();
        this.response.identity ??= frame.identity;
        this.heard(frame);
        if (frame.type === FrameType.SETUP_OK && frame.confirmWanted)
          this.send({ type: FrameType.CONFIRM, request: this.begun.id, epoch: this.epoch });
        return;
      }
      case FrameType.SETUP_REJECT:
        if (this.handoffUs >= 0) return this.#link.protocolError('SETUP_REJECT after SETUP_OK');
        if (frame.reason === RejectReason.PENDING && this.request.continuation === null)
          return this.#link.protocolError('a response that has not begun cannot be pending');
        this.handoffs.count.add('handoffs_rejected');
        this.leave();
        this.records?.takeBackUnused();
        this.flow.cancelTarget(this.response.start);
        if (frame.reason === RejectReason.PENDING) return this.host.later();
        return this.host.again(this.node, frame.reason === RejectReason.STALE ? 'late' : 'refused');
      case FrameType.ABORT:
        if (frame.reason === AbortReason.DRAINING) {
          this.#draining = true;
          return this.tick();
        }
        if (frame.reason === AbortReason.UPSTREAM_FAILED) return this.#upstreamFailed();
        // The client takes nothing, and another node would fare no better; or what it has is nobody's response.
        if (frame.reason === AbortReason.TIMED_OUT || frame.reason === AbortReason.FILE_CHANGED)
          this.response.identity = null;
        return this.lost();
      default:
        return;
    }
  }

  /** The target has sent nothing, and has let go: there is no lease to wait for. */
  #upstreamFailed(): void {
    this.handoffs.count.add('handoffs_rejected');
    this.leave();
    this.flow.dropTarget(this.node);
    this.records?.takeBackUnused();
    this.flow.cancelTarget(this.response.start);
    this.host.again(this.node, 'upstream failed');
  }

  /** The client may have opened its window before there was a half-pipe to hear it, and does not say so again. */
  #tellWindow(): void {
    const { edge } = this.flow;
    if (this.#shutAt !== null && distance(this.#shutAt, edge) > 0)
      this.send({ type: FrameType.WINDOW, request: this.begun.id, epoch: this.epoch, edge });
    this.#shutAt = null;
  }

  protected leave(): void {
    this.over = true;
    this.handoffs.answered(this);
    if (this.flow.current === this) this.flow.current = null;
  }

  /** The target did not answer in time; unless the client has bytes of it, which no target sends before its answer. */
  timedOut(): void {
    if (distance(this.response.start, this.flow.acknowledged) > 0)
      return this.handoffs.asked(this, this.handoffs.clock.exactMs());
    if (this.handoffs.waitsOn(this, this.#isAnsweredWithout, this.response.sentAtMs)) return;
    this.handoffs.count.add('handoffs_timed_out');
    this.#giveUp();
  }

  /**
   * Whether another node may answer in the place of the target. Not while that lives: its answer may be under way, and
   * behind it, where queues are long, the first bytes of its response. And over TLS not before it has said that it has
   * sealed nothing.
   */
  get #isAnsweredWithout(): boolean {
    if (this.records !== null || !this.#link.isSilent) return false;
    return this.host.answeredWithout(this.node);
  }

  lost(): void {
    if (this.over) return;
    this.handoffs.count.add('handoffs_lost');
    this.#giveUp();
  }

  get isIdentified(): boolean {
    return this.response.identity !== null;
  }

  /** Frames about the request, where they are counted. */
  protected abstract readonly messages: DeliveryResult['messages'];

  get soFar(): SoFar {
    return soFarOf(this.flow.acknowledged, this.response);
  }

  /** DATA_DONE behind the response: the target's part of the client's space ends there, and the next one's begins. */
  protected sent(frame: DataDone): void {
    this.firstByteUs = this.handoffUs + frame.firstByteUs;
    this.records?.announce(frame.records);
    this.flow.endTarget(frame.end);
    this.response.end = frame.end;
    this.finish(frame);
  }

  /** The request is done, but for what the client has not acknowledged: the flow sees to that. */
  protected finish({ status, close, bytes, bodyBytes }: Announcement): void {
    this.response.status = status;
    this.leave();
    this.records?.takeBack();
    if (!this.isAsked) this.handoffs.count.add('requests_kept');
    this.flow.announced = this.response.announced();
    this.host.finished({
      node: this.node,
      mechanism: this.form.name,
      status,
      bytes,
      bodyBytes,
      close: close || this.form.closes,
      firstByteUs: this.firstByteUs,
      handoffUs: this.handoffUs,
      messages: this.messages,
    });
  }

  /** Whether the target has begun is known only to the client: the take-over asks it. */
  #giveUp(): void {
    this.leave();
    this.flow.dropTarget(this.node);
    this.host.takeOver(this.handoffs.takeOver(this.flow, this.host, this.response));
  }

  /** Takes the response from a target that stops, once another node can go on with it; until then it sends on. */
  tick(): void {
    this.response.moveUp(this.flow.acknowledged);
    if (!this.#draining || !hasHead(this.flow.acknowledged, this.response)) return;
    if (this.host.servedWithout(this.node)) this.#giveUp();
  }

  takeBack(): void {
    if (hasHead(this.flow.acknowledged, this.response)) this.#giveUp();
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
    this.leave();
  }
}
