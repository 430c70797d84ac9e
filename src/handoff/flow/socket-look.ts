/** What the kernel has of a connection whose socket this process may have closed (sock_diag). */
import type { Endpoint } from '../../base/address.ts';
import { TcpState } from '../../kernel/linux/repair-options.ts';
import type { FourTuple } from './four-tuple.ts';

/** The state (TcpState) of the kernel's socket between two ends. */
export interface SocketLook {
  of(local: Endpoint, remote: Endpoint): number;
}

/** Whether the kernel has a connection that is not over, one that nobody has accepted yet among them. */
export function hasConnection(sockets: SocketLook, { client, public: pub }: FourTuple): boolean {
  const state = sockets.of(pub, client);
  return state !== TcpState.CLOSE && state !== TcpState.TIME_WAIT;
}
