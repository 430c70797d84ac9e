/**
 * Addresses of this machine's interfaces (rtnetlink(7)). Each that is added here bears Baton's number as its protocol
 * (IFA_PROTO), by which a later process knows what an earlier one added. Kernels before 5.18 do not keep it.
 */
import { isMapped, parseAddress } from '../../base/address.ts';
import { AF_INET, AF_INET6 } from './address.ts';
import { check, EADDRNOTAVAIL, EEXIST, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import {
  ATTRIBUTE_BYTES,
  attribute,
  eachMessage,
  HEADER_BYTES,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  openNetlink,
} from './netlink.ts';

const NETLINK_ROUTE = 0;
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
/** struct ifaddrmsg: family, prefix length, flags, scope, index of the interface. */
const MESSAGE_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_PROTO = 11;
/** No duplicate address detection: the address is usable at once. */
const IFA_F_NODAD = 0x02;
/** No route to a prefix, for the address is alone in it. */
const IFA_F_NOPREFIXROUTE = 0x200;
/** Who added it: 0 to 3 are the kernel's, ours is as good as any other. */
export const BATON_PROTOCOL = 0xba;
const REQUEST_BYTES = HEADER_BYTES + MESSAGE_BYTES + 64;

const request = allocate(REQUEST_BYTES);

export interface InterfaceAddress {
  /** Index of the interface. */
  readonly device: number;
  /** 16 bytes. */
  readonly address: Buffer;
  readonly prefixBits: number;
  /** Who added it: BATON_PROTOCOL, the kernel's numbers for its own (::1, fe80::), 0 for unknown. */
  readonly protocol: number;
}

/** The length of a prefix that is one address. */
export const hostPrefixBits = (address: Buffer): number => (isMapped(address) ? 32 : 128);

/** Every address in this network namespace. */
export function interfaceAddresses(): InterfaceAddress[] {
  const found: InterfaceAddress[] = [];
  const fd = openNetlink(NETLINK_ROUTE);
  try {
    ask(fd, RTM_GETADDR, NLM_F_DUMP, Buffer.alloc(MESSAGE_BYTES), []);
    eachMessage(fd, (type, body) => {
      if (type === NLMSG_ERROR) throw new SystemError('rtnetlink', -body.readInt32LE(0), 'addresses');
      if (type === RTM_NEWADDR) found.push(...read(body));
      return type === NLMSG_DONE;
    });
    return found;
  } finally {
    libc.close(fd);
  }
}

function read(body: Buffer): InterfaceAddress[] {
  // IPv4 tells the own end of a point-to-point link apart (IFA_LOCAL).
  const bytes = attribute(body, MESSAGE_BYTES, IFA_LOCAL) ?? attribute(body, MESSAGE_BYTES, IFA_ADDRESS);
  if (bytes === undefined) return [];
  const address = parseAddress('0.0.0.0');
  bytes.copy(address, bytes.length === 4 ? 12 : 0);
  const protocol = attribute(body, MESSAGE_BYTES, IFA_PROTO)?.[0] ?? 0;
  return [{ device: body.readUInt32LE(4), address, prefixBits: body[1], protocol }];
}

/** Adds an address, alone in its prefix, that is usable at once. Throws SystemError. */
export function addAddress(device: number, address: Buffer): void {
  const flags = isMapped(address) ? 0 : IFA_F_NODAD | IFA_F_NOPREFIXROUTE;
  const flagBytes = Buffer.alloc(4);
  flagBytes.writeUInt32LE(flags);
  const attributes: Attribute[] = [
    [IFA_FLAGS, flagBytes],
    [IFA_PROTO, Buffer.of(BATON_PROTOCOL)],
  ];
  change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, device, address, attributes, EEXIST);
}

/** Removes an address that is alone in its prefix; nothing when it is not there. Throws SystemError. */
export function removeAddress(device: number, address: Buffer): void {
  change(RTM_DELADDR, 0, device, address, [], EADDRNOTAVAIL);
}

type Attribute = readonly [type: number, value: Buffer];

function change(
  type: number,
  flags: number,
  device: number,
  address: Buffer,
  more: readonly Attribute[],
  harmless: number,
): void {
  const isV4 = isMapped(address);
  const message = Buffer.alloc(MESSAGE_BYTES);
  message[0] = isV4 ? AF_INET : AF_INET6;
  message[1] = hostPrefixBits(address);
  message.writeUInt32LE(device, 4);
  const bytes = address.subarray(isV4 ? 12 : 0);
  const fd = openNetlink(NETLINK_ROUTE);
  try {
    ask(fd, type, NLM_F_ACK | flags, message, [[IFA_LOCAL, bytes], [IFA_ADDRESS, bytes], ...more]);
    eachMessage(fd, (kind, body) => {
      const errno = kind === NLMSG_ERROR ? -body.readInt32LE(0) : 0;
      if (errno !== 0 && errno !== harmless) throw new SystemError('rtnetlink', errno, 'address');
      return true;
    });
  } finally {
    libc.close(fd);
  }
}

function ask(
  fd: number,
  type: number,
  flags: number,
  message: Buffer,
  attributes: readonly Attribute[],
): void {
  const { bytes, address } = request;
  bytes.fill(0);
  let at = HEADER_BYTES + message.copy(bytes, HEADER_BYTES);
  for (const [name, value] of attributes) {
    bytes.writeUInt16LE(ATTRIBUTE_BYTES + value.length, at);
    bytes.writeUInt16LE(name, at + 2);
    value.copy(bytes, at + ATTRIBUTE_BYTES);
    at += ATTRIBUTE_BYTES + ((value.length + 3) & ~3);
  }
  bytes.writeUInt32LE(at, 0);
  bytes.writeUInt16LE(type, 4);
  bytes.writeUInt16LE(NLM_F_REQUEST | flags, 6);
  check('send(rtnetlink)', libc.send(fd, address, at, 0));
}
