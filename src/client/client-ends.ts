/** Who the client of a connection is. The kernel is asked only where it matters, and once. */
import { type Endpoint, formatEndpoint } from '../base/address.ts';
import { tupleKey } from '../handoff/flow/four-tuple.ts';
import type { Client } from '../serve/request.ts';
import type { Channel, TlsFacts } from './channel.ts';
import type { ClientSockets } from './sockets.ts';

export class ClientEnds implements Client {
  readonly #fd: number;
  /** Null: in the clear. */
  readonly tls: TlsFacts | null;
  readonly #client: Endpoint;
  readonly #sockets: Pick<ClientSockets, 'ends'>;
  #key: string | null = null;
  #text: string | null = null;

  /** `client`: as it was accepted. */
  constructor({ fd, tls }: Channel, client: Endpoint, sockets: Pick<ClientSockets, 'ends'>) {
    this.#fd = fd;
    this.tls = tls;
    this.#client = client;
    this.#sockets = sockets;
  }

  /** What the connection is known by on every node; null when the client has just reset it. */
  get key(): string | null {
    if (this.#key === null) {
      const ends = this.#sockets.ends(this.#fd);
      if (ends !== null) this.#key = tupleKey(ends);
    }
    return this.#key;
  }

  get clientAddress(): Buffer {
    return this.#client.address;
  }

  get isSecure(): boolean {
    return this.tls !== null;
  }

  /** Address and port, for logs. */
  get text(): string {
    this.#text ??= formatEndpoint(this.#client);
    return this.#text;
  }
}
