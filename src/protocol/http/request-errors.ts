/** The refusals of a request head, with the status code that answers each. Made once: a flood of them costs no garbage. */
import { HeadError } from './fields.ts';

export const bad = (reason: string) => new HeadError(400, reason);

export const ERROR = {
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
