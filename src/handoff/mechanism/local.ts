/** Mechanism local: the node that has the connection answers on its own socket. The last row that is tried. */
import { nowUs } from '../../base/time.ts';
import { RejectReason } from '../../protocol/backplane/frames.ts';
import { LocalDelivery } from '../anchor/local.ts';
import type { Mechanism } from './mechanism.ts';
import { moves } from './moves.ts';

export const LOCAL: Mechanism = {
  inHalf: 'anchor',
  outHalf: 'anchor',
  endBy: 'own socket',
  closes: 'anchor',
  next: 'at once',
  otherwise: null,
  begin({ means, host, site }) {
    const { request } = host;
    host.flow?.beginOwn();
    // A connection that a policy has moved here is answered by the mechanism that moved it.
    const mechanism = host.hasCome && site !== null && moves(site.config.mechanism) ? 'migrate' : 'local';
    const exchange = means.sites.exchange(site, request, mechanism, nowUs() - request.startUs);
    if (typeof exchange !== 'number') return new LocalDelivery(means, host, request, exchange, mechanism);
    if (exchange === RejectReason.PENDING) host.later();
    else host.broken('the response cannot go on here');
    return null;
  },
};
