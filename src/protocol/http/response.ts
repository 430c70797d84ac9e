/** Response heads from an upstream, and where their bodies end (RFC 9112 sections 4 and 6.3). */
import { BodyReader } from './body.ts';
import {
  CR,
  Fields,
  HeadError,
  type HeadLimits,
  INCOMPLETE,
  KIND,
  LF,
  latin1,
  nameAt,
  parseContentLength,
  SPACE,
  scanFields,
  scanReason,
  VALUE,
} from './fields.ts';
import { staysOpen } from './request-head.ts';

export { encodeChunk, LAST_CHUNK } from './body.ts';

/** How the end of a response body is found. */
export type Framing = 'none' | 'length' | 'chunked' | 'close';

/** A response head as an upstream sent it. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  readonly minor: 0 | 1;
  readonly fields: Fields;
  /** Bytes that the head takes in the buffer. */
  readonly headLength: number;
  readonly framing: Framing;
  /** The Content-Length field, -1 when absent. With framing `none` (HEAD, 304) no such body follows. */
  readonly contentLength: number;
  /** Whether the upstream's connection can be used again after the body. */
  readonly keepAlive: boolean;
  /** A 1xx: the final response is still to come. */
  readonly interim: boolean;
}

const bad = (reason: string) => new HeadError(502, `upstream: ${reason}`);
const ERROR = {
  statusLine: bad('malformed status line'),
  status: bad('status out of range'),
  upgrade: bad('101 without a request to upgrade'),
  version: bad('HTTP version not supported'),
  tooLarge: bad('response head too large'),
  contentLength: bad('invalid Content-Length'),
  manyLengths: bad('more than one Content-Length'),
  twoFramings: bad('both Transfer-Encoding and Content-Length'),
  transferEncoding: bad('Transfer-Encoding other than chunked'),
} as const;

const STATUS_LINE = 'HTTP/1.0 000';

/**
 * Parses the response head that begins at `start`. `requestMethod` is needed because a response to HEAD has no body.
 * Null: more bytes are needed. Everything ambiguous is a 502: what two recipients could frame differently must not
 * reach a client through us.
 */
export function parseResponseHead(
  buf: Buffer,
  start: number,
  end: number,
  limits: HeadLimits,
  requestMethod: string,
): ResponseHead | HeadError | null {
  const full = end - start >= limits.headBytes;
  const stop = full ? start + limits.headBytes : end;
  const more = full ? ERROR.tooLarge : null;
  let at = start;
  for (let i = 0; i < STATUS_LINE.length; i++, at++) {
    if (at >= stop) return more;
    const byte = buf[at];
    const expected = STATUS_LINE.charCodeAt(i);
    if (expected === 48 ? byte < 48 || byte > 57 : byte !== expected) return ERROR.statusLine;
  }
  const minor = buf[start + 7] - 48;
  const status = (buf[at - 3] - 48) * 100 + (buf[at - 2] - 48) * 10 + (buf[at - 1] - 48);
  if (minor > 1) return ERROR.version;
  if (status < 100 || status > 599) return ERROR.status;
  if (status === 101) return ERROR.upgrade;
  if (at >= stop) return more;
  // The space before an empty reason phrase is required, but left out by enough servers to accept that.
  if (buf[at] === SPACE) at++;
  else if (buf[at] !== CR) return ERROR.statusLine;
  const reasonStart = at;
  while (at < stop && (KIND[buf[at]] & VALUE) !== 0) at++;
  const reasonEnd = at;
  if (at >= stop) return more;
  if (buf[at] !== CR) return ERROR.statusLine;
  if (at + 1 >= stop) return more;
  if (buf[at + 1] !== LF) return ERROR.statusLine;

  const offsets: number[] = [];
  at = scanFields(buf, at + 2, stop, start, limits.fields, offsets);
  if (at === INCOMPLETE) return more;
  if (at < 0) return bad(scanReason(at));
  const text = latin1(buf, start, at);
  const reason = text.substring(reasonStart - start, reasonEnd - start);
  return interpret(requestMethod, status, reason, minor as 0 | 1, text, offsets, at - start);
}

function interpret(
  requestMethod: string,
  status: number,
  reason: string,
  minor: 0 | 1,
  text: string,
  offsets: number[],
  headLength: number,
): ResponseHead | HeadError {
  const fields = new Fields(text, offsets);
  let contentLength = -1;
  for (let i = 0; i < offsets.length; i += 4) {
    if (offsets[i + 1] - offsets[i] !== 14 || !nameAt(text, offsets[i], 'content-length')) continue;
    if (contentLength !== -1) return ERROR.manyLengths;
    contentLength = parseContentLength(text.substring(offsets[i + 2], offsets[i + 3]));
    if (contentLength === -1) return ERROR.contentLength;
  }
  const transferEncoding = fields.get('transfer-encoding');
  if (transferEncoding !== undefined) {
    if (contentLength !== -1) return ERROR.twoFramings;
    if (minor === 0 || transferEncoding.toLowerCase() !== 'chunked') return ERROR.transferEncoding;
  }

  let framing: Framing = 'close';
  if (requestMethod === 'HEAD' || status < 200 || status === 204 || status === 304) framing = 'none';
  else if (transferEncoding !== undefined) framing = 'chunked';
  else if (contentLength !== -1) framing = 'length';
  return {
    status,
    reason,
    minor,
    fields,
    headLength,
    framing,
    contentLength,
    keepAlive: framing !== 'close' && staysOpen(minor, fields.get('connection')),
    interim: status < 200,
  };
}

/** A reader for the body that follows `head`. */
export function responseBody(head: ResponseHead): BodyReader {
  switch (head.framing) {
    case 'none':
      return BodyReader.ofLength(0);
    case 'length':
      return BodyReader.ofLength(head.contentLength);
    case 'chunked':
      return BodyReader.chunked();
    case 'close':
      return BodyReader.untilClose();
  }
}
