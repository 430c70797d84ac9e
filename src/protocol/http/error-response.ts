/** The engine's own answers, when there is no content to answer with. */
import { beginHead, type ReplyContext, type Response, textReply } from './reply.ts';

/**
 * After these the connection is closed whatever the client asked for: where the next request begins is unknown, or
 * the client is to stop sending (RFC 9112 2.2, 6.3, 9.6; RFC 9110 15.5.9, 15.5.14).
 */
const CLOSING = new Set([400, 408, 413, 414, 417, 421, 431, 501, 505]);
/** When a server that is full, or of which too much was asked, may be tried again. */
const RETRY_AFTER_SECONDS = 1;

export type ErrorStatus = 400 | 408 | 413 | 414 | 417 | 421 | 429 | 431 | 500 | 501 | 502 | 503 | 504 | 505;

const NO_REQUEST = { method: '', minor: 1, close: false, extraFields: '' } as const;

/**
 * A complete answer for `status`. `context` describes the request as far as it is known; for a head that was refused
 * leave it out. Statuses that spoil the connection are sent with `Connection: close` in any case.
 */
export function errorResponse(
  status: ErrorStatus,
  nowMs: number,
  context: Partial<Omit<ReplyContext, 'nowMs'>> = {},
): Response {
  const close = CLOSING.has(status) || (context.close ?? false);
  const fields = status === 503 || status === 429 ? `Retry-After: ${RETRY_AFTER_SECONDS}\r\n` : '';
  return textReply(status, fields, { ...NO_REQUEST, ...context, close, nowMs });
}

const WRONG_SCHEME = '400 Bad Request\nThis port speaks TLS: write https:// instead of http://\n';

/** The answer to a client that speaks plain HTTP on the TLS port, whatever it asks. */
export function wrongSchemeResponse(nowMs: number): Buffer {
  const type = 'Content-Type: text/plain; charset=utf-8';
  const head = beginHead(400, { ...NO_REQUEST, close: true, nowMs });
  return Buffer.from(
    `${head}${type}\r\nContent-Length: ${WRONG_SCHEME.length}\r\n\r\n${WRONG_SCHEME}`,
    'latin1',
  );
}

/** The interim answer to `Expect: 100-continue`. */
export const CONTINUE = Buffer.from('HTTP/1.1 100 Continue\r\n\r\n', 'latin1');
