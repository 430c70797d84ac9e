/** A request as a line of the access log: one JSON object, made by the engine that had the request. */
import type { AccessField, MechanismRow } from '../base/config/config.ts';
import { remembered } from '../base/remembered.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import type { CacheResult } from '../serve/exchange.ts';
import type { TlsFacts } from './channel.ts';

/** Times are microseconds; -1 where something does not apply or is not known, which is null in the line. */
export interface AccessRecord {
  /** Wall clock, milliseconds since the epoch. */
  readonly timeMs: number;
  readonly client: string;
  /** Null: the request was refused before they were known. */
  readonly method: string | null;
  readonly target: string | null;
  readonly host: string | null;
  readonly status: number;
  /** Response bytes, head included, and body alone. */
  readonly bytes: number;
  readonly bodyBytes: number;
  readonly anchor: string;
  /** The node that answered. */
  readonly node: string;
  readonly mechanism: MechanismRow;
  /** Request read to response's first byte handed to the kernel. */
  readonly firstByteUs: number;
  /** Request read to SETUP answered. */
  readonly handoffUs: number;
  /** Frames about it between the nodes, and their bytes. */
  readonly messages: number;
  readonly messageBytes: number;
  /** Request read to the whole response handed to the kernel. */
  readonly durationUs: number;
  /** False: the connection ended before the response was out. */
  readonly complete: boolean;
  /** Another node, or this one on another connection, had begun the response. */
  readonly continued: boolean;
}

function known(value: number): string {
  return value < 0 ? 'null' : String(value);
}

/** RFC 3339; lines of one turn have the same time. */
const timeText = remembered((timeMs) => new Date(timeMs).toISOString());

/** `more`: further members, each with a comma before it (`moreMembers`). */
export function accessLine(record: AccessRecord, more = ''): string {
  const { client, method, target, host } = record;
  const asked = `"method":${JSON.stringify(method)},"target":${JSON.stringify(target)},"host":${JSON.stringify(host)}`;
  const size = `"status":${known(record.status)},"bytes":${record.bytes},"bodyBytes":${known(record.bodyBytes)}`;
  const by = `"anchor":"${record.anchor}","node":"${record.node}","mechanism":"${record.mechanism}"`;
  const times = `"firstByteUs":${known(record.firstByteUs)},"handoffUs":${known(record.handoffUs)}`;
  const messages = `"messages":${known(record.messages)},"messageBytes":${known(record.messageBytes)}`;
  const end = `"durationUs":${known(record.durationUs)},"complete":${record.complete},"continued":${record.continued}`;
  return `{"time":"${timeText(record.timeMs)}","client":"${client}",${asked},${size},${by},${times},${messages},${end}${more}}\n`;
}

/** What the connection is known for, beside its request. */
export interface About {
  /** The site's name. */
  readonly site: string | null;
  readonly tls: TlsFacts | null;
  /** What a cache had to do with the response; null where there is none, or another node answered. */
  readonly cache: CacheResult | null;
}

function valueFor(
  field: AccessField,
  head: RequestHead | null,
  { site, tls, cache }: About,
): string | boolean | null {
  if (field === 'site') return site;
  if (field === 'cache') return cache;
  if (field === 'tls') return tls?.version ?? null;
  if (field === 'tlsCipher') return tls?.suite ?? null;
  if (field === 'tlsResumed') return tls?.resumed ?? null;
  if (head === null) return null;
  if (field === 'protocol') return `HTTP/1.${head.minor}`;
  const name = { userAgent: 'user-agent', referer: 'referer', requestId: 'x-request-id' }[field];
  return head.fields.get(name) ?? null;
}

/** The members that the configuration adds (`observe.accessFields`). */
export function moreMembers(fields: readonly AccessField[], head: RequestHead | null, about: About): string {
  let members = '';
  for (const field of fields) members += `,"${field}":${JSON.stringify(valueFor(field, head, about))}`;
  return members;
}
