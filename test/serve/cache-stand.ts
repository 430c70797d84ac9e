/** A cache before an upstream of the test's own. Time passes when the test says so, for both of its clocks. */
import type { Socket } from 'node:net';
import { parseAddress } from '../../src/base/address.ts';
import type { CacheConfig } from '../../src/base/config/config.ts';
import { Counters } from '../../src/base/counters.ts';
import { formatDate } from '../../src/protocol/http/date.ts';
import type { RequestFraming } from '../../src/protocol/http/forward.ts';
import type { Exchange } from '../../src/serve/exchange.ts';
import { ForwardedHeads } from '../../src/serve/forwarded-heads.ts';
import { ResponseCache } from '../../src/serve/response-cache.ts';
import { parsed } from '../protocol/http/support.ts';
import { Answer, UpstreamStand } from './stand.ts';

/** The time of day at the beginning. */
export const BEGIN_MS = Date.UTC(2026, 0, 1);
const CLIENT_ADDRESS = parseAddress('10.0.0.1');

/** A request as the origin gets it. */
export interface Got {
  readonly method: string;
  readonly target: string;
  /** By their names in lower case. */
  readonly fields: ReadonlyMap<string, string>;
  /** Writes to the connection, as it is. */
  send(text: string): void;
  readonly socket: Socket;
}

export type Origin = (got: Got) => string | null;

export interface Wanted {
  readonly method?: string;
  readonly fields?: string;
  readonly host?: string;
  readonly minor?: 0 | 1;
  readonly isSecure?: boolean;
}

export class CacheStand {
  readonly stand: UpstreamStand;
  readonly cache: ResponseCache;
  readonly counters = new Counters();
  /** What the origin got. */
  readonly got: Got[];

  /** `origin`: the response to a request, or null when it writes for itself. */
  static async up(origin: Origin, config: Partial<CacheConfig> = {}): Promise<CacheStand> {
    const got: Got[] = [];
    const stand = await UpstreamStand.up((socket) => {
      socket.on('data', (bytes) => {
        const [line, ...fields] = bytes.toString('latin1').split('\r\n\r\n')[0].split('\r\n');
        const [method, target] = line.split(' ');
        const pairs = fields.map(
          (field) => [field.split(': ')[0].toLowerCase(), field.split(': ')[1]] as const,
        );
        const one = {
          method,
          target,
          fields: new Map(pairs),
          socket,
          send: (text: string) => socket.write(text, 'latin1'),
        };
        got.push(one);
        const text = origin(one);
        if (text !== null) socket.write(text, 'latin1');
      });
    });
    return new CacheStand(stand, got, config);
  }

  private constructor(stand: UpstreamStand, got: Got[], config: Partial<CacheConfig>) {
    this.stand = stand;
    this.got = got;
    const self = this;
    this.cache = new ResponseCache(
      { bytes: 1024 * 1024, objectBytes: 64 * 1024, status: false, ...config },
      {
        clock: {
          get nowMs() {
            return stand.nowMs;
          },
          get wallMs() {
            return self.wallMs;
          },
        },
        count: this.counters,
        later: stand.loop,
        upstream: stand.upstream,
      },
    );
  }

  get wallMs(): number {
    return BEGIN_MS + this.stand.nowMs;
  }

  /** The time of day, as Date says it. */
  get date(): string {
    return formatDate(this.wallMs);
  }

  request(
    target: string,
    { method = 'GET', fields = '', host = 'a', minor = 1, isSecure = false }: Wanted = {},
  ): Exchange {
    const head = parsed(`${method} ${target} HTTP/1.${minor}\r\nHost: ${host}\r\n${fields}\r\n`);
    const answer = { close: false, extraFields: '', nowMs: this.wallMs };
    const forward = (framing: RequestFraming, conditions?: string) =>
      this.#heads.of(head, framing, { clientAddress: CLIENT_ADDRESS, isSecure }, conditions);
    return (
      this.cache.find(head, isSecure, answer) ??
      this.cache.request({ head, isSecure, forward, body: Buffer.alloc(0), bodyFollows: false, answer })
    );
  }

  readonly #heads = new ForwardedHeads({
    trusts: () => false,
    xForwarded: true,
    forwarded: true,
    xRealIp: false,
  });

  async ask(target: string, wanted: Wanted = {}): Promise<Reply> {
    const exchange = this.request(target, wanted);
    const answer = new Answer(exchange);
    await this.stand.until(() => answer.isOver);
    return new Reply(answer.bytes.toString('latin1'), exchange);
  }

  /** Seconds pass, on both clocks. */
  async pass(seconds: number): Promise<void> {
    this.stand.nowMs += seconds * 1000;
    this.cache.tick();
    await this.stand.turn();
  }

  count(name: 'hits' | 'stale' | 'revalidated' | 'collapsed' | 'misses' | 'passes'): number {
    return this.counters.get(`cache_${name}`);
  }

  down(): void {
    this.stand.down();
  }
}

/** An answer, taken apart. */
export class Reply {
  readonly text: string;
  readonly status: number;
  readonly body: string;
  readonly cache: Exchange['cache'];

  constructor(text: string, { cache }: Exchange) {
    this.text = text;
    this.status = Number(text.split(' ')[1]);
    this.body = text.substring(text.indexOf('\r\n\r\n') + 4);
    this.cache = cache;
  }

  field(name: string): string | undefined {
    return new RegExp(`^${name}: (.*)\r$`, 'im').exec(this.text)?.[1];
  }
}

/** A response with a body of known length. */
export function ok(fields: string, body: string, status = '200 OK'): string {
  return `HTTP/1.1 ${status}\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}
