/** What the mechanisms have in common by which a target sends the out-half. */
import type { HandoffGiven } from '../anchor/handoff-delivery.ts';
import type { Dispatch } from './mechanism.ts';

/** What the handoff of the out-half begins with. Null: it cannot be had. */
export function outHalfTo({ means, host, node, link }: Dispatch): HandoffGiven | null {
  if (link === null) return null;
  const request = host.retain();
  // A body that follows goes by relay: a half-pipe has no way for it.
  if (request.bodyFollows) return null;
  // Before the socket is captured, since what TLS has to say first (KeyUpdate) is sent by it.
  const { wayOut } = host;
  // A node that is gone by now would keep what it is lent: it is asked for the bytes, and the numbers stay here.
  if (wayOut.half !== null && link.isSilent) return null;
  if (!wayOut.mayLend(node)) return null;
  const flow = host.ensureFlow();
  if (flow?.makeRoom(node))
    return { handoffs: means.handoffs, host, flow, request, node, link, half: wayOut.half };
  means.count.add('handoffs_no_room');
  return null;
}
