/**
 * Static content: a request head in, a response out (RFC 9110). What is asked most, a plain GET of a small file, is
 * answered with a response that is ready-made: head and body in one buffer, made anew once a second for its Date. Of a
 * large file the head is.
 */
import { randomBytes } from 'node:crypto';
import { judgeConditions, rangeMayApply } from './conditional.ts';
import { Stretch } from './continuation.ts';
import { type DigestFile, FileCache } from './file-cache.ts';
import { Entry } from './file-entry.ts';
import type { MediaTypes } from './media-types.ts';
import { isKnown } from './methods.ts';
import { type ByteRange, contentRange, frameMultipart, parseRanges, unsatisfiedRange } from './range.ts';
import {
  beginHead,
  bytesReply,
  emptyReply,
  noop,
  type Part,
  type ReplyContext,
  type Response,
  textReply,
} from './reply.ts';
import type { Representation } from './representation.ts';
import type { RequestHead } from './request.ts';

export type { Part, Response } from './reply.ts';

export interface ContentOptions {
  /** Absolute path of the root directory. */
  readonly root: string;
  /** Bound on the memory of small files. */
  readonly memoryBytes?: number;
  /** Bound on cached descriptors of large files. */
  readonly openFiles?: number;
  /** Bound on cached files. */
  readonly entries?: number;
  /** Media types by ending, before those that are known anyway. */
  readonly types?: MediaTypes;
  /** Has large files read; without it they have no strong validator, and no identity. */
  readonly digest?: DigestFile;
}

/** How the engine wants a response. */
export interface RespondOptions {
  /** The connection is to be closed after it. */
  readonly close: boolean;
  /** Field lines to add, each with CRLF; '' is the quick case. */
  readonly extraFields: string;
}

const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;
const DEFAULT_OPEN_FILES = 256;
const DEFAULT_ENTRIES = 4096;
/** Bodies up to this size are copied behind their head: cheaper than a second part. */
const COPY_BODY_BYTES = 16_384;
const ALLOW = 'Allow: GET, HEAD, OPTIONS\r\n';
/** Kinds of ready-made responses, by what their head says of the connection. */
const PERSISTENT = 0;
const CLOSING = 1;
const PERSISTENT_10 = 2;

const boundaryBase = randomBytes(12).toString('hex');
let boundaries = 0;

export class Content {
  readonly #files: FileCache;

  /** Throws when the root cannot be opened. */
  constructor(options: ContentOptions) {
    this.#files = new FileCache({
      root: options.root,
      memoryBytes: options.memoryBytes ?? DEFAULT_MEMORY_BYTES,
      openFiles: options.openFiles ?? DEFAULT_OPEN_FILES,
      entries: options.entries ?? DEFAULT_ENTRIES,
      types: options.types ?? {},
      digest: options.digest ?? null,
    });
  }

  /** What the cache holds. */
  get usage(): { entries: number; memoryBytes: number; descriptors: number } {
    return this.#files.usage;
  }

  /** A copy of the list of all files that the cache holds. */
  get files(): Entry[] {
    return this.#files.all;
  }

  /** Closes all files but those that responses still hold. */
  close(): void {
    this.#files.close();
  }

  /**
   * The response to a request. The caller releases it when it is sent. A file can change while it is sent: when its
   * part's state does not hold any more at its end, the connection has to be closed.
   */
  respond(head: RequestHead, nowMs: number, options: RespondOptions): Response {
    const entry = head.plain ? this.#files.fresh(head.path, nowMs) : undefined;
    if (entry !== undefined && options.extraFields === '')
      return ready(entry.choose(head.acceptEncoding), head, options.close, nowMs);
    const { method, minor } = head;
    const { close, extraFields } = options;
    return this.#answer(head, { method, minor, close, extraFields, nowMs }, entry);
  }

  /** `fresh`: what the path leads to, when that has been looked at. */
  #answer(head: RequestHead, context: ReplyContext, fresh: Entry | undefined): Response {
    if (head.method === 'OPTIONS') return emptyReply(204, ALLOW, context);
    if (head.method !== 'GET' && head.method !== 'HEAD')
      return isKnown(head.method) ? textReply(405, ALLOW, context) : textReply(501, '', context);
    const found = fresh ?? this.#files.lookup(head.path, context.nowMs);
    if (!(found instanceof Entry)) {
      const query = head.query === '' ? '' : `?${head.query}`;
      const fields = found.status === 301 ? `Location: ${found.location}${query}\r\n` : '';
      return textReply(found.status, fields, context);
    }
    const representation = found.choose(head.acceptEncoding);
    const verdict = judgeConditions(head, representation, context.nowMs);
    if (verdict === 'not-modified') return emptyReply(304, representation.validatorFields, context);
    if (verdict === 'failed') return textReply(412, representation.validatorFields, context);
    if (head.method === 'GET' && head.range !== undefined) {
      if (rangeMayApply(head.ifRange, representation)) {
        const ranges = parseRanges(head.range, representation.sizeBytes);
        if (ranges !== null) return partial(representation, ranges, context);
      }
    }
    return whole(representation, context);
  }
}

/** What answers a plain GET, made anew when its Date has passed. */
function ready(representation: Representation, head: RequestHead, close: boolean, nowMs: number): Response {
  const kind = close ? CLOSING : head.minor === 1 ? PERSISTENT : PERSISTENT_10;
  const second = Math.floor(nowMs / 1000);
  let response = representation.readySecond[kind] === second ? representation.ready[kind] : null;
  if (response === null) {
    const context = { method: 'GET', minor: head.minor, close, extraFields: '', nowMs };
    response = makeReady(representation, context);
    representation.ready[kind] = response;
    representation.readySecond[kind] = second;
  }
  return held(response, representation);
}

function makeReady(representation: Representation, context: ReplyContext): Response {
  const fields = wholeHead(representation, context);
  const { body, whole } = representation;
  if (body !== null) return bytesReply(200, fields, body, context.close, whole);
  return partsReply(200, wholeParts(fields, representation), context.close, whole);
}

function wholeHead(representation: Representation, context: ReplyContext): string {
  const { contentType, sizeBytes, fields } = representation;
  const begin = beginHead(200, context);
  return `${begin}Content-Type: ${contentType}\r\nContent-Length: ${sizeBytes}\r\n${fields}${context.extraFields}\r\n`;
}

function whole(representation: Representation, context: ReplyContext): Response {
  const head = wholeHead(representation, context);
  if (context.method === 'HEAD') return bytesReply(200, head, null, context.close);
  const { body, sizeBytes } = representation;
  if (body !== null && sizeBytes <= COPY_BODY_BYTES)
    return bytesReply(200, head, body, context.close, representation.whole);
  const parts = wholeParts(head, representation);
  return held(partsReply(200, parts, context.close, representation.whole), representation);
}

function wholeParts(head: string, representation: Representation): Part[] {
  return [{ bytes: Buffer.from(head, 'latin1') }, stretch(representation, 0, representation.sizeBytes)];
}

function partial(
  representation: Representation,
  ranges: readonly ByteRange[],
  context: ReplyContext,
): Response {
  const { sizeBytes, contentType, fields } = representation;
  if (ranges.length === 0) {
    const unsatisfied = `Content-Range: ${unsatisfiedRange(sizeBytes)}\r\n`;
    return textReply(416, unsatisfied + representation.validatorFields, context);
  }
  const begin = beginHead(206, context);
  const rest = `${fields}${context.extraFields}\r\n`;
  if (ranges.length === 1) {
    const [{ start, end }] = ranges;
    const lines = `Content-Type: ${contentType}\r\nContent-Length: ${end - start}\r\nContent-Range: ${contentRange(ranges[0], sizeBytes)}\r\n`;
    const head = Buffer.from(`${begin}${lines}${rest}`, 'latin1');
    const parts = [{ bytes: head }, stretch(representation, start, end)];
    const body = new Stretch(representation, start, end);
    return held(partsReply(206, parts, context.close, body), representation);
  }
  // Unique, so that no file holds it; which makes the body one that only this node sends.
  const boundary = `${boundaryBase}${(boundaries++).toString(36)}`;
  const { prefixes, suffix, lengthBytes } = frameMultipart(ranges, sizeBytes, contentType, boundary);
  const lines = `Content-Type: multipart/byteranges; boundary=${boundary}\r\nContent-Length: ${lengthBytes}\r\n`;
  const parts: Part[] = [{ bytes: Buffer.from(`${begin}${lines}${rest}`, 'latin1') }];
  ranges.forEach(({ start, end }, i) => {
    parts.push({ bytes: prefixes[i] }, stretch(representation, start, end));
  });
  parts.push({ bytes: suffix });
  return held(partsReply(206, parts, context.close, 'unique'), representation);
}

function stretch({ body, fd, file: state }: Representation, start: number, end: number): Part {
  if (body !== null) return { bytes: body.subarray(start, end) };
  return { fd, offset: start, length: end - start, state };
}

/** A response of several parts, the first of them its head. */
function partsReply(
  status: number,
  parts: readonly Part[],
  close: boolean,
  body: Response['body'],
): Response {
  let lengthBytes = 0;
  for (const part of parts) lengthBytes += 'bytes' in part ? part.bytes.length : part.length;
  const [head] = parts;
  const headBytes = 'bytes' in head ? head.bytes.length : 0;
  return { status, parts, lengthBytes, bodyBytes: lengthBytes - headBytes, close, body, release: noop };
}

/** A response from a representation: one that sends from an open file holds it open. */
function held(response: Response, representation: Representation): Response {
  return representation.fd === -1 ? response : new HeldResponse(response, representation);
}

/** Holds a file open until it is released. Several may be of one ready-made response. */
class HeldResponse implements Response {
  readonly status: number;
  readonly parts: readonly Part[];
  readonly lengthBytes: number;
  readonly bodyBytes: number;
  readonly close: boolean;
  readonly body: Response['body'];
  #representation: Representation | null;

  constructor(response: Response, representation: Representation) {
    this.status = response.status;
    this.parts = response.parts;
    this.lengthBytes = response.lengthBytes;
    this.bodyBytes = response.bodyBytes;
    this.close = response.close;
    this.body = response.body;
    this.#representation = representation;
    representation.retain();
  }

  release(): void {
    this.#representation?.release();
    this.#representation = null;
  }
}
