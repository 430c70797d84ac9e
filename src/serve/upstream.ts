/**
 * Requests to an HTTP server behind a node, over a few kept connections. The response is parsed as far as its end
 * can be found, and goes on into an Exchange's pump.
 */

import type { Endpoint } from '../base/address.ts';
import { EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/linux/epoll.ts';
import { EAGAIN, EINTR, lastErrno } from '../kernel/linux/errors.ts';
import * as libc from '../kernel/linux/libc.ts';
import { connectTo, IPPROTO_TCP, setOption, TCP_NODELAY, tcpSocket } from '../kernel/linux/socket.ts';
import { Deadlines } from '../kernel/loop/deadlines.ts';
import type { Loop, Source } from '../kernel/loop/loop.ts';
import type { BodyReader } from '../protocol/http/body.ts';
import { encodeChunk, LAST_CHUNK } from '../protocol/http/body.ts';
import { type ErrorStatus, errorResponse } from '../protocol/http/error-response.ts';
import { DEFAULT_HEAD_LIMITS } from '../protocol/http/fields.ts';
import {
  type ForwardedHead,
  forwardRequestHead,
  forwardResponseHead,
  type RequestFraming,
} from '../protocol/http/forward.ts';
import type { RequestHead } from '../protocol/http/request.ts';
import { parseResponseHead, type ResponseHead, responseBody } from '../protocol/http/response.ts';
import { type AnswerOptions, Exchange, type Feed } from './exchange.ts';
import { Pump, SocketOut } from './out.ts';

/** Response bytes that may wait in the pump before the upstream is read no further. */
const RESPONSE_QUEUE_BYTES = 256 * 1024;
/** Request body bytes that may wait for the upstream. */
const BODY_QUEUE_BYTES = 256 * 1024;
const MAX_IDLE_CONNECTIONS = 64;
const IDLE_MS = 4000;
/** Heads up to this size; what a response carries beyond is the upstream's fault. */
const LIMITS = { ...DEFAULT_HEAD_LIMITS, headBytes: 65_536 };
/** Methods that may be sent twice when a kept connection turns out to be closed (RFC 9110 9.2.2). */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

export interface UpstreamOptions {
  readonly endpoint: Endpoint;
  readonly loop: Loop;
  readonly receiveBuffer: Buffer;
  readonly receiveAddress: number;
  readonly connectMs: number;
  readonly silenceMs: number;
  readonly count: (name: 'upstream_requests' | 'upstream_failures') => void;
}

/** One upstream server, for one engine. */
export class Upstream {
  readonly options: UpstreamOptions;
  readonly #idle: UpstreamConnection[] = [];
  readonly #idleDeadlines: Deadlines<UpstreamConnection>;
  readonly #connectDeadlines: Deadlines<UpstreamConnection>;
  readonly #silenceDeadlines: Deadlines<UpstreamConnection>;

  constructor(options: UpstreamOptions) {
    this.options = options;
    this.#idleDeadlines = new Deadlines(IDLE_MS, (c) => c.fail('idle', 504));
    this.#connectDeadlines = new Deadlines(options.connectMs, (c) => c.fail('connect timed out', 504));
    this.#silenceDeadlines = new Deadlines(options.silenceMs, (c) => c.fail('silent', 504));
  }

  /** Sends a request. `body`: what is there of it; `bodyFollows`: the rest comes through `feed.body`. */
  request(head: RequestHead, body: Buffer, bodyFollows: boolean, answer: AnswerOptions): Exchange {
    this.options.count('upstream_requests');
    const exchange = new Exchange();
    const connection = this.#idle.pop() ?? new UpstreamConnection(this);
    this.#idleDeadlines.clear(connection);
    connection.begin(exchange, head, body, bodyFollows, answer);
    return exchange;
  }

  watchConnect(connection: UpstreamConnection): void {
    this.#connectDeadlines.set(connection, this.options.loop.nowMs);
  }

  watchSilence(connection: UpstreamConnection): void {
    this.#connectDeadlines.clear(connection);
    this.#silenceDeadlines.set(connection, this.options.loop.nowMs);
  }

  /** A connection whose response ended cleanly. */
  keep(connection: UpstreamConnection): void {
    this.#silenceDeadlines.clear(connection);
    if (this.#idle.length >= MAX_IDLE_CONNECTIONS) return connection.close();
    this.#idle.push(connection);
    this.#idleDeadlines.set(connection, this.options.loop.nowMs);
  }

  forget(connection: UpstreamConnection): void {
    this.#idleDeadlines.clear(connection);
    this.#connectDeadlines.clear(connection);
    this.#silenceDeadlines.clear(connection);
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** Returns whether a deadline is running. */
  tick(): boolean {
    const now = this.options.loop.nowMs;
    this.#idleDeadlines.run(now);
    this.#connectDeadlines.run(now);
    this.#silenceDeadlines.run(now);
    return this.#connectDeadlines.size + this.#silenceDeadlines.size > 0;
  }

  close(): void {
    for (const connection of [...this.#idle]) connection.close();
  }
}

/** One request as sent, kept to send it again on a new connection. */
interface Sent {
  readonly head: RequestHead;
  readonly body: Buffer;
  readonly bodyFollows: boolean;
  readonly answer: AnswerOptions;
}

/** A connection to the upstream, and the request on it. */
class UpstreamConnection implements Source, Feed {
  readonly #upstream: Upstream;
  readonly #fd: number;
  readonly #out: SocketOut;
  #exchange: Exchange | null = null;
  #sent: Sent | null = null;
  #request = new Pump([], false);
  #chunkedRequest = false;
  #head: ResponseHead | null = null;
  #forward: ForwardedHead | null = null;
  #reader: BodyReader | null = null;
  /** Bytes of a response head that is not whole yet. */
  #held: Buffer | null = null;
  #paused = false;
  #used = false;
  #closed = false;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
    const { endpoint, loop } = upstream.options;
    this.#fd = tcpSocket(endpoint.address);
    this.#out = new SocketOut(this.#fd, false);
    setOption(this.#fd, IPPROTO_TCP, TCP_NODELAY, 1);
    loop.add(this.#fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
    upstream.watchConnect(this);
    try {
      connectTo(this.#fd, endpoint);
    } catch {
      // Refused at once; the event loop tells the request, which does not exist yet.
      loop.defer(() => this.fail('connect refused', 502));
    }
  }

  begin(
    exchange: Exchange,
    head: RequestHead,
    body: Buffer,
    bodyFollows: boolean,
    answer: AnswerOptions,
  ): void {
    this.#exchange = exchange;
    exchange.feed = this;
    this.#sent = { head, body, bodyFollows, answer };
    this.#chunkedRequest = bodyFollows && head.contentLength < 0;
    const hasBody = body.length > 0 || head.contentLength >= 0 || head.chunked;
    let framing: RequestFraming = 'none';
    if (this.#chunkedRequest) framing = 'chunked';
    else if (hasBody) framing = bodyFollows ? head.contentLength : body.length;
    this.#request = new Pump([{ bytes: forwardRequestHead(head, framing, true, '') }], false);
    this.#head = null;
    this.#forward = null;
    this.#reader = null;
    this.#held = null;
    this.#paused = false;
    if (body.length > 0) this.#request.add({ bytes: Buffer.from(body) });
    if (!bodyFollows) this.#request.finish();
    if (this.#used) this.#upstream.watchSilence(this);
    this.#write();
  }

  body(bytes: Buffer, last: boolean): void {
    if (bytes.length > 0) {
      this.#request.add({ bytes: this.#chunkedRequest ? encodeChunk(bytes) : Buffer.from(bytes) });
    }
    if (last) {
      if (this.#chunkedRequest) this.#request.add({ bytes: LAST_CHUNK });
      this.#request.finish();
    }
    this.#write();
  }

  get wantsBody(): boolean {
    return this.#request.queuedBytes < BODY_QUEUE_BYTES;
  }

  resume(): void {
    if (
      !this.#paused ||
      this.#exchange === null ||
      this.#exchange.pump.queuedBytes > RESPONSE_QUEUE_BYTES / 2
    )
      return;
    this.#paused = false;
    this.#read();
  }

  cancel(): void {
    this.#exchange = null;
    this.close();
  }

  ready(events: number): void {
    if (this.#closed) return;
    if ((events & EPOLLERR) !== 0 && (events & EPOLLIN) === 0) return this.fail('connection failed', 502);
    if ((events & EPOLLOUT) !== 0 && (events & (EPOLLERR | EPOLLHUP)) === 0) {
      if (this.#exchange !== null) this.#upstream.watchSilence(this);
      const waited = !this.wantsBody;
      this.#write();
      if (waited && this.wantsBody) this.#exchange?.onProgress();
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) !== 0) this.#read();
  }

  #write(): void {
    const state = this.#request.run(this.#out);
    if (state === 'yield') this.#upstream.options.loop.defer(() => this.#closed || this.#write());
    // A broken request shows when reading: the upstream may have answered before it closed.
  }

  #read(): void {
    const { receiveBuffer, receiveAddress, loop } = this.#upstream.options;
    const exchange = this.#exchange;
    if (exchange === null) return this.close();
    while (!this.#paused && !this.#closed && this.#exchange === exchange) {
      const got = libc.recv(this.#fd, receiveAddress, receiveBuffer.length, 0);
      if (got < 0) {
        const errno = lastErrno();
        if (errno === EAGAIN || errno === EINTR) break;
        return this.fail('connection broken', 502);
      }
      if (got === 0) return this.#ended();
      this.#upstream.watchSilence(this);
      this.#take(receiveBuffer, got, loop.wallMs);
      if (exchange.pump.queuedBytes > RESPONSE_QUEUE_BYTES) this.#paused = true;
    }
    exchange.onProgress();
  }

  /** The upstream closed. */
  #ended(): void {
    const exchange = this.#exchange!;
    if (this.#reader?.finish() !== true) return this.fail('closed early', 502);
    if (this.#forward?.body === 'enchunk') exchange.pump.add({ bytes: LAST_CHUNK });
    this.#finish();
    exchange.onProgress();
  }

  #take(buffer: Buffer, got: number, wallMs: number): void {
    let bytes = buffer;
    let at = 0;
    let end = got;
    if (this.#held !== null) {
      bytes = Buffer.concat([this.#held, buffer.subarray(0, got)]);
      end = bytes.length;
      this.#held = null;
    }
    while (this.#reader === null) {
      const head = parseResponseHead(bytes, at, end, LIMITS, this.#sent!.head.method);
      if (head === null) {
        this.#held = Buffer.from(bytes.subarray(at, end));
        return;
      }
      if (!('framing' in head)) return this.fail(head.reason, 502);
      at += head.headLength;
      // Interim responses end here: the client's 100 (Continue) is the anchor's.
      if (!head.interim) this.#answer(head, wallMs);
    }
    this.#pass(bytes, at, end);
  }

  #answer(head: ResponseHead, wallMs: number): void {
    const { answer, head: request } = this.#sent!;
    const exchange = this.#exchange!;
    this.#head = head;
    const plan = { clientMinor: request.minor, close: answer.close, extraFields: answer.extraFields };
    this.#forward = forwardResponseHead(head, plan, wallMs);
    this.#reader = responseBody(head);
    exchange.status = head.status;
    exchange.close = this.#forward.close;
    exchange.pump.add({ bytes: this.#forward.bytes });
  }

  #pass(bytes: Buffer, at: number, end: number): void {
    const exchange = this.#exchange!;
    const reader = this.#reader!;
    const used = reader.push(bytes, at, end);
    if (reader.fault !== null) return this.fail(reader.fault, 502);
    if (this.#forward!.body === 'raw') {
      if (used > 0) exchange.pump.add({ bytes: Buffer.from(bytes.subarray(at, at + used)) });
      exchange.bodyBytes += used;
    } else {
      for (let i = 0; i < reader.ranges.length; i += 2) {
        const piece = bytes.subarray(reader.ranges[i], reader.ranges[i + 1]);
        if (piece.length === 0) continue;
        exchange.pump.add({
          bytes: this.#forward!.body === 'enchunk' ? encodeChunk(piece) : Buffer.from(piece),
        });
        exchange.bodyBytes += piece.length;
      }
    }
    if (!reader.done) return;
    // Bytes beyond the response would be taken for the next one: such a connection is not kept.
    const clean = at + used === end && this.#head!.keepAlive && this.#request.finished;
    this.#finish(clean);
  }

  /** The response is whole. */
  #finish(keep = false): void {
    const exchange = this.#exchange!;
    exchange.pump.finish();
    exchange.lengthBytes = exchange.pump.sentBytes + exchange.pump.queuedBytes;
    exchange.feed = null;
    this.#exchange = null;
    this.#used = true;
    if (keep) this.#upstream.keep(this);
    else this.close();
  }

  /** The request cannot be answered: 502 or 504 when nothing of an answer is out, else the exchange has failed. */
  fail(_reason: string, status: ErrorStatus): void {
    if (this.#closed) return;
    const exchange = this.#exchange;
    const sent = this.#sent;
    const retry = this.#used && this.#head === null && this.#held === null && status === 502;
    this.#exchange = null;
    this.close();
    if (exchange === null || sent === null) return;
    exchange.feed = null;
    // A kept connection that the upstream closed meanwhile says nothing about the request.
    if (retry && !sent.bodyFollows && IDEMPOTENT.has(sent.head.method)) {
      new UpstreamConnection(this.#upstream).begin(exchange, sent.head, sent.body, false, sent.answer);
      return;
    }
    this.#upstream.options.count('upstream_failures');
    if (this.#head === null) {
      const { method, minor } = sent.head;
      const context = {
        method,
        minor,
        close: sent.answer.close || sent.bodyFollows,
        extraFields: sent.answer.extraFields,
      };
      exchange.answer(errorResponse(status, this.#upstream.options.loop.wallMs, context));
    } else {
      exchange.failed = true;
    }
    exchange.onProgress();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#upstream.forget(this);
    this.#upstream.options.loop.forget(this.#fd);
    libc.close(this.#fd);
  }
}
