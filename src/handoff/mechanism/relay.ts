/** Mechanism relay: the target's response comes over the backplane and leaves from the anchor's socket. */
import { SetupMechanism } from '../../protocol/backplane/frames.ts';
import { RelayDelivery, type RelayForm } from '../anchor/relay.ts';
import type { Mechanism } from './mechanism.ts';
import { moves } from './moves.ts';

const FORM: RelayForm = { name: 'relay', mechanism: SetupMechanism.RELAY };

export const RELAY: Mechanism = {
  inHalf: 'anchor',
  outHalf: 'anchor',
  endBy: 'own socket',
  closes: 'anchor',
  next: 'at once',
  otherwise: 'local',
  begin({ means, host, node, link, mechanism, isServedHere }) {
    if (link === null) return null;
    const request = host.retain();
    // In place of another mechanism a node that can answer itself does so; but a body too large for SETUP goes to the
    // target that was to answer.
    const carries = mechanism === 'relay' || !isServedHere || (request.bodyFollows && !moves(mechanism));
    if (!carries) return null;
    host.flow?.beginOwn();
    return RelayDelivery.start({ ports: means, host, request, node, link, form: FORM });
  },
};
