/** A request as a mechanism and what answers it see it. */
import type { RowEstimates } from '../protocol/backplane/frame-estimates.ts';
import type { Continuation } from '../protocol/http/continuation.ts';
import type { RequestHead } from '../protocol/http/request.ts';

/** The client that sent a request, as upstreams are told of it. */
export interface Client {
  /** Null: it has just reset the connection. */
  readonly clientAddress: Buffer | null;
  /** The request came over TLS. */
  readonly isSecure: boolean;
}

/** A request as read from the client: head bytes as sent, body as far as it is there. */
export interface Request {
  readonly head: RequestHead;
  readonly headBytes: Buffer;
  /** The whole body, or empty when it follows. */
  readonly body: Buffer;
  /** The body is larger than a SETUP takes, and comes in pieces. */
  readonly bodyFollows: boolean;
  /** Monotonic microseconds of the moment the request was complete enough to decide. */
  readonly startUs: number;
  /** The connection ends with this response, whatever the response says. */
  readonly close: boolean;
  /** The response has begun and goes on from there; null: from its beginning. */
  readonly continuation: Continuation | null;
  readonly client: Client;
  /** Stands for its site (`siteDigest`); 0: it is of none. */
  readonly site: number;
  /** The upstream of a node that was asked has failed. */
  readonly upstreamFailed: boolean;
  /** By mechanism auto, of the row that it has chosen last and the others; null: it has not, or the client is not told. */
  estimates: RowEstimates | null;
}

/**
 * A request that begins. Here and in `withHeadBytes` every field is named: an object that is spread for each request
 * becomes one that V8 looks up by hash and puts among the old ones, where it costs a hundred times as much to get rid of.
 */
export function newRequest(
  head: RequestHead,
  headBytes: Buffer,
  body: Buffer,
  bodyFollows: boolean,
  startUs: number,
  close: boolean,
  client: Client,
  site: number,
): Request {
  return {
    head,
    headBytes,
    body,
    bodyFollows,
    startUs,
    close,
    continuation: null,
    client,
    site,
    upstreamFailed: false,
    estimates: null,
  };
}

/** The same request, its head kept for longer than the buffer that it was read into. */
export function withHeadBytes(request: Request, headBytes: Buffer): Request {
  return {
    head: request.head,
    headBytes,
    body: request.body,
    bodyFollows: request.bodyFollows,
    startUs: request.startUs,
    close: request.close,
    continuation: request.continuation,
    client: request.client,
    site: request.site,
    upstreamFailed: request.upstreamFailed,
    estimates: request.estimates,
  };
}
