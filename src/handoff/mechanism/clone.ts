/**
 * Mechanism clone (Sit, Wang and Lau, 2002): the original stays, a clone of its socket sends one response. SETUP is
 * the SC Message, SETUP_OK the clone's acknowledgement, which tells the length; after that no message about state.
 *
 *   original: the router follows the client's acknowledgements, forwards them, and wakes the engine when the whole
 *             response is acknowledged; only then is the next request taken up (implicit synchronisation)
 *   clone:    closes without a word when its own router has seen its last byte acknowledged
 *
 * With `keep` the clone stays, gets the connection's next request as the original does, and answers it without having
 * been asked when the policy gives it to the same node: one message a request.
 * With `pre` the next pipelined request is handed off as soon as the end of this response is known.
 */

import type { CloneConfig } from '../../base/config/config.ts';
import type { RepeatableChoice } from '../../cluster/policy/repeatable-choice.ts';
import { SetupMechanism } from '../../protocol/backplane/frames.ts';
import { AnnouncedDelivery, type Form } from '../anchor/announced-delivery.ts';
import type { Mechanism } from './mechanism.ts';
import { outHalfTo } from './out-half.ts';

/** `next`: which node the connection's next request is for, when the clone may find that out by itself. */
export function cloneForm(options: CloneConfig, next: RepeatableChoice | null): Form {
  return { name: 'clone', mechanism: SetupMechanism.CLONE, closes: false, ahead: options.pre, next };
}

export const CLONE: Mechanism = {
  inHalf: 'anchor',
  outHalf: 'target',
  endBy: 'announcement, then acknowledgement',
  closes: 'anchor',
  next: 'when acknowledged',
  otherwise: 'relay',
  begin(dispatch) {
    const { site, means } = dispatch;
    const given = outHalfTo(dispatch);
    if (given === null || site === null) return null;
    return AnnouncedDelivery.start(given, cloneForm(site.config.clone, means.repeatableChoices.of(site)));
  },
};
