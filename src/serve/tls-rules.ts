/** What a site that is served over TLS says to clients with it, and to those without. */
import type { SiteConfig } from '../base/config/config.ts';
import { textReply } from '../protocol/http/reply.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { Exchange } from './exchange.ts';
import type { Client, Request } from './request.ts';

/** Where an authority looks for what proves that the site is ours, without TLS (RFC 8555 8.3). */
const CHALLENGES = '/.well-known/acme-challenge/';
const HTTPS_PORT = 443;

type Tls = Pick<SiteConfig, 'tls'>;

/** The request is to be asked again with TLS. */
export function isForTls({ tls }: Tls, { path, host }: RequestHead, client: Client): boolean {
  // Without a Host there is no place to send the client to.
  return tls?.redirect === true && !client.isSecure && host !== '' && !path.startsWith(CHALLENGES);
}

/** The answer to a request that is to be asked with TLS, or without it; null: it may be answered. */
export function sentElsewhere(
  site: Tls,
  { head, close, bodyFollows, client }: Pick<Request, 'head' | 'close' | 'bodyFollows' | 'client'>,
  tlsPort: number | null,
  extraFields: string,
  nowMs: number,
): Exchange | null {
  // The body is of no use here.
  const options = { close: close || bodyFollows, extraFields, nowMs };
  // The site is not to be had over TLS (RFC 9110 15.5.20).
  if (client.isSecure && site.tls === null) return Exchange.error(421, head, options);
  if (tlsPort === null || !isForTls(site, head, client)) return null;
  // The same place, by the same method (RFC 9110 15.4.9).
  const port = tlsPort === HTTPS_PORT ? '' : `:${tlsPort}`;
  const place = head.target === '*' ? '/' : head.target;
  const location = `Location: https://${head.host}${port}${place}\r\n`;
  return Exchange.of(textReply(308, location, { method: head.method, minor: head.minor, ...options }));
}

/** Has browsers come back with TLS alone (RFC 6797), where the site wants that. */
export function strictTransport({ tls }: Tls, client: Client): string {
  const seconds = client.isSecure ? (tls?.hstsSeconds ?? null) : null;
  return seconds === null ? '' : `Strict-Transport-Security: max-age=${seconds}\r\n`;
}
