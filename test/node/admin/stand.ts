/** What the tests of the admin API stand on: engine threads, requests, records. */
import { type IncomingHttpHeaders, request } from 'node:http';
import { MessageChannel, Worker } from 'node:worker_threads';
import type { HostPort } from '../../../src/base/config/config.ts';
import { MECHANISM_ROWS } from '../../../src/base/config/config.ts';
import type { AccessBatch } from '../../../src/client/access-batch.ts';
import { type AccessRecord, accessLine } from '../../../src/client/access-line.ts';
import { EngineClient } from '../../../src/node/admin/engines.ts';
import type { FromEngine, LinkStatus } from '../../../src/node/engine/messages.ts';
import type { Command, ThreadData } from './engine-thread.ts';

export class EngineThread {
  readonly client: EngineClient;
  readonly #worker: Worker;
  readonly #wake: () => void;

  constructor(engine: number, options: { readonly links?: LinkStatus[]; readonly flows?: number } = {}) {
    const { port1, port2 } = new MessageChannel();
    const wake = new SharedArrayBuffer(4);
    const rounds = new Int32Array(wake);
    this.#wake = () => {
      Atomics.add(rounds, 0, 1);
      Atomics.notify(rounds, 0);
    };
    const workerData: ThreadData = {
      engine,
      port: port2,
      wake,
      links: options.links ?? [],
      flows: options.flows ?? 0,
    };
    this.#worker = new Worker(new URL('./engine-thread.js', import.meta.url), {
      workerData,
      transferList: [port2],
    });
    this.client = new EngineClient({ engine, port: port1, wake: this.#wake });
  }

  say(message: FromEngine): void {
    this.#command({ do: 'say', message });
  }

  deaf(deaf: boolean): void {
    this.#command({ do: 'deaf', deaf });
  }

  exit(): void {
    this.#command({ do: 'exit' });
  }

  /** Says listening and ready, and waits until the client knows. */
  async becomeReady(): Promise<void> {
    this.say({ type: 'listening' });
    this.say({ type: 'ready', ready: true });
    await this.until(() => this.client.ready && this.client.state === 'listening');
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.client.once('state', resolve));
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
    this.client.close();
  }

  #command(command: Command): void {
    this.#worker.postMessage(command);
    this.#wake();
  }
}

export interface Got {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export function get(
  { host, port }: HostPort,
  path: string,
  method = 'GET',
  more: { readonly headers?: Record<string, string>; readonly socketPath?: string | undefined } = {},
): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request({ host, port, path, method, agent: false, ...more }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text) => {
        body += text;
      });
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, body }));
      response.on('error', reject);
    });
    sent.on('error', reject);
    sent.end();
  });
}

export function record(fields: Partial<AccessRecord> = {}): AccessRecord {
  return {
    timeMs: Date.UTC(2024, 0, 2, 3, 4, 5, 678),
    client: '10.77.0.1:40000',
    method: 'GET',
    target: '/index.html',
    host: 'a',
    status: 200,
    bytes: 1234,
    bodyBytes: 1000,
    anchor: 'a',
    node: 'b',
    mechanism: 'anchor',
    firstByteUs: 300,
    handoffUs: 200,
    messages: -1,
    messageBytes: -1,
    durationUs: 400,
    complete: true,
    continued: false,
    ...fields,
  };
}

/** As an engine hands them over. */
export function batchOf(records: readonly AccessRecord[]): AccessBatch {
  const timings = records.flatMap(({ mechanism, handoffUs, firstByteUs }) => [
    MECHANISM_ROWS.indexOf(mechanism),
    handoffUs,
    firstByteUs,
  ]);
  return {
    bytes: new Uint8Array(Buffer.from(records.map((one) => accessLine(one)).join(''))),
    lines: records.length,
    dropped: 0,
    timings: Int32Array.from(timings),
    taken: new SharedArrayBuffer(4),
  };
}
