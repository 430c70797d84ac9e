/** Conditional requests (RFC 9110 section 13). */
import { parseDate } from './date.ts';
import type { RequestHead } from './request.ts';

/** What a condition is compared with. */
export interface Validators {
  /** The entity tag with its quotes, and `W/` when it is weak. */
  readonly etag: string;
  /** A weak one that the same representation had before, if any: clients may hold it. */
  readonly formerEtag?: string | null;
  /** Milliseconds since 1970; the comparison is in whole seconds, as the field is. */
  readonly lastModifiedMs: number;
}

export type Verdict = 'proceed' | 'not-modified' | 'failed';

type Conditions = Pick<
  RequestHead,
  'method' | 'ifMatch' | 'ifNoneMatch' | 'ifModifiedSince' | 'ifUnmodifiedSince'
>;

const MS_PER_SECOND = 1000;

/**
 * Judges the conditions of a request on an existing representation in the order of RFC 9110 13.2.2 (If-Range apart):
 * `not-modified` asks for 304, `failed` for 412. A date that does not parse is as good as absent.
 */
export function judgeConditions(head: Conditions, validators: Validators, nowMs: number): Verdict {
  const lastModifiedMs = wholeSeconds(validators.lastModifiedMs);
  if (head.ifMatch !== undefined) {
    if (!matchesAny(head.ifMatch, validators.etag, true)) return 'failed';
  } else if (head.ifUnmodifiedSince !== undefined) {
    const since = parseDate(head.ifUnmodifiedSince, nowMs);
    if (lastModifiedMs > since) return 'failed';
  }
  const reads = head.method === 'GET' || head.method === 'HEAD';
  if (head.ifNoneMatch !== undefined) {
    const { etag, formerEtag } = validators;
    const matches =
      matchesAny(head.ifNoneMatch, etag, false) ||
      (formerEtag != null && matchesAny(head.ifNoneMatch, formerEtag, false));
    if (matches) return reads ? 'not-modified' : 'failed';
  } else if (head.ifModifiedSince !== undefined && reads) {
    const since = parseDate(head.ifModifiedSince, nowMs);
    if (lastModifiedMs <= since) return 'not-modified';
  }
  return 'proceed';
}

/**
 * Whether a Range field may be honoured (RFC 9110 13.1.5): the If-Range value is exactly the current strong ETag. A
 * date never is a strong validator here (8.8.2.2): builds give all files of all releases the same one.
 */
export function rangeMayApply(ifRange: string | undefined, { etag }: Pick<Validators, 'etag'>): boolean {
  return ifRange === undefined || (!ifRange.startsWith('W/') && ifRange === etag);
}

function wholeSeconds(timeMs: number): number {
  return Math.floor(timeMs / MS_PER_SECOND) * MS_PER_SECOND;
}

const LIST_ITEM = /[ \t,]*(W\/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|$)/y;

/**
 * Whether a list of entity tags, or '*', matches `etag` (RFC 9110 8.8.3.2). Strong comparison: neither is weak. A list
 * that is malformed matches with what stands before the fault.
 */
export function matchesAny(list: string, etag: string, strong: boolean): boolean {
  if (list === '*') return true;
  const weak = etag.startsWith('W/');
  if (weak && strong) return false;
  const opaque = weak ? etag.substring(2) : etag;
  LIST_ITEM.lastIndex = 0;
  for (;;) {
    const item = LIST_ITEM.exec(list);
    if (item === null) return false;
    if (item[2] === opaque && !(strong && item[1] !== undefined)) return true;
  }
}
