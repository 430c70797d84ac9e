/** Addresses as Baton keeps them: 16 bytes, IPv4 mapped into IPv6 (RFC 4291 section 2.5.5.2). */
import assert from 'node:assert';
import { isIPv4, isIPv6 } from 'node:net';

export const ADDRESS_BYTES = 16;

/** One end of a connection. `address` is 16 bytes, IPv4-mapped when the connection is IPv4. */
export interface Endpoint {
  readonly address: Buffer;
  readonly port: number;
}

/** Parses a textual IPv4 or IPv6 address. Throws TypeError when it is neither. */
export function parseAddress(text: string): Buffer {
  const out = Buffer.alloc(ADDRESS_BYTES);
  if (isIPv4(text)) {
    out[10] = 0xff;
    out[11] = 0xff;
    text.split('.').forEach((part, i) => {
      out[12 + i] = Number(part);
    });
    return out;
  }
  if (!isIPv6(text) || text.includes('%')) throw new TypeError(`not an IP address: ${text}`);
  const dotted = text.lastIndexOf('.') < 0 ? '' : text.slice(text.lastIndexOf(':') + 1);
  let groups = text;
  if (dotted !== '') {
    const v4 = parseAddress(dotted);
    groups = `${text.slice(0, -dotted.length)}${v4.readUInt16BE(12).toString(16)}:${v4.readUInt16BE(14).toString(16)}`;
  }
  const [head = '', tail] = groups.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  left.forEach((group, i) => {
    out.writeUInt16BE(Number.parseInt(group, 16), 2 * i);
  });
  right.forEach((group, i) => {
    out.writeUInt16BE(Number.parseInt(group, 16), ADDRESS_BYTES - 2 * (right.length - i));
  });
  return out;
}

/** True when the 16 bytes stand for an IPv4 address. */
export function isMapped(address: Buffer): boolean {
  return address.readUInt32BE(8) === 0xffff && address.readUInt32BE(0) === 0 && address.readUInt32BE(4) === 0;
}

/** The textual form; IPv6 in the form of RFC 5952. */
export function formatAddress(address: Buffer): string {
  assert.equal(address.length, ADDRESS_BYTES);
  if (isMapped(address)) return address.subarray(12).join('.');
  const groups: string[] = [];
  for (let i = 0; i < ADDRESS_BYTES; i += 2) groups.push(address.readUInt16BE(i).toString(16));
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === '0') length++;
    if (length > bestLength) {
      bestStart = i;
      bestLength = length;
    }
  }
  if (bestStart < 0) return groups.join(':');
  return `${groups.slice(0, bestStart).join(':')}::${groups.slice(bestStart + bestLength).join(':')}`;
}

/** `ADDRESS:PORT`, for people. */
export function formatEndpoint(endpoint: Endpoint): string {
  return `${formatAddress(endpoint.address)}:${endpoint.port}`;
}
