/** Responses as the engine sends them: a few parts, bytes for send() and stretches of files for sendfile(). */
import { STATUS_CODES } from 'node:http';
import type { FileState } from '../../kernel/linux/file-state.ts';
import { bodyValidator, type Identity, type Stretch } from './continuation.ts';
import { currentDate } from './date.ts';

/**
 * A part of a response. Bytes are never changed after a response has been given out: a socket may hold on to a part
 * for as long as it is blocked.
 */
export type Part = { readonly bytes: Buffer } | FilePart;

/** Bytes of a file, as it was when `state` was taken. */
export interface FilePart {
  readonly fd: number;
  readonly offset: number;
  readonly length: number;
  readonly state: Pick<FileState, 'isUnwritten'>;
}

export interface Response {
  readonly status: number;
  readonly parts: readonly Part[];
  /** Bytes of the whole response, head included. */
  readonly lengthBytes: number;
  readonly bodyBytes: number;
  /** The connection has to be closed after it. */
  readonly close: boolean;
  /** What the body is: a stretch of a file, the bytes of the only part behind the head, or what no other node makes. */
  readonly body: Stretch | 'inline' | 'unique';
  /** To be called once when the response is sent or given up: file descriptors of its parts may then be closed. */
  release(): void;
}

/** What every response needs to know of the request and of the connection. */
export interface ReplyContext {
  /** The request's method; '' when there was no proper request. */
  readonly method: string;
  /** The request's HTTP version. */
  readonly minor: 0 | 1;
  readonly close: boolean;
  /** Field lines to add, each with CRLF. */
  readonly extraFields: string;
  readonly nowMs: number;
}

export function noop(): void {}

/**
 * What `response` is; null when no other node would send the same bytes, or nobody can tell yet. Not cheap for an
 * inline body.
 */
export function identify(response: Response): Identity | null {
  const { body, lengthBytes, bodyBytes, parts } = response;
  if (body === 'unique') return null;
  const headBytes = lengthBytes - bodyBytes;
  if (body !== 'inline') {
    const { validator } = body;
    return validator === null ? null : { headBytes, lengthBytes, validator };
  }
  const [part] = parts;
  if (!('bytes' in part)) return null;
  return { headBytes, lengthBytes, validator: bodyValidator(part.bytes.subarray(headBytes)) };
}

/** Status line, Date, and what says whether the connection stays: the lines that every head begins with. */
export function beginHead(status: number, context: ReplyContext): string {
  let head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nDate: ${currentDate(context.nowMs)}\r\n`;
  if (context.close) head += 'Connection: close\r\n';
  else if (context.minor === 0) head += 'Connection: keep-alive\r\n';
  return head;
}

/** A response whose head and body are in memory, as one part. `stretch`: of a file that the body is. */
export function bytesReply(
  status: number,
  head: string,
  body: Buffer | null,
  close: boolean,
  stretch: Stretch | null = null,
): Response {
  const bodyBytes = body === null ? 0 : body.length;
  const bytes = Buffer.allocUnsafe(head.length + bodyBytes);
  bytes.write(head, 0, head.length, 'latin1');
  body?.copy(bytes, head.length);
  return {
    status,
    parts: [{ bytes }],
    lengthBytes: bytes.length,
    bodyBytes,
    close,
    body: stretch ?? 'inline',
    release: noop,
  };
}

/** A short text/plain answer that says its status; `fields`: more lines, each with CRLF. */
export function textReply(status: number, fields: string, context: ReplyContext): Response {
  const body = Buffer.from(`${status} ${STATUS_CODES[status]}\n`, 'latin1');
  const head = `${beginHead(status, context)}Content-Type: text/plain; charset=utf-8\r\nContent-Length: ${body.length}\r\n${fields}${context.extraFields}\r\n`;
  return bytesReply(status, head, context.method === 'HEAD' ? null : body, context.close);
}

/** An answer without a body by its status (204, 304). */
export function emptyReply(status: number, fields: string, context: ReplyContext): Response {
  const head = `${beginHead(status, context)}${fields}${context.extraFields}\r\n`;
  return bytesReply(status, head, null, context.close);
}
