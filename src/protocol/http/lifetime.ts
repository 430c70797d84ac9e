/**
 * What a shared cache may do with a response, and for how long (RFC 9111, RFC 5861). Whether it may be stored, and how
 * long it is fresh, is judged by http-cache-semantics; what stands here is stricter, or is not its matter:
 *
 *   initialAgeMs     lifetimeMs              whileRevalidateMs, ifErrorMs
 *   |--------------->|---------- fresh ------>|------ stale, usable ------>|
 *   made elsewhere   came here                                             not used any more
 *
 * - Stored is only what its origin has given a lifetime, or wants validated each time (no-cache) and gave a validator
 *   for: no guess at a lifetime.
 * - A response with Set-Cookie is one user's, whatever it says.
 * - Date counts for the age (4.2.3), and a directive in capitals is one.
 */
import CachePolicy from 'http-cache-semantics';
import { type Directives, deltaSeconds, formatDirectives, parseDirectives } from './cache-control.ts';
import { formatDate, parseDate } from './date.ts';
import { type Fields, listTokens } from './fields.ts';
import type { RequestHead } from './request.ts';

const MS_PER_SECOND = 1000;
/** More selecting fields are nobody's. */
const MAX_VARIES = 8;
/** What we write ourselves: the request that was stored had other values than its head says. */
const WRITTEN = /^(x-forwarded-.*|forwarded|x-real-ip|via)$/;

/** How long a response may be used, and by whom. */
export interface Lifetime {
  /** How old it was when it came. */
  readonly initialAgeMs: number;
  readonly freshMs: number;
  /** How long after its end the response may still be used while it is validated (RFC 5861). */
  readonly whileRevalidateMs: number;
  /** And for so long when its origin fails. */
  readonly ifErrorMs: number;
  /** Requests with Authorization may be answered with it (3.5). */
  readonly forAuthorized: boolean;
  /** Names of the request's fields that it depends on, in lower case. */
  readonly varies: readonly string[];
}

/** When a request was sent and its response came: wall clock, milliseconds since 1970. */
export interface Passage {
  readonly askedMs: number;
  readonly cameMs: number;
}

/** Null: it must not be stored, or there is no use in it. */
export function lifetimeOf(
  request: Pick<RequestHead, 'method' | 'fields'>,
  status: number,
  fields: Fields,
  passage: Passage,
): Lifetime | null {
  if (fields.has('set-cookie') || fields.has('content-range')) return null;
  const varies = variesOf(fields);
  if (varies === null) return null;
  const directives = parseDirectives(fields.get('cache-control'));
  const policy = policyOf(request, status, fields, directives, passage);
  if (!policy.storable()) return null;
  const revalidates = directives.has('no-cache');
  const isExplicit = ['max-age', 's-maxage'].some((name) => directives.has(name)) || fields.has('expires');
  if (!isExplicit && !revalidates) return null;
  const freshMs = directives.has('proxy-revalidate')
    ? withoutProxyRevalidate(request, status, fields, directives, passage)
    : policy.maxAge() * MS_PER_SECOND;
  const initialAgeMs = ageOnArrival(fields, passage);
  if (freshMs <= initialAgeMs && !fields.has('etag') && !fields.has('last-modified')) return null;
  // A stale one is used only where nothing says that it must not be (4.2.4).
  const isStrict = ['must-revalidate', 'proxy-revalidate', 'no-cache'].some((name) => directives.has(name));
  const grace = (name: string) => (isStrict ? 0 : deltaSeconds(directives.get(name)) * MS_PER_SECOND);
  return {
    initialAgeMs,
    freshMs,
    whileRevalidateMs: grace('stale-while-revalidate'),
    ifErrorMs: grace('stale-if-error'),
    forAuthorized: ['public', 's-maxage', 'must-revalidate'].some((name) => directives.has(name)),
    varies,
  };
}

/** The library takes proxy-revalidate for no-cache; it says only that stale responses are not used (5.2.2.8). */
function withoutProxyRevalidate(...[request, status, fields, directives, passage]: Judged): number {
  const others = new Map(directives);
  others.delete('proxy-revalidate');
  return policyOf(request, status, fields, others, passage).maxAge() * MS_PER_SECOND;
}

type Judged = [
  request: Pick<RequestHead, 'method' | 'fields'>,
  status: number,
  fields: Fields,
  directives: Directives,
  passage: Passage,
];

function policyOf(...[request, status, fields, directives, { cameMs }]: Judged): CachePolicy {
  const { method, fields: asked } = request;
  const date = dateOf(fields, cameMs);
  const expires = fields.get('expires');
  const headers: CachePolicy.Headers = { date: formatDate(Number.isNaN(date) ? cameMs : date) };
  const set = (name: string, value: string | undefined) => {
    if (value !== undefined) headers[name] = value;
  };
  set('cache-control', fields.has('cache-control') ? formatDirectives(directives) : undefined);
  // The library reads dates more freely than they are written.
  if (expires !== undefined) {
    const time = parseDate(expires, cameMs);
    set('expires', Number.isNaN(time) ? 'never valid' : formatDate(time));
  }
  set('pragma', fields.get('pragma')?.toLowerCase());
  const requestHeaders: CachePolicy.Headers = {
    'cache-control': formatDirectives(parseDirectives(asked.get('cache-control'))),
  };
  if (asked.has('authorization')) requestHeaders.authorization = 'given';
  return new CachePolicy(
    { method, url: '/', headers: requestHeaders },
    { status, headers },
    { shared: true, cacheHeuristic: 0, immutableMinTimeToLive: 0 },
  );
}

function dateOf(fields: Fields, nowMs: number): number {
  const date = fields.get('date');
  return date === undefined ? Number.NaN : parseDate(date, nowMs);
}

/** RFC 9111 4.2.3: corrected_initial_age. */
function ageOnArrival(fields: Fields, { askedMs, cameMs }: Passage): number {
  const date = dateOf(fields, cameMs);
  // Date leaves out what is less than a second; that the response is no older than its request is known besides.
  const apparentMs = Number.isNaN(date) ? 0 : Math.max(0, cameMs - date - MS_PER_SECOND);
  const age = fields.get('age');
  // Where there are several, the first is the nearest cache's. A value that is no number counts as none.
  const saidMs = age === undefined ? 0 : deltaSeconds(age.split(',')[0].trim()) * MS_PER_SECOND;
  return Math.max(apparentMs, saidMs + Math.max(0, cameMs - askedMs));
}

/** The selecting fields; null: nobody can tell which requests it is for. */
function variesOf(fields: Fields): string[] | null {
  const vary = fields.get('vary');
  if (vary === undefined) return [];
  const names = [...new Set(listTokens(vary))].sort();
  if (names.length > MAX_VARIES || names.includes('*') || names.some((name) => WRITTEN.test(name)))
    return null;
  return names;
}

/** What a request has in the fields that select, as one text; equal texts get the same response. */
export function selection({ fields }: Pick<RequestHead, 'fields'>, varies: readonly string[]): string {
  let text = '';
  for (const name of varies) text += `\n${fields.get(name) ?? '\0'}`;
  return text;
}
