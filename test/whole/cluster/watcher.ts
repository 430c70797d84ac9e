/**
 * Clients that wait for the end of their connections: `node watcher.js JOB` in the lab's client namespace. Says `ready`
 * when each is where its kind says, and, when all have ended or a line comes on stdin, what became of each, as JSON.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ramp } from '../../../src/tools/lab/ramp.ts';

/**
 * What a client does: reads a response; stops reading in the middle, and goes on later; has its response and sends
 * nothing more; waits for a first byte that does not come; has sent much more than is read of it; sends a body without
 * an end.
 */
export type Kind = 'reads' | 'pauses' | 'rests' | 'waits' | 'pipelines' | 'uploads';

export interface Watched {
  readonly address: string;
  readonly host: string;
  readonly kind: Kind;
  readonly size: number;
  /** A request for a small response of this host goes before. */
  readonly first?: string;
  /** Who has to answer that; else there is nothing to watch, and the client leaves. */
  readonly firstNode?: string;
}

export interface Outcome extends Watched {
  /** Milliseconds since the epoch; 0: it has not ended. */
  readonly endedAtMs: number;
  /** How: `FIN`, or the error. */
  readonly how: string;
  /** Who has answered, and who the first request; empty: nobody. */
  readonly node: string;
  readonly firstNode: string;
  /** Of the body; -1: no head yet. */
  readonly bytes: number;
  /** The first byte that is not the ramp's; -1: all are right. */
  readonly wrongAt: number;
}

/** Bytes of a body after which a client is in the middle of it. */
const MIDDLE = 32 * 1024;
const PAUSE_MS = 2000;
const FIRST_BYTES = 1024;
const PIPELINED_BYTES = 4 * 1024 * 1024;
const PIECE_MS = 20;
/** The request is at the node that has to answer it by then. */
const WAITED_MS = 300;

const bodies = new Map<number, Buffer>();

function bodyOf(size: number): Buffer {
  const body = bodies.get(size) ?? ramp(`/${size}.bin`, size);
  bodies.set(size, body);
  return body;
}

class Client {
  readonly #spec: Watched;
  readonly #expected: Buffer;
  readonly #ready: () => void;
  readonly #socket: Socket;
  #get = '';
  /** Bytes of the first response's body that have not come; -1: its head has not. */
  #firstLeft = -1;
  #node = '';
  #firstNode = '';
  #head = '';
  #bytes = -1;
  #wrongAt = -1;
  #endedAtMs = 0;
  #how = '';
  #isReady = false;

  constructor(spec: Watched, ready: () => void) {
    this.#spec = spec;
    this.#expected = bodyOf(spec.size);
    this.#ready = ready;
    this.#socket = this.#open();
  }

  get isOver(): boolean {
    return this.#endedAtMs > 0;
  }

  outcome(): Outcome {
    return {
      ...this.#spec,
      endedAtMs: this.#endedAtMs,
      how: this.#how,
      node: this.#node,
      firstNode: this.#firstNode,
      bytes: this.#bytes,
      wrongAt: this.#wrongAt,
    };
  }

  #open(): Socket {
    const { address, host, kind, first } = this.#spec;
    const { size } = this.#spec;
    const socket = connect({ host: address, port: 80, noDelay: true, autoSelectFamily: false });
    const end = (how: string) => {
      if (this.isOver) return;
      this.#endedAtMs = Date.now();
      this.#how = how;
      this.#beReady();
    };
    socket.on('data', (bytes) => this.#take(bytes));
    socket.on('end', () => end('FIN'));
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.on('close', () => end('closed'));
    if (kind === 'uploads') {
      this.#upload(socket);
      return socket;
    }
    const path = kind === 'waits' ? '/silent/0' : `/${size}.bin`;
    this.#get = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;
    if (first !== undefined) socket.write(`GET /${FIRST_BYTES}.bin HTTP/1.1\r\nHost: ${first}\r\n\r\n`);
    else socket.write(this.#get, () => kind === 'waits' && setTimeout(() => this.#beReady(), WAITED_MS));
    if (kind === 'pipelines') socket.write(this.#get.repeat(PIPELINED_BYTES / this.#get.length));
    return socket;
  }

  #upload(socket: Socket): void {
    const { host } = this.#spec;
    socket.write(`POST /post/0 HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 10000000\r\n\r\n`);
    const timer = setInterval(() => {
      if (this.isOver) return clearInterval(timer);
      socket.write(Buffer.alloc(1000));
      // What is written before it is connected counts, too; that may come to another node yet.
      if (!socket.connecting && socket.bytesWritten > 10_000) this.#beReady();
    }, PIECE_MS);
  }

  #beReady(): void {
    if (this.#isReady) return;
    this.#isReady = true;
    this.#ready();
  }

  #take(bytes: Buffer): void {
    const { kind, size } = this.#spec;
    if (this.#spec.first !== undefined && this.#firstLeft !== 0) return this.#takeFirst(bytes);
    const body = this.#bytes < 0 ? this.#takeHead(bytes) : bytes;
    if (body === null) return;
    const expected = this.#expected.subarray(this.#bytes, this.#bytes + body.length);
    // What follows the body is another response's, which nobody looks at.
    if (this.#wrongAt < 0 && !body.subarray(0, expected.length).equals(expected)) this.#wrongAt = this.#bytes;
    this.#bytes += body.length;
    if (this.#isReady || this.#bytes < (kind === 'rests' ? size : MIDDLE)) return;
    this.#beReady();
    if (kind !== 'pauses') return;
    this.#socket.pause();
    setTimeout(() => this.#socket.resume(), PAUSE_MS);
  }

  /** The small response: its head tells who has the connection, and the one that is watched is asked for behind it. */
  #takeFirst(bytes: Buffer): void {
    const body = this.#firstLeft < 0 ? this.#takeHead(bytes) : bytes;
    if (body === null) return;
    this.#firstLeft = (this.#firstLeft < 0 ? FIRST_BYTES : this.#firstLeft) - body.length;
    if (this.#firstLeft > 0) return;
    this.#firstNode = this.#node;
    if (this.#node !== (this.#spec.firstNode ?? this.#node)) return void this.#socket.destroy();
    this.#head = '';
    this.#bytes = -1;
    this.#socket.write(this.#get);
  }

  /** What follows the head; null when that is not whole. */
  #takeHead(bytes: Buffer): Buffer | null {
    this.#head += bytes.toString('latin1');
    const end = this.#head.indexOf('\r\n\r\n');
    if (end < 0) return null;
    this.#node = /^x-served-by: (\S+)/im.exec(this.#head.slice(0, end))?.[1] ?? '';
    this.#bytes = 0;
    return Buffer.from(this.#head.slice(end + 4), 'latin1');
  }
}

async function main(): Promise<void> {
  const specs = JSON.parse(process.argv[2]) as Watched[];
  let waiting = specs.length;
  const say = (line: string, then = () => {}) => process.stdout.write(`${line}\n`, then);
  const clients = specs.map((spec) => new Client(spec, () => --waiting === 0 && say('ready')));
  const told = once(createInterface({ input: process.stdin }), 'line').then(() => true);
  const passed = () => delay(PIECE_MS).then(() => false);
  while (!clients.every((client) => client.isOver) && !(await Promise.race([told, passed()])));
  say(JSON.stringify(clients.map((client) => client.outcome())), () => process.exit(0));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
