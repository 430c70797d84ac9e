/** Cache-Control (RFC 9111 5.2), read so that what is unclear allows less. */

/** Directives by their names in lower case; '' without a value. */
export type Directives = ReadonlyMap<string, string>;

/** A name, and a value as quoted string or token. What is neither is left out, up to the next comma. */
const DIRECTIVE = /[ \t,]*(?:([!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?:=(?:"((?:[^"\\]|\\.)*)"|([^,"]*)))?)?[^,]*/y;
/** Directives with a number of seconds. Where one comes twice, the shorter time counts. */
const SECONDS = new Set(['max-age', 's-maxage', 'stale-while-revalidate', 'stale-if-error']);
/** What a greater number is taken for (RFC 9111 1.2.2). */
const MAX_SECONDS = 2 ** 31 - 1;

export function parseDirectives(value: string | undefined): Directives {
  const directives = new Map<string, string>();
  if (value === undefined) return directives;
  DIRECTIVE.lastIndex = 0;
  for (;;) {
    const match = DIRECTIVE.exec(value);
    if (match === null || match[0] === '') return directives;
    if (match[1] === undefined) continue;
    const name = match[1].toLowerCase();
    const text = (match[2] ?? match[3] ?? '').trim();
    if (!SECONDS.has(name)) {
      if (!directives.has(name)) directives.set(name, text);
      continue;
    }
    const before = directives.get(name);
    const seconds = Math.min(deltaSeconds(text), before === undefined ? MAX_SECONDS : Number(before));
    directives.set(name, String(seconds));
  }
}

/** RFC 9111 1.2.2; what is no such number is none. */
export function deltaSeconds(text: string | undefined): number {
  return text !== undefined && /^\d+$/.test(text) ? Math.min(Number(text), MAX_SECONDS) : 0;
}

/** The directives as a field value, the same for all ways to write them. */
export function formatDirectives(directives: Directives): string {
  return [...directives].map(([name, value]) => (value === '' ? name : `${name}=${value}`)).join(', ');
}
