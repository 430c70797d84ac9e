/** Mechanism anchor: the in-half stays, the out-half goes to the target for one response (endpoint anchoring). */
import { AnchorDelivery } from '../anchor/anchor.ts';
import type { Mechanism } from './mechanism.ts';
import { outHalfTo } from './out-half.ts';

export const ANCHOR: Mechanism = {
  inHalf: 'anchor',
  outHalf: 'target',
  endBy: 'DATA_DONE',
  closes: 'anchor',
  next: 'at once',
  otherwise: 'relay',
  begin(dispatch) {
    const given = outHalfTo(dispatch);
    return given === null ? null : AnchorDelivery.start(given);
  },
};
