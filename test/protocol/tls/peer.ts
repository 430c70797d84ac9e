/** A TLS client that nobody here wrote, node:tls, over memory. */
import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';

/** Bytes both ways, without a socket. */
export class Wire extends Duplex {
  readonly #early: Buffer[] = [];
  #onBytes: ((bytes: Buffer) => void) | null = null;

  /** What the client sends; it has sent its hello by now. */
  set onBytes(take: (bytes: Buffer) => void) {
    this.#onBytes = take;
    for (const bytes of this.#early.splice(0)) take(bytes);
  }

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    if (this.#onBytes === null) this.#early.push(bytes);
    else this.#onBytes(bytes);
    done();
  }
}

export class Peer {
  readonly wire: Wire;
  readonly socket: TLSSocket;
  readonly secrets = new Map<string, Buffer>();
  sessions: Buffer[] = [];
  error: NodeJS.ErrnoException | null = null;
  received = Buffer.alloc(0);
  hasEnded = false;

  constructor(options: ConnectionOptions = {}) {
    this.wire = new Wire();
    this.socket = connect({ socket: this.wire, rejectUnauthorized: false, servername: 'a.test', ...options });
    this.socket.on('keylog', (line: Buffer) => {
      const [label, , secret] = line.toString().trim().split(' ');
      this.secrets.set(label, Buffer.from(secret, 'hex'));
    });
    this.socket.on('session', (session: Buffer) => this.sessions.push(session));
    this.socket.on('error', (error) => {
      this.error = error;
    });
    this.socket.on('data', (bytes: Buffer) => {
      this.received = Buffer.concat([this.received, bytes]);
    });
    this.socket.on('end', () => {
      this.hasEnded = true;
    });
  }

  /** What the server sends. */
  hear(bytes: Buffer): void {
    if (bytes.length > 0 && !this.wire.readableEnded) this.wire.push(bytes);
  }

  /** Resolves when `condition` holds, or the client has failed. */
  async until(condition: () => boolean): Promise<void> {
    for (let turns = 0; !condition() && this.error === null; turns++) {
      if (turns > 100_000) throw new Error('the client waits for ever');
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async close(): Promise<void> {
    const closed = once(this.socket, 'close');
    this.socket.destroy();
    await closed;
  }
}
