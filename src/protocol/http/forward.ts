/** Heads as they are forwarded between client and upstream: without hop-by-hop fields (RFC 9110 7.6.1). */
import { currentDate } from './date.ts';
import { type Fields, listTokens, namesOf } from './fields.ts';
import type { RequestHead } from './request.ts';
import type { ResponseHead } from './response.ts';

/** Fields of one connection only, and the framing fields, which are written anew from what was understood. */
const NOT_FORWARDED = [
  ...['connection', 'keep-alive', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization'],
  ...['te', 'trailer', 'upgrade', 'http2-settings', 'transfer-encoding', 'content-length'],
  // What Connection says where it means itself; nothing else may (RFC 9110 7.6.1).
  'close',
];
const NOT_FORWARDED_NAMES = namesOf(NOT_FORWARDED);
const KNOWN_HOPS = new Set(NOT_FORWARDED);
const NO_HOPS: readonly string[] = [];

/** The fields beyond those above that are for this connection only, in lower case. */
function nominated(fields: Fields): readonly string[] {
  const connection = fields.get('connection');
  if (connection === undefined || connection === 'keep-alive' || connection === 'close') return NO_HOPS;
  return listTokens(connection).filter((option) => !KNOWN_HOPS.has(option));
}

/**
 * The fields that may go on, as lines. `drops`: those that may not besides, by their names in lower case; null: none. What
 * goes on from one line to the next is copied in one piece.
 */
export function endToEndLines(fields: Fields, drops: ((name: string) => boolean) | null): string {
  const hops = nominated(fields);
  const looks = drops !== null || hops.length > 0;
  let lines = '';
  let from = 0;
  for (let i = 0; i < fields.size; i++) {
    let goes = !fields.isNamed(i, NOT_FORWARDED_NAMES);
    if (goes && looks) {
      const name = fields.name(i).toLowerCase();
      goes = !(drops?.(name) || hops.includes(name));
    }
    if (goes) continue;
    lines += fields.lines(from, i);
    from = i + 1;
  }
  return lines + fields.lines(from, fields.size);
}

/** Whether there may be trailer fields that are for this connection only: Connection names more than is known. */
const hidesTrailers = ({ fields }: ResponseHead): boolean => nominated(fields).length > 0;

/** How a response goes on to the client. */
export interface ResponsePlan {
  /** The client's HTTP version. */
  readonly clientMinor: 0 | 1;
  /** Whether our connection to the client ends after this response whatever its framing. */
  readonly close: boolean;
  /** Field lines to add, each with CRLF. */
  readonly extraFields: string;
}

/** What to do with the body of a forwarded response. */
export interface ForwardedHead {
  /** The head as text, one character a byte. */
  readonly text: string;
  /**
   * `raw`: as the upstream sent it. `dechunk`: payload only. `enchunk`: each slice of the payload as a chunk, then
   * LAST_CHUNK.
   */
  readonly body: 'raw' | 'dechunk' | 'enchunk';
  /** The connection to the client has to be closed after the body. */
  readonly close: boolean;
}

/**
 * The head of an upstream's final response for the client. A chunked response is taken apart for an HTTP/1.0 client
 * and ends with the connection; one that ends with the upstream's connection becomes chunked for an HTTP/1.1 client.
 * Trailer fields go on with the chunks (RFC 9110 6.5), unless some of them may not (7.6.1).
 * A missing Date is added (RFC 9110 6.6.1).
 */
export function forwardResponseHead(head: ResponseHead, plan: ResponsePlan, nowMs: number): ForwardedHead {
  let body: ForwardedHead['body'] = 'raw';
  let close = plan.close;
  let lines = '';
  if (head.framing === 'chunked' || head.framing === 'close') {
    if (plan.clientMinor === 0) {
      close = true;
      body = head.framing === 'chunked' ? 'dechunk' : 'raw';
    } else {
      lines = 'Transfer-Encoding: chunked\r\n';
      body = head.framing === 'close' || hidesTrailers(head) ? 'enchunk' : 'raw';
    }
  } else if (head.contentLength !== -1 && head.status >= 200 && head.status !== 204) {
    lines = `Content-Length: ${head.contentLength}\r\n`;
  }
  if (close) lines += 'Connection: close\r\n';
  else if (plan.clientMinor === 0) lines += 'Connection: keep-alive\r\n';
  if (!head.fields.has('date')) lines += `Date: ${currentDate(nowMs)}\r\n`;
  const statusLine = `HTTP/1.1 ${head.status} ${head.reason}\r\n`;
  const fields = endToEndLines(head.fields, null);
  return { text: `${statusLine}${fields}${lines}${plan.extraFields}\r\n`, body, close };
}

/** The head of an upstream's 1xx response for an HTTP/1.1 client; it has no body (RFC 9110 15.2). */
export function forwardInterimHead(head: ResponseHead): Buffer {
  const fields = endToEndLines(head.fields, null);
  return Buffer.from(`HTTP/1.1 ${head.status} ${head.reason}\r\n${fields}\r\n`, 'latin1');
}

/** How often an OPTIONS may still be forwarded (RFC 9110 7.6.2); null: as often as it takes. */
export function forwardsLeft(head: RequestHead): number | null {
  const value = head.method === 'OPTIONS' ? head.fields.get('max-forwards') : undefined;
  return value !== undefined && /^\d{1,9}$/.test(value) ? Number(value) : null;
}

const REQUEST_DROPPED: ReadonlySet<string> = new Set(['expect', 'host']);
/**
 * Names that are what they seem to be wherever they go. CGI (RFC 3875 4.1.18) and much that came after it writes
 * other characters as it writes the hyphen: there `Content_Length` and `Content.Length` are Content-Length.
 */
const UNAMBIGUOUS = /^[0-9a-z-]+$/;

/** How the body goes with a request to an upstream: a number of bytes, `chunked`, or `none`. */
export type RequestFraming = number | 'chunked' | 'none';

/** What an upstream is told of the client. */
export interface ClientFields {
  /** Field lines, each with CRLF. */
  readonly lines: string;
  /** Whether the client's own field of this name, in lower case, must not go on. */
  drops(name: string): boolean;
}

/**
 * The head of a client's request for an upstream, always as HTTP/1.1. Expect is left out: the client has had its 100
 * (Continue) from us, or sends the body without.
 */
export function forwardRequestHead(head: RequestHead, framing: RequestFraming, client: ClientFields): Buffer {
  const left = forwardsLeft(head);
  const isRewritten = (name: string) =>
    REQUEST_DROPPED.has(name) || (left !== null && name === 'max-forwards');
  const drops = (name: string) => isRewritten(name) || !UNAMBIGUOUS.test(name) || client.drops(name);
  let lines = `${head.method} ${head.target} HTTP/1.1\r\nHost: ${head.authority}\r\n`;
  lines += endToEndLines(head.fields, drops);
  if (left !== null) lines += `Max-Forwards: ${left - 1}\r\n`;
  if (framing === 'chunked') lines += 'Transfer-Encoding: chunked\r\n';
  else if (framing !== 'none') lines += `Content-Length: ${framing}\r\n`;
  return Buffer.from(`${lines}${client.lines}\r\n`, 'latin1');
}
