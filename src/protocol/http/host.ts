/** The host and port of a Host field or of an absolute-form target (RFC 9110 7.2, RFC 3986 3.2). */
import { isIPv6 } from 'node:net';

const MAX_HOST_BYTES = 255;
const MAX_PORT = 65_535;

export interface Authority {
  /** Lower case, without the port; an IPv6 address keeps its brackets. */
  readonly host: string;
  /** -1 when none is given. */
  readonly port: number;
}

/**
 * Parses `host[:port]`, or returns null. Stricter than the grammar of RFC 3986, which allows nearly anything: a host
 * is a DNS name (letters, digits, '-', '.', '_'), an IPv4 address or an IPv6 address in brackets.
 */
export function parseAuthority(text: string): Authority | null {
  let at = 0;
  if (text.charCodeAt(0) === 91) {
    const close = text.indexOf(']');
    if (close === -1 || !isIPv6(text.substring(1, close)) || text.includes('%')) return null;
    at = close + 1;
  } else {
    while (at < text.length && isNameByte(text.charCodeAt(at))) at++;
  }
  if (at === 0 || at > MAX_HOST_BYTES) return null;
  const host = text.substring(0, at).toLowerCase();
  if (at === text.length) return { host, port: -1 };
  if (text.charCodeAt(at) !== 58 || text.length - at > 6) return null;
  if (at + 1 === text.length) return { host, port: -1 };
  let port = 0;
  for (at++; at < text.length; at++) {
    const digit = text.charCodeAt(at) - 48;
    if (digit < 0 || digit > 9) return null;
    port = port * 10 + digit;
  }
  return port <= MAX_PORT ? { host, port } : null;
}

function isNameByte(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 48 && code <= 57) ||
    code === 46 ||
    code === 45 ||
    (code >= 65 && code <= 90) ||
    code === 95
  );
}
