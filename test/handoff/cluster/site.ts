/** What the nodes of a cluster in one process answer with: bodies that are the same everywhere, heads that are not. */
import assert from 'node:assert/strict';
import type { CloneConfig, MechanismRow, SiteConfig } from '../../../src/base/config/config.ts';
import { Outages } from '../../../src/cluster/outages.ts';
import type { Candidate } from '../../../src/cluster/policy/policy.ts';
import type { RepeatableChoice } from '../../../src/cluster/policy/repeatable-choice.ts';
import { RejectReason, type Setup } from '../../../src/protocol/backplane/frames.ts';
import { Exchange, type Feed } from '../../../src/serve/exchange.ts';
import type { Site } from '../../../src/serve/sites.ts';

/** Names of different lengths: so are the heads of their responses. */
export const NAMES = ['a', 'bb', 'cccc'] as const;
export const SITE_DIGEST = 7;

/** What a request asks for. Its path says it all: `/index/bytes/node/mechanism/slow`, and of an upload `/bytes/when`. */
export interface Asked {
  readonly index: number;
  readonly bytes: number;
  readonly node: number;
  readonly mechanism: MechanismRow;
  /** The response comes bit by bit, as an upstream's: nobody knows what it is, or how long, before it is out. */
  readonly isSlow: boolean;
  /** It has a body. */
  readonly upload?: Upload;
}

export interface Upload {
  readonly bytes: number;
  /** The response may begin before all of the body is there. */
  readonly isEarly: boolean;
  /** The head does not say how long it is. */
  readonly isChunked: boolean;
}

export function pathOf({ index, bytes, node, mechanism, isSlow, upload }: Asked): string {
  const path = `/${index}/${bytes}/${node}/${mechanism}/${isSlow ? 'slow' : 'file'}`;
  return upload === undefined ? path : `${path}/${upload.bytes}/${upload.isEarly ? 'early' : 'behind'}`;
}

export function askedBy(path: string): Asked {
  const [, index, bytes, node, mechanism, speed, uploaded, when] = path.split('/');
  const upload = { bytes: Number(uploaded), isEarly: when === 'early', isChunked: false };
  return {
    ...(uploaded === undefined ? {} : { upload }),
    index: Number(index),
    bytes: Number(bytes),
    node: Number(node),
    mechanism: mechanism as MechanismRow,
    isSlow: speed === 'slow',
  };
}

/** The body of a response: no two of a connection are alike, nor two pieces of one. */
export function bodyOf({ index, bytes }: Pick<Asked, 'index' | 'bytes'>): string {
  let text = '';
  for (let i = 0; text.length < bytes; i++) text += `${index}.${i} `;
  return text.slice(0, bytes);
}

const UPLOAD_PIECE_BYTES = 10_000;

/** The body of a request. */
function uploadOf({ index, upload }: Asked): string {
  return bodyOf({ index: index + 1000, bytes: upload?.bytes ?? 0 });
}

/** As its client says it. `fields`: lines more, each with CRLF. */
export function requestOf(asked: Asked, fields: string): string {
  const { upload } = asked;
  const path = pathOf(asked);
  if (upload === undefined) return `GET ${path} HTTP/1.1\r\nHost: site\r\n${fields}\r\n`;
  const head = `PUT ${path} HTTP/1.1\r\nHost: site\r\n${fields}`;
  const body = uploadOf(asked);
  if (!upload.isChunked) return `${head}Content-Length: ${body.length}\r\n\r\n${body}`;
  let chunks = '';
  for (let at = 0; at < body.length; at += UPLOAD_PIECE_BYTES) {
    const piece = body.slice(at, at + UPLOAD_PIECE_BYTES);
    chunks += `${piece.length.toString(16)}\r\n${piece}\r\n`;
  }
  return `${head}Transfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
}

export function headBy(node: number, { bytes }: Asked, close: boolean): string {
  const connection = close ? 'Connection: close\r\n' : '';
  return `HTTP/1.1 200 OK\r\nX-Served-By: ${NAMES[node]}\r\n${connection}Content-Length: ${bytes}\r\n\r\n`;
}

/** One that comes bit by bit, from its head on. */
export class SlowResponse {
  readonly exchange = new Exchange();
  /** When its head is there. */
  beginsAtMs = 0;
  #rest: string;
  #headBytes: number;

  constructor(head: string, body: string, close: boolean) {
    this.exchange.status = 200;
    this.exchange.close = close;
    this.#rest = head + body;
    this.#headBytes = head.length;
  }

  get isOver(): boolean {
    return this.#rest.length === 0;
  }

  /** Nobody waits for it any more. */
  protected end(): void {
    this.#rest = '';
  }

  /** The whole head at first, then `bytes` of the rest. */
  more(bytes: number): void {
    const length = this.#headBytes + bytes;
    const piece = this.#rest.slice(0, length);
    this.#rest = this.#rest.slice(length);
    const { exchange } = this;
    exchange.pump.add({ bytes: Buffer.from(piece) });
    exchange.bodyBytes += piece.length - this.#headBytes;
    this.#headBytes = 0;
    if (this.isOver) {
      exchange.pump.finish();
      exchange.lengthBytes = exchange.pump.sentBytes + exchange.pump.queuedBytes;
    }
    exchange.onProgress();
  }
}

/** What a node that gets an upload has not used it does not want more of. */
const MOST_UNUSED_BYTES = 30_000;

/** One to an upload: whatever comes of that is looked at, and used bit by bit. */
class UploadResponse extends SlowResponse implements Feed {
  readonly #expected: Buffer;
  readonly #isEarly: boolean;
  #at = 0;
  #unused = 0;
  #isWhole = false;

  constructor(asked: Asked, head: string, close: boolean) {
    super(head, bodyOf(asked), close);
    this.#expected = Buffer.from(uploadOf(asked));
    this.#isEarly = asked.upload?.isEarly ?? false;
    this.exchange.feed = this;
  }

  body(bytes: Buffer, last: boolean): void {
    assert.ok(!this.#isWhole, 'a body ends once');
    const end = this.#at + bytes.length;
    assert.ok(
      this.#expected.subarray(this.#at, end).equals(bytes),
      `body of a request, from byte ${this.#at} on`,
    );
    this.#at = end;
    this.#unused += bytes.length;
    this.#isWhole = last;
    if (last) assert.equal(end, this.#expected.length, 'all of a request’s body');
  }

  get wantsBody(): boolean {
    return this.#unused < MOST_UNUSED_BYTES;
  }

  resume(): void {}

  cancel(): void {
    this.end();
  }

  override more(bytes: number): void {
    this.#unused = Math.max(0, this.#unused - 4 * bytes);
    if (this.#isWhole || this.#isEarly) super.more(bytes);
    else this.exchange.onProgress();
  }
}

/** A request, as the node has it that is to answer. */
export interface Taken extends Pick<Setup, 'body' | 'bodyFollows' | 'close' | 'continuation'> {
  readonly path: string;
}

/** A node's answer, or what is left of one; else why it cannot go on. `slow` gets those that come bit by bit. */
export function answer(
  node: number,
  { path, body: uploaded, bodyFollows, close, continuation }: Taken,
  slow: (response: SlowResponse) => void,
): Exchange | RejectReason {
  const asked = askedBy(path);
  const head = headBy(node, asked, close);
  const body = bodyOf(asked);
  if (asked.upload !== undefined && continuation === null) {
    const response = new UploadResponse(asked, head, close);
    if (!bodyFollows) response.body(uploaded, true);
    slow(response);
    return response.exchange;
  }
  if (asked.isSlow) {
    if (continuation !== null) return RejectReason.DIFFERENT;
    const response = new SlowResponse(head, body, close);
    slow(response);
    return response.exchange;
  }
  const exchange = Exchange.of({
    status: 200,
    parts: [{ bytes: Buffer.from(head + body) }],
    lengthBytes: head.length + body.length,
    bodyBytes: body.length,
    close,
    body: 'inline',
    release: () => {},
  });
  if (continuation === null || exchange.goOnFrom(continuation)) return exchange;
  exchange.end();
  return RejectReason.DIFFERENT;
}

/** The only site, as a node sees it: `up` are the nodes that it can ask. */
export function siteOf(up: readonly number[], clone: CloneConfig): Site {
  const config = {
    name: 'site',
    mechanism: 'anchor',
    clone,
    content: Object.fromEntries(NAMES.map((name) => [name, { kind: 'files' }])),
  } as unknown as SiteConfig;
  const candidates = up.map(
    (index): Candidate => ({ index, name: NAMES[index], load: { accepting: true } as Candidate['load'] }),
  );
  return {
    config,
    digest: SITE_DIGEST,
    content: {} as never,
    upstream: null,
    cache: null,
    candidates,
    outages: new Outages(),
  };
}

/** Clone's option keep: whose the next request is, as a node finds that can ask `up`. */
export function choiceOf(up: readonly number[]): RepeatableChoice {
  const nodeFor = ({ path }: { readonly path: string }): number => {
    const { node, mechanism, upload } = askedBy(path);
    return mechanism === 'clone' && up.includes(node) && upload === undefined ? node : -1;
  };
  // Who can ask others chooses otherwise.
  return { digest: up.reduce((sum, node) => sum + 2 ** node, 0), nodeFor };
}

/** What a client may get for a request: from each node that might have begun to answer. */
export function responsesTo(asked: Asked, close: boolean): Buffer[] {
  const body = bodyOf(asked);
  return NAMES.map((_, node) => Buffer.from(headBy(node, asked, close) + body));
}
