/** Request targets that name more than a path (RFC 9112 3.2.2). */
import { parseAuthority } from './host.ts';

/** What an absolute-form target says. */
export interface AbsoluteTarget {
  readonly isSecure: boolean;
  /** Host and port as sent. */
  readonly authority: string;
  /** Lower case, without the port. */
  readonly host: string;
  /** Path and query in origin-form, as sent; or '*'. */
  readonly target: string;
}

/** Scheme, authority, the rest. User information ('@') fails in the authority's own parser. */
const ABSOLUTE_FORM = /^(https?):\/\/([^/?]*)(.*)$/i;

/** Null: it is none, or not of http. */
export function parseAbsolute(text: string, method: string): AbsoluteTarget | null {
  const match = ABSOLUTE_FORM.exec(text);
  if (match === null) return null;
  const [, scheme, authority, rest] = match;
  const named = parseAuthority(authority);
  if (named === null) return null;
  const isServer = rest === '' && method === 'OPTIONS';
  const target = rest.charCodeAt(0) === 47 ? rest : `/${rest}`;
  // RFC 9112 3.2.4: with OPTIONS, a URI without a path is the server itself.
  return { isSecure: scheme.length === 5, authority, host: named.host, target: isServer ? '*' : target };
}
