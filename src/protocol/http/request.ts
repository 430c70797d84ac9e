/**
 * Request heads (RFC 9112 sections 2 to 6). Strict on purpose: a head that two implementations could frame
 * differently is refused, never guessed. The parse is one pass from left to right, so that bytes give the same
 * result however they were split, and an error is found at the first byte that makes it one.
 */
import {
  CR,
  Fields,
  HeadError,
  type HeadLimits,
  INCOMPLETE,
  KIND,
  LF,
  latin1,
  listTokens,
  nameAt,
  parseContentLength,
  SPACE,
  scanFields,
  scanReason,
  TARGET,
  TOKEN,
  TOO_MANY_FIELDS,
} from './fields.ts';
import { parseAuthority } from './host.ts';
import { isServed } from './methods.ts';
import { parseAbsolute } from './target.ts';

export { DEFAULT_HEAD_LIMITS, Fields, HeadError, type HeadLimits } from './fields.ts';

/** Empty lines tolerated before a request line (RFC 9112 2.2 asks for at least one). */
const MAX_EMPTY_LINES = 2;
const MAX_METHOD_BYTES = 24;

/** A request head. Immutable: the head cache hands the same one to many requests. */
export interface RequestHead {
  readonly method: string;
  /** Path and query in origin-form, as sent (an absolute-form target loses scheme and authority), or '*'. */
  readonly target: string;
  /** The target before '?', as sent: still percent-encoded. */
  readonly path: string;
  /** The target after '?', '' when there is none. */
  readonly query: string;
  /** HTTP/1.0 or HTTP/1.1. */
  readonly minor: 0 | 1;
  /** Host and port as the client names them, in an absolute-form target or else in Host. */
  readonly authority: string;
  /** Lower case, without the port; '' only for HTTP/1.0 without Host. */
  readonly host: string;
  readonly fields: Fields;
  /** Bytes that the head takes in the buffer, empty lines before it included. */
  readonly headLength: number;
  /** Bytes of the body, -1 when there is no Content-Length. */
  readonly contentLength: number;
  readonly chunked: boolean;
  /** Whether the client wants the connection to stay open (RFC 9112 9.3). */
  readonly keepAlive: boolean;
  readonly expectContinue: boolean;
  /** A GET without body, conditions or range: what a ready-made response may answer. */
  readonly plain: boolean;
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  readonly ifUnmodifiedSince: string | undefined;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
  readonly acceptEncoding: string | undefined;
}

const bad = (reason: string) => new HeadError(400, reason);
const ERROR = {
  emptyLines: bad('too many empty lines before the request'),
  bareLf: bad('line ends in LF without CR'),
  bareCr: bad('CR without LF'),
  method: bad('malformed method'),
  target: bad('malformed request target'),
  version: bad('malformed HTTP version'),
  asterisk: bad('target "*" without OPTIONS'),
  noHost: bad('Host is missing'),
  manyHosts: bad('more than one Host'),
  host: bad('invalid Host'),
  contentLength: bad('invalid Content-Length'),
  manyLengths: bad('more than one Content-Length'),
  twoFramings: bad('both Transfer-Encoding and Content-Length'),
  transferIn10: bad('Transfer-Encoding in HTTP/1.0'),
  transferEncoding: bad('invalid Transfer-Encoding'),
  transferCoding: new HeadError(501, 'transfer coding other than chunked'),
  methodUnknown: new HeadError(501, 'method not implemented'),
  unsupported: new HeadError(505, 'HTTP version not supported'),
  expectation: new HeadError(417, 'unknown expectation'),
  misdirected: new HeadError(421, 'https on a connection that is not secured'),
  targetTooLong: new HeadError(414, 'request target too long'),
  headTooLarge: new HeadError(431, 'request head too large'),
  tooManyFields: new HeadError(431, 'too many fields'),
} as const;

/**
 * Parses the request head that begins at `start` in `buf`; bytes from `end` on are not looked at. Returns null when
 * more bytes are needed. `scanned` is where an earlier call on the same head (that returned null) ended: bytes that
 * end no line then cost nothing but their own scan, so a head that comes byte by byte costs no quadratic work.
 */
export function parseRequestHead(
  buf: Buffer,
  start: number,
  end: number,
  limits: HeadLimits,
  scanned: number = start,
): RequestHead | HeadError | null {
  const full = end - start >= limits.headBytes;
  if (scanned > start && !full && !hasLineEnd(buf, scanned, end)) return null;
  const stop = full ? start + limits.headBytes : end;
  const more = full ? ERROR.headTooLarge : null;

  let at = start;
  for (let lines = 0; at < stop && (buf[at] === CR || buf[at] === LF); lines++, at += 2) {
    if (buf[at] === LF) return ERROR.bareLf;
    if (lines === MAX_EMPTY_LINES) return ERROR.emptyLines;
    if (at + 1 >= stop) return more;
    if (buf[at + 1] !== LF) return ERROR.bareCr;
  }
  const base = at;

  while (at < stop && (KIND[buf[at]] & TOKEN) !== 0) at++;
  const methodBytes = at - base;
  if (methodBytes > MAX_METHOD_BYTES) return ERROR.methodUnknown;
  if (at >= stop) return more;
  if (buf[at] !== SPACE || methodBytes === 0) return ERROR.method;

  const targetStart = ++at;
  const targetStop = Math.min(stop, targetStart + limits.targetBytes + 1);
  while (at < targetStop && (KIND[buf[at]] & TARGET) !== 0) at++;
  const targetEnd = at;
  if (targetEnd - targetStart > limits.targetBytes) return ERROR.targetTooLong;
  if (at >= stop) return full ? ERROR.targetTooLong : null;
  if (buf[at] !== SPACE || targetEnd === targetStart) return ERROR.target;

  // "HTTP/1.1" CRLF, judged byte by byte so that a wrong one is refused where it goes wrong.
  at++;
  for (let i = 0; i < 8; i++, at++) {
    if (at >= stop) return more;
    const byte = buf[at];
    const expected = VERSION.charCodeAt(i);
    if (expected === 48 ? byte < 48 || byte > 57 : byte !== expected) return ERROR.version;
  }
  const major = buf[at - 3] - 48;
  const minor = buf[at - 1] - 48;
  if (at >= stop) return more;
  if (buf[at] !== CR) return buf[at] === LF ? ERROR.bareLf : ERROR.version;
  if (at + 1 >= stop) return more;
  if (buf[at + 1] !== LF) return ERROR.bareCr;
  if (major !== 1 || minor > 1) return ERROR.unsupported;
  at += 2;

  const offsets: number[] = [];
  at = scanFields(buf, at, stop, base, limits.fields, offsets);
  if (at === INCOMPLETE) return more;
  if (at === TOO_MANY_FIELDS) return ERROR.tooManyFields;
  if (at < 0) return bad(scanReason(at));
  const text = latin1(buf, base, at);
  const method = text.startsWith('GET ') ? 'GET' : text.substring(0, methodBytes);
  const target = text.substring(targetStart - base, targetEnd - base);
  return interpret(method, target, minor as 0 | 1, text, offsets, at - start);
}

const VERSION = 'HTTP/0.0';

function hasLineEnd(buf: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (buf[at] === LF) return true;
  return false;
}

/** Judges a head whose bytes are well-formed. */
function interpret(
  method: string,
  rawTarget: string,
  minor: 0 | 1,
  text: string,
  offsets: number[],
  headLength: number,
): RequestHead | HeadError {
  if (method !== 'GET' && !isServed(method)) return ERROR.methodUnknown;

  let hostValue: string | undefined;
  let lengthValue: string | undefined;
  let transferEncoding: string | undefined;
  let connection: string | undefined;
  let expect: string | undefined;
  let ifMatch: string | undefined;
  let ifNoneMatch: string | undefined;
  let ifModifiedSince: string | undefined;
  let ifUnmodifiedSince: string | undefined;
  let range: string | undefined;
  let ifRange: string | undefined;
  let acceptEncoding: string | undefined;
  for (let i = 0; i < offsets.length; i += 4) {
    const name = offsets[i];
    const from = offsets[i + 2];
    const to = offsets[i + 3];
    switch (offsets[i + 1] - name) {
      case 4:
        if (!nameAt(text, name, 'host')) break;
        if (hostValue !== undefined) return ERROR.manyHosts;
        hostValue = text.substring(from, to);
        break;
      case 5:
        if (nameAt(text, name, 'range')) range = joined(range, text.substring(from, to));
        break;
      case 6:
        if (nameAt(text, name, 'expect')) expect = joined(expect, text.substring(from, to));
        break;
      case 8:
        if (nameAt(text, name, 'if-match')) ifMatch = joined(ifMatch, text.substring(from, to));
        else if (nameAt(text, name, 'if-range')) ifRange = joined(ifRange, text.substring(from, to));
        break;
      case 10:
        if (nameAt(text, name, 'connection')) connection = joined(connection, text.substring(from, to));
        break;
      case 13:
        if (nameAt(text, name, 'if-none-match')) ifNoneMatch = joined(ifNoneMatch, text.substring(from, to));
        break;
      case 14:
        if (!nameAt(text, name, 'content-length')) break;
        if (lengthValue !== undefined) return ERROR.manyLengths;
        lengthValue = text.substring(from, to);
        break;
      case 15:
        if (nameAt(text, name, 'accept-encoding')) {
          acceptEncoding = joined(acceptEncoding, text.substring(from, to));
        }
        break;
      case 17:
        if (nameAt(text, name, 'transfer-encoding')) {
          transferEncoding = joined(transferEncoding, text.substring(from, to));
        } else if (nameAt(text, name, 'if-modified-since')) {
          ifModifiedSince = joined(ifModifiedSince, text.substring(from, to));
        }
        break;
      case 19:
        if (nameAt(text, name, 'if-unmodified-since')) {
          ifUnmodifiedSince = joined(ifUnmodifiedSince, text.substring(from, to));
        }
        break;
      default:
    }
  }

  let contentLength = -1;
  if (lengthValue !== undefined) {
    contentLength = parseContentLength(lengthValue);
    if (contentLength === -1) return ERROR.contentLength;
  }
  const chunked = transferEncoding !== undefined;
  if (transferEncoding !== undefined) {
    if (lengthValue !== undefined) return ERROR.twoFramings;
    if (minor === 0) return ERROR.transferIn10;
    const error = judgeTransferEncoding(transferEncoding);
    if (error !== null) return error;
  }

  let host = '';
  if (hostValue !== undefined) {
    const named = parseAuthority(hostValue);
    if (named === null) return ERROR.host;
    host = named.host;
  } else if (minor === 1) {
    return ERROR.noHost;
  }

  let target = rawTarget;
  let authority = hostValue ?? '';
  if (rawTarget === '*') {
    if (method !== 'OPTIONS') return ERROR.asterisk;
  } else if (rawTarget.charCodeAt(0) !== 47) {
    const absolute = parseAbsolute(rawTarget, method);
    if (absolute === null) return ERROR.target;
    // RFC 9110 7.4. Whoever ended the TLS connection for us would have written another target.
    if (absolute.isSecure) return ERROR.misdirected;
    // What Host says is ignored (RFC 9112 3.2.2).
    ({ authority, host, target } = absolute);
  }
  const question = target.indexOf('?');

  let expectContinue = false;
  if (expect !== undefined && minor === 1) {
    if (listTokens(expect).some((token) => token !== '100-continue')) return ERROR.expectation;
    expectContinue = chunked || contentLength > 0;
  }
  return {
    method,
    target,
    path: question === -1 ? target : target.substring(0, question),
    query: question === -1 ? '' : target.substring(question + 1),
    minor,
    authority,
    host,
    fields: new Fields(text, offsets),
    headLength,
    contentLength,
    chunked,
    keepAlive: staysOpen(minor, connection),
    expectContinue,
    plain:
      method === 'GET' &&
      contentLength <= 0 &&
      !chunked &&
      range === undefined &&
      ifNoneMatch === undefined &&
      ifModifiedSince === undefined &&
      ifMatch === undefined &&
      ifUnmodifiedSince === undefined,
    ifMatch,
    ifNoneMatch,
    ifModifiedSince,
    ifUnmodifiedSince,
    range,
    ifRange,
    acceptEncoding,
  };
}

function joined(before: string | undefined, value: string): string {
  return before === undefined ? value : `${before}, ${value}`;
}

/** RFC 9112 6.3: without a final `chunked` the length is unknown (400); other codings are not implemented (501). */
function judgeTransferEncoding(value: string): HeadError | null {
  if (value.toLowerCase() === 'chunked') return null;
  const codings = value.split(',').map((coding) => coding.trim().toLowerCase());
  if (codings.pop() !== 'chunked' || codings.length === 0) return ERROR.transferEncoding;
  const isOnce = codings.every((coding) => coding !== '' && coding !== 'chunked');
  return isOnce ? ERROR.transferCoding : ERROR.transferEncoding;
}

/** Whether a connection stays open after a message (RFC 9112 9.3). */
export function staysOpen(minor: number, connection: string | undefined): boolean {
  if (connection === undefined) return minor === 1;
  if (connection === 'keep-alive') return true;
  const options = listTokens(connection);
  if (options.includes('close')) return false;
  return minor === 1 || options.includes('keep-alive');
}
