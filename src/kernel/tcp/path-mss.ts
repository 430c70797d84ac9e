/** What one segment may carry: what the SYN segments agreed on, or what the path lets through. Pure. */
import { isMapped } from '../../base/address.ts';
import { MIN_MSS_BYTES } from './state.ts';

/** IP and TCP without options (RFC 9293 section 3.7.1). */
const IPV4_HEADERS_BYTES = 40;
const IPV6_HEADERS_BYTES = 60;

/** The MSS, as the option counts it, for a path of `pathMtu` bytes to a client of this family. */
export function pathMss(agreed: number, pathMtu: number, address: Buffer): number {
  const headers = isMapped(address) ? IPV4_HEADERS_BYTES : IPV6_HEADERS_BYTES;
  return Math.min(agreed, Math.max(pathMtu - headers, MIN_MSS_BYTES));
}
