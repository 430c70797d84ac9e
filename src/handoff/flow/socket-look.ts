/** What the kernel has of a connection whose socket this process may have closed (sock_diag). */
import type { Endpoint } from '../../base/address.ts';

/** In which state (TcpState) the kernel has the socket between two ends. */
export interface SocketLook {
  of(local: Endpoint, remote: Endpoint): number;
}
