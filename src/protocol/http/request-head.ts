/** What a request head says, judged once its bytes are known to be well-formed (RFC 9112 3.2 and 6, RFC 9110 10.1.1). */
import { Fields, HeadError, listTokens, parseContentLength } from './fields.ts';
import { parseAuthority } from './host.ts';
import { isServed } from './methods.ts';
import { ERROR } from './request-errors.ts';
import { type RequestFields, readRequestFields, type SelectingFields } from './request-fields.ts';
import { parseAbsolute } from './target.ts';

/** A request head. Immutable: the head cache hands the same one to many requests. */
export interface RequestHead extends SelectingFields {
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
}

/** Judges a head whose bytes are well-formed. */
export function judgeHead(
  method: string,
  rawTarget: string,
  minor: 0 | 1,
  text: string,
  offsets: number[],
  headLength: number,
): RequestHead | HeadError {
  if (method !== 'GET' && !isServed(method)) return ERROR.methodUnknown;
  const fields = readRequestFields(text, offsets);
  if (fields instanceof HeadError) return fields;
  const bodyLength = judgeLength(fields, minor);
  if (bodyLength instanceof HeadError) return bodyLength;
  const resource = judgeTarget(method, rawTarget, fields.host, minor);
  if (resource instanceof HeadError) return resource;
  const hasBody = bodyLength > 0 || bodyLength === CHUNKED;
  // HTTP/1.0 knows no expectations.
  const expect = minor === 1 ? fields.expect : undefined;
  if (expect !== undefined && !isContinue(expect)) return ERROR.expectation;
  const { target, authority, host } = resource;
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince, range, ifRange, acceptEncoding } = fields;
  const question = target.indexOf('?');
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
    contentLength: bodyLength === CHUNKED ? NO_LENGTH : bodyLength,
    chunked: bodyLength === CHUNKED,
    keepAlive: staysOpen(minor, fields.connection),
    expectContinue: expect !== undefined && hasBody,
    plain:
      method === 'GET' &&
      !hasBody &&
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

/** No Content-Length. */
const NO_LENGTH = -1;
const CHUNKED = -2;

/** Bytes of the body, NO_LENGTH or CHUNKED. Two ways to frame one body are refused (RFC 9112 6.1). */
function judgeLength({ contentLength, transferEncoding }: RequestFields, minor: 0 | 1): number | HeadError {
  if (contentLength !== undefined) {
    const length = parseContentLength(contentLength);
    if (length === -1) return ERROR.contentLength;
    return transferEncoding === undefined ? length : ERROR.twoFramings;
  }
  if (transferEncoding === undefined) return NO_LENGTH;
  if (minor === 0) return ERROR.transferIn10;
  return judgeTransferEncoding(transferEncoding) ?? CHUNKED;
}

/** RFC 9112 6.3: without a final `chunked` the length is unknown (400); other codings are not implemented (501). */
function judgeTransferEncoding(value: string): HeadError | null {
  if (value.toLowerCase() === 'chunked') return null;
  const codings = value.split(',').map((coding) => coding.trim().toLowerCase());
  if (codings.pop() !== 'chunked' || codings.length === 0) return ERROR.transferEncoding;
  const isOnce = codings.every((coding) => coding !== '' && coding !== 'chunked');
  return isOnce ? ERROR.transferCoding : ERROR.transferEncoding;
}

type Resource = Pick<RequestHead, 'target' | 'authority' | 'host'>;

/** Which resource of which host: RFC 9112 3.2 and 3.3. */
function judgeTarget(
  method: string,
  target: string,
  hostField: string | undefined,
  minor: 0 | 1,
): Resource | HeadError {
  // A Host that is missing or wrong is refused even where an absolute-form target says more (RFC 9112 3.2).
  if (hostField === undefined && minor === 1) return ERROR.noHost;
  const named = hostField === undefined ? null : parseAuthority(hostField);
  if (hostField !== undefined && named === null) return ERROR.host;
  const isAsterisk = target === '*';
  if (isAsterisk && method !== 'OPTIONS') return ERROR.asterisk;
  if (isAsterisk || target.startsWith('/'))
    return { target, authority: hostField ?? '', host: named?.host ?? '' };
  const absolute = parseAbsolute(target, method);
  if (absolute === null) return ERROR.target;
  // RFC 9110 7.4. Whoever ended the TLS connection for us would have written another target.
  if (absolute.isSecure) return ERROR.misdirected;
  // What Host says is ignored (RFC 9112 3.2.2).
  return absolute;
}

/** 100-continue is the one expectation that there is (RFC 9110 10.1.1). */
function isContinue(expect: string): boolean {
  return listTokens(expect).every((token) => token === '100-continue');
}

/** Whether a connection stays open after a message (RFC 9112 9.3). */
export function staysOpen(minor: number, connection: string | undefined): boolean {
  if (connection === undefined) return minor === 1;
  if (connection === 'keep-alive') return true;
  const options = listTokens(connection);
  if (options.includes('close')) return false;
  return minor === 1 || options.includes('keep-alive');
}
