/**
 * Mechanism boost (Panteleenko and Freeh: web booster): the booster has the client, and gives every request to the
 * origin, the node that owns the address the client has connected to. The origin decides, and answers as its own
 * clients; its response comes back over the links that there are between the two in any case, piece by piece, among
 * those of others.
 */
import { SetupMechanism } from '../../protocol/backplane/frames.ts';
import { RelayDelivery, type RelayForm } from '../anchor/relay.ts';
import type { Mechanism } from './mechanism.ts';

const FORM: RelayForm = { name: 'boost', mechanism: SetupMechanism.BOOST };

export const BOOST: Mechanism = {
  inHalf: 'booster',
  outHalf: 'booster',
  endBy: 'own socket',
  closes: 'booster',
  next: 'at once',
  otherwise: 'relay',
  begin({ means, host, node, link }) {
    if (link === null) return null;
    return RelayDelivery.start({ ports: means, host, request: host.retain(), node, link, form: FORM });
  },
};
