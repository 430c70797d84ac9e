/** What the links of an engine ask of it: who it is, and who gets the frames that open something. */
import { randomBytes } from 'node:crypto';
import { formatAddress } from '../../base/address.ts';
import { IncomingMove } from '../../handoff/move/incoming-move.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { monotonicMs } from '../../kernel/linux/monotonic.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import type { RouterEngine } from '../../kernel/router/router-engine.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  type Hello,
  isCarried,
  PROTOCOL_VERSION,
} from '../../protocol/backplane/frames.ts';
import type { Refusal } from '../../protocol/backplane/gate.ts';
import type { Link, LinkHost } from '../../protocol/backplane/link.ts';
import { adviceOn, isOfKeys } from '../../protocol/backplane/link-failures.ts';
import type { Engine } from './engine.ts';

const RECEIVE_BYTES = 256 * 1024;

export class Switchboard implements LinkHost {
  readonly #engine: Engine;
  readonly #router: RouterEngine;
  readonly #mac: Buffer;
  readonly #bootId = randomBytes(8);
  readonly #memory = allocate(RECEIVE_BYTES);
  readonly clusterKey: Buffer;

  constructor(engine: Engine, router: RouterEngine, mac: Buffer, clusterKey: Buffer) {
    this.#engine = engine;
    this.#router = router;
    this.#mac = mac;
    this.clusterKey = clusterKey;
  }

  get nowMs(): number {
    return this.#engine.loop.nowMs;
  }

  get linkReceiveBuffer(): Buffer {
    return this.#memory.bytes;
  }

  get linkReceiveAddress(): number {
    return this.#memory.address;
  }

  hello(): Hello {
    const { index, self, config } = this.#engine;
    const { name, engines } = config.nodes[self];
    return {
      type: FrameType.HELLO,
      protocol: PROTOCOL_VERSION,
      node: name,
      engine: index,
      engines,
      mac: this.#mac,
      clockMs: monotonicMs() >>> 0,
      bootId: this.#bootId,
    };
  }

  linkUp(link: Link, hello: Hello): string | null {
    const engine = this.#engine;
    const objection = engine.peers.greeted(link, hello);
    if (objection !== null) return objection;
    this.#router.setPeer(link.node + 1, hello.mac);
    link.send(engine.views.frame);
    engine.sites.catalogues.linkUp(link);
    engine.sites.memories.linkUp(link);
    engine.log('info', 'link up', { peer: hello.node, peerEngine: hello.engine });
    link.send(engine.loads.frame);
    engine.linksChanged();
    engine.guests.linkUp(link);
    return null;
  }

  linkClosed(link: Link, reason: string, expected: boolean): void {
    const { peers, homeRoutes, loads, sites, views, counters, config } = this.#engine;
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
    sites.catalogues.linkDown(link, isGone);
    sites.memories.linkDown(link);
    if (link.peer !== null) {
      const isFault = !expected && !isLeaving;
      this.#engine.log(isFault ? 'warn' : 'info', 'link down', { peer: link.peer.node, reason });
      if (isFault) counters.add('links_failed');
    } else if (!expected) this.#notUp(link, reason);
    this.#engine.linksChanged();
  }

  /** A link has ended before it was up. */
  #notUp({ role, stage, address, wantedNode }: Link, reason: string): void {
    const { peers, counters, config, nowMs } = this.#engine;
    const seen = { role, stage, reason };
    if (role === 'accept') counters.add('links_refused');
    if (isOfKeys(seen)) counters.add('links_wrong_key');
    const node = role === 'dial' ? config.nodes[wantedNode].name : (peers.gate.nodeAt(address) ?? '?');
    const from = formatAddress(address);
    if (!peers.failures.note(node, from, seen, nowMs)) return;
    // One that is not there is not there yet, or no more.
    const isAway = reason.startsWith('connect: ') || reason.endsWith(': ECONNREFUSED');
    const level = isAway ? 'info' : 'warn';
    const advice = adviceOn(seen);
    this.#engine.log(level, 'no link to a node', { peer: node, address: from, reason, advice });
  }

  connectionRefused(address: Buffer, refusal: Refusal): void {
    const { counters, peers } = this.#engine;
    const from = { address: formatAddress(address) };
    if (refusal === 'stranger') {
      counters.add('strangers_refused');
      this.#engine.log('warn', 'backplane connection from an address that is no other node’s', from);
    } else {
      counters.add('links_refused');
      const peer = peers.gate.nodeAt(address);
      this.#engine.log('warn', 'too many backplane connections from a node', { ...from, peer });
    }
  }

  open(link: Link, frame: Frame): void {
    const engine = this.#engine;
    switch (frame.type) {
      case FrameType.SETUP: {
        const isNew = link.conversationOf(frame.request) === null;
        const relays = isCarried(frame.mechanism);
        if (isNew && relays) return engine.relayed.setup(link, frame);
        const known = engine.halfPipes.of(link, frame.request);
        if (!relays && (isNew || known !== null)) return engine.halfPipes.setup(link, known, frame);
        return link.protocolError('SETUP in a conversation of another kind');
      }
      case FrameType.RESET:
        // We have let go of it already; the anchor waits for the word.
        if (!frame.onlyEpoch) link.send({ type: FrameType.RESET_OK, request: frame.request });
        return;
      case FrameType.SETUP_OK: {
        // A target asks whether it may begin, or go on; its conversation is over, so whoever was to send has sent.
        const { request, epoch } = frame;
        const reason = AbortReason.SUPERSEDED;
        if (frame.confirmWanted) link.send({ type: FrameType.ABORT, request, epoch, reason });
        return;
      }
      case FrameType.MIGRATE:
        if (link.conversationOf(frame.request) !== null)
          return link.protocolError('MIGRATE in a conversation');
        return IncomingMove.open(engine, link, frame);
      case FrameType.ROUTE:
        return engine.homeRoutes.route(link, frame);
      case FrameType.CLEANUP:
        return engine.homeRoutes.cleanup(link, frame);
      case FrameType.CLEANUP_OK:
        return engine.guests.cleanedUp(link.node, frame);
      case FrameType.CATALOGUE:
        return engine.sites.catalogues.take(link.node, frame);
      case FrameType.CACHED:
        return engine.sites.memories.take(link, frame);
      case FrameType.VIEW:
        if (engine.views.heard(link.node, frame)) engine.linksChanged();
        return;
      case FrameType.LOAD:
        if (engine.loads.heard(link, frame)) engine.linksChanged();
        return;
      default:
        return;
    }
  }

  count(name: Parameters<LinkHost['count']>[0], by: number): void {
    this.#engine.counters.add(name, by);
  }

  watch(fd: number, events: number, source: Source): void {
    this.#engine.loop.add(fd, events, source);
  }

  forget(fd: number): void {
    this.#engine.loop.forget(fd);
  }
}
