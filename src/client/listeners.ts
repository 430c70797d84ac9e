/** The sockets on which an engine accepts clients; every engine of a server has its own (SO_REUSEPORT). */

import { type Endpoint, parseAddress } from '../base/address.ts';
import type { ClusterConfig } from '../base/config/config.ts';
import { LISTEN_BACKLOG } from '../cluster/load.ts';
import { EPOLLIN } from '../kernel/linux/epoll.ts';
import * as libc from '../kernel/linux/libc.ts';
import {
  acceptedPeer,
  acceptFrom,
  IPPROTO_TCP,
  listenOn,
  setOption,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from '../kernel/linux/socket.ts';
import type { Loop } from '../kernel/loop/loop.ts';

/** One listener gives way to other events after this many connections. */
const ACCEPTS_PER_TURN = 64;

export class Listeners {
  readonly #loop: Loop;
  readonly #stallMs: number;
  readonly #accepted: (fd: number, client: Endpoint, isSecure: boolean) => void;
  readonly #fds: number[] = [];

  /** `stallMs`: how long a client may acknowledge nothing. `accepted`: gets every new connection's socket. */
  constructor(
    loop: Loop,
    stallMs: number,
    accepted: (fd: number, client: Endpoint, isSecure: boolean) => void,
  ) {
    this.#loop = loop;
    this.#stallMs = stallMs;
    this.#accepted = accepted;
  }

  get fds(): readonly number[] {
    return this.#fds;
  }

  /** Listens at all public addresses of the cluster. */
  listen({ nodes, listen: { port, tlsPort } }: Pick<ClusterConfig, 'nodes' | 'listen'>): void {
    for (const text of nodes.flatMap((node) => node.public)) {
      const address = parseAddress(text);
      this.#listenAt({ address, port }, false);
      if (tlsPort !== null) this.#listenAt({ address, port: tlsPort }, true);
    }
  }

  #listenAt(endpoint: Endpoint, isSecure: boolean): void {
    const fd = listenOn(endpoint, LISTEN_BACKLOG);
    // Accepted sockets inherit both. TCP_USER_TIMEOUT ends a client that takes nothing of what the kernel holds for it.
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    setOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, this.#stallMs);
    this.#fds.push(fd);
    this.#loop.add(fd, EPOLLIN, { ready: () => this.#accept(fd, isSecure) });
  }

  #accept(listener: number, isSecure: boolean): void {
    for (let i = 0; i < ACCEPTS_PER_TURN; i++) {
      const fd = acceptFrom(listener);
      if (fd < 0) return;
      this.#accepted(fd, acceptedPeer(), isSecure);
    }
  }

  close(): void {
    for (const fd of this.#fds.splice(0)) {
      this.#loop.forget(fd);
      libc.close(fd);
    }
  }
}
