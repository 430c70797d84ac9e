/**
 * Addresses as Baton keeps them: 16 bytes, IPv4 mapped into IPv6 (RFC 4291 section 2.5.5.2), and their form as a
 * socket address (sockaddr_in, sockaddr_in6) for the kernel.
 */
import { ADDRESS_BYTES, type Endpoint, isMapped } from '../../base/address.ts';

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
/** Large enough for sockaddr_in6. */
export const SOCKADDR_BYTES = 28;

/** Writes a socket address and returns its length in bytes. `family` decides the form. */
export function writeSockaddr(out: Buffer, endpoint: Endpoint): number {
  out.fill(0, 0, SOCKADDR_BYTES);
  out.writeUInt16BE(endpoint.port, 2);
  if (isMapped(endpoint.address)) {
    out.writeUInt16LE(AF_INET, 0);
    endpoint.address.copy(out, 4, 12);
    return 16;
  }
  out.writeUInt16LE(AF_INET6, 0);
  endpoint.address.copy(out, 8);
  return SOCKADDR_BYTES;
}

/** Reads a socket address the kernel wrote. Throws TypeError for a family that is not IP. */
export function readSockaddr(from: Buffer): Endpoint {
  const family = from.readUInt16LE(0);
  const port = from.readUInt16BE(2);
  const address = Buffer.alloc(ADDRESS_BYTES);
  if (family === AF_INET) {
    address[10] = 0xff;
    address[11] = 0xff;
    from.copy(address, 12, 4, 8);
  } else if (family === AF_INET6) {
    from.copy(address, 0, 8, 24);
  } else {
    throw new TypeError(`socket address of family ${family}`);
  }
  return { address, port };
}
