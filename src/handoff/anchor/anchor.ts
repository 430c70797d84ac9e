/**
 * Mechanism anchor, at the anchor: the in-half stays, the out-half goes to the target for one response. DATA_DONE
 * says where it ended; the next request may then go anywhere at once, old bytes still in flight.
 *
 *   away --SETUP_OK--> sending --DATA_DONE--> finished
 */

import { distance } from '../../kernel/router/ranges.ts';
import { type DataDone, FrameType, SetupMechanism, type SetupOk } from '../../protocol/backplane/frames.ts';
import { HandoffDelivery, type HandoffGiven } from './handoff-delivery.ts';

/** A start further behind the last acknowledgement than this is moved up, so that distances stay below 2^31. */
const REBASE_BEHIND_BYTES = 2 ** 28;

export class AnchorDelivery extends HandoffDelivery {
  /** Starts the handoff. Null when SETUP could not be sent; the flow then is as before. */
  static start(given: HandoffGiven): AnchorDelivery | null {
    return HandoffDelivery.begin(() => new AnchorDelivery(given));
  }

  protected readonly name = 'anchor';
  protected status = 0;

  private constructor(given: HandoffGiven) {
    super(given, SetupMechanism.ANCHOR, false);
  }

  protected override objectionTo(frame: SetupOk | DataDone): string | null {
    if (frame.type === FrameType.SETUP_OK && frame.announcement !== null)
      return 'an announcement without clone';
    return super.objectionTo(frame);
  }

  protected heard(frame: SetupOk | DataDone): void {
    if (frame.type === FrameType.SETUP_OK) return;
    const { status, bytes, bodyBytes, close, end } = frame;
    this.status = status;
    this.leave();
    this.records?.announce(frame.records);
    this.records?.takeBack();
    this.flow.endTarget(end);
    this.flow.announced = this.announced(end);
    this.host.finished({
      node: this.node,
      mechanism: 'anchor',
      status,
      bytes,
      bodyBytes,
      close,
      firstByteUs: this.handoffUs + frame.firstByteUs,
      handoffUs: this.handoffUs,
    });
  }

  override tick(): void {
    const beyond = distance(this.from, this.flow.acknowledged);
    if (beyond >= REBASE_BEHIND_BYTES) {
      this.from = (this.from + beyond) >>> 0;
      this.offset += beyond;
    }
    super.tick();
  }
}
