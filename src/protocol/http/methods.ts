/** What methods mean for those in between (RFC 9110 9, 8.6). */

const KNOWN = new Set([
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH'],
  ...['PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE', 'LOCK', 'UNLOCK', 'REPORT', 'SEARCH'],
]);
/** A tunnel, and a look at what lies behind us: neither is given. */
const NOT_SERVED = new Set(['CONNECT', 'TRACE']);
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
const SAFE = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH']);
const WITH_CONTENT = new Set(['POST', 'PUT', 'PATCH']);

/** Whether the method's meaning is known here; whether it is allowed is another question. */
export function isKnown(method: string): boolean {
  return KNOWN.has(method);
}

/**
 * It may go to an upstream, whose matter it is. Not one with small letters: methods are compared letter by letter, but
 * not by everybody, and the response to what somebody takes for HEAD has no body.
 */
export function isServed(method: string): boolean {
  return KNOWN.has(method) || !(NOT_SERVED.has(method) || /[a-z]/.test(method));
}

/** Whether the method is safe (RFC 9110 9.2.1). An unknown method is taken for one that is not. */
export function isSafe(method: string): boolean {
  return SAFE.has(method);
}

/** A request may be sent twice, when it is not known what became of the first. */
export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

/** A request without content says so. */
export function expectsContent(method: string): boolean {
  return WITH_CONTENT.has(method);
}
