/** What the links of an engine ask of it: who it is, and who gets the frames that open something. */
import { randomBytes } from 'node:crypto';
import { Arrival } from '../../handoff/move/migrate-target.ts';
import { RelayTarget } from '../../handoff/target/relay-target.ts';
import { takeSetup } from '../../handoff/target/setup.ts';
import type { HalfPipe } from '../../handoff/target/target.ts';
import { allocate } from '../../kernel/linux/memory.ts';
import { monotonicMs } from '../../kernel/linux/monotonic.ts';
import type { Source } from '../../kernel/loop/loop.ts';
import type { RouterEngine } from '../../kernel/router/router-engine.ts';
import {
  AbortReason,
  type Frame,
  FrameType,
  type Hello,
  PROTOCOL_VERSION,
  SetupMechanism,
} from '../../protocol/backplane/frames.ts';
import type { Link, LinkHost } from '../../protocol/backplane/link.ts';
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

  linkUp(link: Link, hello: Hello): boolean {
    const engine = this.#engine;
    if (!engine.peers.greeted(link, hello)) return false;
    this.#router.setPeer(link.node + 1, hello.mac);
    engine.sites.catalogues.linkUp(link);
    engine.sites.memories.linkUp(link);
    engine.log('info', 'link up', { node: hello.node, peerEngine: hello.engine });
    link.send(engine.loads.frame);
    engine.linksChanged();
    engine.guests.linkUp(link);
    return true;
  }

  linkClosed(link: Link, reason: string, expected: boolean): void {
    const { peers, diverted, loads, sites, counters } = this.#engine;
    peers.closed(link);
    const isGone = link.node < 0 || !peers.isThere(link.node);
    if (link.node >= 0 && isGone) diverted.nodeDown(link.node);
    loads.linkClosed(link);
    sites.catalogues.linkDown(link, isGone);
    sites.memories.linkDown(link);
    if (link.peer !== null) {
      this.#engine.log(expected ? 'info' : 'warn', 'link down', { node: link.peer.node, reason });
      if (!expected) counters.add('links_failed');
    } else if (link.role === 'accept') {
      counters.add('links_refused');
      this.#engine.log('warn', 'backplane peer refused', { reason });
    }
    this.#engine.linksChanged();
  }

  open(link: Link, frame: Frame): void {
    const engine = this.#engine;
    switch (frame.type) {
      case FrameType.SETUP:
        if (frame.mechanism === SetupMechanism.RELAY) RelayTarget.setup(engine, link, frame);
        else takeSetup(engine, link, link.sinkOf(frame.request) as HalfPipe | null, frame);
        return;
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
        return Arrival.open(engine, link, frame);
      case FrameType.ROUTE:
        return engine.diverted.route(link, frame);
      case FrameType.CLEANUP:
        return engine.diverted.cleanup(link, frame);
      case FrameType.CLEANUP_OK:
        return engine.guests.cleanedUp(frame);
      case FrameType.CATALOGUE:
        return engine.sites.catalogues.take(link.node, frame);
      case FrameType.CACHED:
        return engine.sites.memories.take(link, frame);
      case FrameType.LOAD:
        if (engine.loads.heard(link, frame)) engine.linksChanged();
        return;
      default:
        return;
    }
  }

  count(
    name: 'frames_sent' | 'frames_received' | 'backplane_bytes_sent' | 'backplane_bytes_received',
    by: number,
  ): void {
    this.#engine.counters.add(name, by);
  }

  watch(fd: number, events: number, source: Source): void {
    this.#engine.loop.add(fd, events, source);
  }

  forget(fd: number): void {
    this.#engine.loop.forget(fd);
  }
}
