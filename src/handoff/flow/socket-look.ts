/** What the kernel has of a connection whose socket this process may have closed (sock_diag). */
import type { Endpoint } from '../../base/address.ts';

/** The state (TcpState) of the kernel's socket between two ends. */
export interface SocketLook {
  of(local: Endpoint, remote: Endpoint): number;
}
