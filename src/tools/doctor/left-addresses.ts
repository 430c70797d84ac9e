/**
 * Public addresses that Baton added and no router guards any more: of a configuration that has changed since, or whose
 * router somebody removed. This machine answers ARP for them, whoever's they are by now.
 */
import { formatAddress } from '../../base/address.ts';
import { interfaceName } from '../../kernel/linux/interface.ts';
import {
  BATON_PROTOCOL,
  type InterfaceAddress,
  interfaceAddresses,
  removeAddress,
} from '../../kernel/linux/interface-addresses.ts';
import { guardedOn } from '../../kernel/router/guarded.ts';

/**
 * The addresses that were left in this network namespace. Throws SystemError without the permission to look at routers.
 */
export function leftAddresses(): InterfaceAddress[] {
  const all = interfaceAddresses();
  const ours = all.filter((one) => one.protocol === BATON_PROTOCOL);
  if (ours.length === 0) return [];
  const devices = [...new Set(all.map((one) => interfaceName(one.device)))];
  const guarded = new Set(
    devices.flatMap((device) => guardedOn(device).map((one) => `${one.address} on ${one.device}`)),
  );
  return ours.filter((one) => !guarded.has(describeAddress(one)));
}

export function describeAddress({ device, address }: InterfaceAddress): string {
  return `${formatAddress(address)} on ${interfaceName(device)}`;
}

/** Removes them; returns what was done, in words, a line each. */
export function removeLeftAddresses(): string[] {
  return leftAddresses().map((one) => {
    removeAddress(one.device, one.address);
    return `removed ${describeAddress(one)}`;
  });
}
