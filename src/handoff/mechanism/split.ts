/**
 * Mechanism split (Rawal, Karne and Wijesinha, 2011): one request a connection. The connection server (the anchor)
 * does establishment, acknowledgements and termination, the data server (the target) the data transfer alone.
 *
 *   CS                               DS
 *   SETUP (DM1)     ------------->   half-pipe
 *                   <-------------   DATA_DONE: where the response will end
 *                                    bytes go to the client
 *   acknowledgements  ------------>  all of them, one by one
 *   FIN, after the last byte         closes without a word when its last byte is acknowledged
 *
 * Two frames a request. The paper's DM2s, by which its CS has the DS send again or end, are replaced by what the CS's
 * router forwards: some six packets for 64 KiB, thirty for 1 MiB, more under loss. DATA_DONE the paper does not have.
 */
import { SetupMechanism } from '../../protocol/backplane/frames.ts';
import { AnnouncedDelivery, type Form } from '../anchor/announced-delivery.ts';
import type { Mechanism } from './mechanism.ts';
import { outHalfTo } from './out-half.ts';

export const SPLIT_FORM: Form = {
  name: 'split',
  mechanism: SetupMechanism.SPLIT,
  closes: true,
  ahead: false,
  next: null,
};

export const SPLIT: Mechanism = {
  inHalf: 'anchor',
  outHalf: 'target',
  endBy: 'announcement, then acknowledgement',
  closes: 'anchor, with the response',
  next: 'never',
  otherwise: 'relay',
  begin(dispatch) {
    const given = outHalfTo(dispatch);
    return given === null ? null : AnnouncedDelivery.start(given, SPLIT_FORM);
  },
};
