/**
 * Request heads (RFC 9112 sections 2 to 6). Strict on purpose: a head that two implementations could frame
 * differently is refused, never guessed. The parse is one pass from left to right, so that bytes give the same
 * result however they were split, and an error is found at the first byte that makes it one.
 */
import {
  CR,
  type HeadError,
  type HeadLimits,
  INCOMPLETE,
  KIND,
  LF,
  latin1,
  SPACE,
  scanFields,
  scanReason,
  TARGET,
  TOKEN,
  TOO_MANY_FIELDS,
} from './fields.ts';
import { bad, ERROR } from './request-errors.ts';
import { judgeHead, type RequestHead } from './request-head.ts';

export { DEFAULT_HEAD_LIMITS, Fields, HeadError, type HeadLimits } from './fields.ts';
export type { RequestHead } from './request-head.ts';

/** Empty lines tolerated before a request line (RFC 9112 2.2 asks for at least one). */
const MAX_EMPTY_LINES = 2;
const MAX_METHOD_BYTES = 24;

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
  return judgeHead(method, target, minor as 0 | 1, text, offsets, at - start);
}

const VERSION = 'HTTP/0.0';

function hasLineEnd(buf: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (buf[at] === LF) return true;
  return false;
}
