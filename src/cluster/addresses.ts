/** The addresses of the cluster, and which connections can be its clients'. Pure. */
import { type Endpoint, isMapped, parseAddress } from '../base/address.ts';
import type { ClusterConfig } from '../base/config/config.ts';

const keyOf = (address: Buffer): string => address.toString('latin1');

/** Whether a host may have it: not unspecified, loopback, multicast or broadcast. */
function isUnicast(address: Buffer): boolean {
  if (isMapped(address)) return address[12] !== 0 && address[12] !== 127 && address[12] < 224;
  if (address[0] === 0xff) return false;
  return address.subarray(0, 15).some((byte) => byte !== 0) || address[15] > 1;
}

export class Addresses {
  readonly #ports: readonly (number | null)[];
  /** Public addresses, and the index of the node that owns each. */
  readonly #homes = new Map<string, number>();
  /** All addresses of all nodes, their public ones included. */
  readonly #nodes = new Set<string>();

  constructor({ nodes, listen }: Pick<ClusterConfig, 'nodes' | 'listen'>) {
    this.#ports = [listen.port, listen.tlsPort];
    for (const [index, node] of nodes.entries()) {
      for (const address of node.public) this.#homes.set(keyOf(parseAddress(address)), index);
      for (const address of [node.address, node.address6, ...node.public])
        if (address !== null) this.#nodes.add(keyOf(parseAddress(address)));
    }
  }

  /** The node that owns a public address, by index; -1: it is none. */
  homeOf(address: Buffer): number {
    return this.#homes.get(keyOf(address)) ?? -1;
  }

  /**
   * Whether a connection with these ends can be a client's: to a public address, at a port that clients connect to,
   * from a host that is no node. What a node sends to a public address stays on it, and goes through no router.
   */
  canServe(client: Endpoint, pub: Endpoint): boolean {
    return (
      this.homeOf(pub.address) >= 0 &&
      this.#ports.includes(pub.port) &&
      client.port !== 0 &&
      isMapped(client.address) === isMapped(pub.address) &&
      isUnicast(client.address) &&
      !this.#nodes.has(keyOf(client.address))
    );
  }
}
