/** What the links of an engine ask of it: who it is, what their memory is, and what follows when they come and go. */
import { randomBytes } from 'node:crypto';
import { formatAddress } from '../../base/address.ts';
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Counters } from '../../base/counters.ts';
import type { Log } from '../../base/log.ts';
import type { Catalogues } from '../../cluster/exchange-catalogues.ts';
import type { Memories } from '../../cluster/exchange-memories.ts';
import type { Views } from '../../cluster/exchange-views.ts';
import type { Loads } from '../../cluster/loads.ts';
import type { Guests } from '../../handoff/move/guests.ts';
import type { HomeRoutes } from '../../handoff/move/home-routes.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import type { Clock, Watch } from '../../kernel/loop/ports.ts';
import { type Frame, FrameType, type Hello, PROTOCOL_VERSION } from '../../protocol/backplane/frames.ts';
import type { Refusal } from '../../protocol/backplane/gate.ts';
import type { Link, LinkHost } from '../../protocol/backplane/link.ts';
import { adviceOn, isOfKeys } from '../../protocol/backplane/link-failures.ts';
import type { Peers } from '../../protocol/backplane/peers.ts';

const RECEIVE_BYTES = 256 * 1024;

/** What links come and go in. All of it is there before the first link is up. */
export interface LinksPorts {
  readonly peers: Peers;
  readonly loads: Loads;
  readonly views: Views;
  readonly catalogues: Catalogues;
  readonly memories: Memories;
  readonly guests: Guests;
  readonly homeRoutes: HomeRoutes;
  /** Where the router sends what is for a peer. */
  setPeer(owner: number, mac: Buffer): void;
  /** Others can answer now. */
  membersChanged(): void;
  /** A frame that opens a conversation, or is of none. */
  take(link: Link, frame: Frame): void;
}

export interface LinksOptions {
  readonly config: ClusterConfig;
  readonly self: number;
  /** Index of the engine. */
  readonly index: number;
  readonly mac: Buffer;
  readonly clusterKey: Buffer;
  readonly clock: Clock;
  readonly watch: Watch;
  readonly counters: Counters;
  readonly log: Log;
}

export class Links implements LinkHost {
  readonly #options: LinksOptions;
  /** Peers need a host to begin with, and are themselves among what it needs. */
  readonly #ports: () => LinksPorts;
  readonly #bootId = randomBytes(8);
  readonly #memory = allocate(RECEIVE_BYTES);
  readonly clusterKey: Buffer;

  constructor(options: LinksOptions, ports: () => LinksPorts) {
    this.#options = options;
    this.#ports = ports;
    this.clusterKey = options.clusterKey;
  }

  get nowMs(): number {
    return this.#options.clock.nowMs;
  }

  get linkReceiveBuffer(): Buffer {
    return this.#memory.bytes;
  }

  get linkReceiveAddress(): number {
    return this.#memory.address;
  }

  hello(): Hello {
    const { index, self, config, mac, clock } = this.#options;
    const { name, engines } = config.nodes[self];
    return {
      type: FrameType.HELLO,
      protocol: PROTOCOL_VERSION,
      node: name,
      engine: index,
      engines,
      mac,
      clockMs: clock.exactMs() >>> 0,
      bootId: this.#bootId,
    };
  }

  linkUp(link: Link, hello: Hello): string | null {
    const ports = this.#ports();
    const objection = ports.peers.greeted(link, hello);
    if (objection !== null) return objection;
    ports.setPeer(link.node + 1, hello.mac);
    link.send(ports.views.frame);
    ports.catalogues.linkUp(link);
    ports.memories.linkUp(link);
    this.#options.log('info', 'link up', { peer: hello.node, peerEngine: hello.engine });
    link.send(ports.loads.frameFor(link.node));
    ports.membersChanged();
    ports.guests.linkUp(link);
    return null;
  }

  linkClosed(link: Link, reason: string, expected: boolean): void {
    const { peers, homeRoutes, loads, catalogues, memories, views, membersChanged } = this.#ports();
    const { config, counters, log } = this.#options;
    // A server that takes nothing more is about to end; its kernel may do that with a reset.
    const isLeaving =
      link.peer !== null && config.nodes[link.node].role === 'server' && !loads.of(link.node).accepting;
    peers.closed(link);
    const isGone = link.node < 0 || !peers.isThere(link.node);
    if (link.node >= 0 && isGone) {
      homeRoutes.nodeDown(link.node);
      views.forget(link.node);
    }
    loads.linkClosed(link);
    catalogues.linkDown(link, isGone);
    memories.linkDown(link);
    if (link.peer !== null) {
      const isFault = !expected && !isLeaving;
      log(isFault ? 'warn' : 'info', 'link down', { peer: link.peer.node, reason });
      if (isFault) counters.add('links_failed');
    } else if (!expected) this.#notUp(peers, link, reason);
    membersChanged();
  }

  /** A link has ended before it was up. */
  #notUp(peers: Peers, { role, stage, address, wantedNode }: Link, reason: string): void {
    const { counters, config, clock } = this.#options;
    const seen = { role, stage, reason };
    if (role === 'accept') counters.add('links_refused');
    if (isOfKeys(seen)) counters.add('links_wrong_key');
    const node = role === 'dial' ? config.nodes[wantedNode].name : (peers.gate.nodeAt(address) ?? '?');
    const from = formatAddress(address);
    if (!peers.failures.note(node, from, seen, clock.nowMs)) return;
    // A node that cannot be reached is not there yet, or no longer.
    const isAway = reason.startsWith('connect: ') || reason.endsWith(': ECONNREFUSED');
    const level = isAway ? 'info' : 'warn';
    const advice = adviceOn(seen);
    this.#options.log(level, 'no link to a node', { peer: node, address: from, reason, advice });
  }

  connectionRefused(address: Buffer, refusal: Refusal): void {
    const { counters, log } = this.#options;
    const from = { address: formatAddress(address) };
    if (refusal === 'stranger') {
      counters.add('strangers_refused');
      log('warn', 'backplane connection from an address that is no other node’s', from);
    } else {
      counters.add('links_refused');
      const peer = this.#ports().peers.gate.nodeAt(address);
      log('warn', 'too many backplane connections from a node', { ...from, peer });
    }
  }

  open(link: Link, frame: Frame): void {
    this.#ports().take(link, frame);
  }

  count(name: Parameters<LinkHost['count']>[0], by: number): void {
    this.#options.counters.add(name, by);
  }

  watch(fd: number, events: number, source: Source): void {
    this.#options.watch.add(fd, events, source);
  }

  forget(fd: number): void {
    this.#options.watch.forget(fd);
  }
}
