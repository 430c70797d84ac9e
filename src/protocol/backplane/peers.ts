/**
 * The links of one engine: to every engine of every other node. Of two nodes the one that comes first in the
 * configuration dials; a lost link is dialled again, at growing intervals.
 */

import { isMapped, parseAddress } from '../../base/address.ts';
import type { ClusterConfig } from '../../base/config/config.ts';
import { EPOLLIN } from '../../kernel/linux/epoll.ts';
import { SystemError, unlessSocketDied } from '../../kernel/linux/errors.ts';
import * as libc from '../../kernel/linux/libc.ts';
import {
  abortClose,
  acceptFrom,
  bindTo,
  connectTo,
  IP_BIND_ADDRESS_NO_PORT,
  IPPROTO_IP,
  listenOn,
  remoteEndpoint,
  setOption,
  tcpSocket,
} from '../../kernel/linux/socket.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import type { Hello } from './frames.ts';
import { Gate } from './gate.ts';
import { Link, type LinkHost } from './link.ts';
import { LinkFailures } from './link-failures.ts';

const REDIAL_MIN_MS = 100;
const REDIAL_MAX_MS = 2000;
/** A connection that has not said HELLO by then is closed. */
const GREETING_MS = 2000;
const BACKLOG = 64;
/** The listener gives way to other events after this many connections. */
const ACCEPTS_PER_TURN = 16;

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
  readonly gate: Gate;
  readonly failures = new LinkFailures();
  readonly #dials: Dial[] = [];
  /** All links, those in their handshake included. */
  readonly #links = new Set<Link>();
  /** Links that are up, by node. */
  readonly #byNode: Link[][];

  constructor(config: ClusterConfig, self: number, engine: number, host: LinkHost) {
    this.#config = config;
    this.#self = self;
    this.#host = host;
    this.#byNode = config.nodes.map(() => []);
    this.gate = new Gate(config, self);
    const { address, backplane } = config.nodes[self];
    this.#listener = listenOn({ address: parseAddress(address), port: backplane + engine }, BACKLOG);
    host.watch(this.#listener, EPOLLIN, this);
    for (let node = self + 1; node < config.nodes.length; node++) {
      for (let i = 0; i < config.nodes[node].engines; i++) {
        this.#dials.push({ node, engine: i, link: null, nextMs: 0, intervalMs: REDIAL_MIN_MS });
      }
    }
  }

  /** Connections: from nodes that come before this one, and from whoever else reaches the port. */
  ready(): void {
    for (let i = 0; i < ACCEPTS_PER_TURN; i++) {
      const fd = acceptFrom(this.#listener);
      if (fd < 0) return;
      this.#accept(fd);
    }
  }

  #accept(fd: number): void {
    let address: Buffer;
    try {
      ({ address } = remoteEndpoint(fd));
    } catch (error) {
      // Gone already.
      libc.close(fd);
      return unlessSocketDied(error, undefined);
    }
    const refusal = this.gate.refuses(address, this.#host.nowMs);
    if (refusal !== null) {
      // Closed with a reset, so that no socket in TIME_WAIT stays here.
      abortClose(fd);
      return this.#host.connectionRefused(address, refusal);
    }
    const waiting = [...this.#links].filter(
      ({ role, peer, address: its }) => role === 'accept' && peer === null && its.equals(address),
    );
    // A node that dials again has given the one before up.
    if (waiting.length >= this.gate.maxWaiting(address)) waiting[0].close('replaced by a newer one', false);
    this.#links.add(new Link(this.#host, fd, 'accept', address, -1, -1));
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

  /** Why the peer that says HELLO is not expected on this link; null: it is. */
  #objectionTo(link: Link, { node: name, engine, engines }: Hello): string | null {
    const node = this.#config.nodes.findIndex((n) => n.name === name);
    if (node < 0) return `node ${name} is not in this node's configuration`;
    if (node === this.#self) return 'it says that it is this very node';
    if (link.role === 'dial' && (node !== link.wantedNode || engine !== link.wantedEngine))
      return `it says that it is node ${name}, engine ${engine}`;
    if (link.role === 'accept' && node > this.#self)
      return `node ${name} dials this node, which dials it: their configurations have them in another order`;
    if (engines !== this.#config.nodes[node].engines)
      return `node ${name} has ${engines} engines, and ${this.#config.nodes[node].engines} in this node's configuration`;
    return null;
  }

  /** HELLO has come. Not null: why that peer is not expected on this link. */
  greeted(link: Link, hello: Hello): string | null {
    const objection = this.#objectionTo(link, hello);
    if (objection !== null) return objection;
    const node = this.#config.nodes.findIndex((n) => n.name === hello.node);
    this.failures.forget(hello.node);
    // A peer that restarted dials before its old link is noticed to be dead.
    for (const old of [...this.#byNode[node]])
      if (old.peer?.engine === hello.engine) old.close('replaced', true);
    link.node = node;
    link.peer = hello;
    this.#byNode[node].push(link);
    const dial = this.#dials.find((d) => d.link === link);
    if (dial !== undefined) dial.intervalMs = REDIAL_MIN_MS;
    return null;
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
      this.#bind(fd, endpoint.address);
      connectTo(fd, endpoint);
    } catch (error) {
      if (!(error instanceof SystemError)) throw error;
      libc.close(fd);
      dial.intervalMs = Math.min(dial.intervalMs * 2, REDIAL_MAX_MS);
      return;
    }
    dial.link = new Link(this.#host, fd, 'dial', endpoint.address, dial.node, dial.engine);
    this.#links.add(dial.link);
  }

  /** Binds to the address by which the other node knows this one; this machine may have more. */
  #bind(fd: number, peer: Buffer): void {
    const { address, address6 } = this.#config.nodes[this.#self];
    for (const one of address6 === null ? [address] : [address, address6]) {
      const own = parseAddress(one);
      if (isMapped(own) !== isMapped(peer)) continue;
      setOption(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
      return bindTo(fd, { address: own, port: 0 });
    }
  }

  /** Stops listening and ends all links on purpose. */
  close(): void {
    this.#host.forget(this.#listener);
    libc.close(this.#listener);
    this.#dials.length = 0;
    for (const link of [...this.#links]) link.end();
  }
}
