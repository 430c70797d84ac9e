/**
 * Mechanism migrate: the whole connection goes to the node that is to answer (connection endpoint migration). It has
 * moved before a request begins (dispatcher.ts, `migrate`); what begins here is a request whose connection had to stay.
 */
import type { Mechanism } from './mechanism.ts';

export const MIGRATE: Mechanism = {
  inHalf: 'owner',
  outHalf: 'owner',
  endBy: 'own socket',
  closes: 'owner',
  next: 'at the owner',
  otherwise: 'relay',
  begin: () => null,
};
