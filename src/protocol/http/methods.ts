/** What methods mean for those in between (RFC 9110 9.2.2, 8.6). */

const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
const WITH_CONTENT = new Set(['POST', 'PUT', 'PATCH']);

/** A request may be sent twice, when it is not known what became of the first. */
export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

/** A request without content says so. */
export function expectsContent(method: string): boolean {
  return WITH_CONTENT.has(method);
}
