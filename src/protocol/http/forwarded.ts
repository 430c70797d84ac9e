/**
 * What an upstream is told of the client: its address and what it asked, in X-Forwarded-For, -Proto and -Host,
 * Forwarded (RFC 7239) and X-Real-IP, and the way of the request, in Via (RFC 9110 7.6.3). What a client says of itself
 * in these fields is dropped, unless it is a proxy that is trusted to say it of its own clients.
 */
import { formatAddress, isMapped, parseAddress } from '../../base/address.ts';
import { KIND, TOKEN } from './fields.ts';
import type { ClientFields } from './forward.ts';
import type { RequestHead } from './request.ts';

/** What Via names us by: a pseudonym, as the nodes' names are nobody's business. */
const PSEUDONYM = 'baton';
/** Every field with this prefix says something of a client that only a proxy can know. */
const X_FORWARDED = 'x-forwarded-';

/** Requests that have come by so many of us go in circles; what is layered on purpose has fewer. */
const MAX_HOPS = 10;

/** Whether it has been forwarded to where it comes from, again and again (RFC 9110 7.6). */
export function isInLoop(head: RequestHead): boolean {
  const via = head.fields.get('via');
  return via !== undefined && via.split(` ${PSEUDONYM}`).length > MAX_HOPS;
}

export interface ForwardRules {
  /** Whether what comes from an address is believed. */
  trusts(address: Buffer): boolean;
  readonly xForwarded: boolean;
  readonly forwarded: boolean;
  readonly xRealIp: boolean;
}

/** The fields for a request. `peer`: whom it came from; null when that is not known. `isSecure`: over TLS. */
export function clientFields(
  head: RequestHead,
  peer: Buffer | null,
  isSecure: boolean,
  rules: ForwardRules,
): ClientFields {
  const scheme = isSecure ? 'https' : 'http';
  const isTrusted = peer !== null && rules.trusts(peer);
  const said = (name: string) => (isTrusted ? head.fields.get(name) : undefined);
  const host = head.authority;
  const written: string[] = [];
  let lines = `Via: ${listed(head.fields.get('via'), `1.${head.minor} ${PSEUDONYM}`)}\r\n`;
  const write = (name: string, value: string) => {
    written.push(name.toLowerCase());
    lines += `${name}: ${value}\r\n`;
  };
  if (rules.xForwarded) {
    const before = said('x-forwarded-for');
    if (peer !== null) write('X-Forwarded-For', listed(before, formatAddress(peer)));
    write('X-Forwarded-Proto', said('x-forwarded-proto') ?? scheme);
    const asked = said('x-forwarded-host') ?? host;
    if (asked !== '') write('X-Forwarded-Host', asked);
  }
  if (rules.forwarded) {
    const node = peer === null ? 'unknown' : nodeOf(peer);
    const asked = host === '' ? '' : `host=${tokenOrQuoted(host)};`;
    write('Forwarded', listed(said('forwarded'), `for=${node};${asked}proto=${scheme}`));
  }
  if (rules.xRealIp && peer !== null) write('X-Real-IP', realAddress(said('x-forwarded-for'), peer, rules));
  const drops = (name: string) => {
    if (!isSaid(name)) return name === 'via';
    return !isTrusted || written.includes(name);
  };
  return { lines, drops };
}

function isSaid(name: string): boolean {
  return name.startsWith(X_FORWARDED) || name === 'forwarded' || name === 'x-real-ip';
}

function listed(before: string | undefined, value: string): string {
  return before === undefined || before === '' ? value : `${before}, ${value}`;
}

/** A node of RFC 7239, 6. */
function nodeOf(address: Buffer): string {
  const text = formatAddress(address);
  return isMapped(address) ? text : `"[${text}]"`;
}

/** A token, or a quoted string. What a Host may hold needs no escape in it. */
function tokenOrQuoted(host: string): string {
  for (let i = 0; i < host.length; i++) {
    if ((KIND[host.charCodeAt(i)] & TOKEN) === 0) return `"${host}"`;
  }
  return host;
}

/** The nearest to us that is not a trusted proxy; the farthest when all are. */
function realAddress(list: string | undefined, peer: Buffer, rules: ForwardRules): string {
  let nearest = peer;
  for (const text of (list ?? '').split(',').reverse()) {
    if (!rules.trusts(nearest)) break;
    try {
      nearest = parseAddress(text.trim());
    } catch {
      break;
    }
  }
  return formatAddress(nearest);
}
