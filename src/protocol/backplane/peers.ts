/**
 * The links of one engine: to every engine of every other node. Of two nodes the one that comes first in the
 * configuration dials; a lost link is dialled again, at growing intervals.
 */

import { parseAddress } from '../../base/address.ts';
import type { ClusterConfig } from '../../base/config/config.ts';
import { EPOLLIN } from '../../kernel/linux/epoll.ts';
import { SystemError } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import { acceptFrom, connectTo, listenOn, tcpSocket } from '../../kernel/linux/socket.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import type { Hello } from './frames.ts';
import { Link, type LinkHost } from './link.ts';

const REDIAL_MIN_MS = 100;
const REDIAL_MAX_MS = 2000;
/** A connection that has not said HELLO by then is closed. */
const GREETING_MS = 3000;
const BACKLOG = 64;
/** Strangers may hold this many connections in greeting. */
const MAX_GREETING_LINKS = 256;

/** A link that this engine dials. */
interface Dial {
  readonly node: number;
  readonly engine: number;
  link: Link | null;
  nextMs: number;
  intervalMs: number;
}

export class Peers implements Source {
  readonly #config: ClusterConfig;
  readonly #self: number;
  readonly #host: LinkHost;
  readonly #listener: number;
  readonly #dials: Dial[] = [];
  /** All links, greeting ones too. */
  readonly #links = new Set<Link>();
  /** Links that are up, by node. */
  readonly #byNode: Link[][];

  constructor(config: ClusterConfig, self: number, engine: number, host: LinkHost) {
    this.#config = config;
    this.#self = self;
    this.#host = host;
    this.#byNode = config.nodes.map(() => []);
    const { address, backplane } = config.nodes[self];
    this.#listener = listenOn({ address: parseAddress(address), port: backplane + engine }, BACKLOG);
    host.watch(this.#listener, EPOLLIN, this);
    for (let node = self + 1; node < config.nodes.length; node++) {
      for (let i = 0; i < config.nodes[node].engines; i++) {
        this.#dials.push({ node, engine: i, link: null, nextMs: 0, intervalMs: REDIAL_MIN_MS });
      }
    }
  }

  /** A connection from a node that comes before this one. */
  ready(): void {
    for (;;) {
      const fd = acceptFrom(this.#listener);
      if (fd < 0) return;
      if (this.#links.size - this.up > MAX_GREETING_LINKS) libc.close(fd);
      else this.#links.add(new Link(this.#host, fd, 'accept', -1, -1));
    }
  }

  get all(): Iterable<Link> {
    return this.#links;
  }

  /** How many links are up. */
  get up(): number {
    return this.#byNode.reduce((sum, links) => sum + links.length, 0);
  }

  /** How many links there are when every node is there. */
  get expected(): number {
    return this.#config.nodes.reduce((sum, node, i) => sum + (i === this.#self ? 0 : node.engines), 0);
  }

  /** Whether some engine of a node can be reached: then the node is there. */
  isThere(node: number): boolean {
    return this.#byNode[node].length > 0;
  }

  /** Whether each engine of a node can be reached: which one gets a connection is not ours to choose. */
  isUp(node: number): boolean {
    return this.#byNode[node].length === this.#config.nodes[node].engines;
  }

  /** The link to one engine of a node; undefined when it is not up. */
  linkToEngine(node: number, engine: number): Link | undefined {
    return this.#byNode[node].find((link) => link.peer?.engine === engine);
  }

  /** HELLO has come. False: that peer is not expected on this link. */
  greeted(link: Link, hello: Hello): boolean {
    const node = this.#config.nodes.findIndex((n) => n.name === hello.node);
    if (node < 0 || node === this.#self) return false;
    if (link.role === 'dial' && (node !== link.wantedNode || hello.engine !== link.wantedEngine))
      return false;
    if (link.role === 'accept' && node > this.#self) return false;
    // A peer that restarted dials before its old link is noticed to be dead.
    for (const old of [...this.#byNode[node]])
      if (old.peer?.engine === hello.engine) old.close('replaced', true);
    link.node = node;
    link.peer = hello;
    this.#byNode[node].push(link);
    const dial = this.#dials.find((d) => d.link === link);
    if (dial !== undefined) dial.intervalMs = REDIAL_MIN_MS;
    return true;
  }

  closed(link: Link): void {
    this.#links.delete(link);
    if (link.node >= 0) this.#byNode[link.node] = this.#byNode[link.node].filter((l) => l !== link);
    const dial = this.#dials.find((d) => d.link === link);
    if (dial === undefined) return;
    dial.link = null;
    dial.nextMs = this.#host.nowMs + dial.intervalMs;
    dial.intervalMs = Math.min(dial.intervalMs * 2, REDIAL_MAX_MS);
  }

  flush(): void {
    for (const link of this.#links) link.flush();
  }

  tick(peerMs: number): void {
    const now = this.#host.nowMs;
    for (const link of this.#links) link.tick(link.up ? peerMs : GREETING_MS);
    for (const dial of this.#dials) {
      if (dial.link !== null || now < dial.nextMs) continue;
      dial.nextMs = now + dial.intervalMs;
      this.#dial(dial);
    }
  }

  #dial(dial: Dial): void {
    const { address, backplane } = this.#config.nodes[dial.node];
    const endpoint = { address: parseAddress(address), port: backplane + dial.engine };
    const fd = tcpSocket(endpoint.address);
    try {
      connectTo(fd, endpoint);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      libc.close(fd);
      dial.intervalMs = Math.min(dial.intervalMs * 2, REDIAL_MAX_MS);
      return;
    }
    dial.link = new Link(this.#host, fd, 'dial', dial.node, dial.engine);
    this.#links.add(dial.link);
  }

  /** Stops listening and ends all links on purpose. */
  close(): void {
    this.#host.forget(this.#listener);
    libc.close(this.#listener);
    this.#dials.length = 0;
    for (const link of [...this.#links]) link.end();
  }
}
