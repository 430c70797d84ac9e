/** What an engine has of the kernel: its share of the router, and the sockets that are nobody's connection. */
import type { ClusterConfig } from '../../base/config/config.ts';
import type { Counters } from '../../base/counters.ts';
import { ParkedSegments } from '../../handoff/move/parked.ts';
import { setDeafFilter } from '../../kernel/linux/deaf.ts';
import { EPOLLIN } from '../../kernel/linux/epoll.ts';
import { FrameWriter } from '../../kernel/linux/frame-writer.ts';
import { closeRawSockets, openRawSockets } from '../../kernel/linux/raw.ts';
import { SocketStates } from '../../kernel/linux/sock-diag.ts';
import type { Watch } from '../../kernel/loop/ports.ts';
import { MAX_LARGE_FRAME_BYTES, REPLAY_MARK } from '../../kernel/router/layout.ts';
import { RouterEngine, type RouterHandles } from '../../kernel/router/router-engine.ts';

export interface KernelOptions {
  readonly config: Pick<ClusterConfig, 'nodes'>;
  /** Index of the node, and of the engine. */
  readonly self: number;
  readonly index: number;
  readonly router: RouterHandles;
  readonly counters: Counters;
  readonly watch: Watch;
  /** The router has events. */
  hearRouter(): void;
}

export class KernelParts {
  readonly router: RouterEngine;
  readonly sockets = new SocketStates();
  /** What clients send while their connections move. */
  readonly parked: ParkedSegments;
  readonly #frames: FrameWriter;

  constructor({ config, self, index, router, counters, watch, hearRouter }: KernelOptions) {
    this.router = new RouterEngine(router, index);
    const { routes, parked, eventsFd } = this.router;
    this.#frames = new FrameWriter(config.nodes[self].interface, REPLAY_MARK, MAX_LARGE_FRAME_BYTES);
    this.parked = new ParkedSegments(index, routes, parked, this.#frames, counters);
    watch.add(parked.fd, EPOLLIN, { ready: () => this.parked.hear() });
    watch.add(eventsFd, EPOLLIN, { ready: hearRouter });
    openRawSockets();
    setDeafFilter(router.deafFilter);
  }

  close(): void {
    this.router.close();
    this.#frames.close();
    closeRawSockets();
    this.sockets.close();
  }
}
