/** The conversation of a half-pipe with its flow's anchor: what the target says in it. */
import {
  type AbortReason,
  type Frame,
  FrameType,
  type RejectReason,
} from '../../protocol/backplane/frames.ts';
import type { Link } from '../../protocol/backplane/link.ts';
import type { Identity } from '../../protocol/http/continuation.ts';
import type { PathReport } from '../flow/agreed.ts';

export class HalfPipeConversation {
  readonly #link: Link;
  readonly id: number;

  constructor(link: Link, id: number) {
    this.#link = link;
    this.id = id;
  }

  /** The anchor's. */
  get node(): number {
    return this.#link.node;
  }

  /** When something was sent that came at `arrivedMs`, both by the own clock; `sentMs` is the anchor's, modulo 2^16. */
  sentAtMs(sentMs: number, arrivedMs: number): number {
    return arrivedMs - this.#link.clock.excessOf16Ms(sentMs, arrivedMs);
  }

  say(frame: Frame): void {
    this.#link.send(frame);
  }

  /** A next request is not taken, though it is this node's. */
  refuse(epoch: number, reason: RejectReason): void {
    this.#link.send({ type: FrameType.SETUP_REJECT, request: this.id, epoch, reason });
  }

  /** Whether the response may still begin; the rest the anchor has been told before. */
  askConfirm(epoch: number): void {
    this.#setupOk(epoch, true, null);
  }

  /** What the response is has come to be known. */
  identify(epoch: number, identity: Identity): void {
    this.#setupOk(epoch, false, identity);
  }

  #setupOk(epoch: number, confirmWanted: boolean, identity: Identity | null): void {
    const { id: request } = this;
    this.#link.send({
      type: FrameType.SETUP_OK,
      request,
      epoch,
      confirmWanted,
      identity,
      announcement: null,
    });
  }

  /** The client has all before `end`. */
  collected(epoch: number, end: number, { congestionWindow, srttUs }: PathReport): void {
    const { id: request } = this;
    this.#link.send({ type: FrameType.COLLECTED, request, epoch, end, congestionWindow, srttUs });
  }

  abort(epoch: number, reason: AbortReason): void {
    this.#link.send({ type: FrameType.ABORT, request: this.id, epoch, reason });
  }

  /** The anchor has wanted nothing more, and that is so. */
  resetDone(): void {
    this.#link.send({ type: FrameType.RESET_OK, request: this.id });
  }

  close(): void {
    this.#link.closeConversation(this.id);
  }
}
