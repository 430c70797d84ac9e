/** What the nodes of a cluster in one process answer with: bodies that are the same everywhere, heads that are not. */
import type { CloneConfig, MechanismRow, SiteConfig } from '../../../src/base/config/config.ts';
import { Outages } from '../../../src/cluster/outages.ts';
import type { Candidate } from '../../../src/cluster/policy/policy.ts';
import type { RepeatableChoice } from '../../../src/cluster/policy/repeatable-choice.ts';
import { RejectReason } from '../../../src/protocol/backplane/frames.ts';
import type { Continuation } from '../../../src/protocol/http/continuation.ts';
import { Exchange } from '../../../src/serve/exchange.ts';
import type { Site } from '../../../src/serve/sites.ts';

/** Names of different lengths: so are the heads of their responses. */
export const NAMES = ['a', 'bb', 'cccc'] as const;
export const SITE_DIGEST = 7;

/** What a request asks for. Its path says it all: `/index/bytes/node/mechanism/slow`. */
export interface Asked {
  readonly index: number;
  readonly bytes: number;
  readonly node: number;
  readonly mechanism: MechanismRow;
  /** The response comes bit by bit, as an upstream's: nobody knows what it is, or how long, before it is out. */
  readonly isSlow: boolean;
}

export function pathOf({ index, bytes, node, mechanism, isSlow }: Asked): string {
  return `/${index}/${bytes}/${node}/${mechanism}/${isSlow ? 'slow' : 'file'}`;
}

export function askedBy(path: string): Asked {
  const [, index, bytes, node, mechanism, speed] = path.split('/');
  return {
    index: Number(index),
    bytes: Number(bytes),
    node: Number(node),
    mechanism: mechanism as MechanismRow,
    isSlow: speed === 'slow',
  };
}

/** The body of a response: no two of a connection are alike, nor two pieces of one. */
export function bodyOf({ index, bytes }: Asked): string {
  let text = '';
  for (let i = 0; text.length < bytes; i++) text += `${index}.${i} `;
  return text.slice(0, bytes);
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

/** A node's answer, or what is left of one; else why it cannot go on. `slow` gets those that come bit by bit. */
export function answer(
  node: number,
  asked: Asked,
  close: boolean,
  continuation: Continuation | null,
  slow: (response: SlowResponse) => void,
): Exchange | RejectReason {
  const head = headBy(node, asked, close);
  const body = bodyOf(asked);
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
    const { node, mechanism } = askedBy(path);
    return mechanism === 'clone' && up.includes(node) ? node : -1;
  };
  // Who can ask others chooses otherwise.
  return { digest: up.reduce((sum, node) => sum + 2 ** node, 0), nodeFor };
}

/** What a client may get for a request: from each node that might have begun to answer. */
export function responsesTo(asked: Asked, close: boolean): Buffer[] {
  const body = bodyOf(asked);
  return NAMES.map((_, node) => Buffer.from(headBy(node, asked, close) + body));
}
