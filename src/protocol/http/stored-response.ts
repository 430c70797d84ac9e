/**
 * A response of an upstream that is kept, and what is made of it: whole, a range of it, its head, or that a client has it
 * already (304). What is asked most, a plain GET, is answered with a response that is ready-made for a second, after
 * which its Age is another one.
 */
import { createHash } from 'node:crypto';
import { judgeConditions, rangeMayApply } from './conditional.ts';
import { type Digested, Stretch } from './continuation.ts';
import { currentDate, parseDate } from './date.ts';
import { type Fields, fieldsOf } from './fields.ts';
import { detached } from './file-entry.ts';
import { endToEndLines } from './forward.ts';
import type { Lifetime } from './lifetime.ts';
import { type ByteRange, contentRange, parseRanges, unsatisfiedRange } from './range.ts';
import { noop, type Part, type Response, textReply } from './reply.ts';
import { digestOf } from './representation.ts';
import type { RequestHead } from './request.ts';
import type { ResponseHead } from './response.ts';

const MS_PER_SECOND = 1000;
/** Bodies up to this size are copied behind their head: cheaper than a second part. */
const COPY_BODY_BYTES = 16_384;
/**
 * Responses up to this size are copied as well, when they are asked for again within a second: the copy costs half of
 * what it saves.
 */
const HOT_BODY_BYTES = 131_072;
/** The body, and ready-made responses: of each kind, and of a hot one that stays. */
const BODY_COPIES = 4;
const HOT_BODY_COPIES = 2;
/** What one costs beside its body and lines. */
const OVERHEAD_BYTES = 2048;
/** Statuses without a body. */
const BODILESS = new Set([204, 304]);
/** What a 304 has of the fields of a 200 (RFC 9110 15.4.5), and Last-Modified, which is of use without an ETag. */
const IN_304 = new Set([
  ...['cache-control', 'content-location', 'date', 'etag', 'expires', 'last-modified', 'vary'],
]);
/** Fields that a 304 does not renew, since the body is the old one (RFC 9111 3.2). */
const NOT_RENEWED = new Set(['content-encoding', 'content-range', 'content-type', 'age']);
/** Kinds of ready-made responses, by what their head says of the connection. */
const PERSISTENT = 0;
const CLOSING = 1;
const PERSISTENT_10 = 2;

/** How the engine wants a response. */
export interface ReplyOptions {
  readonly close: boolean;
  /** Field lines to add, each with CRLF; '' is the quick case. */
  readonly extraFields: string;
  /** Wall clock. */
  readonly nowMs: number;
}

/** The fields of a response that are kept: those for whoever gets it, without its age. */
export function keptFields(head: ResponseHead, nowMs: number): Fields {
  const lines = endToEndLines(head.fields, (name) => name === 'age');
  return fieldsOf(head.fields.has('date') ? lines : `${lines}Date: ${currentDate(nowMs)}\r\n`);
}

/** The fields of a stored response after a 304 for it (RFC 9111 3.2). */
export function renewedFields(stored: Fields, head: ResponseHead, nowMs: number): Fields {
  const news = keptFields(head, nowMs);
  const renewed = linesOf(news, (name) => !NOT_RENEWED.has(name));
  return fieldsOf(linesOf(stored, (name) => NOT_RENEWED.has(name) || !news.has(name)) + renewed);
}

/** What is judged of fields that are kept: with what a response, or the 304 for it, says of its age (RFC 9111 4.2.3). */
export function withAgeOf({ fields: said }: ResponseHead, kept: Fields): Fields {
  return fieldsOf(linesOf(kept, () => true) + linesOf(said, (name) => name === 'age'));
}

/** Whether a 304 is about a stored response: it names no other validator (RFC 9111 4.3.4). */
export function isAbout(stored: Fields, { fields }: ResponseHead): boolean {
  for (const name of ['etag', 'last-modified']) {
    const [own, other] = [stored.get(name), fields.get(name)];
    if (other !== undefined) return own?.replace(/^W\//, '') === other.replace(/^W\//, '');
  }
  return true;
}

function linesOf(fields: Fields, takes: (name: string) => boolean): string {
  let lines = '';
  for (let i = 0; i < fields.size; i++) {
    const name = fields.name(i);
    if (takes(name.toLowerCase())) lines += `${name}: ${fields.value(i)}\r\n`;
  }
  return lines;
}

export class StoredResponse implements Digested {
  readonly status: number;
  readonly reason: string;
  readonly fields: Fields;
  readonly body: Buffer;
  readonly lifetime: Lifetime;
  /** What its request had in the fields that select; see `selection`. */
  readonly selection: string;
  /** The monotonic time when it came, or was last validated. */
  readonly cameMs: number;
  /** Bytes that it costs to keep it. */
  readonly sizeBytes: number;
  readonly digestPending = false;
  readonly #lines: string;
  readonly #whole: Stretch;
  readonly #ready: (Response | null)[] = [null, null, null];
  readonly #readyAge: number[] = [-1, -1, -1];
  /** Its age when a response was made last that was not kept. */
  #madeAge = -1;
  #digest: string | null = null;

  constructor(
    { status, reason }: Pick<ResponseHead, 'status' | 'reason'>,
    fields: Fields,
    body: Buffer,
    lifetime: Lifetime,
    selected: string,
    cameMs: number,
  ) {
    this.status = status;
    this.reason = detached(reason);
    this.fields = fields;
    this.body = body;
    this.lifetime = lifetime;
    this.selection = detached(selected);
    this.cameMs = cameMs;
    this.#lines = linesOf(fields, () => true);
    this.#whole = new Stretch(this, 0, body.length);
    const { length } = body;
    const copies = length <= COPY_BODY_BYTES ? BODY_COPIES : length <= HOT_BODY_BYTES ? HOT_BODY_COPIES : 1;
    this.sizeBytes = OVERHEAD_BYTES + BODY_COPIES * this.#lines.length + selected.length + copies * length;
  }

  /** The digest of the body. Computed when it is asked for, so only where a continuation may be wanted. */
  get digest(): string {
    this.#digest ??= digestOf(createHash('sha256').update(this.body));
    return this.#digest;
  }

  /** How old it is at the monotonic time `nowMs`. */
  ageMs(nowMs: number): number {
    return this.lifetime.initialAgeMs + (nowMs - this.cameMs);
  }

  /** How long it is fresh from then on; negative: for how long it has been stale. */
  freshForMs(nowMs: number): number {
    return this.lifetime.freshMs - this.ageMs(nowMs);
  }

  /** The request's conditions as an upstream gets them that is asked whether this is still what it would send. */
  get conditions(): string {
    const etag = this.fields.get('etag');
    const lastModified = this.fields.get('last-modified');
    const since = lastModified === undefined ? '' : `If-Modified-Since: ${lastModified}\r\n`;
    return etag === undefined ? since : `If-None-Match: ${etag}\r\n${since}`;
  }

  /**
   * The response to a GET or HEAD. `nowMs`: monotonic. `told`: what Cache-Status says, '' for nothing; a fresh response
   * that says nothing, or that it is one, may be ready-made.
   */
  respond(head: RequestHead, nowMs: number, options: ReplyOptions, told: string): Response {
    const ageSeconds = Math.floor(this.ageMs(nowMs) / MS_PER_SECOND);
    if (head.plain && options.extraFields === '' && (told === '' || told === 'hit')) {
      const kind = options.close ? CLOSING : head.minor === 1 ? PERSISTENT : PERSISTENT_10;
      if (this.#readyAge[kind] === ageSeconds) return this.#ready[kind]!;
      return this.#makeReady(kind, ageSeconds, this.#tail(head, ageSeconds, options, told), options.close);
    }
    return this.#answer(head, this.#tail(head, ageSeconds, options, told), options);
  }

  #answer(head: RequestHead, tail: string, options: ReplyOptions): Response {
    const { method, minor } = head;
    const { close, nowMs } = options;
    if (this.status === 200) {
      const verdict = judgeConditions(head, this.#validators(nowMs), nowMs);
      if (verdict === 'not-modified')
        return partsReply(
          304,
          `HTTP/1.1 304 Not Modified\r\n${linesOf(this.fields, (name) => IN_304.has(name))}${tail}`,
          [],
          close,
          'unique',
        );
      if (
        method === 'GET' &&
        head.range !== undefined &&
        rangeMayApply(head.ifRange, this.#validators(nowMs))
      ) {
        const ranges = parseRanges(head.range, this.body.length);
        const context = { method, minor, close, extraFields: options.extraFields, nowMs };
        if (ranges?.length === 0)
          return textReply(416, `Content-Range: ${unsatisfiedRange(this.body.length)}\r\n`, context);
        // Several at once are few, and the whole is a right answer to them (RFC 9110 14.2).
        if (ranges?.length === 1) return this.#partial(ranges[0], tail, close);
      }
    }
    return method === 'HEAD'
      ? partsReply(this.status, this.#begin(tail), [], close, 'unique')
      : this.#makeWhole(tail, close);
  }

  #validators(nowMs: number) {
    const lastModified = this.fields.get('last-modified');
    const lastModifiedMs = lastModified === undefined ? Number.NaN : parseDate(lastModified, nowMs);
    return { etag: this.fields.get('etag') ?? '', lastModifiedMs };
  }

  /** What the head ends with: what is of this response, and not of what is stored. */
  #tail(head: RequestHead, ageSeconds: number, { close, extraFields }: ReplyOptions, told: string): string {
    const connection = close ? 'Connection: close\r\n' : head.minor === 0 ? 'Connection: keep-alive\r\n' : '';
    const ttl = Math.floor(this.lifetime.freshMs / MS_PER_SECOND) - ageSeconds;
    const status =
      told === '' ? '' : `Cache-Status: baton; ${told}${told === 'hit' ? `; ttl=${ttl}` : ''}\r\n`;
    return `${connection}Age: ${ageSeconds}\r\n${status}${extraFields}\r\n`;
  }

  #begin(tail: string): string {
    const length = BODILESS.has(this.status) ? '' : `Content-Length: ${this.body.length}\r\n`;
    return `HTTP/1.1 ${this.status} ${this.reason}\r\n${this.#lines}${length}${tail}`;
  }

  #makeReady(kind: number, ageSeconds: number, tail: string, close: boolean): Response {
    const { length } = this.body;
    const mayBeHot = kind === PERSISTENT && length > COPY_BODY_BYTES && length <= HOT_BODY_BYTES;
    if (mayBeHot && this.#madeAge !== ageSeconds) {
      this.#madeAge = ageSeconds;
      return this.#makeWhole(tail, close);
    }
    const response = this.#makeWhole(tail, close, mayBeHot || length <= COPY_BODY_BYTES);
    this.#ready[kind] = response;
    this.#readyAge[kind] = ageSeconds;
    return response;
  }

  /** `joins`: head and body are one part. */
  #makeWhole(tail: string, close: boolean, joins = this.body.length <= COPY_BODY_BYTES): Response {
    const head = this.#begin(tail);
    const { body } = this;
    if (!joins) return partsReply(this.status, head, [{ bytes: body }], close, this.#whole);
    const bytes = Buffer.allocUnsafe(head.length + body.length);
    bytes.write(head, 0, head.length, 'latin1');
    body.copy(bytes, head.length);
    return {
      status: this.status,
      parts: [{ bytes }],
      lengthBytes: bytes.length,
      bodyBytes: body.length,
      close,
      body: this.#whole,
      release: noop,
    };
  }

  #partial(range: ByteRange, tail: string, close: boolean): Response {
    const { start, end } = range;
    const lines = `Content-Range: ${contentRange(range, this.body.length)}\r\nContent-Length: ${end - start}\r\n`;
    const head = `HTTP/1.1 206 Partial Content\r\n${this.#lines}${lines}${tail}`;
    const part = { bytes: this.body.subarray(start, end) };
    return partsReply(206, head, [part], close, new Stretch(this, start, end));
  }
}

function partsReply(
  status: number,
  head: string,
  body: readonly { readonly bytes: Buffer }[],
  close: boolean,
  what: Response['body'],
): Response {
  const headBytes = Buffer.from(head, 'latin1');
  const bodyBytes = body.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const parts: Part[] = [{ bytes: headBytes }, ...body];
  return {
    status,
    parts,
    lengthBytes: headBytes.length + bodyBytes,
    bodyBytes,
    close,
    body: what,
    release: noop,
  };
}
