/** The conversations of a flow with its targets: one for each node, over one link. */
import type { Link, Sink } from '../engine/link.ts';

/** A node that holds, or held, a half-pipe of the flow. */
export interface Target {
  readonly node: number;
  readonly link: Link;
  readonly id: number;
  /** RESET is sent and not answered. */
  leaving: boolean;
  /** It has said where its bytes end and lets go by itself when they are acknowledged: no COLLECTED, no RESET. */
  implicit: boolean;
  /** It stays for the next request all the same, until RESET. */
  kept: boolean;
}

export class FlowTargets {
  readonly #sink: Sink;
  readonly #byNode = new Map<number, Target>();

  /** `sink`: gets the frames of all of them. */
  constructor(sink: Sink) {
    this.#sink = sink;
  }

  get size(): number {
    return this.#byNode.size;
  }

  get nodes(): number[] {
    return [...this.#byNode.keys()];
  }

  /** A copy: targets may go while they are gone through. */
  get all(): Target[] {
    return [...this.#byNode.values()];
  }

  get(node: number): Target | undefined {
    return this.#byNode.get(node);
  }

  of(link: Link, id: number): Target | undefined {
    for (const target of this.#byNode.values()) if (target.link === link && target.id === id) return target;
    return undefined;
  }

  /** The conversation with a node, a new one if there is none that goes on. */
  open(node: number, link: Link): Target {
    const known = this.#byNode.get(node);
    if (known !== undefined && known.link === link && !known.leaving) return known;
    const target = {
      node,
      link,
      id: link.openSink(this.#sink),
      leaving: false,
      implicit: false,
      kept: false,
    };
    this.#byNode.set(node, target);
    return target;
  }

  /** Ends a conversation; the node may have a newer one. */
  close(target: Target): void {
    target.link.closeSink(target.id);
    if (this.#byNode.get(target.node) === target) this.#byNode.delete(target.node);
  }

  closeAll(): void {
    for (const target of this.all) this.close(target);
  }
}
