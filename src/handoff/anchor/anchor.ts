/**
 * Mechanism anchor, at the anchor: the in-half stays, the out-half goes to the target for one response. DATA_DONE
 * says where it ended; the next request may then go anywhere at once, old bytes still in flight.
 *
 *   away --SETUP_OK--> sending --DATA_DONE--> finished
 */

import { type DataDone, FrameType, SetupMechanism, type SetupOk } from '../../protocol/backplane/frames.ts';
import { HandoffDelivery, type HandoffForm, type HandoffGiven } from './handoff-delivery.ts';

const FORM: HandoffForm = { name: 'anchor', mechanism: SetupMechanism.ANCHOR, closes: false };

export class AnchorDelivery extends HandoffDelivery {
  /** Starts the handoff. Null when SETUP could not be sent; the flow then is as before. */
  static start(given: HandoffGiven): AnchorDelivery | null {
    return HandoffDelivery.begin(() => new AnchorDelivery(given));
  }

  protected readonly messages = undefined;

  private constructor(given: HandoffGiven) {
    super(given, FORM);
  }

  protected override objectionTo(frame: SetupOk | DataDone): string | null {
    if (frame.type === FrameType.SETUP_OK && frame.announcement !== null)
      return 'an announcement without clone';
    return super.objectionTo(frame);
  }

  protected heard(frame: SetupOk | DataDone): void {
    if (frame.type === FrameType.DATA_DONE) this.sent(frame);
  }
}
