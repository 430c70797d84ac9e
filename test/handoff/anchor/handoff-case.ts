/** One request that an anchor hands to a target, and what the target says of it. */
import { AnchorDelivery } from '../../../src/handoff/anchor/anchor.ts';
import { AnnouncedDelivery } from '../../../src/handoff/anchor/announced-delivery.ts';
import type { AnchorFlow } from '../../../src/handoff/anchor/flow.ts';
import { cloneForm } from '../../../src/handoff/mechanism/clone.ts';
import { SPLIT_FORM } from '../../../src/handoff/mechanism/split.ts';
import { type AbortReason, FrameType } from '../../../src/protocol/backplane/frames.ts';
import type { Identity } from '../../../src/protocol/http/continuation.ts';
import type { WriteHalf } from '../../../src/protocol/tls/write-half.ts';
import { AnchorStand, LinkModel, request } from './stand.ts';

export const B = 1;
const CLONE_FORM = cloneForm({ pre: false, keep: false }, null);

export class HandoffCase extends AnchorStand {
  link = new LinkModel(B);
  readonly flow1: AnchorFlow = this.flow();
  delivery: AnchorDelivery | AnnouncedDelivery | null = null;
  /** Of the target's response. */
  readonly #identity: Identity;
  /** Null: without TLS. */
  readonly #half: WriteHalf | null;

  constructor(identity: Identity, half: WriteHalf | null) {
    super();
    this.#identity = identity;
    this.#half = half;
  }

  begin(form: 'anchor' | 'clone' | 'split' = 'anchor'): this {
    const { handoffs, host, flow1: flow, link } = this;
    const asked = request({ continuation: host.continuation });
    const given = {
      handoffs,
      host,
      flow,
      request: asked,
      node: link.node,
      link: link.link,
      half: this.#half,
    };
    this.delivery =
      form === 'anchor'
        ? AnchorDelivery.start(given)
        : AnnouncedDelivery.start(given, form === 'clone' ? CLONE_FORM : SPLIT_FORM);
    return this;
  }

  get setup() {
    return this.link.last(FrameType.SETUP);
  }

  get slot(): number {
    return [...this.table.seen.keys()][0];
  }

  setupOk(changes: object = {}): this {
    const { request: id, epoch } = this.setup;
    const frame = { type: FrameType.SETUP_OK, request: id, epoch, confirmWanted: false } as const;
    this.link.hear({ ...frame, identity: this.#identity, announcement: null, ...changes });
    return this;
  }

  abort(reason: AbortReason): this {
    const { request: id, epoch } = this.setup;
    this.link.hear({ type: FrameType.ABORT, request: id, epoch, reason });
    return this;
  }
}
