/**
 * Public addresses on this machine: the own ones on the interface, where their ARP is answered; those of the other
 * nodes on lo, so that the kernel takes them for its own and no neighbour hears of them.
 *
 * Each bears Baton's mark, so that those that a killed process left are known for what they are. One that was there
 * already is somebody else's doing, and stays. Kernels before 5.18 keep no marks: there, what the router that was left
 * guards, or was to guard, is Baton's.
 */
import { formatAddress, parseAddress } from '../../base/address.ts';
import type { ClusterConfig, NodeConfig } from '../../base/config/config.ts';
import { EPERM, SystemError } from '../../kernel/linux/errors.ts';
import { bringUp, interfaceIndex, interfaceName } from '../../kernel/linux/interface.ts';
import {
  addAddress,
  BATON_PROTOCOL,
  hostPrefixBits,
  type InterfaceAddress,
  interfaceAddresses,
  removeAddress,
} from '../../kernel/linux/interface-addresses.ts';
import { type GuardedAddress, guardedOn } from '../../kernel/router/guarded.ts';
import { step } from './errors.ts';

/** Where the configuration has the public addresses. */
export function wantedAddresses(config: ClusterConfig, self: NodeConfig): GuardedAddress[] {
  return config.nodes.flatMap((node) =>
    node.public.map((address) => ({ address, device: node === self ? self.interface : 'lo' })),
  );
}

/** What the router that was left on an interface guards; nothing where this process may not look (CAP_SYS_ADMIN). */
export function leftOn(device: string): GuardedAddress[] {
  try {
    return guardedOn(device);
  } catch (error) {
    if (error instanceof SystemError && error.errno === EPERM) return [];
    throw error;
  }
}

/** `DEVICE ADDRESS`: two entries for the same are one. */
type Place = string;
const placeOf = ({ device, address }: InterfaceAddress): Place => `${device} ${formatAddress(address)}`;
const placesOf = (addresses: readonly GuardedAddress[]): Set<Place> =>
  new Set(addresses.map(({ device, address }) => `${interfaceIndex(device)} ${address}`));

export class PublicAddresses {
  readonly #wanted: ReadonlySet<Place>;
  /** Baton's although they may bear no mark. */
  readonly #left: ReadonlySet<Place>;
  readonly #added: Array<{ readonly device: number; readonly address: Buffer }> = [];

  /** `left`: of the router whose place this node takes; null when there was none. */
  constructor(wanted: readonly GuardedAddress[], left: readonly GuardedAddress[] | null) {
    this.#wanted = placesOf(wanted);
    this.#left = left === null ? new Set() : placesOf([...left, ...wanted]);
  }

  /** The addresses in this network namespace that Baton added, now or earlier. */
  #ours(): InterfaceAddress[] {
    const all = interfaceAddresses();
    // A kernel that keeps marks has marked its own IPv6 addresses. Without IPv6 and any of ours, there are none to tell.
    const keepsMarks = all.some((one) => one.protocol !== 0);
    return all.filter(
      (one) =>
        one.prefixBits === hostPrefixBits(one.address) &&
        (keepsMarks ? one.protocol === BATON_PROTOCOL : this.#left.has(placeOf(one))),
    );
  }

  /** Adds what is missing. What it throws leaves nothing added. */
  install(): void {
    const hint = 'run as root, or with CAP_NET_ADMIN; see baton doctor';
    try {
      step('ADDRESS', hint, () => {
        bringUp('lo');
        const there = new Set(interfaceAddresses().map(placeOf));
        for (const place of this.#wanted) {
          if (there.has(place)) continue;
          const [device, text] = place.split(' ');
          const added = { device: Number(device), address: parseAddress(text) };
          addAddress(added.device, added.address);
          this.#added.push(added);
        }
      });
    } catch (error) {
      this.undo();
      throw error;
    }
  }

  /** Removes what an earlier process added and this node's configuration no longer has. Returns it, as text. */
  removeStale(): string[] {
    const stale = this.#ours().filter((one) => !this.#wanted.has(placeOf(one)));
    for (const { device, address } of stale) removeAddress(device, address);
    return stale.map(({ device, address }) => `${formatAddress(address)} on ${interfaceName(device)}`);
  }

  /** The start has failed: what was there before stays. */
  undo(): void {
    for (const { device, address } of this.#added.splice(0)) removeAddress(device, address);
  }

  /** The node stops, with its router: all that is Baton's goes, also what a killed process had added. */
  remove(): void {
    for (const { device, address } of this.#ours()) removeAddress(device, address);
    this.undo();
  }
}
