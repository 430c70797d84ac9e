/** Network interfaces (netdevice(7)): name and index, hardware address, state. */
import { AF_INET } from './address.ts';
import { check, ENOENT, lastErrno, SystemError } from './errors.ts';
import * as libc from './libc.ts';
import { allocate } from './memory.ts';
import { SOCK_CLOEXEC, SOCK_DGRAM } from './socket.ts';

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCGIFHWADDR = 0x8927;
const IFF_UP = 1;
const ARPHRD_ETHER = 1;
const MAC_BYTES = 6;
/** struct ifreq: the name, and what is asked. */
const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;

const request = allocate(IFREQ_BYTES);

/** The index of an interface; throws SystemError ENOENT when there is none. */
export function interfaceIndex(name: string): number {
  const index = libc.ifNameToIndex(name);
  if (index === 0) throw new SystemError('if_nametoindex', ENOENT, `interface ${name}`);
  return index;
}

export const hasInterface = (name: string): boolean => libc.ifNameToIndex(name) !== 0;

/** The name of the interface with an index; throws SystemError when there is none. */
export function interfaceName(index: number): string {
  request.bytes.fill(0);
  if (libc.ifIndexToName(index, request.address) === 0)
    throw new SystemError('if_indextoname', lastErrno(), `interface ${index}`);
  return request.bytes.toString('latin1', 0, request.bytes.indexOf(0));
}

function withRequest<T>(name: string, use: (fd: number) => T): T {
  request.bytes.fill(0);
  request.bytes.write(name, 0, IFNAMSIZ - 1, 'latin1');
  const fd = check('socket', libc.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  try {
    return use(fd);
  } finally {
    libc.close(fd);
  }
}

/** The Ethernet address of an interface, 6 bytes; null when it has none. */
export function hardwareAddress(name: string): Buffer | null {
  return withRequest(name, (fd) => {
    check('SIOCGIFHWADDR', libc.ioctl(fd, SIOCGIFHWADDR, request.address), `interface ${name}`);
    if (request.bytes.readUInt16LE(IFNAMSIZ) !== ARPHRD_ETHER) return null;
    return Buffer.from(request.bytes.subarray(IFNAMSIZ + 2, IFNAMSIZ + 2 + MAC_BYTES));
  });
}

/** Brings an interface up; nothing when it is. */
export function bringUp(name: string): void {
  withRequest(name, (fd) => {
    check('SIOCGIFFLAGS', libc.ioctl(fd, SIOCGIFFLAGS, request.address), `interface ${name}`);
    const flags = request.bytes.readUInt16LE(IFNAMSIZ);
    if ((flags & IFF_UP) !== 0) return;
    request.bytes.writeUInt16LE(flags | IFF_UP, IFNAMSIZ);
    check('SIOCSIFFLAGS', libc.ioctl(fd, SIOCSIFFLAGS, request.address), `interface ${name}`);
  });
}
