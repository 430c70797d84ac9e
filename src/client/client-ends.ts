/** Who the client of a connection is. The kernel is asked only where it matters, and once. */
import { type Endpoint, formatEndpoint } from '../base/address.ts';
import { tupleKey } from '../handoff/flow/four-tuple.ts';
import type { ClientSockets } from './sockets.ts';

export class ClientEnds {
  readonly #fd: number;
  readonly #client: Endpoint;
  readonly #sockets: Pick<ClientSockets, 'ends'>;
  #key: string | null = null;
  #text: string | null = null;

  /** `client`: as it was accepted. */
  constructor(fd: number, client: Endpoint, sockets: Pick<ClientSockets, 'ends'>) {
    this.#fd = fd;
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

  get address(): Buffer {
    return this.#client.address;
  }

  /** Address and port, for logs. */
  get text(): string {
    this.#text ??= formatEndpoint(this.#client);
    return this.#text;
  }
}
