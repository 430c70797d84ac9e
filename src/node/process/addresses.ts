/**
 * Public addresses on this machine, by iproute2: the own ones on the interface, where their ARP is answered; those of
 * the other nodes on lo, so that the kernel takes them for its own and no neighbour hears of it.
 */
import { execFileSync } from 'node:child_process';
import type { ClusterConfig, NodeConfig } from '../../base/config/config.ts';

function ip(args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

interface LinkInfo {
  readonly address?: string;
  readonly addr_info?: ReadonlyArray<{ readonly local?: string; readonly prefixlen?: number }>;
}

function describe(args: string[]): LinkInfo {
  return (JSON.parse(ip(['-j', ...args])) as LinkInfo[])[0] ?? {};
}

/** The interface's MAC address, 6 bytes. */
export function macOf(interfaceName: string): Buffer {
  const { address } = describe(['link', 'show', 'dev', interfaceName]);
  const mac = Buffer.from((address ?? '').replaceAll(':', ''), 'hex');
  if (mac.length !== 6)
    throw new Error(`interface ${interfaceName} has no Ethernet address (${address ?? 'none'})`);
  return mac;
}

const prefixBits = (address: string): number => (address.includes(':') ? 128 : 32);
const prefixed = (address: string): string => `${address}/${prefixBits(address)}`;

/** The prefix lengths with which an interface has an address. */
function prefixesOf(interfaceName: string, address: string): Array<number | undefined> {
  const { addr_info: infos } = describe(['addr', 'show', 'dev', interfaceName]);
  return (infos ?? []).filter((info) => info.local === address).map((info) => info.prefixlen);
}

/** The addresses that `installAddresses` added: they go when the node stops. */
export type InstalledAddresses = ReadonlyArray<{ readonly device: string; readonly address: string }>;

/**
 * Adds what is missing. An address that is there already was somebody else's doing, and stays afterwards; unless this
 * node takes the place of one that was killed (`takesOver`): then it is that one's, and goes. Left behind without
 * a router, the other nodes' addresses on lo would be answered for by this machine's ARP.
 */
export function installAddresses(
  config: ClusterConfig,
  self: NodeConfig,
  takesOver: boolean,
): InstalledAddresses {
  const installed: Array<{ device: string; address: string }> = [];
  ip(['link', 'set', 'lo', 'up']);
  for (const node of config.nodes) {
    const device = node === self ? self.interface : 'lo';
    for (const address of node.public) {
      const prefixes = prefixesOf(device, address);
      if (prefixes.length > 0) {
        if (takesOver && prefixes.includes(prefixBits(address))) installed.push({ device, address });
        continue;
      }
      const options = address.includes(':') ? ['nodad', 'noprefixroute'] : [];
      ip(['addr', 'add', prefixed(address), 'dev', device, ...options]);
      installed.push({ device, address });
    }
  }
  return installed;
}

export function removeAddresses(installed: InstalledAddresses): void {
  for (const { device, address } of installed) {
    const isThere = prefixesOf(device, address).includes(prefixBits(address));
    if (isThere) ip(['addr', 'del', prefixed(address), 'dev', device]);
  }
}
