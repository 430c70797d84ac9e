/** Request paths as file names. */

/** A path under the root, decoded; or the status to refuse with. */
export type ResolvedPath =
  | {
      /** Relative to the root, no empty, '.' or '..' segments; '' is the root itself. */
      readonly file: string;
      /** The request path ended with '/'. */
      readonly directory: boolean;
    }
  | 400
  | 404;

/** Longer names would fail in the kernel (PATH_MAX) anyway. */
const MAX_PATH_BYTES = 4000;
/** The one hidden directory that is public on purpose (RFC 8615). */
const WELL_KNOWN = '.well-known';

/**
 * Decodes a raw request path. Each segment is decoded once and judged afterwards, so that no encoding gets around a
 * rule. Refused with 400: bad percent-encoding or UTF-8, encoded NUL, '/' or '\', a '..' segment. With 404: hidden
 * names (a segment that begins with '.'), but for a leading `.well-known`. Empty segments are dropped.
 */
export function resolvePath(path: string): ResolvedPath {
  if (path.charCodeAt(0) !== 47) return 400;
  if (path.length > MAX_PATH_BYTES) return 404;
  const segments: string[] = [];
  let hidden = false;
  for (const raw of path.split('/')) {
    if (raw === '') continue;
    const segment = decodeSegment(raw);
    if (segment === null || segment === '..') return 400;
    if (segment.startsWith('.') && !(segment === WELL_KNOWN && segments.length === 0)) hidden = true;
    segments.push(segment);
  }
  if (hidden) return 404;
  return { file: segments.join('/'), directory: path.endsWith('/') };
}

function decodeSegment(raw: string): string | null {
  let segment = raw;
  if (raw.includes('%')) {
    try {
      segment = decodeURIComponent(raw);
    } catch {
      return null;
    }
  }
  return /[\0/\\]/.test(segment) ? null : segment;
}

/** The path of a directory for a Location field: encoded anew, so it cannot leave this site (as `//host` would). */
export function directoryLocation(file: string): string {
  return `/${file.split('/').map(encodeURIComponent).join('/')}/`;
}
