/**
 * Who may ask the admin API what. A browser on the machine can be made to send requests to it by any page, and so can
 * an application that fetches what its clients name:
 *
 * - Host is an IP address, localhost or the node's name. A page's own name that was made to resolve to this machine
 *   (DNS rebinding) is none of these.
 * - Origin, which browsers add, is the API's own.
 * - What acts is taken on the Unix socket alone, from root or the user that the node runs as, and names the node that
 *   is meant: whoever asks the wrong machine is told so, and nothing happens there.
 */
import { isIP } from 'node:net';

/** The name of the node that a request is meant for. Whatever asks may give it; what acts has to. */
export const NODE_FIELD = 'Baton-Node';

export interface Asked {
  readonly method: string;
  readonly path: string;
  /** The request changes something. */
  readonly acts: boolean;
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** Sec-Fetch-Site (Fetch Metadata): browsers say where a request comes from also where they send no Origin. */
  readonly fetchSite: string | undefined;
  /** NODE_FIELD. */
  readonly node: string | undefined;
  /** The user who asks on the Unix socket; null over TCP. */
  readonly user: number | null;
}

export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** Why a request is refused; null when it is not. `users`: those that may act. */
export function refusal(asked: Asked, self: string, users: readonly number[]): Refusal | null {
  const { method, path, host, origin, fetchSite, node, user, acts } = asked;
  const refuse = (status: number, code: string, message: string): Refusal => ({ status, code, message });
  if (host !== undefined && !isOwnHost(host, self))
    return refuse(403, 'HOST', `Host is not an IP address, localhost or ${self}; ask by address`);
  const isForeign = origin !== undefined && origin !== `http://${host}`;
  if (isForeign || !(fetchSite === undefined || fetchSite === 'same-origin' || fetchSite === 'none'))
    return refuse(403, 'ORIGIN', 'requests that pages of other origins make are refused');
  if (node !== undefined && node !== self)
    return refuse(421, 'OTHER_NODE', `this is node ${self}, not ${node}; ask on the machine of ${node}`);
  if (!acts) return null;
  if (user === null)
    return refuse(
      403,
      'LOCAL_ONLY',
      `${method} ${path} is taken on the Unix socket only: use the command baton`,
    );
  if (!users.includes(user))
    return refuse(403, 'USER', `${method} ${path} is for root and the user that the node runs as`);
  if (node === undefined) return refuse(400, 'NO_NODE', `say which node is meant: ${NODE_FIELD}: ${self}`);
  return null;
}

/** Whether Host, without its port (RFC 9110 section 7.2), names this node. */
function isOwnHost(host: string, self: string): boolean {
  const name = host.replace(/:\d*$/, '').toLowerCase();
  const literal = /^\[(.*)\]$/.exec(name)?.[1] ?? name;
  return isIP(literal) !== 0 || name === 'localhost' || name === self;
}
