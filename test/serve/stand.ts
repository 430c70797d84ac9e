/**
 * An Upstream with an engine's loop, and a server of the test's own in the same thread, which has its turns between
 * those of the loop: so what the server has done is there, whole, when the loop looks next. Time passes when the test
 * says so.
 */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { parseAddress } from '../../src/base/address.ts';
import { Loop } from '../../src/kernel/loop/loop.ts';
import { forwardRequestHead, type RequestFraming } from '../../src/protocol/http/forward.ts';
import type { Exchange } from '../../src/serve/exchange.ts';
import { ReceiveMemory } from '../../src/serve/receive-memory.ts';
import { Upstream, type UpstreamOptions } from '../../src/serve/upstream.ts';
import { parsed } from '../protocol/http/support.ts';

const DEADLINE_MS = 10_000;

export interface Sent {
  readonly body?: Buffer;
  /** The rest of the body comes by the exchange's feed. */
  readonly follows?: boolean;
  readonly fields?: string;
  /** The client's HTTP version is 1.0. */
  readonly http10?: boolean;
}

export class UpstreamStand {
  readonly counts = new Map<string, number>();
  readonly words: string[] = [];
  readonly sockets: Socket[] = [];
  nowMs = 0;
  readonly loop = new Loop(0, () => this.nowMs);
  readonly upstream: Upstream;
  readonly #server: Server | null;

  /** `server`: what each connection is given to; null: nobody listens. */
  static async up(
    server: ((socket: Socket, index: number) => void) | null,
    options: Partial<UpstreamOptions> = {},
  ): Promise<UpstreamStand> {
    const sockets: Socket[] = [];
    const listener = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => undefined);
      server?.(socket, sockets.length - 1);
    });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const { port } = listener.address() as AddressInfo;
    if (server === null) listener.close();
    return new UpstreamStand(server === null ? null : listener, port, sockets, options);
  }

  private constructor(
    server: Server | null,
    port: number,
    sockets: Socket[],
    options: Partial<UpstreamOptions>,
  ) {
    this.#server = server;
    this.sockets = sockets;
    this.upstream = new Upstream({
      endpoint: { address: parseAddress('127.0.0.1'), port },
      loop: this.loop,
      memory: new ReceiveMemory(64 * 1024),
      connectMs: 2000,
      answerMs: 5000,
      pauseMs: 5000,
      count: (name) => this.counts.set(name, (this.counts.get(name) ?? 0) + 1),
      log: (_level, message) => this.words.push(message),
      ...options,
    });
  }

  request(
    method: string,
    { body = Buffer.alloc(0), follows = false, fields = '', http10 }: Sent = {},
  ): Exchange {
    const length = body.length > 0 ? `Content-Length: ${body.length}\r\n` : '';
    const head = parsed(`${method} /x HTTP/1.${http10 ? 0 : 1}\r\nHost: a\r\n${length}${fields}\r\n`);
    const answer = { close: false, extraFields: '', nowMs: 0 };
    const forward = (framing: RequestFraming) =>
      forwardRequestHead(head, framing, { lines: '', drops: () => false });
    return this.upstream.request({ head, isSecure: false, forward, body, bodyFollows: follows, answer });
  }

  /** The answer to a request, head and body, taken as fast as it comes. */
  async ask(method: string, sent: Sent = {}): Promise<Buffer> {
    const exchange = this.request(method, sent);
    const answer = new Answer(exchange);
    await this.until(() => answer.isOver);
    return answer.bytes;
  }

  /** One turn of the loop, then one of the thread's own. */
  async turn(): Promise<void> {
    this.loop.run(
      () => undefined,
      () => {
        this.upstream.tick();
        this.loop.pause();
        return 0;
      },
    );
    await setImmediate();
  }

  async until(condition: () => boolean): Promise<void> {
    const endMs = Date.now() + DEADLINE_MS;
    while (!condition()) {
      if (Date.now() > endMs) throw new Error('the condition was not met in time');
      await this.turn();
    }
  }

  async pass(ms: number): Promise<void> {
    this.nowMs += ms;
    await this.turn();
  }

  /** For what must not happen. */
  async lasting(ms: number): Promise<void> {
    const endMs = Date.now() + ms;
    await this.until(() => Date.now() >= endMs);
  }

  down(): void {
    this.upstream.close();
    this.#server?.close();
    for (const socket of this.sockets) socket.destroy();
  }
}

/** Takes what an exchange has, as a client would that takes everything at once. */
export class Answer {
  readonly #exchange: Exchange;
  readonly #pieces: Buffer[] = [];
  isWhole = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    exchange.onProgress = () => this.take();
    this.take();
  }

  take(): void {
    const state = this.#exchange.pump.run({
      send: (bytes, from) => {
        this.#pieces.push(Buffer.from(bytes.subarray(from)));
        return bytes.length - from;
      },
      sendFile: () => -2,
      flush: () => 0,
    });
    this.isWhole = state === 'done';
    if (!this.isWhole) this.#exchange.feed?.resume();
  }

  get isOver(): boolean {
    return this.isWhole || this.#exchange.failed;
  }

  /** How often it was given something. */
  get pieces(): number {
    return this.#pieces.length;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }
}
